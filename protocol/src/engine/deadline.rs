//! Deadlines: when a session that does not move is put to rest, tried again, and given up.

use std::time::Duration;

use super::Engine;
use super::action::{Action, CloseReason, SessionId, Wait};
use super::session::Health;
use crate::availability::ChunkIndex;

/// Sessions that have ended and are still reported on.
const ENDED: usize = 256;
/// What BUSY may ask for.
const BUSY_AT_LEAST: Duration = Duration::from_millis(50);
const BUSY_AT_MOST: Duration = Duration::from_secs(60);

impl Engine {
    /// The shell should poll again at this time, or sooner.
    pub(super) fn arm(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Looks at every session and wanted node whose time may have come.
    pub(super) fn run_timers(&mut self, now: Duration) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        let mut next: Option<Duration> = None;
        let mut later = |at: Duration| next = Some(next.map_or(at, |next| next.min(at)));
        let (mut late, mut awake) = (Vec::new(), Vec::new());
        for (id, session) in self.sessions.iter_mut() {
            match session.health {
                Health::Busy { until } | Health::BackOff { until } if until > now => later(until),
                Health::Busy { .. } => {
                    session.health = Health::Ready;
                    awake.push(*id);
                }
                Health::BackOff { .. } => {
                    session.health = Health::Probing;
                    awake.push(*id);
                }
                Health::Ready | Health::Probing => {}
            }
            match session.deadline(&self.config) {
                Some(at) if at <= now => late.push(*id),
                Some(at) => later(at),
                None => {}
            }
            match session.next_steal {
                Some(at) if at <= now => {
                    session.next_steal = None;
                    awake.push(*id);
                }
                Some(at) => later(at),
                None => {}
            }
        }
        if let Some(next) = next {
            self.arm(next);
        }
        for id in late {
            self.fault(id, now);
        }
        self.nodes.changed |= !awake.is_empty();
        for id in awake {
            self.line_up(id);
        }
        if let Some(hedge) = self.hedge_nodes(now) {
            self.arm(hedge);
        }
    }

    /// The session did not move by its deadline: it loses what is in flight and rests, longer each time; or it is
    /// ended.
    pub(super) fn fault(&mut self, id: SessionId, now: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let faults = session.fault();
        if faults >= self.config.max_faults {
            self.close(id, CloseReason::NoProgress, now);
            return;
        }
        let factor = 1u32.checked_shl(faults - 1).unwrap_or(u32::MAX);
        let until = now + self.config.back_off.saturating_mul(factor).min(self.config.max_back_off);
        self.rest(id, Health::BackOff { until }, true, now);
        self.arm(until);
    }

    /// The server said that it is busy and has dropped what was asked of it.
    pub(super) fn busy(&mut self, id: SessionId, retry_after: Duration, now: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.counters.busy += 1;
        let until = now + retry_after.clamp(BUSY_AT_LEAST, BUSY_AT_MOST);
        self.rest(id, Health::Busy { until }, false, now);
        self.arm(until);
    }

    fn rest(&mut self, id: SessionId, health: Health, tell: bool, now: Duration) {
        self.withdraw(id, tell, now);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.rest(health);
            session.settle(Wait::NothingToAsk, now);
        }
    }

    /// Ends a session of the engine's own accord.
    pub(super) fn close(&mut self, id: SessionId, reason: CloseReason, now: Duration) {
        if self.remove(id, Some(reason), now) {
            self.actions.push_back(Action::Close { session: id, reason });
        }
    }

    /// Forgets a session; what was in flight from it goes to others. False if there is no such session.
    pub(super) fn remove(&mut self, id: SessionId, reason: Option<CloseReason>, now: Duration) -> bool {
        self.withdraw(id, false, now);
        let Some(mut session) = self.sessions.remove(&id) else {
            return false;
        };
        session.holding.give_up(&mut self.table);
        self.nodes.drop_session(id);
        if self.ended.len() == ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back((session.report(id, 0, now), reason));
        // Shares of the budget are larger now.
        self.line_up_all();
        true
    }

    /// Takes everything back that is in flight from a session.
    fn withdraw(&mut self, id: SessionId, tell: bool, now: Duration) {
        self.latest = None;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let mut taken: Vec<ChunkIndex> = Vec::new();
        for asked in session.queue.drain() {
            session.taken_back += u64::from(asked.len);
            session.counters.reassigned_chunks += 1;
            self.in_flight_bytes -= u64::from(asked.len);
            taken.push(asked.index);
        }
        for node in std::mem::take(&mut session.nodes) {
            session.taken_back += crate::wire::MAX_NODE_BYTES as u64;
            self.nodes.drop_asked(&node, id, false, now);
        }
        taken.sort_unstable();
        for index in taken {
            self.table.drop_copy(index, id);
            if tell {
                self.cancel(id, index);
            }
        }
        self.line_up_all();
    }
}
