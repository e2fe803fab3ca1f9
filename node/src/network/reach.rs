//! Where nodes may be reached: which of its addresses a node gives to others, and which of another's are of use.
//!
//! Kademlia announces only addresses that are confirmed. Nobody confirms addresses on loopback or a local network, so
//! a node confirms the addresses that it listens on itself, and takes one back when AutoNAT says that it does not
//! work. A node whose every public address was found unreachable only asks in the DHT and answers nothing.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::{Address, MAX_ADDRESS_BYTES};

/// Addresses of one peer that are remembered.
const MAX_ADDRESSES: usize = 16;
/// How many other nodes must fail to reach an address before it counts as unreachable.
const WITNESSES: usize = 3;
/// Addresses whose tests are remembered.
const MAX_TESTED: usize = 64;

/// The addresses to give to others, of those that this node listens on. Loopback only where there is nothing else:
/// then all the network is on this machine.
pub(super) fn to_announce<'a>(listening: impl IntoIterator<Item = &'a Multiaddr>) -> Vec<Multiaddr> {
    let usable: Vec<&Multiaddr> = listening.into_iter().filter(|address| scope(address) > Scope::Link).collect();
    let beyond_loopback = usable.iter().any(|address| scope(address) > Scope::Loopback);
    let keep = |address: &&&Multiaddr| !beyond_loopback || scope(address) > Scope::Loopback;
    usable.iter().filter(keep).map(|address| (**address).clone()).collect()
}

/// The addresses of another peer that are worth a dial, the best first, without those that only make sense on its own
/// machine, and bounded in number and length.
pub(super) fn worth_dialling(addresses: impl IntoIterator<Item = Multiaddr>, peer: PeerId) -> Vec<Multiaddr> {
    let mut seen = HashSet::new();
    let mut kept: Vec<Multiaddr> = addresses
        .into_iter()
        .filter(|address| address.len() <= MAX_ADDRESS_BYTES && scope(address) > Scope::Link)
        .filter_map(|address| address.with_p2p(peer).ok())
        .filter(|address| seen.insert(address.clone()))
        .take(MAX_ADDRESSES * 2)
        .collect();
    if kept.iter().any(|address| scope(address) > Scope::Loopback) {
        kept.retain(|address| scope(address) > Scope::Loopback);
    }
    kept.sort_by_key(preference);
    kept.truncate(MAX_ADDRESSES);
    kept
}

/// Smaller is better: direct before relayed, TCP before QUIC, far-reaching before local.
pub(super) fn preference(address: &Multiaddr) -> (bool, u8, std::cmp::Reverse<Scope>) {
    let public = Address::from_libp2p(address.clone());
    let transport = match public.transport() {
        super::TransportKind::Tcp => 0,
        super::TransportKind::Quic => 1,
        super::TransportKind::Other => 2,
    };
    (public.is_relayed(), transport, std::cmp::Reverse(scope(address)))
}

/// How far an address reaches, the farthest greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// Nowhere: unspecified, or not an address to dial.
    None,
    /// One cable, and only with a zone that is not in the address.
    Link,
    /// This machine.
    Loopback,
    /// A local network.
    Local,
    /// Everywhere, as far as can be seen from the address.
    Global,
}

/// How far an address reaches.
pub(super) fn scope(address: &Multiaddr) -> Scope {
    let ip = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
        Some(Protocol::Ip6(ip)) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => return Scope::Global,
        Some(Protocol::P2p(_)) if address.iter().any(|part| matches!(part, Protocol::P2pCircuit)) => {
            return Scope::Global;
        }
        _ => return Scope::None,
    };
    match ip {
        ip if ip.is_unspecified() || ip.is_multicast() => Scope::None,
        ip if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(ip) if ip.is_broadcast() => Scope::None,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || is_shared(ip.octets()) => Scope::Local,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Scope::Link,
        IpAddr::V6(ip) if ip.is_unique_local() => Scope::Local,
        _ => Scope::Global,
    }
}

/// 100.64.0.0/10: behind a provider's address translation, or an overlay network.
const fn is_shared([a, b, ..]: [u8; 4]) -> bool {
    a == 100 && b & 0xc0 == 64
}

/// What other nodes' tests say of this node's public addresses.
#[derive(Debug, Default)]
pub(super) struct Reachability {
    /// Who failed to reach each address.
    failed: HashMap<Multiaddr, HashSet<PeerId>>,
    confirmed: bool,
}

impl Reachability {
    /// Another node reached this one at an address.
    pub(super) fn handle_reached(&mut self, address: &Multiaddr) {
        self.failed.remove(address);
        if scope(address) == Scope::Global {
            self.confirmed = true;
        }
    }

    /// Another node failed to. Returns true when so many did that the address should be given to nobody.
    pub(super) fn handle_failed(&mut self, address: &Multiaddr, witness: PeerId) -> bool {
        if scope(address) != Scope::Global || (self.failed.len() >= MAX_TESTED && !self.failed.contains_key(address)) {
            return false;
        }
        let witnesses = self.failed.entry(address.clone()).or_default();
        if witnesses.len() < WITNESSES {
            witnesses.insert(witness);
        }
        witnesses.len() >= WITNESSES
    }

    /// Whether so many failed to reach an address, and nobody reached it since, that it should be given to nobody.
    pub(super) fn is_refuted(&self, address: &Multiaddr) -> bool {
        self.failed.get(address).is_some_and(|witnesses| witnesses.len() >= WITNESSES)
    }

    /// Whether others cannot reach this node from outside: some public address was tried by enough, none works, and
    /// none of those that it gives to others is left to be tried. Any peer can make up an address that it claims to
    /// see, so that one alone says little of a node that listens on others.
    pub(super) fn is_unreachable(&self, given: &[Multiaddr]) -> bool {
        let hope = |address: &Multiaddr| scope(address) == Scope::Global && !self.is_refuted(address);
        let refuted = self.failed.keys().any(|address| self.is_refuted(address));
        refuted && !self.confirmed && !given.iter().any(hope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_is_announced_only_where_there_is_nothing_else() {
        let lo = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"]);
        assert_eq!(to_announce(&lo), lo);
        let both = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip6/fe80::1/tcp/1"]);
        assert_eq!(to_announce(&both), addresses(&["/ip4/192.168.1.2/tcp/1"]));
        assert!(to_announce(&addresses(&["/ip6/fe80::1/tcp/1", "/ip4/0.0.0.0/tcp/1"])).is_empty());
    }

    #[test]
    fn anothers_addresses_are_bounded_and_the_best_come_first() {
        let peer = PeerId::random();
        let mixed = addresses(&[
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/8.8.8.8/udp/1/quic-v1",
            "/ip4/192.168.1.2/tcp/1",
            "/ip4/8.8.8.8/tcp/1",
            "/ip4/8.8.8.8/tcp/1",
        ]);
        let kept: Vec<String> = worth_dialling(mixed, peer).iter().map(ToString::to_string).collect();
        let expected = ["/ip4/8.8.8.8/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1"];
        assert_eq!(kept, expected.map(|address| format!("{address}/p2p/{peer}")));

        let many = (1..100u16).map(|port| format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap());
        assert_eq!(worth_dialling(many, peer).len(), MAX_ADDRESSES);
        let another = addresses(&[&format!("/ip4/10.0.0.1/tcp/1/p2p/{}", PeerId::random())]);
        assert!(worth_dialling(another, peer).is_empty(), "an address of another peer");
    }

    #[test]
    fn three_witnesses_make_a_node_a_client_until_one_reaches_it() {
        let mut reach = Reachability::default();
        let [public, local]: [Multiaddr; 2] =
            addresses(&["/ip4/8.8.8.8/tcp/1", "/ip4/192.168.1.2/tcp/1"]).try_into().unwrap();
        let one = PeerId::random();
        assert!(!reach.handle_failed(&public, one));
        assert!(!reach.handle_failed(&public, one), "the same witness again");
        assert!(!reach.handle_failed(&public, PeerId::random()));
        assert!(!reach.is_unreachable(&[]));
        assert!(!reach.is_refuted(&public));
        assert!(reach.handle_failed(&public, PeerId::random()));
        assert!(reach.is_unreachable(&[]) && reach.is_refuted(&public));
        assert!(reach.is_unreachable(&[public.clone(), local.clone()]));
        let another = "/ip4/9.9.9.9/tcp/1".parse().unwrap();
        assert!(!reach.is_unreachable(&[another]), "a public address that nobody has tried yet");
        reach.handle_reached(&public);
        assert!(!reach.is_unreachable(&[]) && !reach.is_refuted(&public));

        let mut local_only = Reachability::default();
        for _ in 0..5 {
            assert!(!local_only.handle_failed(&local, PeerId::random()));
        }
        assert!(!local_only.is_unreachable(&[]));
    }
}
