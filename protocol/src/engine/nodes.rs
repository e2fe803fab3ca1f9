//! Manifest nodes that are wanted: few, small, and everything waits for them, so they go first and are raced.
//!
//! A node is asked of one session that is known for something, or of two that are not; every `node_hedge` in which
//! somebody does not answer doubles the number. A leecher is asked before those who hold everything: a crowd must not
//! fetch all of the manifest from a lone seeder. Who says that it has no such node makes room for another, and is asked
//! again a while later: leechers get nodes, too. One such answer is enough for those who hold everything to be asked:
//! until all know what there is, they can trade little of it. Where nobody holds everything, each doubling of those who
//! said so adds one to the number: to ask a long line one by one takes a round trip for each.

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
/// How long after a session refused a node it is asked again: a leecher may have it by then. Doubles each time, …
const ASK_AGAIN: Duration = Duration::from_millis(125);
/// … up to this.
const ASK_AGAIN_AT_MOST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
struct NodeWant {
    asked: BTreeSet<SessionId>,
    refused: BTreeMap<SessionId, Refusal>,
    /// To how many sessions it should be in flight.
    copies: usize,
    /// When more are asked, unless an answer comes.
    hedge_at: Option<Duration>,
}

/// A session has no such node.
#[derive(Debug, Clone, Copy, Default)]
struct Refusal {
    /// How often it has said so.
    times: u32,
    /// When it is asked again.
    until: Duration,
}

impl NodeWant {
    fn refusals(&self, session: &SessionId) -> u32 {
        self.refused.get(session).map_or(0, |refusal| refusal.times)
    }

    /// Whether a session may be asked, as far as what it has said goes.
    fn may_ask(&self, session: &SessionId, now: Duration) -> bool {
        !self.asked.contains(session) && self.refused.get(session).is_none_or(|refusal| refusal.until <= now)
    }

    /// When to look again whom to ask.
    fn due(&self, now: Duration) -> Option<Duration> {
        let refused = self.refused.values().map(|refusal| refusal.until).filter(|until| *until > now);
        let refused = if self.asked.len() < self.copies { refused.min() } else { None };
        [self.hedge_at, refused].into_iter().flatten().min()
    }
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
    pub(super) fn drop_asked(&mut self, id: &NodeId, session: SessionId, refused: bool, now: Duration) {
        let Some(want) = self.wants.get_mut(id) else {
            return;
        };
        want.asked.remove(&session);
        if want.asked.is_empty() {
            want.hedge_at = None;
        }
        if refused {
            let refusal = want.refused.entry(session).or_default();
            refusal.until = now + ASK_AGAIN.saturating_mul(1 << refusal.times.min(8)).min(ASK_AGAIN_AT_MOST);
            refusal.times += 1;
        }
        if !self.line.contains(id) {
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

    /// True if the node is in flight.
    fn ask_node(&mut self, id: NodeId, asks: &mut BTreeMap<SessionId, Vec<NodeId>>, now: Duration) -> bool {
        let usual = self.usual_rate(now);
        let Some(want) = self.nodes.wants.get_mut(&id) else {
            return true;
        };
        // Who holds a part has some of the nodes, too, and fewer who ask; who holds everything has them for sure.
        let ask_full = !want.refused.is_empty();
        let mut able: Vec<_> = self
            .sessions
            .iter()
            .filter(|(id, session)| {
                let room = match session.health {
                    Health::Ready => session.nodes.len() < PER_SESSION,
                    Health::Probing => session.is_idle(),
                    Health::Busy { .. } | Health::BackOff { .. } => false,
                };
                room && session.gives_nodes && want.may_ask(id, now)
            })
            .map(|(id, session)| {
                let slow = session.silence(now) > self.config.node_hedge;
                let unknown = !session.is_proven() && session.holding.is_empty();
                let busiest = session.holding.is_full() != ask_full;
                let load = (session.nodes.len(), session.drain_time(usual, now));
                (slow, unknown, want.refusals(id), busiest, load, *id)
            })
            .collect();
        able.sort_unstable();
        if want.copies == 0 {
            let proven = able.first().is_some_and(|(slow, unknown, ..)| !slow && !unknown);
            want.copies = if proven { 1 } else { 2 };
        }
        let refusals = want.refused.len().checked_ilog2().unwrap_or(0);
        want.copies = want.copies.max(refusals as usize);
        let lacking = want.copies.saturating_sub(want.asked.len());
        for (.., session) in able.into_iter().take(lacking) {
            want.asked.insert(session);
            asks.entry(session).or_default().push(id);
            if let Some(session) = self.sessions.get_mut(&session) {
                session.will_ask(now);
                session.nodes.insert(id);
            }
        }
        if !want.asked.is_empty() {
            want.hedge_at.get_or_insert(now + self.config.node_hedge);
        }
        let (due, is_asked) = (want.due(now), !want.asked.is_empty());
        if let Some(due) = due {
            self.arm(due);
        }
        is_asked
    }

    /// Nodes that have waited long enough are asked of more sessions, or of the same again; gives when the next one
    /// will have.
    pub(super) fn hedge_nodes(&mut self, now: Duration) -> Option<Duration> {
        let (everybody, hedge) = (self.sessions.len(), self.config.node_hedge);
        let wants = &mut self.nodes;
        for (id, want) in &mut wants.wants {
            if want.hedge_at.is_some_and(|at| at <= now) {
                // All that there are may have been asked: then it goes to whoever comes.
                want.hedge_at = (!want.asked.is_empty()).then_some(now + hedge);
                want.copies = (want.copies * 2).min(everybody.max(1));
            }
            if want.asked.len() < want.copies {
                if !wants.line.contains(id) {
                    wants.line.push(*id);
                }
                wants.changed = true;
            }
        }
        wants.wants.values().filter_map(|want| want.due(now)).min()
    }
}
