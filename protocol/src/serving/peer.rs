//! One peer: its sessions, its share, what it does with what it gets.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::action::SessionId;
use super::credit::Credit;
use crate::token_bucket::TokenBucket;

/// Shares are counted in quarters.
const FULL_SHARE: i64 = 4;

/// A peer with sessions.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) sessions: BTreeSet<SessionId>,
    /// Sessions that may be given something, in the order of their turns.
    pub(super) line: VecDeque<SessionId>,
    /// What it may still be sent in this turn, or, below zero, has been sent too much.
    pub(super) deficit: i64,
    pub(super) place: Place,
    pub(super) bucket: Option<TokenBucket>,
    /// Sessions that want something or to which something is under way.
    pub(super) active: usize,
    /// Turns since it became active.
    pub(super) turns: u32,
    /// Sessions whose requester serves the content itself.
    pub(super) serving: usize,
    pub(super) credit: Credit,
}

/// Where a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has nothing that could be sent now.
    Out,
    /// In the ring, waiting for its turn.
    Ring,
    /// At the ring's head, and its turn has begun.
    Turn,
    /// Its limit, or that of all its contents, is used up until then.
    Parked {
        /// When it may go on.
        until: Duration,
        /// Orders those who may go on at the same time.
        turn: u64,
    },
}

impl Peer {
    pub(super) fn new(limit: Option<u64>, credit: Credit, now: Duration) -> Self {
        let bucket = limit.map(|rate| {
            let mut bucket = TokenBucket::new(rate, now);
            // Who comes back must not find a full bucket each time.
            bucket.empty();
            bucket
        });
        Self {
            sessions: BTreeSet::new(),
            line: VecDeque::new(),
            deficit: 0,
            place: Place::Out,
            bucket,
            active: 0,
            turns: 0,
            serving: 0,
            credit,
        }
    }

    /// Whether it wants anything, or anything is under way to it.
    pub(super) const fn is_active(&self) -> bool {
        self.active > 0
    }

    /// Its part of a quantum: all of it, unless it passes nothing on.
    pub(super) fn quantum(&self, quantum_bytes: u64) -> i64 {
        let share = if self.credit.came_back_for_more_than(2) {
            FULL_SHARE / 4
        } else if self.serving == 0 || self.credit.came_back_for_more_than(4) {
            FULL_SHARE / 2
        } else {
            FULL_SHARE
        };
        (i64::try_from(quantum_bytes).unwrap_or(i64::MAX / FULL_SHARE) / FULL_SHARE * share).max(1)
    }

    /// Its turn begins. Nothing is saved up beyond one turn.
    pub(super) fn begin_turn(&mut self, quantum_bytes: u64) {
        let quantum = self.quantum(quantum_bytes);
        self.deficit = self.deficit.saturating_add(quantum).min(quantum);
        self.turns = self.turns.saturating_add(1);
    }
}
