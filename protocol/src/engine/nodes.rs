//! Manifest nodes that are wanted: few, small, and everything waits for them, so they go first and are raced.
//!
//! A node is asked of one session that has proven itself, or of two that have not; every `node_hedge` without an
//! answer doubles the number. Who says that it has no such node is not asked again until everybody has said so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Engine;
use super::action::{Action, SessionId};
use super::session::Health;
use crate::hash::NodeId;

/// Nodes in flight from one session.
const PER_SESSION: usize = 16;
/// Nodes in one WANT_NODES.
const PER_MESSAGE: usize = crate::wire::MAX_NODE_IDS;
/// How long after everybody refused a node the question is put again: a leecher may have it by then.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
struct NodeWant {
    asked: BTreeSet<SessionId>,
    refused: BTreeSet<SessionId>,
    /// To how many sessions it should be in flight.
    copies: usize,
    /// When more are asked.
    hedge_at: Option<Duration>,
}

/// The wanted nodes.
#[derive(Debug, Default)]
pub(super) struct NodeWants {
    wants: BTreeMap<NodeId, NodeWant>,
    /// Those that lack a session to be asked of, in the order in which they were wanted.
    line: Vec<NodeId>,
    /// Whether somebody may be found for those in the line since the last attempt.
    pub(super) changed: bool,
}

impl NodeWants {
    pub(super) fn len(&self) -> usize {
        self.wants.len()
    }

    /// False if it is wanted already.
    pub(super) fn want(&mut self, id: NodeId) -> bool {
        if self.wants.contains_key(&id) {
            return false;
        }
        self.wants.insert(id, NodeWant::default());
        self.line.push(id);
        self.changed = true;
        true
    }

    /// Wanted no more; gives the sessions that were asked. `None` if it was not wanted.
    pub(super) fn forget(&mut self, id: &NodeId) -> Option<BTreeSet<SessionId>> {
        let want = self.wants.remove(id)?;
        self.line.retain(|other| other != id);
        Some(want.asked)
    }

    /// The session will not answer; if `refused`, because it has no such node.
    pub(super) fn drop_asked(&mut self, id: &NodeId, session: SessionId, refused: bool) {
        let Some(want) = self.wants.get_mut(id) else {
            return;
        };
        want.asked.remove(&session);
        if refused {
            want.refused.insert(session);
        }
        if want.asked.is_empty() && !self.line.contains(id) {
            self.line.push(*id);
        }
        self.changed = true;
    }

    /// The session is gone.
    pub(super) fn drop_session(&mut self, session: SessionId) {
        for want in self.wants.values_mut() {
            want.refused.remove(&session);
        }
    }

    fn next_hedge(&self) -> Option<Duration> {
        self.wants.values().filter_map(|want| want.hedge_at).min()
    }
}

impl Engine {
    /// Asks for the nodes in the line, as far as there are sessions for it.
    pub(super) fn ask_nodes(&mut self, now: Duration) {
        if !std::mem::take(&mut self.nodes.changed) {
            return;
        }
        let line = std::mem::take(&mut self.nodes.line);
        let mut asks: BTreeMap<SessionId, Vec<NodeId>> = BTreeMap::new();
        for id in line {
            if !self.ask_node(id, &mut asks, now) {
                self.nodes.line.push(id);
            }
        }
        for (session, ids) in asks {
            for part in ids.chunks(PER_MESSAGE) {
                self.actions.push_back(Action::WantNodes { session, ids: part.to_vec() });
            }
            if let Some(deadline) = self.sessions.get(&session).and_then(|session| session.deadline(&self.config)) {
                self.arm(deadline);
            }
        }
    }

    /// True if the node is in flight to as many sessions as it should be.
    fn ask_node(&mut self, id: NodeId, asks: &mut BTreeMap<SessionId, Vec<NodeId>>, now: Duration) -> bool {
        let usual = self.usual_rate();
        let Some(want) = self.nodes.wants.get_mut(&id) else {
            return true;
        };
        let mut able: Vec<_> = self
            .sessions
            .iter()
            .filter(|(id, session)| {
                let room = match session.health {
                    Health::Ready => session.nodes.len() < PER_SESSION,
                    Health::Probing => session.is_idle(),
                    Health::Busy { .. } | Health::BackOff { .. } => false,
                };
                room && session.gives_nodes && !want.asked.contains(id) && !want.refused.contains(id)
            })
            .map(|(id, session)| {
                let slow = session.silence(now) > self.config.node_hedge;
                (slow, !session.is_proven(), session.nodes.len(), session.drain_time(usual, now), *id)
            })
            .collect();
        able.sort_unstable();
        if want.copies == 0 {
            let proven = able.first().is_some_and(|(slow, unproven, ..)| !slow && !unproven);
            want.copies = if proven { 1 } else { 2 };
        }
        let lacking = want.copies.saturating_sub(want.asked.len());
        for (.., session) in able.into_iter().take(lacking) {
            want.asked.insert(session);
            asks.entry(session).or_default().push(id);
            if let Some(session) = self.sessions.get_mut(&session) {
                session.will_ask(now);
                session.nodes.insert(id);
            }
        }
        let all_refused = want.asked.is_empty() && !want.refused.is_empty();
        let again = now + if all_refused { ASK_AGAIN } else { self.config.node_hedge };
        want.hedge_at = Some(again);
        let asked = !want.asked.is_empty();
        self.arm(again);
        asked
    }

    /// Nodes that have waited long enough are asked of more sessions; gives when the next one will have.
    pub(super) fn hedge_nodes(&mut self, now: Duration) -> Option<Duration> {
        let everybody = self.sessions.len();
        let wants = &mut self.nodes;
        for (id, want) in &mut wants.wants {
            if want.hedge_at.is_none_or(|at| at > now) {
                continue;
            }
            want.hedge_at = None;
            if want.asked.is_empty() {
                want.refused.clear();
            } else {
                want.copies = (want.copies * 2).min(everybody.max(1));
            }
            if !wants.line.contains(id) {
                wants.line.push(*id);
            }
            wants.changed = true;
        }
        wants.next_hedge()
    }
}
