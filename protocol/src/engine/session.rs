//! One session as the engine sees it: what it holds, what is in flight, how it is doing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::action::{SessionId, Wait};
use super::config::EngineConfig;
use super::holding::Holding;
use super::queue::Queue;
use super::report::{Counters, SessionReport};
use super::window::{RateMeter, time_for};
use crate::hash::NodeId;
use crate::token_bucket::TokenBucket;

/// Bytes that count as progress while a frame is not whole: a peer that drips does not move.
pub(super) const PROGRESS_BYTES: u64 = 16 * 1024;
/// Useful bytes after which earlier faults are forgiven.
const FORGIVEN_AFTER: u64 = 4 * 1024 * 1024;
/// Bytes of no use that a session may send at once before it is ended, …
const USELESS_BYTES: u64 = 1024 * 1024;
/// … and how many more each second: what an honest peer repeats after a loss never adds up.
const USELESS_RATE: u64 = 16 * 1024;
/// What a frame or a run of no use costs, however short it is.
pub(super) const USELESS_AT_LEAST: u64 = 64;

/// Whether and how a session may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It may be asked as its window allows.
    Ready,
    /// It said that it is busy.
    Busy {
        /// When it may be asked again.
        until: Duration,
    },
    /// It made no progress.
    BackOff {
        /// When it is tried again.
        until: Duration,
    },
    /// It is being tried with one thing at a time: a chunk or a node.
    Probing,
}

/// The fields lie in this order: what is looked at of all sessions at once lies together, since in a crowd an engine
/// does little else than wait for memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Session {
    pub(super) queue: Queue,
    /// Whether it counts in the pace that was last taken.
    pub(super) is_in_pace: bool,
    /// Whether it stands in the line of those that may have something to be asked for.
    pub(super) lined_up: bool,
    /// Whether it stands in the line of those that wait for the budget.
    pub(super) lacks_budget: bool,
    /// Others took over what it was late with, and it has sent nothing since.
    pub(super) is_late: bool,
    pub(super) gives_nodes: bool,
    wait: Wait,
    pub(super) meter: RateMeter,
    pub(super) health: Health,
    /// When to look again whether it could take over something from a slower session.
    pub(super) next_steal: Option<Duration>,
    /// When it last moved forward, or began to have something in flight.
    last_progress: Duration,
    /// Nodes in flight.
    pub(super) nodes: BTreeSet<NodeId>,
    pub(super) faults: u32,
    pub(super) holding: Holding,
    /// The group that it was last asked from.
    pub(super) group: Option<usize>,
    wait_since: Duration,
    pub(super) counters: Counters,
    /// Bytes that were taken back and may still come.
    pub(super) taken_back: u64,
    /// Bytes of frames that are not whole, since it last moved forward.
    partial: u64,
    good_bytes: u64,
    /// When it was asked while nothing was in flight, until the first answer.
    asked_idle: Option<Duration>,
    /// What of no use it may still send before it is ended.
    patience: TokenBucket,
    waited: [Duration; Wait::ALL.len()],
}

impl Session {
    pub(super) fn new(chunk_count: Option<u64>, now: Duration) -> Self {
        Self {
            holding: Holding::new(chunk_count),
            queue: Queue::default(),
            nodes: BTreeSet::new(),
            gives_nodes: true,
            health: Health::Ready,
            faults: 0,
            meter: RateMeter::default(),
            counters: Counters::default(),
            group: None,
            is_in_pace: false,
            lined_up: false,
            lacks_budget: false,
            next_steal: None,
            is_late: false,
            taken_back: 0,
            patience: TokenBucket::with_burst(USELESS_RATE, USELESS_BYTES, now),
            last_progress: now,
            partial: 0,
            asked_idle: None,
            good_bytes: 0,
            wait: Wait::NoAvailability,
            wait_since: now,
            waited: [Duration::ZERO; Wait::ALL.len()],
        }
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.nodes.is_empty()
    }

    /// Whether it has ever given anything of use.
    pub(super) const fn is_proven(&self) -> bool {
        self.counters.bytes + self.counters.node_bytes > 0
    }

    /// To be called before something is put in flight.
    pub(super) fn will_ask(&mut self, now: Duration) {
        if self.is_idle() {
            self.asked_idle = Some(now);
            self.last_progress = now;
            self.partial = 0;
        }
    }

    /// Bytes of a frame that is not whole yet.
    pub(super) fn progressed(&mut self, bytes: u64, now: Duration) {
        self.answered(now);
        self.partial += bytes;
        if self.partial >= PROGRESS_BYTES && self.last_progress < now {
            self.last_progress = now;
            self.partial = 0;
        }
    }

    /// A whole chunk or node has come; what was in flight of it is out of the queue already. Gives how long it had
    /// paused.
    pub(super) fn delivered(&mut self, bytes: u64, useful: bool, now: Duration) -> Duration {
        self.answered(now);
        let pause = now.saturating_sub(self.last_progress);
        self.last_progress = now;
        self.is_late = false;
        self.partial = 0;
        let more = !self.is_idle();
        self.meter.arrived(bytes, more, now);
        if useful {
            self.good_bytes = self.good_bytes.saturating_add(bytes);
            if self.good_bytes >= FORGIVEN_AFTER {
                self.faults = 0;
            }
        }
        pause
    }

    fn answered(&mut self, now: Duration) {
        if let Some(asked) = self.asked_idle.take() {
            self.meter.answered(now.saturating_sub(asked));
        }
    }

    /// Something of no use has come. False if that was too much. What was taken back may still come, and is allowed
    /// for apart.
    pub(super) fn bears(&mut self, cost: u64, now: Duration) -> bool {
        self.patience.try_take(cost, now).is_ok()
    }

    /// One more fault in a row.
    pub(super) fn fault(&mut self) -> u32 {
        self.faults += 1;
        self.good_bytes = 0;
        self.counters.deadlines_missed += 1;
        self.faults
    }

    /// Nothing is in flight any more, and nothing is expected.
    pub(super) fn rest(&mut self, health: Health) {
        self.health = health;
        self.asked_idle = None;
        self.meter.start_over();
        self.next_steal = None;
    }

    /// When it is at fault unless it moves before.
    pub(super) fn deadline(&self, config: &EngineConfig) -> Option<Duration> {
        (!self.is_idle()).then(|| self.last_progress + config.progress_deadline)
    }

    /// How long it has not moved although something is in flight.
    pub(super) fn silence(&self, now: Duration) -> Duration {
        if self.is_idle() { Duration::ZERO } else { now.saturating_sub(self.last_progress) }
    }

    /// The rate to reckon with: its own, as far as that is known, or else what is `usual`.
    pub(super) fn reckoned_rate(&self, usual: u64, now: Duration) -> u64 {
        self.meter.reckoned(now).unwrap_or(usual).max(1)
    }

    /// How long what is in flight will take, as far as can be told. Silence counts: who has said nothing for a second
    /// is not expected back before another one.
    pub(super) fn drain_time(&self, usual: u64, now: Duration) -> Duration {
        if self.queue.is_empty() {
            return Duration::ZERO;
        }
        time_for(self.queue.bytes(), self.reckoned_rate(usual, now)).max(self.silence(now))
    }

    /// Notes what it does from now on.
    pub(super) fn waits(&mut self, wait: Wait, now: Duration) {
        if wait == self.wait {
            return;
        }
        let passed = now.saturating_sub(self.wait_since);
        if let Some(total) = self.waited.get_mut(self.wait as usize) {
            *total += passed;
        }
        self.wait = wait;
        self.wait_since = now;
    }

    /// Notes what it does from now on, as its state tells; `otherwise` is why it has nothing in flight.
    pub(super) fn settle(&mut self, otherwise: Wait, now: Duration) {
        let wait = match self.health {
            Health::Busy { .. } => Wait::Busy,
            Health::BackOff { .. } => Wait::BackOff,
            Health::Probing => Wait::Probing,
            Health::Ready if !self.queue.is_empty() => Wait::Receiving,
            Health::Ready if !self.nodes.is_empty() => Wait::Nodes,
            Health::Ready if self.holding.is_empty() => Wait::NoAvailability,
            Health::Ready => otherwise,
        };
        self.waits(wait, now);
    }

    pub(super) fn report(&self, id: SessionId, window_bytes: u64, now: Duration) -> SessionReport {
        let mut waited = self.waited;
        if let Some(total) = waited.get_mut(self.wait as usize) {
            *total += now.saturating_sub(self.wait_since);
        }
        SessionReport {
            session: id,
            wait: self.wait,
            waited,
            counters: self.counters,
            in_flight_bytes: self.queue.bytes(),
            in_flight_chunks: self.queue.len(),
            in_flight_nodes: self.nodes.len(),
            window_bytes,
            rate: self.meter.rate(),
            round_trip: self.meter.round_trip(),
            faults: self.faults,
        }
    }
}
