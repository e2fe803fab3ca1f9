//! The protocols that a node speaks, composed into one behaviour.

use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{autonat, connection_limits, dcutr, identify, kad, mdns, memory_connection_limits, ping, relay};

use super::records::Records;
use super::{InboundStream, NetworkConfig, NetworkLimits, NetworkName, streams};

/// The family of protocols, in identify. Says nothing of the network; that is in the protocols' names.
const FAMILY: &str = "shoal/1";
/// How long one question to the DHT may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one node may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Disjoint paths of a query, and questions under way on each.
const PARALLELISM: NonZeroUsize = NonZeroUsize::new(3).unwrap();
/// Most bytes of one DHT message: 20 providers and 20 peers with 8 addresses each fit.
const MAX_DHT_MESSAGE: usize = 64 << 10;
/// Peers whose addresses identify remembers after they have gone.
const REMEMBERED_PEERS: usize = 1024;

#[derive(NetworkBehaviour)]
#[behaviour(to_swarm = "Event")]
pub(super) struct Behaviour {
    // The limits come first: what they deny, the others need not hear of.
    pub(super) limits: connection_limits::Behaviour,
    pub(super) memory: memory_connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<Records>,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) autonat_client: autonat::v2::client::Behaviour,
    pub(super) autonat_server: autonat::v2::server::Behaviour,
    pub(super) relay: relay::client::Behaviour,
    pub(super) dcutr: dcutr::Behaviour,
    pub(super) streams: streams::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &Keypair,
        relay: relay::client::Behaviour,
        config: &NetworkConfig,
        inbound: tokio::sync::mpsc::Sender<InboundStream>,
    ) -> Self {
        let local = keypair.public().to_peer_id();
        let identify = identify::Config::new(FAMILY.to_owned(), keypair.public())
            .with_agent_version(config.agent.clone())
            .with_push_listen_addr_updates(true)
            // Who names other addresses to be dialled at is not to be dialled at its own.
            .with_hide_listen_addrs(!config.announce.is_empty())
            .with_cache_size(REMEMBERED_PEERS);
        Self {
            limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
            memory: memory_connection_limits::Behaviour::with_max_percentage(config.limits.memory_share),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new()),
            kad: dht(local, &config.network, &config.limits),
            mdns: Toggle::from(config.mdns.then(|| local_discovery(local)).flatten()),
            autonat_client: autonat::v2::client::Behaviour::default(),
            autonat_server: autonat::v2::server::Behaviour::default(),
            relay,
            dcutr: dcutr::Behaviour::new(local),
            streams: streams::Behaviour::new(config.network.transfer_protocol(), inbound, config.refusal.clone()),
        }
    }
}

fn connection_limits(limits: &NetworkLimits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_established(Some(limits.connections))
        .with_max_established_incoming(Some(limits.inbound_connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
        .with_max_pending_incoming(Some(limits.pending_connections))
        .with_max_pending_outgoing(Some(limits.pending_connections))
}

/// Kademlia under the network's own name. It answers from the start: on a local network nobody would ever confirm an
/// address, and a DHT of clients finds nothing.
pub(super) fn dht(local: libp2p::PeerId, network: &NetworkName, limits: &NetworkLimits) -> kad::Behaviour<Records> {
    let mut kad = kad::Config::new(network.kad_protocol());
    kad.set_query_timeout(QUERY_TIMEOUT)
        .set_substreams_timeout(REQUEST_TIMEOUT)
        .set_parallelism(PARALLELISM)
        .disjoint_query_paths(true)
        .set_max_packet_size(MAX_DHT_MESSAGE)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_caching(kad::Caching::Disabled)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_provider_record_ttl(Some(limits.record_life));
    let mut kad = kad::Behaviour::with_config(local, Records::new(local, limits), kad);
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// Multicast DNS, if this machine can.
fn local_discovery(local: libp2p::PeerId) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), local)
        .inspect_err(|e| tracing::warn!(error = %e, "cannot look for nodes on the local network"))
        .ok()
}

/// What the driver hears of; the rest minds its own business.
#[derive(Debug)]
pub(super) enum Event {
    Identify(Box<identify::Event>),
    Ping(ping::Event),
    Kad(Box<kad::Event>),
    Mdns(mdns::Event),
    AutonatClient(autonat::v2::client::Event),
    /// Nothing to act on.
    Other,
}

impl From<identify::Event> for Event {
    fn from(event: identify::Event) -> Self {
        Self::Identify(Box::new(event))
    }
}

impl From<ping::Event> for Event {
    fn from(event: ping::Event) -> Self {
        Self::Ping(event)
    }
}

impl From<kad::Event> for Event {
    fn from(event: kad::Event) -> Self {
        Self::Kad(Box::new(event))
    }
}

impl From<mdns::Event> for Event {
    fn from(event: mdns::Event) -> Self {
        Self::Mdns(event)
    }
}

impl From<autonat::v2::client::Event> for Event {
    fn from(event: autonat::v2::client::Event) -> Self {
        Self::AutonatClient(event)
    }
}

impl From<autonat::v2::server::Event> for Event {
    fn from(event: autonat::v2::server::Event) -> Self {
        tracing::debug!(client = %event.client, address = %event.tested_addr, "tested an address for a peer");
        Self::Other
    }
}

impl From<relay::client::Event> for Event {
    fn from(event: relay::client::Event) -> Self {
        tracing::debug!(?event, "relay");
        Self::Other
    }
}

impl From<dcutr::Event> for Event {
    fn from(event: dcutr::Event) -> Self {
        tracing::debug!(peer = %event.remote_peer_id, result = ?event.result, "hole punching");
        Self::Other
    }
}

impl From<std::convert::Infallible> for Event {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
