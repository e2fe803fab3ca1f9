//! The peers of one fetch: who is being dialled, who has a session, what each has given.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_protocol::engine::{CloseReason, SessionId};
use shoal_protocol::hash::ContentHash;
use shoal_protocol::wire::{KnownProvider, RequesterMessage};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Fetching;
use super::bans::Bans;
use super::beginning::Beginning;
use super::believable::believable;
use super::candidates::{Candidates, Source};
use super::lookup::Found;
use super::session::{self, OpenFailure, OpenSession, Opening, SessionContext};
use crate::api::{PeerShare, PeerWork};
use crate::config::{MAX_FETCH_DIALS, MAX_FETCH_SESSIONS, SOUGHT_FETCH_SESSIONS};
use crate::network::{Address, Network, PeerId, Provider};

/// Messages that may wait for a session to write them. The engine asks in few, large messages, so a queue that is full
/// means a peer that does not read.
const COMMANDS: usize = 64;
/// Sessions of which it is known with whom they were.
const SESSIONS_TOLD: usize = 512;
/// How long a peer rests after its session ended without fault.
const REST_AFTER_CLOSE: Duration = Duration::from_secs(1);

/// Sessions, dials and candidates.
#[derive(Debug)]
pub(super) struct Peers {
    network: Network,
    hash: ContentHash,
    bans: Arc<Bans>,
    /// Whether whoever fetches waits for what comes next.
    in_order: bool,
    /// Changes when a peer of the content has become known through a session of this node.
    swarm: watch::Receiver<u64>,
    candidates: Candidates,
    context: SessionContext,
    dials: JoinSet<(PeerId, Result<OpenSession, OpenFailure>)>,
    tasks: JoinSet<()>,
    sessions: BTreeMap<SessionId, Running>,
    shares: HashMap<PeerId, PeerShare>,
    /// With whom the latest sessions are or were.
    with: VecDeque<(SessionId, PeerId)>,
    next_id: u32,
}

#[derive(Debug)]
struct Running {
    peer: PeerId,
    address: Address,
    commands: mpsc::Sender<RequesterMessage>,
    /// It moved nothing when it was asked before, and nothing in this session yet.
    is_suspect: bool,
}

/// What became of a dial.
#[derive(Debug)]
pub(super) enum Dialled {
    /// A session is open, and this came with it.
    Opened(SessionId, Beginning),
    /// The peer is of no use for now.
    Failed,
    /// None has ended, but other sessions of this node have brought peers to light.
    Named,
}

impl Peers {
    pub(super) fn new(
        fetching: &Fetching,
        hash: ContentHash,
        in_order: bool,
        context: SessionContext,
        first_id: u32,
    ) -> Self {
        Self {
            network: fetching.network.clone(),
            hash,
            bans: Arc::clone(&fetching.bans),
            in_order,
            swarm: fetching.swarms.subscribe(hash),
            candidates: Candidates::default(),
            context,
            dials: JoinSet::new(),
            tasks: JoinSet::new(),
            sessions: BTreeMap::new(),
            shares: HashMap::new(),
            with: VecDeque::new(),
            next_id: first_id,
        }
    }

    /// The content that they are asked about.
    pub(super) const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Whether whoever fetches waits for what comes next.
    pub(super) const fn in_order(&self) -> bool {
        self.in_order
    }

    /// What its sessions need.
    pub(super) fn context(&self) -> SessionContext {
        self.context.clone()
    }

    /// Whether the peer at the other end moved nothing when it was asked before.
    pub(super) fn is_suspect(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.is_suspect)
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

    /// Adds a provider that the DHT knows. One that announces itself is up: it is tried soon, however often that went
    /// wrong before.
    pub(super) fn found(&mut self, found: Found) {
        let (Provider { peer, addresses }, is_up) = match found {
            Found::Recorded(provider) => (provider, false),
            Found::Announced(provider) => (provider, true),
        };
        self.suggest(peer, addresses, Source::Dht);
        if is_up {
            self.candidates.is_up(&peer, Instant::now());
        }
    }

    /// Adds peers that the other end of a session has named.
    pub(super) fn hearsay(&mut self, teller: SessionId, others: &[KnownProvider]) {
        if let Some(teller) = self.sessions.get(&teller).map(|session| session.address.clone()) {
            for (peer, addresses) in others.iter().filter_map(named) {
                self.suggest_heard(peer, addresses, &teller);
            }
        }
    }

    fn suggest_heard(&mut self, peer: PeerId, addresses: Vec<Address>, teller: &Address) {
        let addresses = believable(addresses, teller);
        if !addresses.is_empty() {
            self.suggest(peer, addresses, Source::Hearsay);
        }
    }

    /// Starts dials, as many as there is room for. `begins`: nothing of the manifest is known yet.
    pub(super) fn dial(&mut self, begins: bool) {
        let now = Instant::now();
        while self.has_room()
            && let Some((peer, addresses)) = self.candidates.next(now, self.seeks())
        {
            let (network, hash) = (self.network.clone(), self.hash);
            let opening = Opening { in_order: self.in_order, begins };
            self.dials.spawn(async move { (peer, session::open(network, hash, peer, addresses, opening).await) });
        }
    }

    /// Whether a peer that has not been asked yet waits for a session to end.
    pub(super) fn is_crowded(&self) -> bool {
        !self.seeks() && self.candidates.has_untried(Instant::now())
    }

    /// Whether one more dial may start.
    fn has_room(&self) -> bool {
        self.dials.len() < MAX_FETCH_DIALS && self.sessions.len() + self.dials.len() < MAX_FETCH_SESSIONS
    }

    /// Whether it may be to any peer, and not only to one that has come by itself.
    fn seeks(&self) -> bool {
        self.sessions.len() + self.dials.len() < SOUGHT_FETCH_SESSIONS
    }

    /// When the next dial may start, if only time is missing.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        if self.has_room() { self.candidates.next_due(self.seeks()) } else { None }
    }

    /// Waits for a dial to end, or for a peer to become known. May be dropped at any time.
    pub(super) async fn dialled(&mut self) -> Dialled {
        let ended = tokio::select! {
            Some(ended) = self.dials.join_next() => ended,
            Ok(()) = self.swarm.changed() => return Dialled::Named,
            else => std::future::pending().await,
        };
        let (peer, result) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a dial broke off");
                return Dialled::Failed;
            }
        };
        match result {
            Ok(mut session) => {
                let beginning = std::mem::take(&mut session.beginning);
                Dialled::Opened(self.start(session), beginning)
            }
            Err(failure) => {
                tracing::debug!(%peer, %failure, "no session");
                let now = Instant::now();
                if let OpenFailure::Busy { retry_after, address, others, .. } = &failure {
                    for (other, addresses) in others.iter().filter_map(named) {
                        self.suggest_heard(other, addresses, address);
                    }
                    self.candidates.busy(&peer, failure.to_string(), *retry_after, now);
                } else {
                    self.candidates.failed(&peer, failure.to_string(), Duration::ZERO, now);
                }
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
            work: PeerWork::default(),
        });
        share.address = address.to_string();
        share.ended = None;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(session::run(id, session, self.context.clone(), inbox));
        let is_suspect = self.bans.is_on_probation(&peer, Instant::now());
        self.sessions.insert(id, Running { peer, address, commands, is_suspect });
        if self.with.len() == SESSIONS_TOLD {
            self.with.pop_front();
        }
        self.with.push_back((id, peer));
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
            CloseReason::BadChunk => "sent a chunk that does not match its hash: banned for 10 minutes",
            CloseReason::BadNode => "sent a manifest node that does not match its hash: banned for 10 minutes",
            CloseReason::Unasked => "kept sending what nobody had asked for: banned for 10 minutes",
            CloseReason::NoProgress => "was asked several times and sent nothing",
        };
        tracing::info!(peer = %session.peer, reason = words, "session ended");
        self.ended(&session.peer, words);
        if reason.is_a_fault() {
            self.bans.ban(session.peer, now);
            self.candidates.banned(&session.peer);
        } else {
            self.bans.put_on_probation(session.peer, now);
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
        let session = self.sessions.get_mut(&id)?;
        let peer = session.peer;
        if std::mem::take(&mut session.is_suspect) {
            self.bans.end_probation(&peer);
        }
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

    /// Who is or was at the other end of a session, if that is not too long ago.
    pub(super) fn was(&self, id: SessionId) -> Option<PeerId> {
        self.with.iter().rev().find(|(with, _)| *with == id).map(|(_, peer)| *peer)
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
    pub(super) fn shares(&self) -> Vec<(PeerId, PeerShare)> {
        let mut shares: Vec<_> = self.shares.iter().map(|(peer, share)| (*peer, share.clone())).collect();
        shares.sort_by(|(_, a), (_, b)| b.bytes.cmp(&a.bytes).then_with(|| a.peer.cmp(&b.peer)));
        shares
    }

    /// Ends all sessions and dials: nothing more is needed of anybody.
    pub(super) fn let_go(&mut self) {
        self.dials.abort_all();
        self.tasks.abort_all();
    }
}

/// Whom a message names, as far as it can be read.
fn named(other: &KnownProvider) -> Option<(PeerId, Vec<Address>)> {
    let peer = PeerId::from_bytes(&other.peer).ok()?;
    Some((peer, other.addresses.iter().filter_map(|address| Address::from_bytes(address).ok()).collect()))
}
