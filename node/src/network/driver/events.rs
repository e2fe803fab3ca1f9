//! What the swarm reports, and what follows from it.

use std::time::Instant;

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId as LibPeerId, autonat, identify, kad, mdns, ping};

use super::{Driver, dht, dials};
use crate::network::behaviour::Event;
use crate::network::reach;

/// Peers of one announcement on the local network that are dialled.
const MAX_LOCAL_PEERS: usize = 32;
/// How many times in a row a peer of the routing table may be unreachable before it is forgotten.
const MAX_FAILURES: u8 = 3;
/// Peers of the routing table whose failures are counted.
const MAX_COUNTED: usize = 4096;

impl Driver {
    pub(super) fn handle_event(&mut self, event: SwarmEvent<Event>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                tracing::debug!(peer = %peer_id, address = %endpoint.get_remote_address(), "connected");
                self.peers.handle_connected(peer_id, connection_id, Instant::now());
                self.failures.remove(&peer_id);
                self.dials.handle_connected(connection_id);
                self.bootstrap.handle_connected(connection_id, peer_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "disconnected");
                let alone = self.peers.handle_closed(&peer_id, connection_id);
                if alone && *self.dht_peers.borrow() == 0 {
                    self.bootstrap.handle_alone(Instant::now());
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.handle_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "an inbound connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::debug!(%address, "listening");
                self.update_addresses();
            }
            SwarmEvent::ExpiredListenAddr { .. } | SwarmEvent::ListenerClosed { .. } => self.update_addresses(),
            SwarmEvent::ExternalAddrConfirmed { address } => {
                self.bound_external(&address);
                self.update_addresses();
            }
            SwarmEvent::ExternalAddrExpired { .. } => self.update_addresses(),
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listening"),
            _ => {}
        }
    }

    fn handle_behaviour(&mut self, event: Event) {
        match event {
            Event::Identify(event) => self.handle_identify(*event),
            Event::Kad(event) => self.handle_kad(*event),
            Event::Ping(ping::Event { peer, result: Ok(rtt), .. }) => self.peers.handle_pong(&peer, rtt),
            Event::Mdns(mdns::Event::Discovered(found)) => self.handle_local_peers(found),
            Event::AutonatClient(event) => self.handle_tested(event),
            // A connection that does not answer pings is not closed for it: on a slow line, pings wait behind a
            // transfer. Transfers have deadlines of their own, and idle connections close anyway.
            Event::Ping(_) | Event::Mdns(_) | Event::Other => {}
        }
    }

    /// A peer goes into the routing table only once it said that it answers in this network's DHT.
    fn handle_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else { return };
        let answers = self.peers.handle_identified(peer_id, info, &self.protocols);
        let kad = &mut self.swarm.behaviour_mut().kad;
        match answers {
            Some(addresses) => dht::learn(kad, peer_id, &addresses),
            None => {
                kad.remove_peer(&peer_id);
            }
        }
        self.update_dht_peers();
    }

    fn handle_local_peers(&mut self, found: Vec<(LibPeerId, Multiaddr)>) {
        let local = *self.swarm.local_peer_id();
        let mut dialled = Vec::new();
        for (peer, _) in &found {
            if *peer == local || dialled.contains(peer) || self.swarm.is_connected(peer) {
                continue;
            }
            if dialled.len() >= MAX_LOCAL_PEERS {
                break;
            }
            dialled.push(*peer);
            let of_peer = found.iter().filter(|(other, _)| other == peer).map(|(_, address)| address.clone());
            let addresses = reach::worth_dialling(of_peer, *peer);
            let opts = DialOpts::peer_id(*peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .build();
            if let Err(error) = self.swarm.dial(opts) {
                tracing::debug!(%peer, %error, "not dialling a peer on the local network");
            }
        }
    }

    fn handle_dial_failed(&mut self, connection: ConnectionId, peer: Option<LibPeerId>, error: &DialError) {
        tracing::debug!(?peer, %error, "a dial failed");
        let now = Instant::now();
        self.dials.handle_failed(connection, error);
        self.bootstrap.handle_failed(connection, &dials::reason(error), now);
        let (Some(peer), DialError::Transport(_) | DialError::WrongPeerId { .. }) = (peer, error) else { return };
        if self.swarm.is_connected(&peer) {
            self.peers.handle_dial_failed(&peer, now);
            return;
        }
        if self.swarm.connected_peers().next().is_none() {
            self.bootstrap.handle_alone(now);
        }
        if self.failures.len() >= MAX_COUNTED && !self.failures.contains_key(&peer) {
            self.failures.clear();
        }
        let failures = self.failures.entry(peer).or_default();
        *failures = failures.saturating_add(1);
        if *failures >= MAX_FAILURES {
            self.failures.remove(&peer);
            self.forget(&peer, now);
        }
    }

    /// Takes a peer that is gone out of the routing table, so that questions do not go to it.
    fn forget(&mut self, peer: &LibPeerId, now: Instant) {
        if self.swarm.behaviour_mut().kad.remove_peer(peer).is_none() {
            return;
        }
        tracing::debug!(%peer, "forgetting a peer that cannot be reached");
        self.update_dht_peers();
        if *self.dht_peers.borrow() == 0 {
            self.bootstrap.handle_alone(now);
        }
    }

    /// Another node tried to reach this one.
    fn handle_tested(&mut self, event: autonat::v2::client::Event) {
        let address = event.tested_addr;
        match event.result {
            Ok(()) => self.reachability.handle_reached(&address),
            Err(error) => {
                tracing::debug!(%address, server = %event.server, %error, "a peer could not reach this node");
                if self.reachability.handle_failed(&address, event.server) {
                    self.swarm.remove_external_address(&address);
                    self.update_addresses();
                }
            }
        }
        let mode =
            if self.reachability.is_unreachable(&self.confirmed) { kad::Mode::Client } else { kad::Mode::Server };
        let kad = &mut self.swarm.behaviour_mut().kad;
        if kad.mode() != mode {
            tracing::info!(%mode, "how the DHT is answered changes with what others can reach");
            kad.set_mode(Some(mode));
        }
    }
}
