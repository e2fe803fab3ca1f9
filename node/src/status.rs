//! How a node is, whom it knows and what it holds, as it is told.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tokio::task::spawn_blocking;

use crate::api::{ContentInfo, ContentState, Failure, FailureKind, Identity, PeerInfo, Status};
use crate::fetch::FetchError;
use crate::manifests::{held, read_root};
use crate::network::{self, BootstrapState, DhtMode, NetworkError};
use crate::node::Inner;
use crate::store::{self, ManifestRecord, Store};

impl Inner {
    pub(crate) fn identity(&self) -> Identity {
        let addresses = if self.config.network.offline { Vec::new() } else { self.network.addresses() };
        Identity {
            peer_id: self.network.local_peer().to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        }
    }

    pub(crate) fn peer_info(&self, peer: &network::PeerInfo) -> PeerInfo {
        let bytes = self.traffic.of(&peer.peer);
        PeerInfo {
            peer: peer.peer.to_string(),
            address: peer.path.remote.to_string(),
            transport: peer.path.transport.to_string(),
            relayed: peer.path.relayed,
            inbound: peer.path.inbound,
            agent: peer.agent.clone(),
            rtt_ms: peer.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            connected_seconds: peer.connected_for.as_secs(),
            received_bytes: bytes.received,
            sent_bytes: bytes.sent,
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, Failure> {
        let network = self.network.status().await.map_err(network_failure)?;
        let store = self.store.clone();
        let read = spawn_blocking(move || -> Result<_, FetchError> { Ok((store.usage()?, store.manifests()?.len())) });
        let (usage, contents) = read.await.map_err(|_| FetchError::Broken)??;
        let traffic = self.traffic.total();
        let (serving, counted) = crate::serve::tell(&self.serving.scheduler);
        let failed = network.bootstrap.iter().filter_map(|(address, state)| match state {
            BootstrapState::Failed { reason, .. } => {
                Some(format!("bootstrap node {address} does not answer: {reason}"))
            }
            _ => None,
        });
        let mut problems: Vec<String> = failed.collect();
        if network.dht_peers == 0 && !self.config.network.offline {
            problems.push("no other node is known: give a bootstrap address, or start one on this network".to_owned());
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: self.identity(),
            network: self.config.network.name.clone(),
            home: self.config.home.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            connections: u32::try_from(network.connections).unwrap_or(u32::MAX),
            dht_peers: u32::try_from(network.dht_peers).unwrap_or(u32::MAX),
            dht_mode: match network.dht_mode {
                _ if self.config.network.offline => "offline".to_owned(),
                DhtMode::Server => "server".to_owned(),
                DhtMode::Client => "client".to_owned(),
            },
            // Without the network, nothing is announced, whatever waits for its turn.
            announced_keys: if self.config.network.offline { 0 } else { network.own_records as u64 },
            foreign_records: network.foreign_records as u64,
            contents: contents as u64,
            chunks: usage.chunks,
            payload_bytes: usage.chunk_bytes,
            disk_bytes: usage.disk_bytes,
            received_bytes: traffic.received,
            sent_bytes: traffic.sent,
            serving,
            serving_sessions: u32::try_from(self.serving.sessions.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
            fetches: self.operations.transfers(),
            problems,
            counters: BTreeMap::from([
                ("refused_streams".to_owned(), network.refused_streams),
                ("connected_peers".to_owned(), network.connected_peers as u64),
                ("announced_keys_told".to_owned(), network.own_records_told as u64),
                ("segments".to_owned(), usage.segments),
            ])
            .into_iter()
            .chain(counted)
            .collect(),
        })
    }
}

pub(crate) fn content_info(store: &Store, record: &ManifestRecord) -> Result<ContentInfo, FetchError> {
    let (state, held_bytes) = match record.state {
        store::ContentState::Complete => (ContentState::Complete, record.bytes),
        store::ContentState::Fetching | store::ContentState::Damaged => {
            let root = read_root(store, &record.hash).unwrap_or_default();
            // What cannot be read of it is not held.
            let held = root.and_then(|root| held(store, &root).ok());
            (ContentState::Partial, held.map_or(0, |held| held.bytes))
        }
    };
    Ok(ContentInfo {
        hash: record.hash,
        name: record.name.clone(),
        bytes: record.bytes,
        held_bytes,
        chunks: record.chunks,
        entries: record.entries,
        state,
        pinned: record.pinned,
        created_ms: record.created_unix_ms,
        last_used_ms: record.last_used_unix_ms,
    })
}

pub(crate) fn network_failure(error: NetworkError) -> Failure {
    Failure::from_error(FailureKind::Failed, &error)
}
