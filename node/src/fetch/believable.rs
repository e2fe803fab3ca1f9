//! Which addresses that one peer tells of another are worth a dial.

use std::net::IpAddr;

use crate::network::Address;

/// Of the addresses that one peer tells of another, those that are worth a dial: what lies on this machine or in a
/// private network is believed only of a peer that is there itself, so that nobody can aim dials at others.
pub(super) fn believable(addresses: Vec<Address>, teller: &Address) -> Vec<Address> {
    let Some(from) = teller.ip().map(scope) else {
        return Vec::new();
    };
    addresses.into_iter().filter(|address| address.ip().is_some_and(|ip| scope(ip) >= from)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Machine,
    Private,
    Everywhere,
}

fn scope(ip: IpAddr) -> Scope {
    let (machine, private) = match ip.to_canonical() {
        IpAddr::V4(ip) => (ip.is_loopback() || ip.is_unspecified(), ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => (ip.is_loopback() || ip.is_unspecified(), ip.is_unique_local() || ip.is_unicast_link_local()),
    };
    if machine {
        Scope::Machine
    } else if private {
        Scope::Private
    } else {
        Scope::Everywhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_cannot_aim_dials_inwards() {
        let told = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/203.0.113.1/tcp/1", "/dns/x.example/tcp/1"];
        let check = |teller, kept| assert_eq!(believable(told.map(address).to_vec(), &address(teller)).len(), kept);
        check("/ip4/198.51.100.1/tcp/9", 1);
        check("/ip4/192.168.1.1/tcp/9", 2);
        check("/ip4/127.0.0.1/tcp/9", 3);
    }
}
