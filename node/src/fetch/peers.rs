//! The peers of one fetch: who is being dialled, who has a session, what each has given.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_protocol::engine::{CloseReason, SessionId};
use shoal_protocol::hash::ContentHash;
use shoal_protocol::wire::RequesterMessage;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bans::Bans;
use super::candidates::{Candidates, Source, believable};
use super::session::{self, OpenFailure, OpenSession, SessionContext};
use crate::api::PeerShare;
use crate::config::{MAX_FETCH_DIALS, MAX_FETCH_SESSIONS};
use crate::network::{Address, Network, PeerId};

/// Messages that may wait for a session to write them. The engine asks in few, large messages, so a queue that is full
/// means a peer that does not read.
const COMMANDS: usize = 64;
/// How long a peer rests after its session ended without fault.
const REST_AFTER_CLOSE: Duration = Duration::from_secs(1);

/// Sessions, dials and candidates.
#[derive(Debug)]
pub(super) struct Peers {
    network: Network,
    hash: ContentHash,
    bans: Arc<Bans>,
    candidates: Candidates,
    context: SessionContext,
    dials: JoinSet<(PeerId, Result<OpenSession, OpenFailure>)>,
    tasks: JoinSet<()>,
    sessions: BTreeMap<SessionId, Running>,
    shares: HashMap<PeerId, PeerShare>,
    next_id: u32,
}

#[derive(Debug)]
struct Running {
    peer: PeerId,
    address: Address,
    commands: mpsc::Sender<RequesterMessage>,
}

/// What became of a dial.
#[derive(Debug)]
pub(super) enum Dialled {
    /// A session is open.
    Opened(SessionId),
    /// The peer is of no use for now.
    Failed,
}

impl Peers {
    pub(super) fn new(network: Network, hash: ContentHash, bans: Arc<Bans>, context: SessionContext) -> Self {
        Self {
            network,
            hash,
            bans,
            candidates: Candidates::default(),
            context,
            dials: JoinSet::new(),
            tasks: JoinSet::new(),
            sessions: BTreeMap::new(),
            shares: HashMap::new(),
            next_id: 0,
        }
    }

    /// Adds a peer that may have the content, whoever named it.
    pub(super) fn suggest(&mut self, peer: PeerId, addresses: Vec<Address>, source: Source) {
        let now = Instant::now();
        if peer == self.network.local_peer() {
            return;
        }
        self.candidates.add(peer, addresses, source, now);
        if self.bans.is_banned(&peer, now) {
            self.candidates.banned(&peer);
        }
    }

    /// Adds a peer that the other end of a session has named.
    pub(super) fn hearsay(&mut self, teller: SessionId, peer: PeerId, addresses: Vec<Address>) {
        let teller = self.sessions.get(&teller).map(|session| &session.address);
        let addresses = teller.map(|teller| believable(addresses, teller)).unwrap_or_default();
        if !addresses.is_empty() {
            self.suggest(peer, addresses, Source::Hearsay);
        }
    }

    /// Starts dials, as many as there is room for.
    pub(super) fn dial(&mut self) {
        let now = Instant::now();
        while self.dials.len() < MAX_FETCH_DIALS
            && self.sessions.len() + self.dials.len() < MAX_FETCH_SESSIONS
            && let Some((peer, addresses)) = self.candidates.next(now)
        {
            let (network, hash) = (self.network.clone(), self.hash);
            self.dials.spawn(async move { (peer, session::open(network, hash, peer, addresses).await) });
        }
    }

    /// Whether a peer that has not been asked yet waits for a session to end.
    pub(super) fn is_crowded(&self) -> bool {
        self.sessions.len() + self.dials.len() >= MAX_FETCH_SESSIONS && self.candidates.has_untried(Instant::now())
    }

    /// When the next dial may start, if only time is missing.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        let room = self.dials.len() < MAX_FETCH_DIALS && self.sessions.len() + self.dials.len() < MAX_FETCH_SESSIONS;
        if room { self.candidates.next_due() } else { None }
    }

    /// Waits for a dial to end. For ever, when none is under way.
    pub(super) async fn dialled(&mut self) -> Dialled {
        let (peer, result) = match self.dials.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                tracing::error!(%error, "a dial broke off");
                return Dialled::Failed;
            }
            None => std::future::pending().await,
        };
        match result {
            Ok(session) => Dialled::Opened(self.start(session)),
            Err(failure) => {
                tracing::debug!(%peer, %failure, "no session");
                let rest = match &failure {
                    OpenFailure::Busy { retry_after, .. } => *retry_after,
                    _ => Duration::ZERO,
                };
                self.candidates.failed(&peer, failure.to_string(), rest, Instant::now());
                Dialled::Failed
            }
        }
    }

    fn start(&mut self, session: OpenSession) -> SessionId {
        let id = SessionId(self.next_id);
        self.next_id += 1;
        let peer = session.peer;
        self.candidates.opened(&peer);
        let address = session.address.clone();
        let share = self.shares.entry(peer).or_insert_with(|| PeerShare {
            peer: peer.to_string(),
            address: String::new(),
            bytes: 0,
            chunks: 0,
            wasted_bytes: 0,
            ended: None,
        });
        share.address = address.to_string();
        share.ended = None;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(session::run(id, session, self.context.clone(), inbox));
        self.sessions.insert(id, Running { peer, address, commands });
        id
    }

    /// Sends a message in a session. `false`: it cannot be sent, and the session should be ended.
    pub(super) fn send(&self, id: SessionId, message: RequesterMessage) -> bool {
        self.sessions.get(&id).is_none_or(|session| session.commands.try_send(message).is_ok())
    }

    /// Ends a session on this side.
    pub(super) fn close(&mut self, id: SessionId, reason: CloseReason) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let now = Instant::now();
        let words = match reason {
            CloseReason::BadChunk => "sent a chunk that does not match its hash: banned",
            CloseReason::BadNode => "sent a manifest node that does not match its hash: banned",
            CloseReason::Unasked => "kept sending what nobody had asked for: banned",
            CloseReason::NoProgress => "was asked several times and sent nothing",
        };
        tracing::info!(peer = %session.peer, reason = words, "session ended");
        self.ended(&session.peer, words);
        if reason.is_a_fault() {
            self.bans.ban(session.peer, now);
            self.candidates.banned(&session.peer);
        } else {
            self.candidates.failed(&session.peer, words.to_owned(), REST_AFTER_CLOSE, now);
        }
    }

    /// Notes that a session has ended on the other side. `true`: it was known.
    pub(super) fn closed(&mut self, id: SessionId, reason: &str) -> bool {
        let Some(session) = self.sessions.remove(&id) else {
            return false;
        };
        tracing::debug!(peer = %session.peer, reason, "session closed");
        self.ended(&session.peer, reason);
        self.candidates.failed(&session.peer, reason.to_owned(), REST_AFTER_CLOSE, Instant::now());
        true
    }

    fn ended(&mut self, peer: &PeerId, reason: &str) {
        if let Some(share) = self.shares.get_mut(peer) {
            share.ended = Some(reason.to_owned());
        }
    }

    /// Counts a chunk that was kept.
    pub(super) fn count_kept(&mut self, id: SessionId, bytes: u64) -> Option<PeerId> {
        let peer = self.sessions.get(&id)?.peer;
        self.candidates.did_well(&peer);
        let share = self.shares.get_mut(&peer)?;
        share.bytes += bytes;
        share.chunks += 1;
        Some(peer)
    }

    /// Counts chunk bytes of no use.
    pub(super) fn count_wasted(&mut self, id: SessionId, bytes: u64) {
        if let Some(session) = self.sessions.get(&id)
            && let Some(share) = self.shares.get_mut(&session.peer)
        {
            share.wasted_bytes += bytes;
        }
    }

    /// Who is at the other end of a session.
    pub(super) fn peer_of(&self, id: SessionId) -> Option<PeerId> {
        self.sessions.get(&id).map(|session| session.peer)
    }

    /// How many sessions are open.
    pub(super) fn open(&self) -> usize {
        self.sessions.len()
    }

    /// How many dials are under way.
    pub(super) fn dialling(&self) -> usize {
        self.dials.len()
    }

    /// Everybody who was named.
    pub(super) fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// What each peer has given, the most first.
    pub(super) fn shares(&self) -> Vec<PeerShare> {
        let mut shares: Vec<_> = self.shares.values().cloned().collect();
        shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.peer.cmp(&b.peer)));
        shares
    }
}
