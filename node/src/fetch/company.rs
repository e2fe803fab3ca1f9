//! What a fetch tells others of itself, and what it learns from other sessions of the node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_protocol::engine::{Newcomer, SessionId};
use tokio::time::timeout;

use super::FetchError;
use super::candidates::Source;
use super::coordinator::Coordinator;
use super::peers::Dialled;
use super::room::least_useful;
use crate::config::MAX_FETCH_SESSIONS;

/// How long the DHT is not told of what has come: a small content that is asked for next, of the same peer, goes first.
const ANNOUNCE_DELAY: Duration = Duration::from_millis(50);
/// How long the answer of peers that were named is waited for before the store is asked for a content that it has no
/// record of.
const FIRST_ANSWER: Duration = Duration::from_millis(50);

impl Coordinator<'_> {
    /// Tells the DHT that there is something to get here, once.
    pub(super) fn announce(&mut self) {
        if !std::mem::replace(&mut self.is_announced, true) {
            let (network, key) = (self.fetching.network.clone(), self.job.hash.discovery_key());
            // Not awaited and not cancelled: a node that stays announces what it has fetched even if that took but a
            // moment. The network bounds how long it takes.
            tokio::spawn(async move {
                tokio::time::sleep(ANNOUNCE_DELAY).await;
                if let Err(error) = network.announce(key).await {
                    tracing::warn!(%error, "cannot announce what is being fetched");
                }
            });
        }
    }

    pub(super) fn look_at_swarm(&mut self) {
        let me = self.fetching.network.local_peer();
        for other in self.fetching.swarms.known(&self.job.hash, &me, MAX_FETCH_SESSIONS, Instant::now()) {
            self.peers.suggest(other.peer, other.addresses, Source::Swarm);
        }
    }

    pub(super) async fn handle_dialled(&mut self, dialled: Dialled) -> Result<(), FetchError> {
        match dialled {
            Dialled::Opened(id, beginning) => {
                if !std::mem::replace(&mut self.ever_opened, true) {
                    self.last_progress = Instant::now();
                }
                let newcomer = Newcomer { gives_nodes: true, on_probation: self.peers.is_suspect(id) };
                self.engine.handle_newcomer(id, newcomer, self.now());
                self.greet_swarm(id);
                self.begin_with(id, beginning).await?;
            }
            Dialled::Named => self.look_at_swarm(),
            Dialled::Failed => {}
        }
        Ok(())
    }

    /// Peers will be needed, whatever the store has: they are dialled before it is asked. One that answers soon brings
    /// the beginning, and nothing of that has to be looked for.
    pub(super) async fn ask_first(&mut self) -> Result<(), FetchError> {
        self.peers.dial(true);
        if self.peers.dialling() > 0
            && let Ok(dialled) = timeout(FIRST_ANSWER, self.peers.dialled()).await
        {
            self.handle_dialled(dialled).await?;
        }
        Ok(())
    }

    /// Ends a session that has been of no use, if a peer that has not been asked yet waits for its place. A peer that
    /// gave way counts as one that failed, so it makes nobody give way in turn.
    pub(super) fn make_room(&mut self) {
        if self.peers.is_crowded()
            && let Some(id) = least_useful(&self.engine.sessions(self.now()))
            && self.peers.closed(id, "it had nothing to give, and gave way to another peer")
        {
            self.engine.handle_closed(id, self.now());
        }
    }

    /// Remembers a peer that has proven itself, by the addresses that others can dial: as soon as the network has said
    /// them, for which nothing here waits.
    pub(super) fn greet_swarm(&mut self, id: SessionId) {
        let peers = self.peers_of(id);
        let hash = peers.hash();
        if let Some(peer) = peers.peer_of(id) {
            let (network, swarms) = (self.fetching.network.clone(), Arc::clone(&self.fetching.swarms));
            self.greetings.push(Box::pin(async move {
                let addresses = network.addresses_of(&peer).await.unwrap_or_default();
                swarms.saw(hash, peer, addresses, Instant::now());
            }));
        }
    }
}
