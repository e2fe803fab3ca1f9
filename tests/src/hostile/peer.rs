//! A libp2p peer of stock parts that serves one content in its own way.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, tcp, tls, yamux};
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
}

/// A swarm of stock parts that listens on loopback, and its address with `/p2p/…`.
pub(super) async fn swarm(security: Security) -> Result<(Swarm<Parts>, Multiaddr), Box<dyn Error + Send + Sync>> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let tcp = tcp::Config::default().nodelay(true);
    let parts = |key: &libp2p::identity::Keypair| Parts {
        streams: libp2p_stream::Behaviour::new(),
        identify: identify::Behaviour::new(identify::Config::new("/stock/1".to_owned(), key.public())),
        ping: ping::Behaviour::default(),
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
        let (mut swarm, address) = swarm(security).await?;
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
