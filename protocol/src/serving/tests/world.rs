//! A node that serves, with a clock of its own: requesters that want, read at a rate or not at all, cancel and leave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::*;
use crate::availability::{ChunkIndex, ChunkRange};

/// Chunks of every content.
pub(super) const CHUNKS: u64 = 2000;
pub(super) const MEAN: u32 = 96 * 1024;
/// The longest chunk.
pub(super) const LONGEST: u64 = 160 * 1024;
const NODE: u64 = 10_000;

/// How a requester takes what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    AtOnce,
    BytesASecond(u64),
    Never,
}

pub(super) struct Requester {
    reads: Reads,
    /// When its line is free again.
    free: Duration,
    /// Batches that have been read and not sent: their bytes.
    unsent: VecDeque<u64>,
    pub(super) sent: u64,
    pub(super) chunks: Vec<ChunkIndex>,
    pub(super) put_off: BTreeSet<ChunkIndex>,
    pub(super) offered: BTreeSet<ChunkIndex>,
    pub(super) busy: u64,
    pub(super) busy_until: Duration,
    pub(super) last_sent: Duration,
    /// The longest time in which it wanted something and got nothing.
    pub(super) longest_wait: Duration,
    wanted: u64,
}

pub(super) struct World {
    pub(super) policy: ServingPolicy,
    pub(super) now: Duration,
    pub(super) requesters: BTreeMap<SessionId, Requester>,
    sent: BTreeSet<(Duration, u64, SessionId)>,
    events: u64,
    pub(super) log: Vec<String>,
    pub(super) total: u64,
}

/// Bytes of a chunk: 32 to 160 KiB.
pub(super) fn length(chunk: ChunkIndex) -> u64 {
    32 * 1024 + chunk.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (LONGEST - 32 * 1024)
}

pub(super) fn run(start: u64, count: u32) -> ChunkRange {
    ChunkRange { start: ChunkIndex(start), count }
}

impl World {
    pub(super) fn new(config: ServingConfig, seed: u64) -> Self {
        Self {
            policy: ServingPolicy::new(config, seed),
            now: Duration::ZERO,
            requesters: BTreeMap::new(),
            sent: BTreeSet::new(),
            events: 0,
            log: Vec::new(),
            total: 0,
        }
    }

    pub(super) fn open(&mut self, id: u64, peer: u64, content: u64, reads: Reads) -> SessionId {
        self.open_as(id, peer, content, reads, |_| {})
    }

    pub(super) fn open_as(
        &mut self,
        id: u64,
        peer: u64,
        content: u64,
        reads: Reads,
        change: impl Fn(&mut Opening),
    ) -> SessionId {
        let (session, peer, content) = (SessionId(id), PeerNumber(peer), ContentNumber(content));
        let mut opening = Opening {
            peer,
            content,
            chunks: CHUNKS,
            mean_chunk_bytes: MEAN,
            holds_all: false,
            serves: true,
            in_order: false,
        };
        change(&mut opening);
        self.policy.handle_opened(session, opening, self.now);
        let requester = Requester {
            reads,
            free: self.now,
            unsent: VecDeque::new(),
            sent: 0,
            chunks: Vec::new(),
            put_off: BTreeSet::new(),
            offered: BTreeSet::new(),
            busy: 0,
            busy_until: self.now,
            last_sent: self.now,
            longest_wait: Duration::ZERO,
            wanted: 0,
        };
        self.requesters.insert(session, requester);
        session
    }

    pub(super) fn want(&mut self, session: SessionId, ranges: &[ChunkRange]) {
        self.want_quietly(session, ranges);
        self.act();
    }

    /// The same, but what is to be done for it is left for later.
    pub(super) fn want_quietly(&mut self, session: SessionId, ranges: &[ChunkRange]) {
        let requester = self.requesters.get_mut(&session).unwrap();
        if requester.wanted == 0 {
            requester.last_sent = self.now;
        }
        requester.wanted += ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
        self.policy.handle_want(session, ranges, self.now).unwrap();
    }

    pub(super) fn wanted(&self, session: SessionId) -> u64 {
        self.requesters[&session].wanted
    }

    pub(super) fn cancel(&mut self, session: SessionId, ranges: &[ChunkRange]) {
        self.policy.handle_cancel(session, ranges, self.now);
        self.act();
    }

    pub(super) fn close(&mut self, session: SessionId) {
        self.policy.handle_closed(session, self.now);
        self.requesters.remove(&session);
        self.sent.retain(|(_, _, other)| *other != session);
        self.act();
    }

    /// Does what the policy says, until it has nothing more.
    pub(super) fn act(&mut self) {
        for step in 0.. {
            assert!(step < 1_000_000, "the policy never rests at {:?}", self.now);
            let Some(action) = self.policy.poll(self.now) else { break };
            self.log.push(format!("{:?} {action:?}", self.now));
            match action {
                Action::SendNodes { session, nodes } => self.batch(session, nodes, nodes as u64 * NODE),
                Action::SendChunks { session, chunks, bytes, .. } => self.chunks(session, &chunks, bytes),
                Action::PutOff { session, ranges } => {
                    let requester = self.requesters.get_mut(&session).unwrap();
                    let chunks: Vec<_> = ranges.iter().flat_map(ChunkRange::indices).collect();
                    requester.wanted -= chunks.len() as u64;
                    for chunk in chunks {
                        assert!(requester.put_off.insert(chunk), "{chunk:?} was put off twice");
                    }
                }
                Action::Offer { session, ranges } => {
                    let requester = self.requesters.get_mut(&session).unwrap();
                    for chunk in ranges.iter().flat_map(ChunkRange::indices) {
                        assert!(requester.put_off.contains(&chunk) && requester.offered.insert(chunk));
                    }
                }
                Action::Busy { session, retry_after } => {
                    assert!(!retry_after.is_zero());
                    let requester = self.requesters.get_mut(&session).unwrap();
                    assert!(requester.unsent.is_empty(), "something is under way");
                    requester.busy += 1;
                    requester.busy_until = self.now + retry_after;
                    requester.wanted = 0;
                }
            }
        }
        if let Some(due) = self.policy.next_timeout() {
            assert!(due > self.now, "a timer for the past: {due:?} at {:?}", self.now);
        }
    }

    fn chunks(&mut self, session: SessionId, chunks: &[ChunkIndex], bytes: u64) {
        assert!(!chunks.is_empty() && bytes > 0);
        let (mut sent, mut count) = (0, 0);
        for chunk in chunks {
            if sent >= bytes {
                break;
            }
            sent += length(*chunk);
            count += 1;
        }
        let requester = self.requesters.get_mut(&session).unwrap();
        requester.chunks.extend(&chunks[..count]);
        requester.wanted = requester.wanted.saturating_sub(count as u64);
        self.batch(session, count, sent);
    }

    fn batch(&mut self, session: SessionId, answered: usize, bytes: u64) {
        self.policy.handle_read(session, answered, bytes, self.now);
        let requester = self.requesters.get_mut(&session).unwrap();
        requester.unsent.push_back(bytes);
        assert!(requester.unsent.len() <= 2, "more than two batches lie in memory");
        self.events += 1;
        let at = match requester.reads {
            Reads::AtOnce => self.now,
            Reads::BytesASecond(rate) => {
                let nanos = bytes.saturating_mul(1_000_000_000) / rate;
                requester.free = requester.free.max(self.now) + Duration::from_nanos(nanos);
                requester.free
            }
            Reads::Never => return,
        };
        self.sent.insert((at, self.events, session));
    }

    /// Goes on to the next thing that happens, `until` at the latest; `false` if that time has come.
    pub(super) fn step(&mut self, until: Duration) -> bool {
        let sent = self.sent.first().map(|(at, ..)| *at);
        let next = [sent, self.policy.next_timeout()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next < until) else {
            self.now = until;
            self.act();
            return false;
        };
        self.now = self.now.max(next);
        while let Some(&(at, event, session)) = self.sent.first()
            && at <= self.now
        {
            self.sent.remove(&(at, event, session));
            let requester = self.requesters.get_mut(&session).unwrap();
            let bytes = requester.unsent.pop_front().unwrap();
            requester.sent += bytes;
            self.total += bytes;
            requester.longest_wait = requester.longest_wait.max(self.now - requester.last_sent);
            requester.last_sent = self.now;
            self.policy.handle_sent(session, self.now);
        }
        self.act();
        true
    }

    /// Runs for a time, with `between` called at each step: requesters may want more there.
    pub(super) fn run_for(&mut self, time: Duration, mut between: impl FnMut(&mut Self)) {
        let until = self.now + time;
        between(self);
        while self.step(until) {
            between(self);
        }
    }
}
