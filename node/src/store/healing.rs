//! An index that had to be opened anew has forgotten what it held only in memory, and is brought up to date from the
//! segments before anyone uses it.

use std::sync::PoisonError;

use redb::Durability;

use super::error::StoreError;
use super::findings::INDEX;
use super::index::Index;
use super::recovery;
use super::shared::Shared;

impl Shared {
    /// Runs `work`; when the index's file fails it, opens it anew, replays what it has lost, and tries once more. Where
    /// the disk takes no writes, the index goes on in memory.
    pub(super) fn with_index<T>(&self, work: impl Fn(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let work = || {
            let heals = self.healed.read().unwrap_or_else(PoisonError::into_inner);
            (*heals, work(&self.index))
        };
        let (before, error) = match work() {
            (before, Err(error)) if error.closes_handle() => (before, error),
            (_, result) => return result,
        };
        tracing::warn!(%error, "opening the index anew");
        self.heal_index(before)?;
        match work() {
            (healed, Err(error)) if error.is_refusal() && !self.index.is_in_memory() => {
                self.leave_disk(healed, error)?;
                work().1
            }
            (_, Err(error)) if error.is_damage() && self.renew_if_damaged()? => work().1,
            (_, result) => result,
        }
    }

    /// Makes the index durable; one that is kept in memory goes back to the disk, if that takes it again.
    pub(super) fn sync_index(&self) -> Result<(), StoreError> {
        if self.index.is_in_memory() {
            self.heal_index(self.heals())?;
        }
        self.with_index(Index::sync)?;
        self.quota.index_is_durable();
        Ok(())
    }

    /// How often the index has been opened anew. Waits while that is under way.
    pub(super) fn heals(&self) -> u64 {
        *self.healed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work`, unless the index was opened anew since that had happened `heals` times: what was learnt of it
    /// before may not be true any more. It is not opened anew meanwhile.
    pub(super) fn on_same_index<T>(
        &self,
        heals: u64,
        work: impl FnOnce(&Index) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let healed = self.healed.read().unwrap_or_else(PoisonError::into_inner);
        if *healed == heals { work(&self.index) } else { Err(StoreError::Overtaken) }
    }

    /// Removes an index on the disk that is out of date because the one in use lies in memory: it must not be taken
    /// for right at the next start, when segments are gone that it names. It is built anew then.
    pub(super) fn forget_stale_index(&self) -> Result<(), StoreError> {
        if !self.index.is_in_memory() {
            return Ok(());
        }
        let path = self.index.path();
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(path, source)),
            _ => self.segments.sync(),
        }
    }

    fn heal_index(&self, before: u64) -> Result<(), StoreError> {
        let mut healed = self.healed.write().unwrap_or_else(PoisonError::into_inner);
        if *healed != before {
            return Ok(());
        }
        self.exchange_index(&mut healed, || match self.index.reopen() {
            Err(error) if error.is_damage() => self.renew_index(&error),
            reopened => reopened,
        })
    }

    fn leave_disk(&self, before: u64, refusal: StoreError) -> Result<(), StoreError> {
        let mut healed = self.healed.write().unwrap_or_else(PoisonError::into_inner);
        if *healed != before {
            return Ok(());
        }
        tracing::warn!(error = %refusal, "keeping the index in memory");
        self.exchange_index(&mut healed, || self.index.leave_disk(refusal))
    }

    /// Has the index opened anew by `open`, and brought up to date. One that does not get there is used by nobody until
    /// it is opened anew once more: it would say of what is held that it is not.
    fn exchange_index(
        &self,
        healed: &mut u64,
        open: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Whatever comes of it: what was learnt of the index before may not be true any more.
        *healed += 1;
        open().and_then(|()| self.replay()).inspect_err(|_| self.index.give_up())
    }

    /// Gives an index that was opened anew what it has forgotten by that. Not durably: that would need the very disk
    /// that has just failed us.
    fn replay(&self) -> Result<(), StoreError> {
        let replay = || recovery::replay(&self.index, &self.segments, Durability::None).map(drop);
        let mut replayed = replay();
        if let Err(error) = &replayed
            && error.is_refusal()
            && !self.index.is_in_memory()
        {
            self.index.leave_disk(error.clone())?;
            replayed = replay();
        }
        // Damage, or a page that the disk does not give.
        if let Err(error @ (StoreError::Damaged { .. } | StoreError::Io { .. })) = &replayed {
            self.renew_index(error)?;
            replayed = replay();
        }
        replayed
    }

    /// Begins the index anew because of its damage, which the next check tells.
    fn renew_index(&self, damage: &StoreError) -> Result<(), StoreError> {
        self.index.renew()?;
        self.findings.note(INDEX, self.index.path(), damage, true);
        Ok(())
    }

    /// Checks the index, and builds it anew from the segments when something is wrong with it, which goes to the
    /// findings. While it is built some of what is held is not found; the damaged one is kept aside.
    pub(super) fn check_index(&self) -> Result<(), StoreError> {
        let is_new = match self.renew_if_damaged() {
            // A fault of the disk has closed the handle, maybe long ago.
            Err(error) if error.closes_handle() && !error.is_damage() => {
                self.heal_index(self.heals())?;
                self.renew_if_damaged()?
            }
            checked => checked?,
        };
        if is_new { self.sync_index() } else { Ok(()) }
    }

    /// Says whether something was wrong.
    fn renew_if_damaged(&self) -> Result<bool, StoreError> {
        let mut healed = self.healed.write().unwrap_or_else(PoisonError::into_inner);
        match self.index.check_pages().inspect_err(|_| self.index.give_up())? {
            // It is empty by now.
            Some(wrong) => {
                self.findings.note(INDEX, self.index.path(), &wrong, true);
                self.exchange_index(&mut healed, || Ok(()))?;
            }
            None => match self.index.check_rows() {
                Err(wrong) if wrong.is_damage() => {
                    self.exchange_index(&mut healed, || self.renew_index(&wrong))?;
                }
                checked => return checked.map(|()| false),
            },
        }
        Ok(true)
    }
}
