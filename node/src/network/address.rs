//! The names of peers and of places: [`PeerId`] and [`Address`].
//!
//! They wrap libp2p's types so that none of those shows in this crate's public face. Both parse from text of bounded
//! length, since text comes from links, peers and people.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde::{Deserialize, Serialize};

/// The longest text of a peer id or an address.
pub const MAX_ADDRESS_CHARS: usize = 512;
/// The longest binary form of an address.
pub const MAX_ADDRESS_BYTES: usize = 256;

/// The public name of a node: it follows from the node's key, so nobody else can answer to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerId(libp2p::PeerId);

impl PeerId {
    pub(super) const fn from_libp2p(id: libp2p::PeerId) -> Self {
        Self(id)
    }

    pub(super) const fn libp2p(&self) -> libp2p::PeerId {
        self.0
    }

    /// The binary form: a multihash of at most 64 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are not a peer id.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        let fail = || AddressError::PeerId { text: "of these bytes".to_owned() };
        libp2p::PeerId::from_bytes(bytes).map(Self).map_err(|_| fail())
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PeerId {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        bounded(text)?;
        text.parse().map(Self).map_err(|_| AddressError::PeerId { text: text.to_owned() })
    }
}

impl TryFrom<String> for PeerId {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<PeerId> for String {
    fn from(peer: PeerId) -> Self {
        peer.to_string()
    }
}

/// A place where a peer may be reached: a multiaddress such as `/ip4/192.0.2.1/tcp/4001/p2p/12D3…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Multiaddr);

impl Address {
    pub(super) const fn from_libp2p(address: Multiaddr) -> Self {
        Self(address)
    }

    pub(super) const fn libp2p(&self) -> &Multiaddr {
        &self.0
    }

    pub(super) fn into_libp2p(self) -> Multiaddr {
        self.0
    }

    /// The peer that the address ends with (`/p2p/…`), if it does.
    pub fn peer(&self) -> Option<PeerId> {
        match self.0.iter().last() {
            Some(Protocol::P2p(id)) => Some(PeerId(id)),
            _ => None,
        }
    }

    /// The address with `/p2p/<peer>` at its end in place of any other peer there.
    #[must_use]
    pub fn with_peer(&self, peer: PeerId) -> Self {
        Self(self.without_peer().0.with(Protocol::P2p(peer.0)))
    }

    /// The address without the peer at its end.
    #[must_use]
    pub fn without_peer(&self) -> Self {
        let mut address = self.0.clone();
        if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
            address.pop();
        }
        Self(address)
    }

    /// How a connection to this address would run.
    pub fn transport(&self) -> TransportKind {
        let mut kind = TransportKind::Other;
        for part in &self.0 {
            match part {
                Protocol::Tcp(_) if kind == TransportKind::Other => kind = TransportKind::Tcp,
                Protocol::QuicV1 => kind = TransportKind::Quic,
                Protocol::Ws(_) | Protocol::Wss(_) | Protocol::WebTransport => return TransportKind::Other,
                _ => {}
            }
        }
        kind
    }

    /// Whether it leads through a relay.
    pub fn is_relayed(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Protocol::P2pCircuit))
    }

    /// The IP address that it begins with, if it does.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.0.iter().next() {
            Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
            Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip)),
            _ => None,
        }
    }

    /// The TCP or UDP port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.0.iter().find_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        })
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are too many or are not an address.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        if bytes.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong { chars: bytes.len() });
        }
        let fail = |e: libp2p::multiaddr::Error| AddressError::Address { text: String::new(), reason: e.to_string() };
        Multiaddr::try_from(bytes.to_vec()).map(Self).map_err(fail)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        bounded(text)?;
        let fail = |reason: String| AddressError::Address { text: text.to_owned(), reason };
        let address: Multiaddr = text.parse().map_err(|e: libp2p::multiaddr::Error| fail(e.to_string()))?;
        if address.is_empty() {
            return Err(fail("it is empty".to_owned()));
        }
        Ok(Self(address))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportKind {
    /// TCP, with TLS or Noise, and yamux.
    Tcp,
    /// QUIC.
    Quic,
    /// Anything else; this node does not dial it.
    Other,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::Other => "other",
        })
    }
}

/// Why a text or bytes are neither an address nor a peer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Longer than any that is of use.
    #[error("{chars} characters are too many for an address (at most {MAX_ADDRESS_CHARS})")]
    TooLong {
        /// Its length.
        chars: usize,
    },
    /// Not a multiaddress.
    #[error("{text:?} is not an address such as /ip4/192.0.2.1/tcp/4001/p2p/12D3…: {reason}")]
    Address {
        /// What it was.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a peer id.
    #[error("{text:?} is not a peer id")]
    PeerId {
        /// What it was.
        text: String,
    },
}

fn bounded(text: &str) -> Result<(), AddressError> {
    match text.len() {
        0..=MAX_ADDRESS_CHARS => Ok(()),
        chars => Err(AddressError::TooLong { chars }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn text_comes_back_as_it_went() {
        let text = format!("/ip4/127.0.0.1/tcp/4001/p2p/{PEER}");
        let a = address(&text);
        assert_eq!(a.to_string(), text);
        assert_eq!(a.peer().unwrap().to_string(), PEER);
        assert_eq!(a.without_peer().to_string(), "/ip4/127.0.0.1/tcp/4001");
        assert_eq!(a.without_peer().with_peer(a.peer().unwrap()), a);
        assert_eq!(a.with_peer(a.peer().unwrap()), a);
        assert_eq!(Address::from_bytes(&a.to_bytes()).unwrap(), a);
        assert_eq!(serde_json::from_str::<Address>(&serde_json::to_string(&a).unwrap()).unwrap(), a);
        let peer = a.peer().unwrap();
        assert_eq!(PeerId::from_bytes(&peer.to_bytes()).unwrap(), peer);
        assert_eq!(serde_json::from_str::<PeerId>(&format!("{PEER:?}")).unwrap(), peer);
    }

    #[test]
    fn transports_are_told_apart() {
        for (text, kind, relayed) in [
            ("/ip4/1.2.3.4/tcp/1", TransportKind::Tcp, false),
            ("/ip6/::1/udp/1/quic-v1", TransportKind::Quic, false),
            ("/dns/example.org/tcp/1", TransportKind::Tcp, false),
            ("/ip4/1.2.3.4/tcp/1/ws", TransportKind::Other, false),
            ("/ip4/1.2.3.4/udp/1/quic-v1/webtransport", TransportKind::Other, false),
            (&format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit"), TransportKind::Tcp, true),
        ] {
            assert_eq!((address(text).transport(), address(text).is_relayed()), (kind, relayed), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_words() {
        for text in ["", "/", "ip4/1.2.3.4", "/ip4/1.2.3", "/ip4/1.2.3.4/tcp/99999", "/p2p/xyz", &"/tcp/1".repeat(100)]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert!(!error.to_string().is_empty(), "{text}");
        }
        assert!("12D3".parse::<PeerId>().is_err());
        assert!(Address::from_bytes(&[0xff; 4]).is_err());
        assert!(matches!(Address::from_bytes(&[4; 257]), Err(AddressError::TooLong { .. })));
    }
}
