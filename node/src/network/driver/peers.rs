//! What is known of each connected peer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId as LibPeerId, StreamProtocol, identify};

use crate::network::status::PeerInfo;
use crate::network::{NetworkName, PeerId, reach, streams};

/// The longest name of a program that is shown.
const MAX_AGENT_CHARS: usize = 64;
/// Protocols of the transfer family that are remembered of one peer.
const MAX_SPEAKS: usize = 8;

/// For how long a dial that failed beside a standing connection is not repeated.
const UPGRADE_PAUSE: Duration = Duration::from_secs(300);

/// The connected peers. As many as connections are allowed.
#[derive(Default)]
pub(super) struct Peers {
    known: HashMap<LibPeerId, Peer>,
}

/// What is known of one.
#[derive(Default)]
pub(super) struct Peer {
    connections: HashMap<ConnectionId, Instant>,
    agent: Option<String>,
    rtt: Option<Duration>,
    same_network: Option<bool>,
    dialled_in_vain: Option<Instant>,
    /// Where it says that it listens, the best first.
    pub(super) addresses: Vec<Multiaddr>,
    /// Protocols of the transfer family that it says it speaks.
    pub(super) speaks: Vec<String>,
}

impl Peer {
    /// Whether a better connection was tried for in vain lately.
    pub(super) fn upgrade_failed(&self, now: Instant) -> bool {
        self.dialled_in_vain.is_some_and(|then| now < then + UPGRADE_PAUSE)
    }
}

impl Peers {
    pub(super) fn get(&self, peer: &LibPeerId) -> Option<&Peer> {
        self.known.get(peer)
    }

    pub(super) fn handle_connected(&mut self, peer: LibPeerId, connection: ConnectionId, now: Instant) {
        self.known.entry(peer).or_default().connections.insert(connection, now);
    }

    /// Says whether that was the last connection with anybody.
    pub(super) fn handle_closed(&mut self, peer: &LibPeerId, connection: ConnectionId) -> bool {
        if let Some(known) = self.known.get_mut(peer) {
            known.connections.remove(&connection);
            if known.connections.is_empty() {
                self.known.remove(peer);
            }
        }
        self.known.is_empty()
    }

    /// A dial failed; if the peer is connected, that was for something better.
    pub(super) fn handle_dial_failed(&mut self, peer: &LibPeerId, now: Instant) {
        if let Some(peer) = self.known.get_mut(peer) {
            peer.dialled_in_vain = Some(now);
        }
    }

    pub(super) fn handle_pong(&mut self, peer: &LibPeerId, rtt: Duration) {
        if let Some(peer) = self.known.get_mut(peer) {
            peer.rtt = Some(rtt);
        }
    }

    /// A peer said who it is. Returns its addresses if it answers in this network's DHT, none if it does not.
    pub(super) fn handle_identified(
        &mut self,
        id: LibPeerId,
        info: identify::Info,
        network: &Protocols,
    ) -> Option<Vec<Multiaddr>> {
        let answers = info.protocols.contains(&network.kad);
        let addresses = reach::worth_dialling(info.listen_addrs, id);
        if let Some(peer) = self.known.get_mut(&id) {
            peer.agent = Some(printable(&info.agent_version));
            peer.same_network = Some(answers || info.protocols.contains(&network.transfer));
            peer.speaks = transfer_family(&info.protocols);
            peer.addresses.clone_from(&addresses);
        }
        answers.then_some(addresses)
    }

    pub(super) fn infos(&self, streams: &streams::Behaviour, now: Instant) -> Vec<PeerInfo> {
        let info = |(id, peer): (&LibPeerId, &Peer)| {
            Some(PeerInfo {
                peer: PeerId::from_libp2p(*id),
                path: streams.best_path(id)?.clone(),
                connections: peer.connections.len(),
                agent: peer.agent.clone(),
                rtt: peer.rtt,
                connected_for: peer.connections.values().min().map(|since| now - *since).unwrap_or_default(),
                same_network: peer.same_network,
            })
        };
        let mut infos: Vec<PeerInfo> = self.known.iter().filter_map(info).collect();
        infos.sort_by_key(|info| info.peer);
        infos
    }
}

/// The names of this network's protocols.
pub(super) struct Protocols {
    pub(super) kad: StreamProtocol,
    pub(super) transfer: StreamProtocol,
}

impl Protocols {
    pub(super) fn of(network: &NetworkName) -> Self {
        Self { kad: network.kad_protocol(), transfer: network.transfer_protocol() }
    }
}

fn transfer_family(protocols: &[StreamProtocol]) -> Vec<String> {
    let names = protocols.iter().map(AsRef::as_ref);
    let family = names.filter(|name: &&str| name.starts_with("/shoal/") && name.contains("/transfer/"));
    family.take(MAX_SPEAKS).map(printable).collect()
}

/// Text of another's choosing, fit to be shown.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_AGENT_CHARS).collect()
}
