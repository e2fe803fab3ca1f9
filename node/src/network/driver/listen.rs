//! Listening: which addresses, and clear words when one cannot be had.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use libp2p::Multiaddr;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::swarm::{Swarm, SwarmEvent};
use socket2::{Domain, Socket, Type};

use super::Driver;
use crate::network::behaviour::Behaviour;
use crate::network::error::io_kind;
use crate::network::{Address, NetworkError, TransportKind, reach};

/// How long a listener may take to say where it listens.
const LISTEN_PATIENCE: Duration = Duration::from_secs(5);
/// Addresses that are given to others at most, those of many interfaces included.
const MAX_EXTERNAL: usize = 64;
/// Where to listen unless told otherwise.
const DEFAULTS: [&str; 4] =
    ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1"];

/// Listens on the addresses and waits until each says so; on the defaults when there are none, where it is enough
/// that one works.
pub(super) async fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Address]) -> Result<(), NetworkError> {
    let mut listeners = Vec::new();
    if addresses.is_empty() {
        let mut failure = None;
        for address in DEFAULTS.iter().filter_map(|text| text.parse().ok()) {
            match listen_on(swarm, &address) {
                Ok(id) => listeners.push((id, address)),
                Err(e) => {
                    tracing::debug!(error = %e, "passing over a default listen address");
                    failure = Some(e);
                }
            }
        }
        if let (true, Some(failure)) = (listeners.is_empty(), failure) {
            return Err(failure);
        }
    } else {
        for address in addresses {
            listeners.push((listen_on(swarm, address)?, address.clone()));
        }
    }
    wait(swarm, listeners).await
}

fn listen_on(swarm: &mut Swarm<Behaviour>, address: &Address) -> Result<ListenerId, NetworkError> {
    check(address)?;
    swarm.listen_on(address.libp2p().clone()).map_err(|e| match e {
        TransportError::MultiaddrNotSupported(_) => {
            NetworkError::BadListenAddress { address: address.clone(), reason: "this node cannot listen so".to_owned() }
        }
        TransportError::Other(source) => failed(address, source),
    })
}

/// Refuses what could not be listened on, and ports that are taken. The library shares a port with any other program
/// of the same user that shares it too, so two daemons on one port would each get half of the connections.
fn check(address: &Address) -> Result<(), NetworkError> {
    let bad = |reason: &str| NetworkError::BadListenAddress { address: address.clone(), reason: reason.to_owned() };
    if address.peer().is_some() && !address.is_relayed() {
        return Err(bad("it names a peer"));
    }
    let (Some(ip), Some(port)) = (address.ip(), address.port()) else {
        return if address.is_relayed() { Ok(()) } else { Err(bad("it has no IP address or no port")) };
    };
    if port == 0 || address.is_relayed() {
        return Ok(());
    }
    let socket = SocketAddr::new(ip, port);
    let kind = match address.transport() {
        TransportKind::Tcp => Type::STREAM,
        TransportKind::Quic => Type::DGRAM,
        TransportKind::Other => return Err(bad("it is neither TCP nor QUIC")),
    };
    try_port(socket, kind).map_err(|source| failed(address, source))
}

/// Takes the port for a moment. As the library's own sockets do, one for IPv6 leaves IPv4 alone, so that a node can
/// listen on the same port of both.
fn try_port(address: SocketAddr, kind: Type) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::DGRAM {
        return socket.bind(&address.into());
    }
    // What a connection that has ended leaves behind is nobody's port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn failed(address: &Address, source: io::Error) -> NetworkError {
    let address = address.clone();
    match io_kind(&source) {
        Some(io::ErrorKind::AddrInUse) => NetworkError::PortInUse { address },
        Some(io::ErrorKind::AddrNotAvailable) => {
            NetworkError::BadListenAddress { address, reason: "this machine does not have that IP address".to_owned() }
        }
        _ => NetworkError::Listen { address, source },
    }
}

async fn wait(swarm: &mut Swarm<Behaviour>, listeners: Vec<(ListenerId, Address)>) -> Result<(), NetworkError> {
    let mut waiting = listeners;
    let heard = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } => waiting.retain(|(id, _)| *id != listener_id),
                SwarmEvent::ListenerClosed { listener_id, reason: Err(source), .. } => {
                    if let Some((_, address)) = waiting.iter().find(|(id, _)| *id == listener_id) {
                        return Err(failed(address, source));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    };
    match tokio::time::timeout(LISTEN_PATIENCE, heard).await {
        Ok(outcome) => outcome,
        // No interface has such an address yet (a machine without IPv6, a network that is down). The listener stays
        // and takes it when it comes.
        Err(_) => {
            tracing::warn!("some listen addresses are not up yet");
            Ok(())
        }
    }
}

impl Driver {
    /// Others say which addresses this node has and that they reached it there, so there may be any number of them.
    pub(super) fn bound_external(&mut self, newest: &Multiaddr) {
        if self.swarm.external_addresses().count() > MAX_EXTERNAL && !self.confirmed.contains(newest) {
            self.swarm.remove_external_address(newest);
        }
    }

    /// Confirms what this node listens on as the addresses that others may use, and tells the handle.
    pub(super) fn update_addresses(&mut self) {
        let listening: Vec<_> = match self.announce.as_slice() {
            [] => self.swarm.listeners().cloned().collect(),
            announce => announce.to_vec(),
        };
        let mut announced = reach::to_announce(&listening);
        announced.retain(|address| !self.reachability.is_refuted(address));
        for address in &announced {
            self.swarm.add_external_address(address.clone());
        }
        // What was given to others and is no longer listened on, or is loopback beside better ones by now.
        let stale: Vec<_> = self
            .swarm
            .external_addresses()
            .filter(|address| self.confirmed.contains(*address) && !announced.contains(address))
            .cloned()
            .collect();
        for address in stale {
            self.swarm.remove_external_address(&address);
        }
        self.confirmed = announced;
        let mut all = listening;
        all.retain(|address| reach::scope(address) > reach::Scope::Link);
        let external: Vec<_> =
            self.swarm.external_addresses().filter(|address| !all.contains(address)).cloned().collect();
        all.extend(external);
        let all = self.public_addresses(all);
        self.addresses.send_if_modified(|known| {
            let changed = *known != all;
            *known = all;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    #[test]
    fn a_port_that_is_taken_on_one_family_is_free_on_the_other() {
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            // A machine without IPv6.
            return;
        }
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        try_port((Ipv6Addr::UNSPECIFIED, port).into(), Type::STREAM).unwrap();
        let error = try_port((Ipv4Addr::LOCALHOST, port).into(), Type::STREAM).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
