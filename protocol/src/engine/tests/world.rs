//! A small world of peers with rates, delays and faults, to run the engine in. Time is simulated; every run is a
//! function of its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use super::peer::{Nature, Peer};
use super::server::Server;
use crate::availability::ChunkRange;

#[derive(Debug)]
pub(super) enum Event {
    Open(usize),
    End(usize),
    Gain(usize, ChunkRange),
    Asked(SessionId, Action),
    Serve(SessionId),
    Piece(SessionId, usize),
    Chunk(SessionId, ChunkIndex, bool),
    Node(SessionId, NodeId),
    Busy(SessionId),
    Decline(SessionId, ChunkIndex),
    Budget(u64),
    Timer,
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) lens: Vec<u32>,
    pub(super) peers: Vec<Peer>,
    /// Nodes that have to come before the layout does, one after another.
    pub(super) node_chain: u64,
    pub(super) now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    pub(super) servers: BTreeMap<SessionId, Server>,
    pub(super) sessions: u32,
    pub(super) held: BTreeSet<u64>,
    /// Chunks in flight as the actions have it: chunk → sessions.
    in_flight: BTreeMap<u64, BTreeSet<SessionId>>,
    layout_at: usize,
    pub(super) log: Vec<String>,
    pub(super) closed: Vec<(usize, CloseReason)>,
    pub(super) given: BTreeMap<usize, u64>,
    pub(super) keeps_log: bool,
    pub(super) polls: u64,
    pub(super) most_in_flight: u64,
    in_flight_before: u64,
    pub(super) order_held: Vec<u64>,
}

const LEAF: usize = 300;

impl World {
    pub(super) fn new(config: EngineConfig, seed: u64, lens: Vec<u32>, peers: Vec<Peer>) -> Self {
        let mut world = Self {
            engine: Engine::new(config, seed),
            lens,
            peers,
            node_chain: 1,
            now: Duration::ZERO,
            events: BTreeMap::new(),
            sequence: 0,
            servers: BTreeMap::new(),
            sessions: 0,
            held: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            layout_at: 0,
            log: Vec::new(),
            closed: Vec::new(),
            given: BTreeMap::new(),
            keeps_log: false,
            polls: 0,
            most_in_flight: 0,
            in_flight_before: 0,
            order_held: Vec::new(),
        };
        for at in 0..world.peers.len() {
            let peer = world.peers[at].clone();
            world.at(peer.joins, Event::Open(at));
            match peer.nature {
                Nature::Leaves(end) => world.at(end, Event::End(at)),
                Nature::Returns(end, again) => {
                    world.at(end, Event::End(at));
                    world.at(again, Event::Open(at));
                }
                _ => {}
            }
            for (when, range) in peer.gains {
                world.at(when, Event::Gain(at, range));
            }
        }
        world
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.lens.iter().map(|len| u64::from(*len)).sum()
    }

    /// Runs until everything is held or `limit` has passed.
    pub(super) fn run(&mut self, limit: Duration) -> bool {
        self.engine.want_node(node(self.node_chain), self.now);
        while !self.engine.is_complete() {
            self.act();
            let timer = self.engine.next_timeout().map(|at| at.max(self.now));
            let next = self.events.first_key_value().map(|(key, _)| key.0);
            match (next, timer) {
                (None, None) => return false,
                (Some(next), timer) if timer.is_none_or(|timer| next <= timer) => {
                    let ((at, _), event) = self.events.pop_first().expect("there is one");
                    self.now = at;
                    self.happen(event);
                }
                (_, Some(timer)) => {
                    assert!(timer > self.now || self.polls < 50_000_000, "a timer that is always due");
                    self.now = timer;
                    self.happen(Event::Timer);
                }
                (Some(_), None) => unreachable!("covered above"),
            }
            if self.now > limit {
                return false;
            }
        }
        true
    }

    pub(super) fn at(&mut self, when: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((when, self.sequence), event);
    }

    fn peer(&self, session: SessionId) -> Option<&Peer> {
        self.servers.get(&session).map(|server| &self.peers[server.peer])
    }

    /// Does what the engine wants done.
    fn act(&mut self) {
        self.feed_layout();
        loop {
            self.polls += 1;
            let Some(action) = self.engine.poll(self.now) else {
                break;
            };
            if self.keeps_log {
                self.log.push(format!("{:?} {action:?}", self.now));
            }
            self.check(&action);
            let session = match &action {
                Action::Close { session, reason } => {
                    if let Some(server) = self.servers.remove(session) {
                        self.closed.push((server.peer, *reason));
                        // A shell tries a peer again that was merely slow.
                        if !reason.is_a_fault() {
                            self.at(self.now + Duration::from_secs(2), Event::Open(server.peer));
                        }
                    }
                    self.forget(*session);
                    continue;
                }
                Action::Want { session, .. } | Action::Cancel { session, .. } | Action::WantNodes { session, .. } => {
                    *session
                }
            };
            if let Some(delay) = self.peer(session).map(|peer| peer.delay) {
                self.at(self.now + delay, Event::Asked(session, action));
            }
        }
        self.most_in_flight = self.most_in_flight.max(self.engine.progress().in_flight_bytes);
        let in_flight = self.engine.progress().in_flight_bytes;
        assert!(in_flight <= self.engine.config.budget_bytes.max(self.in_flight_before), "over the budget");
        self.in_flight_before = in_flight;
    }

    fn feed_layout(&mut self) {
        while self.node_chain == 0 && self.engine.needs_layout() {
            let first = self.layout_at;
            let end = (first + LEAF).min(self.lens.len());
            let held = |offset: usize| self.held.contains(&((first + offset) as u64));
            self.engine.handle_layout(ChunkIndex(first as u64), &self.lens[first..end], &held, self.now);
            self.layout_at = end;
            if end == self.lens.len() {
                self.engine.layout_finished();
            }
        }
    }

    /// What has to hold of every action.
    fn check(&mut self, action: &Action) {
        match action {
            Action::Want { session, ranges } => {
                assert!(!ranges.is_empty() && ranges.len() <= 256);
                for index in ranges.iter().flat_map(ChunkRange::indices) {
                    assert!(!self.held.contains(&index.0), "{index:?} is held and wanted");
                    let holds = self.peer(*session).is_some_and(|peer| peer.holds.contains(index));
                    assert!(holds, "{index:?} wanted of {session:?}, which does not hold it");
                    let copies = self.in_flight.entry(index.0).or_default();
                    assert!(copies.insert(*session), "{index:?} wanted twice of {session:?}");
                    assert!(copies.len() <= 2, "{index:?} in flight {} times", copies.len());
                }
                let reports = self.engine.sessions(self.now);
                let report = reports.iter().find(|report| report.session == *session).expect("it is open");
                let most = report.window_bytes.max(self.engine.config.initial_window_bytes);
                assert!(report.in_flight_bytes <= most || report.in_flight_chunks == 1, "over the window: {report:?}");
            }
            Action::Cancel { session, ranges } => {
                assert!(!ranges.is_empty() && ranges.len() <= 256);
                for index in ranges.iter().flat_map(ChunkRange::indices) {
                    self.in_flight.entry(index.0).or_default().remove(session);
                }
            }
            Action::WantNodes { ids, .. } => assert!(!ids.is_empty() && ids.len() <= 64),
            Action::Close { reason, .. } => assert_ne!(*reason, CloseReason::Unasked, "nobody here is a nuisance"),
        }
    }

    fn forget(&mut self, session: SessionId) {
        for copies in self.in_flight.values_mut() {
            copies.remove(&session);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Timer => {}
            Event::Budget(bytes) => self.engine.set_budget(bytes, self.now),
            Event::Open(at) => self.open(at),
            Event::End(at) => {
                let ends: Vec<_> =
                    self.servers.iter().filter(|(_, server)| server.peer == at).map(|(id, _)| *id).collect();
                for session in ends {
                    self.servers.remove(&session);
                    self.forget(session);
                    self.engine.handle_closed(session, self.now);
                }
            }
            Event::Gain(at, range) => {
                self.peers[at].holds.insert_range(range);
                let sessions = self.servers.iter().filter(|(_, server)| server.peer == at).map(|(id, _)| *id);
                for session in sessions.collect::<Vec<_>>() {
                    self.engine.handle_have(session, &[range], self.now);
                }
            }
            Event::Asked(session, action) => self.asked(session, action),
            Event::Serve(session) => self.serve(session),
            Event::Piece(session, bytes) => {
                if self.servers.contains_key(&session) {
                    self.engine.handle_progress(session, bytes, self.now);
                }
            }
            Event::Chunk(session, index, right) => self.arrive(session, index, right),
            Event::Node(session, id) => self.node(session, &id),
            Event::Busy(session) => {
                if self.servers.contains_key(&session) {
                    self.forget(session);
                    self.engine.handle_busy(session, Duration::from_millis(200), self.now);
                }
            }
            Event::Decline(session, index) => {
                if let Some(server) = self.servers.get(&session) {
                    // What had been taken back before says nothing to the engine: it may ask once more.
                    if self.in_flight.entry(index.0).or_default().remove(&session) {
                        self.peers[server.peer].holds.remove(index);
                    }
                    self.engine.handle_no_chunks(session, &[ChunkRange::one(index)], self.now);
                }
            }
        }
    }

    fn arrive(&mut self, session: SessionId, index: ChunkIndex, right: bool) {
        let Some(peer) = self.servers.get(&session).map(|server| server.peer) else {
            return;
        };
        assert_eq!(self.engine.is_missing(index), !self.held.contains(&index.0));
        if !right && self.engine.is_missing(index) {
            self.engine.handle_bad_chunk(session, index, self.now);
            return;
        }
        let len = self.lens[index.0 as usize];
        self.in_flight.entry(index.0).or_default().remove(&session);
        // A shell verifies nothing that it has already.
        if self.held.contains(&index.0) && index.0.is_multiple_of(2) {
            self.engine.handle_unneeded(session, index, len as usize, self.now);
            return;
        }
        let verdict = self.engine.handle_chunk(session, index, len as usize, self.now);
        assert_ne!(verdict, ChunkVerdict::Unasked, "nobody here sends what it was not asked for");
        assert_eq!(verdict == ChunkVerdict::New, self.held.insert(index.0));
        if verdict == ChunkVerdict::New {
            self.order_held.push(index.0);
            *self.given.entry(peer).or_default() += u64::from(len);
        }
    }

    fn node(&mut self, session: SessionId, id: &NodeId) {
        if !self.servers.contains_key(&session) || !self.engine.handle_node(session, id, 4096, self.now) {
            return;
        }
        assert_eq!(*id, node(self.node_chain), "nodes were wanted one by one");
        self.node_chain -= 1;
        if self.node_chain > 0 {
            self.engine.want_node(node(self.node_chain), self.now);
        } else {
            self.engine.set_chunk_count(self.lens.len() as u64, self.now);
        }
    }
}

pub(super) fn node(number: u64) -> NodeId {
    NodeId::of(&number.to_le_bytes())
}
