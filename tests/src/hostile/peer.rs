//! A libp2p peer of stock parts that serves one content in its own way.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad, noise, ping, tcp, tls, yamux};
use shoal_node::config::DEFAULT_NETWORK;
use shoal_protocol::wire::protocol_name;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::session::Session;
use super::{Behaviour, Served};

const START_DEADLINE: Duration = Duration::from_secs(20);
const SESSION_DEADLINE: Duration = Duration::from_secs(120);

/// How connections are secured, by libp2p's own upgrades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS 1.3.
    Tls,
    /// Noise.
    Noise,
}

#[derive(NetworkBehaviour)]
pub(super) struct Parts {
    pub(super) streams: libp2p_stream::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) dht: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
}

/// A swarm of stock parts that listens on loopback, and its address with `/p2p/…`.
pub(super) async fn swarm(
    security: Security,
    in_dht: bool,
) -> Result<(Swarm<Parts>, Multiaddr), Box<dyn Error + Send + Sync>> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let tcp = tcp::Config::default().nodelay(true);
    let parts = |key: &libp2p::identity::Keypair| Parts {
        streams: libp2p_stream::Behaviour::new(),
        identify: identify::Behaviour::new(identify::Config::new("/stock/1".to_owned(), key.public())),
        ping: ping::Behaviour::default(),
        dht: Toggle::from(in_dht.then(|| dht(key))),
    };
    let idle = |config: libp2p::swarm::Config| config.with_idle_connection_timeout(SESSION_DEADLINE);
    let mut swarm = match security {
        Security::Tls => builder
            .with_tcp(tcp, tls::Config::new, yamux::Config::default)?
            .with_behaviour(parts)?
            .with_swarm_config(idle)
            .build(),
        Security::Noise => builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)?
            .with_behaviour(parts)?
            .with_swarm_config(idle)
            .build(),
    };
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let listening = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return address;
            }
        }
    };
    let address = timeout(START_DEADLINE, listening).await?;
    let own = *swarm.local_peer_id();
    Ok((swarm, address.with(Protocol::P2p(own))))
}

/// Kademlia as the nodes of the network speak it.
fn dht(key: &libp2p::identity::Keypair) -> kad::Behaviour<kad::store::MemoryStore> {
    let own = key.public().to_peer_id();
    // The name is a constant that fits.
    let name = StreamProtocol::try_from_owned(format!("/shoal/{DEFAULT_NETWORK}/kad/1"));
    let config = kad::Config::new(name.unwrap_or(StreamProtocol::new("/shoal/unnamed/kad/1")));
    let mut dht = kad::Behaviour::with_config(own, kad::store::MemoryStore::new(own), config);
    dht.set_mode(Some(kad::Mode::Server));
    dht
}

/// Joins the DHT and announces, until somebody was told.
async fn join(
    swarm: &mut Swarm<Parts>,
    bootstrap: &[String],
    served: &Served,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = kad::RecordKey::new(served.hash.discovery_key().as_bytes());
    let mut nodes = Vec::new();
    for address in bootstrap {
        let address: Multiaddr = address.parse()?;
        if let Some(Protocol::P2p(peer)) = address.iter().last() {
            nodes.push((peer, address));
        }
    }
    for (peer, address) in &nodes {
        if let Some(dht) = swarm.behaviour_mut().dht.as_mut() {
            dht.add_address(peer, address.clone());
        }
        swarm.dial(address.clone())?;
    }
    timeout(START_DEADLINE, announced(swarm, key)).await?
}

/// Announces to whoever is met, until somebody was told.
async fn announced(swarm: &mut Swarm<Parts>, key: kad::RecordKey) -> Result<(), Box<dyn Error + Send + Sync>> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(PartsEvent::Identify(identify::Event::Received { .. })) => {
                if let Some(dht) = swarm.behaviour_mut().dht.as_mut() {
                    dht.start_providing(key.clone())?;
                }
            }
            SwarmEvent::Behaviour(PartsEvent::Dht(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::StartProviding(Ok(_)),
                ..
            })) => return Ok(()),
            _ => {}
        }
    }
}

/// A serving peer; gone when it is dropped.
#[derive(Debug)]
pub struct LyingPeer {
    peer: PeerId,
    address: Multiaddr,
    chunks_sent: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl LyingPeer {
    /// Starts it on loopback.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(
        served: Served,
        behaviour: Behaviour,
        security: Security,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (swarm, address) = swarm(security, false).await?;
        Self::serve(swarm, address, served, behaviour)
    }

    /// Starts it on loopback, and has it tell the DHT of the nodes at these addresses that it provides the content; it
    /// gives `announce` to others in place of where it listens. Returns once it was told.
    ///
    /// # Errors
    /// When it cannot listen, an address is none, or nobody could be told.
    pub async fn start_in_dht(
        served: Served,
        behaviour: Behaviour,
        bootstrap: &[String],
        announce: Option<&str>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (mut swarm, address) = swarm(Security::Tls, true).await?;
        let outside = match announce {
            Some(announce) => announce.parse()?,
            None => address.clone(),
        };
        swarm.add_external_address(outside);
        join(&mut swarm, bootstrap, &served).await?;
        Self::serve(swarm, address, served, behaviour)
    }

    fn serve(
        mut swarm: Swarm<Parts>,
        address: Multiaddr,
        served: Served,
        behaviour: Behaviour,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let peer = *swarm.local_peer_id();
        let mut inbound = swarm
            .behaviour()
            .streams
            .new_control()
            .accept(StreamProtocol::try_from_owned(protocol_name(DEFAULT_NETWORK))?)?;
        let (served, chunks_sent) = (Arc::new(served), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let sent = chunks_sent.clone();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Some((requester, stream)) = inbound.next().await {
                let (served, chunks_sent) = (served.clone(), sent.clone());
                let session = Session { served, behaviour, own: peer, chunks_sent, first: OnceLock::new() };
                // How a session ends is the requester's affair: it is what the tests look at.
                sessions.spawn(timeout(SESSION_DEADLINE, session.serve(requester, stream)));
            }
        });
        Ok(Self { peer, address, chunks_sent, _tasks: tasks })
    }

    /// Its peer id as text.
    pub fn id(&self) -> String {
        self.peer.to_string()
    }

    /// Where it listens, with `/p2p/…`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Chunks that it has sent, right or wrong.
    pub fn chunks_sent(&self) -> u64 {
        self.chunks_sent.load(Ordering::Relaxed)
    }
}
