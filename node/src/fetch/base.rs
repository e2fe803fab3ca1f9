//! Earlier contents that share chunks with the one that is fetched: their providers are asked for those, too.
//!
//! For each base its chunk list is fetched first, as a job of its own. Then there are sessions with its providers, in
//! the base's own indices; to the engine they are sessions that hold a part of what is fetched and no manifest nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::future::{BoxFuture, select_all};
use futures::stream::FuturesUnordered;
use shoal_protocol::availability::{Availability, ChunkIndex};
use shoal_protocol::engine::{CloseReason, Newcomer, SessionId};
use shoal_protocol::hash::{ChunkId, ContentHash};
use shoal_protocol::manifest::ChunkLeaf;
use shoal_protocol::wire::{MAX_RANGES, RequesterMessage, ServerMessage};

use super::candidates::Source;
use super::coordinator::{Coordinator, ENOUGH_SESSIONS};
use super::job::{Goal, Job};
use super::lookup::{Found, Lookup};
use super::peers::{Dialled, Peers};
use super::session::SessionContext;
use super::translation::{Translation, runs};
use super::{FetchError, Fetching};
use crate::config::MAX_FETCH_SESSIONS;
use crate::network::{Address, PeerId};

/// The numbers of a base's sessions begin at its own number times this; those of the content itself are below.
const NUMBERS: u32 = 1 << 24;

/// The chunk lists that are on their way.
pub(super) type Preparing<'a> = FuturesUnordered<BoxFuture<'a, (ContentHash, Result<Prepared, FetchError>)>>;

/// A base whose chunk list is here.
#[derive(Debug)]
pub(super) struct Prepared {
    chunks: u64,
    rows: Vec<(ChunkId, u32)>,
}

/// A base whose providers can be asked.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) peers: Peers,
    lookup: Lookup,
    translation: Arc<Translation>,
    chunks: u64,
    /// What the other ends hold of the base.
    held: BTreeMap<SessionId, Availability>,
}

/// What happened at a base.
pub(super) enum BaseNews {
    Dialled(Dialled),
    Found(Found),
    /// The network is shutting down.
    Nothing,
}

/// Fetches the chunk list of a base. Boxed by name: a fetch may run others.
pub(super) fn prepare<'a>(
    fetching: &'a Fetching,
    hash: ContentHash,
    like: &Job,
) -> BoxFuture<'a, (ContentHash, Result<Prepared, FetchError>)> {
    let mut job = like.for_base(hash);
    Box::pin(async move {
        let prepared = match fetching.run(&mut job).await {
            Ok(outcome) => match job.goal {
                Goal::Rows { rows } => Ok(Prepared { chunks: outcome.root.chunks, rows }),
                _ => Err(FetchError::Broken),
            },
            Err(error) => Err(error),
        };
        (hash, prepared)
    })
}

/// Waits for something to happen at one of the bases. For ever, if there is none.
pub(super) async fn next(bases: &mut [Base]) -> (usize, BaseNews) {
    if bases.is_empty() {
        return std::future::pending().await;
    }
    let waits = bases.iter_mut().map(|base| Box::pin(base.next()));
    let (news, at, _) = select_all(waits).await;
    (at, news)
}

impl Base {
    /// May be dropped at any time.
    async fn next(&mut self) -> BaseNews {
        let looks = self.peers.open() < ENOUGH_SESSIONS;
        tokio::select! {
            dialled = self.peers.dialled() => BaseNews::Dialled(dialled),
            found = self.lookup.next(), if looks => match found {
                Ok(found) => BaseNews::Found(found),
                Err(_) => BaseNews::Nothing,
            },
        }
    }

    /// What the other end says, in the indices of what is fetched.
    fn translate(&mut self, id: SessionId, message: ServerMessage) -> ServerMessage {
        if self.peers.peer_of(id).is_none() {
            return message;
        }
        let held = self.held.entry(id).or_insert_with(|| Availability::new(self.chunks));
        match message {
            ServerMessage::Availability(part) => {
                held.insert_part(&part);
                let run = (part.start, part.end());
                ServerMessage::Have(self.translation.all_ours([run], |theirs| held.contains(theirs)))
            }
            ServerMessage::Have(ranges) => {
                ranges.iter().for_each(|range| held.insert_range(*range));
                let ends = ranges.iter().map(|range| (range.start, range.end()));
                ServerMessage::Have(self.translation.all_ours(ends, |theirs| held.contains(theirs)))
            }
            ServerMessage::NoChunks { reason, ranges } => {
                let ends = ranges.iter().map(|range| (range.start, range.end()));
                let ours = self.translation.all_ours(ends, |_| true);
                for theirs in self.translation.all_theirs(&ours).iter().flat_map(|range| range.indices()) {
                    held.remove(theirs);
                }
                ServerMessage::NoChunks { reason, ranges: ours }
            }
            other => other,
        }
    }

    /// Sends a message about what is fetched, in the base's indices.
    fn send(&self, id: SessionId, message: RequesterMessage) -> bool {
        let (ranges, make): (_, fn(_) -> _) = match &message {
            RequesterMessage::Want(ranges) => (ranges, RequesterMessage::Want),
            RequesterMessage::Cancel(ranges) => (ranges, RequesterMessage::Cancel),
            _ => return self.peers.send(id, message),
        };
        let theirs = self.translation.all_theirs(ranges);
        theirs.chunks(MAX_RANGES).all(|part| self.peers.send(id, make(part.to_vec())))
    }
}

impl Coordinator<'_> {
    /// The chunk list of a base has come, or could not be had.
    pub(super) fn add_base(&mut self, hash: ContentHash, prepared: Result<Prepared, FetchError>) {
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.job.note(format!("going on without the base {hash}: {error}"));
                return;
            }
        };
        let translation = Arc::new(Translation::new(prepared.rows));
        for (index, id) in self.rows.all() {
            if self.engine.is_missing(index) {
                translation.add(index, &id);
            }
        }
        let context = SessionContext { translation: Some(Arc::clone(&translation)), ..self.peers.context() };
        let first = NUMBERS.saturating_mul(u32::try_from(self.bases.len() + 1).unwrap_or(u32::MAX));
        let mut peers = Peers::new(self.fetching, hash, self.peers.in_order(), context, first);
        for (peer, addresses) in &self.given {
            peers.suggest(*peer, addresses.clone(), Source::Given);
        }
        let lookup = Lookup::new(self.fetching.network.clone(), hash.discovery_key(), !self.given.is_empty());
        self.bases.push(Base { peers, lookup, translation, chunks: prepared.chunks, held: BTreeMap::new() });
    }

    /// Takes in what happened at a base.
    pub(super) async fn handle_base(&mut self, at: usize, news: BaseNews) {
        let Some(base) = self.bases.get_mut(at) else {
            return;
        };
        match news {
            BaseNews::Dialled(Dialled::Opened(id, _)) => {
                let newcomer = Newcomer { gives_nodes: false, on_probation: base.peers.is_suspect(id) };
                self.engine.handle_newcomer(id, newcomer, self.now());
                self.greet_swarm(id);
            }
            BaseNews::Found(found) => base.peers.found(found),
            BaseNews::Dialled(Dialled::Named) => {
                let me = self.fetching.network.local_peer();
                for other in self.fetching.swarms.known(&base.peers.hash(), &me, MAX_FETCH_SESSIONS, Instant::now()) {
                    base.peers.suggest(other.peer, other.addresses, Source::Swarm);
                }
            }
            BaseNews::Dialled(Dialled::Failed) | BaseNews::Nothing => {}
        }
    }

    /// More of the content is known: bases may have some of it.
    pub(super) fn tell_bases(&mut self, leaf: &ChunkLeaf, known: &[bool]) {
        let now = self.now();
        for base in &mut self.bases {
            let mut shared: Vec<(ChunkIndex, ChunkIndex)> = Vec::new();
            for ((index, row), _) in (leaf.first..).zip(&leaf.rows).zip(known).filter(|(_, known)| !**known) {
                let index = ChunkIndex(index);
                shared.extend(base.translation.add(index, &row.id).map(|theirs| (index, theirs)));
            }
            for (id, held) in &base.held {
                let ours = shared.iter().filter(|(_, theirs)| held.contains(*theirs)).map(|(ours, _)| *ours);
                let ranges = runs(ours.collect());
                if !ranges.is_empty() {
                    self.engine.handle_have(*id, &ranges, now);
                }
            }
        }
    }

    /// The peers that a session is with.
    pub(super) fn peers_of(&mut self, id: SessionId) -> &mut Peers {
        match base_number(id).and_then(|at| self.bases.get_mut(at)) {
            Some(base) => &mut base.peers,
            None => &mut self.peers,
        }
    }

    /// Sends a message in a session. `false`: it cannot be sent, and the session should be ended.
    pub(super) fn send(&self, id: SessionId, message: RequesterMessage) -> bool {
        match base_number(id).and_then(|at| self.bases.get(at)) {
            Some(base) => base.send(id, message),
            None => self.peers.send(id, message),
        }
    }

    /// What a session says, in the indices of what is fetched.
    pub(super) fn translate(&mut self, id: SessionId, message: ServerMessage) -> ServerMessage {
        match base_number(id).and_then(|at| self.bases.get_mut(at)) {
            Some(base) => base.translate(id, message),
            None => message,
        }
    }

    /// Ends a session on this side.
    pub(super) fn close_session(&mut self, id: SessionId, reason: CloseReason) {
        if let Some(base) = base_number(id).and_then(|at| self.bases.get_mut(at)) {
            base.held.remove(&id);
        }
        self.peers_of(id).close(id, reason);
    }

    /// Notes that a session has ended on the other side. `true`: it was known.
    pub(super) fn session_closed(&mut self, id: SessionId, reason: &str) -> bool {
        if let Some(base) = base_number(id).and_then(|at| self.bases.get_mut(at)) {
            base.held.remove(&id);
        }
        self.peers_of(id).closed(id, reason)
    }

    /// How many sessions are open, with providers of the content and of its bases.
    pub(super) fn open_sessions(&self) -> usize {
        self.peers.open() + self.bases.iter().map(|base| base.peers.open()).sum::<usize>()
    }
}

/// The base that a session belongs to, if it is not the content itself.
fn base_number(id: SessionId) -> Option<usize> {
    usize::try_from((id.0 / NUMBERS).checked_sub(1)?).ok()
}

/// Peers and addresses, as a job names them.
pub(super) type Given = Vec<(PeerId, Vec<Address>)>;
