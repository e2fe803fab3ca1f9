//! A cycle of the collector, from marks to removed files.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::Collected;
use super::choose::{Effort, Share, choose};
use super::empty::Emptier;
use super::mark::{Marks, mark};
use crate::store::error::StoreError;
use crate::store::holds::Places;
use crate::store::in_place::{FileNumber, FilePlace};
use crate::store::index::Index;
use crate::store::rows::{SegmentNumber, SegmentState};
use crate::store::shared::Shared;
use crate::store::writer::{News, seal, settled_news};

/// Of the time that others have something to do, the collector works one part in so many.
const YIELD: u32 = 4;
/// Longest pause between two of its steps.
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// How often a collection is begun that lacked room itself, or was overtaken by a fault of the index's file.
const ROUNDS: u32 = 4;

/// Gives back room. Where the disk is full it works with what the home has in reserve, and goes on with what comes
/// back.
pub(super) fn collect(shared: &Shared, news: &SyncSender<News>, effort: Effort) -> Result<Collected, StoreError> {
    let mut all = Collected::default();
    let mut round = 0;
    let outcome = loop {
        round += 1;
        let (collected, is_full) = match cycle(shared, news, effort) {
            // An index that the disk has refused was opened anew, in memory if need be, and serves the next round.
            Err(StoreError::Overtaken) if round < ROUNDS => continue,
            Err(StoreError::NoSpace { .. }) if round < ROUNDS => (Collected::default(), true),
            Err(error) if all.reclaimed_bytes == 0 => break Err(error),
            Err(error) => {
                tracing::warn!(%error, "not all garbage could be collected");
                break Ok(all);
            }
            Ok(done) => done,
        };
        all.go_on(&collected);
        if !is_full || round == ROUNDS {
            break Ok(all);
        }
        shared.reserve.give_up();
    };
    shared.reserve.take_back();
    outcome
}

/// One look at everything, and what comes of it; says whether the disk had no room for some of that.
fn cycle(shared: &Shared, news: &SyncSender<News>, effort: Effort) -> Result<(Collected, bool), StoreError> {
    let heals = shared.heals();
    shared.holds.begin_marking();
    let _marking = Marking(shared);
    let removed_before = shared.collector.removed_bytes();
    shared.collector.step();
    let Marks { places: marks, files } = mark(shared, &|| shared.collector.is_closing())?;
    forget_in_place(shared, &files);
    let all = shares(shared, &marks)?;
    let mut collected =
        Collected { live_bytes: all.iter().map(|share| share.live_bytes).sum(), ..Collected::default() };
    let garbage: u64 = all.iter().map(Share::garbage_bytes).sum();
    let (chosen, unsealed_bytes) = seal_all(shared, news, choose(all, effort))?;
    collected.blocked_bytes = unsealed_bytes;
    shared.collector.step();
    if shared.heals() != heals {
        // For a moment the index did not know what it had held in memory only, and the marks may lack that.
        return Err(StoreError::Overtaken);
    }
    let mut worked = Instant::now();
    let mut pace = || pace(shared, effort, &mut worked);
    let mut emptier = Emptier::new(shared, news, &marks, heals, &mut pace);
    let (mut failed, mut gone, mut is_full) = (None, 0u64, unsealed_bytes > 0);
    for share in &chosen {
        match emptier.empty(share.number) {
            Ok(emptied) => {
                collected.count(share, emptied.moved_bytes);
                collected.reclaimed_bytes += emptied.file_bytes.saturating_sub(emptied.moved_bytes);
                gone += share.garbage_bytes();
            }
            Err(StoreError::Closed) => {
                failed = Some(StoreError::Closed);
                break;
            }
            Err(error) => {
                tracing::warn!(%error, segment = share.number.0, "a segment could not be emptied");
                match error {
                    StoreError::NoSpace { .. } => is_full = true,
                    StoreError::QuotaReached { .. } => drop(failed.get_or_insert(error)),
                    _ => {
                        failed.get_or_insert(error);
                        continue;
                    }
                }
                collected.blocked_bytes += share.garbage_bytes();
            }
        }
    }
    emptier.finish();
    collected.garbage_bytes = garbage.saturating_sub(gone + collected.blocked_bytes);
    shared.collector.note_cycle(removed_before, garbage.saturating_sub(gone));
    match failed {
        // What was given back all the same is worth more than the error, which the log has.
        Some(error) if collected.reclaimed_bytes == 0 => Err(error),
        _ => Ok((collected, is_full)),
    }
}

/// Waits as long as others are to go first; `false`: the store closes.
fn pace(shared: &Shared, effort: Effort, worked: &mut Instant) -> bool {
    let took = worked.elapsed();
    let may_go_on = match effort {
        Effort::Enough(_) => !shared.collector.is_closing(),
        _ if shared.collector.is_hurried() => !shared.collector.is_closing(),
        _ if shared.is_busy() => shared.collector.pause((took * (YIELD - 1)).min(MAX_PAUSE)),
        _ => !shared.collector.is_closing(),
    };
    *worked = Instant::now();
    may_go_on
}

/// Lets no more groups be added to those of the segments that take groups, if no writer has them just now. Gives back
/// those that take none any more, as any other may be what is copied into from now on, and of its copies the marks know
/// nothing; and how much garbage lies in those for which the disk had no room.
fn seal_all(shared: &Shared, news: &SyncSender<News>, mut chosen: Vec<Share>) -> Result<(Vec<Share>, u64), StoreError> {
    let mut blocked_bytes = 0;
    for share in &chosen {
        if let Err(error) = complete(shared, share.number) {
            tracing::warn!(%error, segment = share.number.0, "a segment could not be sealed");
            if matches!(error, StoreError::NoSpace { .. }) {
                blocked_bytes += share.garbage_bytes();
            }
        }
    }
    settled_news(news)?;
    let rows = shared.with_index(Index::segments)?;
    let is_complete = |number| rows.iter().any(|(at, row)| *at == number && row.state == SegmentState::Complete);
    chosen.retain(|share| is_complete(share.number));
    Ok((chosen, blocked_bytes))
}

fn complete(shared: &Shared, number: SegmentNumber) -> Result<(), StoreError> {
    let row = shared.with_index(|index| index.segment(number))?;
    if row.state != SegmentState::Open {
        return Ok(());
    }
    if let Some(appender) = shared.segments.withdraw(number) {
        let sealed = seal(shared, &appender.segment);
        // It belongs to nobody any more. Frozen, it is as good as complete the next time.
        return sealed.or_else(|error| appender.segment.freeze().and(Err(error)));
    }
    // One that was left after a fault, with all of it in the index, is as good as complete.
    let segment = shared.segments.segment(number)?;
    if segment.is_frozen()? && segment.head()?.groups == row.groups {
        shared.complete_segment(number)?;
    }
    Ok(())
}
/// A dry run.
pub(super) fn look(shared: &Shared, effort: Effort) -> Result<Collected, StoreError> {
    shared.holds.begin_marking();
    let _marking = Marking(shared);
    let marks = mark(shared, &|| shared.collector.is_closing())?.places;
    let all = shares(shared, &marks)?;
    let live_bytes = all.iter().map(|share| share.live_bytes).sum();
    let garbage: u64 = all.iter().map(Share::garbage_bytes).sum();
    let mut collected = Collected { live_bytes, ..Collected::default() };
    for share in choose(all, effort) {
        collected.count(&share, share.live_bytes);
        collected.reclaimed_bytes += share.garbage_bytes();
    }
    collected.garbage_bytes = garbage.saturating_sub(collected.reclaimed_bytes);
    Ok(collected)
}

/// What is where. A segment that cannot be read is left out, and so stays.
fn shares(shared: &Shared, marks: &Places) -> Result<Vec<Share>, StoreError> {
    let mut shares = Vec::new();
    for (number, row) in shared.with_index(Index::segments)? {
        if row.state == SegmentState::Dropped {
            continue;
        }
        match needed_bytes(shared, marks, number) {
            Ok(live_bytes) => shares.push(Share { number, payload_bytes: row.stream_bytes, live_bytes }),
            Err(error) => tracing::warn!(%error, "a segment is left out"),
        }
    }
    Ok(shares)
}

/// Bytes of a segment's objects that a record or a hold needs.
fn needed_bytes(shared: &Shared, marks: &Places, number: SegmentNumber) -> Result<u64, StoreError> {
    let segment = shared.segments.segment(number)?;
    let (mut next, mut needed) = (0, 0);
    loop {
        let directories = segment.directories(next)?;
        let Some((last, _)) = directories.last() else { return Ok(needed) };
        next = last + 1;
        for directory in directories.into_iter().filter_map(|(_, directory)| directory.ok()) {
            let is_needed = |offset| marks.covers(number, offset) || shared.holds.covers(number, offset);
            let bytes = directory.rows(number).filter(|(_, row)| is_needed(row.offset));
            needed += bytes.map(|(_, row)| u64::from(row.len)).sum::<u64>();
        }
    }
}

/// Forgets chunks in files of the user that no content has any more. The files stay as they are.
fn forget_in_place(shared: &Shared, files: &Places<FileNumber>) {
    let is_live = |place: &FilePlace| {
        files.covers(place.file, place.offset) || shared.holds.covers_in_file(place.file, place.offset)
    };
    match shared.in_place.sweep(|| shared.holds.deciding(), is_live) {
        Ok(swept) if swept.chunks > 0 => tracing::info!(?swept, "forgot chunks in place"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "chunks in place that nothing needs stay known"),
    }
}

impl Collected {
    fn count(&mut self, share: &Share, moved_bytes: u64) {
        match share.live_bytes {
            0 => self.dropped_segments += 1,
            _ => self.rewritten_segments += 1,
        }
        self.moved_bytes += moved_bytes;
    }

    /// Adds what came of the next round: what it found to be needed and left is what counts.
    fn go_on(&mut self, next: &Self) {
        *self = Self {
            reclaimed_bytes: self.reclaimed_bytes + next.reclaimed_bytes,
            dropped_segments: self.dropped_segments + next.dropped_segments,
            rewritten_segments: self.rewritten_segments + next.rewritten_segments,
            moved_bytes: self.moved_bytes + next.moved_bytes,
            ..*next
        };
    }
}

/// Ends what marking began, however the cycle ends.
struct Marking<'a>(&'a Shared);

impl Drop for Marking<'_> {
    fn drop(&mut self) {
        self.0.holds.end_marking();
    }
}
