//! The serving policy with a clock: all sessions go through it, and it says who is sent what next.
//!
//! Sessions tell it what happens, under one lock that is held for microseconds and never across an await, some four
//! times for each batch of several hundred KiB. What the policy says is put before the session that it concerns,
//! which is woken. The bytes themselves never come here.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shoal_protocol::availability::{ChunkIndex, ChunkRange};
use shoal_protocol::hash::ContentHash;
use shoal_protocol::serving::{
    Action, ContentNumber, Opening, PeerNumber, REMEMBERED_PEERS, ServingConfig, ServingPolicy, ServingReport,
    SessionId, SessionReport,
};
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::content::Served;
use crate::network::PeerId;

/// Decides for all serving sessions of a node.
#[derive(Debug)]
pub(crate) struct Scheduler {
    started: Instant,
    /// A std mutex: every section is a few steps of the policy, none awaits.
    state: Mutex<State>,
    /// Something is due earlier than the clock's task knows.
    earlier: Notify,
}

#[derive(Debug)]
struct State {
    policy: ServingPolicy,
    orders: HashMap<SessionId, (Orders, Arc<Notify>)>,
    peers: Numbers<PeerId>,
    contents: Numbers<ContentHash>,
    next: u64,
    /// When the clock's task wakes by itself.
    wakes: Option<Duration>,
}

/// What a session is to do, all of it at once.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Send this: never more than one that has not been read yet.
    pub(super) grant: Option<Grant>,
    /// Say that these were sent to others just now.
    pub(super) put_off: Vec<ChunkRange>,
    /// Say that these may be asked for again.
    pub(super) offered: Vec<ChunkRange>,
    /// Say BUSY; nothing is granted then.
    pub(super) busy: Option<Duration>,
}

/// What may be sent.
#[derive(Debug)]
pub(super) enum Grant {
    /// So many of the nodes that are wanted.
    Nodes(usize),
    /// These chunks, up to and with the one that reaches `bytes`.
    Chunks { chunks: Vec<ChunkIndex>, bytes: u64, pace: Option<u64> },
}

impl Scheduler {
    pub(crate) fn new(config: ServingConfig, seed: u64) -> Self {
        Self {
            started: Instant::now(),
            state: Mutex::new(State {
                policy: ServingPolicy::new(config, seed),
                orders: HashMap::new(),
                peers: Numbers::new(REMEMBERED_PEERS),
                contents: Numbers::new(0),
                next: 0,
                wakes: None,
            }),
            earlier: Notify::new(),
        }
    }

    /// Lets time pass for the policy until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            let due = self.let_time_pass();
            let due = async {
                match due {
                    Some(at) => sleep_until((self.started + at).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.earlier.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Hands out what is due by now; says when the clock's task is to wake next, unless it is told of something
    /// earlier.
    fn let_time_pass(&self) -> Option<Duration> {
        let now = self.started.elapsed();
        let mut state = self.lock();
        state.hand_out(now);
        state.wakes = state.policy.next_timeout();
        state.wakes
    }

    /// Takes a session in. Dropping the seat takes it out again.
    pub(super) fn seat(self: &Arc<Self>, peer: PeerId, served: &Served, serves: bool, in_order: bool) -> Seat {
        let mut state = self.lock();
        state.next += 1;
        let session = SessionId(state.next);
        let root = &served.root;
        let mean = root.bytes.checked_div(root.chunks).unwrap_or(0);
        let opening = Opening {
            peer: PeerNumber(state.peers.enter(peer)),
            content: ContentNumber(state.contents.enter(served.hash)),
            chunks: root.chunks,
            mean_chunk_bytes: u32::try_from(mean).unwrap_or(u32::MAX),
            holds_all: served.availability.is_complete(),
            serves,
            in_order,
        };
        let woken = Arc::new(Notify::new());
        state.orders.insert(session, (Orders::default(), Arc::clone(&woken)));
        state.policy.handle_opened(session, opening, self.started.elapsed());
        Seat { scheduler: Arc::clone(self), session, peer, hash: served.hash, woken }
    }

    /// Serving as a whole, and each session with its peer and content.
    pub(crate) fn report(&self) -> (ServingReport, Vec<(PeerId, ContentHash, SessionReport)>) {
        let now = self.started.elapsed();
        let state = self.lock();
        let named = |report: SessionReport| {
            let peer = state.peers.name(report.peer.0)?;
            Some((peer, state.contents.name(report.content.0)?, report))
        };
        (state.policy.report(now), state.policy.sessions(now).into_iter().filter_map(named).collect())
    }

    /// Tells the policy something and hands out what it says then.
    fn tell<T>(&self, tell: impl FnOnce(&mut ServingPolicy, Duration) -> T) -> T {
        let now = self.started.elapsed();
        let mut state = self.lock();
        let told = tell(&mut state.policy, now);
        state.hand_out(now);
        let due = state.policy.next_timeout();
        if due.is_some_and(|due| state.wakes.is_none_or(|wakes| due < wakes)) {
            state.wakes = due;
            self.earlier.notify_one();
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts all that the policy says now before the sessions.
    fn hand_out(&mut self, now: Duration) {
        while let Some(action) = self.policy.poll(now) {
            self.order(action);
        }
    }

    fn order(&mut self, action: Action) {
        let session = match &action {
            Action::SendNodes { session, .. }
            | Action::SendChunks { session, .. }
            | Action::PutOff { session, .. }
            | Action::Offer { session, .. }
            | Action::Busy { session, .. } => session,
        };
        let Some((orders, woken)) = self.orders.get_mut(session) else {
            return;
        };
        match action {
            Action::SendNodes { nodes, .. } => orders.grant = Some(Grant::Nodes(nodes)),
            Action::SendChunks { chunks, bytes, pace, .. } => {
                orders.grant = Some(Grant::Chunks { chunks, bytes, pace });
            }
            Action::PutOff { ranges, .. } => orders.put_off.extend(ranges),
            Action::Offer { ranges, .. } => orders.offered.extend(ranges),
            Action::Busy { retry_after, .. } => orders.busy = Some(retry_after),
        }
        woken.notify_one();
    }
}

/// A session's place in the scheduler.
#[derive(Debug)]
pub(super) struct Seat {
    scheduler: Arc<Scheduler>,
    session: SessionId,
    peer: PeerId,
    hash: ContentHash,
    woken: Arc<Notify>,
}

impl Seat {
    /// Tells the policy what has happened in this session.
    pub(super) fn tell<T>(&self, tell: impl FnOnce(&mut ServingPolicy, SessionId, Duration) -> T) -> T {
        self.scheduler.tell(|policy, now| tell(policy, self.session, now))
    }

    /// What there is to do.
    pub(super) fn orders(&self) -> Orders {
        let mut state = self.scheduler.lock();
        state.orders.get_mut(&self.session).map(|(orders, _)| std::mem::take(orders)).unwrap_or_default()
    }

    /// Waits until there may be something to do. May be dropped at any time.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        {
            let mut state = self.scheduler.lock();
            state.orders.remove(&self.session);
            state.peers.leave(&self.peer);
            state.contents.leave(&self.hash);
        }
        self.scheduler.tell(|policy, now| policy.handle_closed(self.session, now));
    }
}

/// Numbers for things that sessions share, for as long as one of them does, and for the last few a while longer.
#[derive(Debug)]
struct Numbers<T> {
    numbers: HashMap<T, Numbered>,
    names: HashMap<u64, T>,
    next: u64,
    /// Whom no session has, the first to go first. Who has come again since stands here in vain.
    gone: VecDeque<(T, u64)>,
    /// How many may stand there.
    kept: usize,
    departures: u64,
}

#[derive(Debug)]
struct Numbered {
    number: u64,
    uses: usize,
    /// The departure that was its last.
    left: u64,
}

impl<T: Copy + Eq + Hash> Numbers<T> {
    fn new(kept: usize) -> Self {
        Self { numbers: HashMap::new(), names: HashMap::new(), next: 0, gone: VecDeque::new(), kept, departures: 0 }
    }

    fn enter(&mut self, name: T) -> u64 {
        let numbered = self.numbers.entry(name).or_insert_with(|| {
            self.next += 1;
            self.names.insert(self.next, name);
            Numbered { number: self.next, uses: 0, left: 0 }
        });
        numbered.uses += 1;
        numbered.number
    }

    fn leave(&mut self, name: &T) {
        let Some(numbered) = self.numbers.get_mut(name) else { return };
        numbered.uses -= 1;
        if numbered.uses > 0 {
            return;
        }
        self.departures += 1;
        numbered.left = self.departures;
        self.gone.push_back((*name, self.departures));
        if self.gone.len() > self.kept
            && let Some((name, departure)) = self.gone.pop_front()
            && let Some(numbered) = self.numbers.get(&name)
            && numbered.uses == 0
            && numbered.left == departure
        {
            self.names.remove(&numbered.number);
            self.numbers.remove(&name);
        }
    }

    fn name(&self, number: u64) -> Option<T> {
        self.names.get(&number).copied()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_clock_does_not_wake_itself() {
        let scheduler = Scheduler::new(ServingConfig::default(), 1);
        let opening = Opening {
            peer: PeerNumber(1),
            content: ContentNumber(1),
            chunks: 8,
            mean_chunk_bytes: 65_536,
            holds_all: true,
            serves: true,
            in_order: false,
        };
        scheduler.tell(|policy, now| policy.handle_opened(SessionId(1), opening, now));
        assert_eq!(scheduler.let_time_pass(), None, "nothing is due");
        let all = [ChunkRange { start: ChunkIndex(0), count: 8 }];
        scheduler.tell(|policy, now| policy.handle_want(SessionId(1), &all, now)).unwrap();
        assert!(scheduler.earlier.notified().now_or_never().is_some(), "the clock hears of what is under way");
        assert!(scheduler.let_time_pass().is_some());
        assert!(scheduler.earlier.notified().now_or_never().is_none(), "it would turn round and round");
    }

    #[test]
    fn a_name_keeps_its_number_for_as_long_as_it_is_used() {
        let mut numbers = Numbers::new(0);
        let first = numbers.enter("a");
        assert_eq!((numbers.enter("a"), numbers.name(first)), (first, Some("a")));
        assert_ne!(numbers.enter("b"), first);
        numbers.leave(&"a");
        assert_eq!(numbers.name(first), Some("a"));
        numbers.leave(&"a");
        assert_eq!((numbers.name(first), numbers.names.len(), numbers.numbers.len()), (None, 1, 1));
        assert_ne!(numbers.enter("a"), first, "it may mean another by then");
    }

    #[test]
    fn the_last_to_go_keep_their_numbers() {
        let mut numbers = Numbers::new(2);
        let number = |numbers: &mut Numbers<_>, name| {
            let number = numbers.enter(name);
            numbers.leave(&name);
            number
        };
        let first = number(&mut numbers, 'a');
        assert_eq!((number(&mut numbers, 'a'), numbers.enter('a')), (first, first));
        for name in 'b'..='z' {
            number(&mut numbers, name);
        }
        numbers.leave(&'a');
        assert_eq!((numbers.numbers.len(), numbers.names.len(), numbers.gone.len()), (2, 2, 2), "a and z");
        assert_eq!(numbers.enter('a'), first);
        number(&mut numbers, 'y');
        number(&mut numbers, 'x');
        assert_eq!(numbers.enter('a'), first, "who is there is not forgotten");
    }
}
