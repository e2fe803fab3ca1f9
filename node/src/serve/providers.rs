//! What a requester is told of other peers of the content.

use shoal_protocol::wire::{KnownProvider, ServerMessage};

use crate::swarm::SwarmPeer;

/// The message that names these peers.
pub(super) fn message(known: &[SwarmPeer]) -> ServerMessage {
    let named = |other: &SwarmPeer| KnownProvider {
        peer: other.peer.to_bytes().into(),
        addresses: other.addresses.iter().map(|address| address.to_bytes().into()).collect(),
    };
    ServerMessage::Providers(known.iter().map(named).collect())
}
