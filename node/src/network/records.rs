//! The DHT's provider records that this node keeps: its own and other nodes'.
//!
//! Both have a quota of their own, so that strangers cannot crowd out this node's announcements. Of each key the
//! freshest records are kept, and an answer is a random sample of them, so that a popular content's load spreads over
//! its providers. Everything is in memory and bounded; the driver's task calls this, so nothing here waits. Value
//! records are refused.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::time::Instant;

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};
use shoal_protocol::hash::HASH_BYTES;

use super::{MAX_ADDRESS_BYTES, NetworkLimits};

/// Addresses kept with a record.
const MAX_ADDRESSES: usize = 8;
/// Records in an answer. Kademlia sends at most 20 and leaves out the asker, so one or two more are of use.
const SAMPLE: usize = 22;
/// Expired records that one insertion clears away at most.
const SWEEP: usize = 16;
/// The share of the foreign quota that one peer's records may take: one over this.
const PEER_SHARE: usize = 4;

/// The provider records that this node keeps.
pub(super) struct Records {
    local: PeerId,
    own: HashSet<RecordKey>,
    /// Each key's records, the stalest first.
    foreign: HashMap<RecordKey, Vec<Foreign>>,
    /// Every foreign record by the order of its last announcement.
    by_age: BTreeMap<u64, (RecordKey, PeerId)>,
    per_peer: HashMap<PeerId, usize>,
    age: u64,
    own_limit: usize,
    foreign_limit: usize,
    per_key_limit: usize,
    random: Random,
}

#[derive(Debug)]
struct Foreign {
    provider: PeerId,
    addresses: Vec<Multiaddr>,
    expires: Option<Instant>,
    age: u64,
}

impl Records {
    pub(super) fn new(local: PeerId, limits: &NetworkLimits) -> Self {
        Self {
            local,
            own: HashSet::new(),
            foreign: HashMap::new(),
            by_age: BTreeMap::new(),
            per_peer: HashMap::new(),
            age: 0,
            own_limit: limits.own_records,
            foreign_limit: limits.foreign_records.max(1),
            per_key_limit: limits.providers_per_key.max(1),
            random: Random::new(),
        }
    }

    /// Records kept for others.
    pub(super) fn foreign_count(&self) -> usize {
        self.by_age.len()
    }

    /// All live records of others under a key, each with its addresses.
    pub(super) fn all(&self, key: &RecordKey, now: Instant) -> impl Iterator<Item = (PeerId, &[Multiaddr])> {
        let records = self.foreign.get(key).into_iter().flatten();
        records.filter(move |record| record.is_live(now)).map(|record| (record.provider, record.addresses.as_slice()))
    }

    fn add_foreign(&mut self, record: ProviderRecord) -> Result<()> {
        if record.key.as_ref().len() != HASH_BYTES {
            return Err(Error::ValueTooLarge);
        }
        self.sweep(Instant::now());
        let ProviderRecord { key, provider, expires, mut addresses } = record;
        addresses.retain(|address| address.len() <= MAX_ADDRESS_BYTES);
        addresses.truncate(MAX_ADDRESSES);

        if self.remove_foreign(&key, &provider).is_none() {
            let of_peer = self.per_peer.get(&provider).copied().unwrap_or(0);
            if of_peer >= (self.foreign_limit / PEER_SHARE).max(1) {
                return Err(Error::MaxProvidedKeys);
            }
            let stalest_of_key = self.foreign.get(&key).filter(|of_key| of_key.len() >= self.per_key_limit);
            if let Some(stalest) = stalest_of_key.and_then(|of_key| of_key.first()) {
                let stalest = stalest.provider;
                self.remove_foreign(&key, &stalest);
            }
            if self.by_age.len() >= self.foreign_limit
                && let Some((_, (key, provider))) = self.by_age.first_key_value()
            {
                let (key, provider) = (key.clone(), *provider);
                self.remove_foreign(&key, &provider);
            }
        }
        self.age += 1;
        self.by_age.insert(self.age, (key.clone(), provider));
        *self.per_peer.entry(provider).or_default() += 1;
        self.foreign.entry(key).or_default().push(Foreign { provider, addresses, expires, age: self.age });
        Ok(())
    }

    fn remove_foreign(&mut self, key: &RecordKey, provider: &PeerId) -> Option<Foreign> {
        let of_key = self.foreign.get_mut(key)?;
        let at = of_key.iter().position(|record| record.provider == *provider)?;
        let record = of_key.remove(at);
        if of_key.is_empty() {
            self.foreign.remove(key);
        }
        self.by_age.remove(&record.age);
        if let Some(count) = self.per_peer.get_mut(provider) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(provider);
            }
        }
        Some(record)
    }

    /// Clears away some of what has expired; the oldest expire first, since all live equally long.
    fn sweep(&mut self, now: Instant) {
        for _ in 0..SWEEP {
            let Some((_, (key, provider))) = self.by_age.first_key_value() else { return };
            let (key, provider) = (key.clone(), *provider);
            let live = |record: &Foreign| record.provider == provider && record.is_live(now);
            if self.foreign.get(&key).is_some_and(|of_key| of_key.iter().any(live)) {
                return;
            }
            self.remove_foreign(&key, &provider);
        }
    }
}

impl Foreign {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    /// Always empty: what is announced again and when is decided in `announce`, not by Kademlia's own job.
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider != self.local {
            return self.add_foreign(record);
        }
        if self.own.len() >= self.own_limit && !self.own.contains(&record.key) {
            return Err(Error::MaxProvidedKeys);
        }
        self.own.insert(record.key);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        // Kademlia fills in this node's own addresses where a record has none.
        let own = self.own.contains(key).then(|| ProviderRecord::new(key.clone(), self.local, Vec::new()));
        let now = Instant::now();
        let mut live: Vec<&Foreign> =
            self.foreign.get(key).into_iter().flatten().filter(|record| record.is_live(now)).collect();
        let sample = SAMPLE.min(live.len());
        for i in 0..sample {
            let other = i + self.random.below(live.len() - i);
            live.swap(i, other);
        }
        let foreign = live.into_iter().take(sample).map(|record| ProviderRecord {
            key: key.clone(),
            provider: record.provider,
            expires: record.expires,
            addresses: record.addresses.clone(),
        });
        own.into_iter().chain(foreign).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.local {
            self.own.remove(key);
        } else {
            self.remove_foreign(key, provider);
        }
    }
}

/// A small generator for choices that nobody gains by foretelling: xorshift64*, seeded by the standard library's
/// random hash keys. `providers` is called through a shared reference, hence the cell.
#[derive(Debug)]
pub(super) struct Random(Cell<u64>);

impl Random {
    pub(super) fn new() -> Self {
        Self(Cell::new(RandomState::new().hash_one(0u8) | 1))
    }

    fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, or 0 when that is 0.
    pub(super) fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// The duration, a tenth more or less.
    pub(super) fn jitter(&self, around: std::time::Duration) -> std::time::Duration {
        // 900 to 1,100 thousandths.
        around * u32::try_from(900 + self.below(201)).unwrap_or(1000) / 1000
    }
}
