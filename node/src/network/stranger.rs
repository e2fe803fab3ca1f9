//! What a stranger finds: a lookup by a node that comes to be for it and never asks this one.
//!
//! A node cannot see for itself whether others find it: provider records are not acknowledged, and whoever is asked
//! for providers leaves out the one who asks. So a second node, with a key of its own, starts from a few peers of this
//! node's routing table, may not dial this node, and counts the answers that name it. It only asks; nobody takes it
//! into a routing table, and it is gone when its lookup is over.

use futures::StreamExt;
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId as LibPeerId, kad, relay};
use shoal_protocol::hash::DiscoveryKey;

use super::behaviour::dht;
use super::driver::record_key;
use super::status::Sighting;
use super::{Identity, NetworkError, NetworkLimits, NetworkName, transport};

/// Peers of the routing table that a lookup starts from. Few, chosen at random: it is to find its own way.
pub(super) const STARTS: usize = 6;

#[derive(NetworkBehaviour)]
struct Stranger {
    // What it denies, the others need not hear of.
    blocked: allow_block_list::Behaviour<BlockedPeers>,
    kad: kad::Behaviour<super::records::Records>,
    relay: relay::client::Behaviour,
}

/// Looks for the providers of a key, from these peers on and without `sought`, and says how many nodes named `sought`.
/// Bounded in time by Kademlia's own limit for a question.
pub(super) async fn look_up(
    name: &NetworkName,
    limits: &NetworkLimits,
    starts: Vec<(LibPeerId, Vec<Multiaddr>)>,
    sought: LibPeerId,
    key: DiscoveryKey,
) -> Result<Sighting, NetworkError> {
    let keypair = Identity::generate().keypair().clone();
    let mut swarm = transport::swarm(keypair, limits, |keypair, relay| {
        let mut kad = dht(keypair.public().to_peer_id(), name, limits);
        kad.set_mode(Some(kad::Mode::Client));
        let mut blocked = allow_block_list::Behaviour::default();
        blocked.block_peer(sought);
        Stranger { blocked, kad, relay }
    })?;
    let kad = &mut swarm.behaviour_mut().kad;
    for (peer, addresses) in starts {
        for address in addresses {
            kad.add_address(&peer, address);
        }
    }
    let query = kad.get_providers(record_key(&key));
    let mut sighting = Sighting::default();
    loop {
        let SwarmEvent::Behaviour(StrangerEvent::Kad(kad::Event::OutboundQueryProgressed { id, result, step, .. })) =
            swarm.select_next_some().await
        else {
            continue;
        };
        match result {
            // One for each node that answers.
            kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) => {
                sighting.keepers += usize::from(providers.contains(&sought));
            }
            kad::QueryResult::GetProviders(
                Ok(kad::GetProvidersOk::FinishedWithNoAdditionalRecord { closest_peers })
                | Err(kad::GetProvidersError::Timeout { closest_peers, .. }),
            ) => sighting.asked = closest_peers.len(),
            _ => {}
        }
        if id == query && step.last {
            return Ok(sighting);
        }
    }
}
