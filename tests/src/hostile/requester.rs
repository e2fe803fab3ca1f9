//! The asking end of one session, message by message.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use shoal_node::config::DEFAULT_NETWORK;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::wire::{
    Direction, Open, RequesterMessage, ServerMessage, SessionProof, WIRE_VERSION, protocol_name,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Security, frames, peer};

const DEADLINE: Duration = Duration::from_secs(30);

/// A session with a real node, opened by hand.
#[derive(Debug)]
pub struct Requester {
    own: PeerId,
    server: PeerId,
    stream: Stream,
    _tasks: JoinSet<()>,
}

impl Requester {
    /// Connects to a node at an address with `/p2p/…` and opens a stream, saying nothing yet.
    ///
    /// # Errors
    /// When the node cannot be reached or does not speak the protocol.
    pub async fn connect(address: &str, security: Security) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let address: Multiaddr = address.parse()?;
        let Some(Protocol::P2p(server)) = address.iter().last() else {
            return Err("the address does not name a peer".into());
        };
        let (mut swarm, _) = peer::swarm(security, false).await?;
        let own = *swarm.local_peer_id();
        let mut control = swarm.behaviour().streams.new_control();
        swarm.dial(address)?;
        let connected = async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == server => return Ok(()),
                    SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error),
                    _ => {}
                }
            }
        };
        timeout(DEADLINE, connected).await??;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let protocol = StreamProtocol::try_from_owned(protocol_name(DEFAULT_NETWORK))?;
        let stream = timeout(DEADLINE, control.open_stream(server, protocol)).await??;
        Ok(Self { own, server, stream, _tasks: tasks })
    }

    /// Sends OPEN for a content, in this version, with the proof that knowing `known` gives.
    ///
    /// # Errors
    /// When the stream is at its end.
    pub async fn open(&mut self, hash: &ContentHash, known: &ContentHash, version: u16) -> io::Result<()> {
        self.send_open(hash, known, version, false).await
    }

    /// Sends OPEN as a node does that has nothing of the content.
    ///
    /// # Errors
    /// When the stream is at its end.
    pub async fn open_to_begin(&mut self, hash: &ContentHash) -> io::Result<()> {
        self.send_open(hash, hash, WIRE_VERSION, true).await
    }

    async fn send_open(
        &mut self,
        hash: &ContentHash,
        known: &ContentHash,
        version: u16,
        begins: bool,
    ) -> io::Result<()> {
        let open = Open {
            version,
            key: hash.discovery_key(),
            proof: SessionProof::open(known, &self.own.to_bytes(), &self.server.to_bytes()),
            serves: false,
            in_order: false,
            begins,
            capability: bytes::Bytes::new(),
        };
        self.send(&RequesterMessage::Open(open)).await
    }

    /// Sends OPEN as a node does.
    ///
    /// # Errors
    /// When the stream is at its end.
    pub async fn open_honestly(&mut self, hash: &ContentHash) -> io::Result<()> {
        self.open(hash, hash, WIRE_VERSION).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the stream is at its end.
    pub async fn send(&mut self, message: &RequesterMessage) -> io::Result<()> {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        frames::write(&mut self.stream, &mut out).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the stream is at its end.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        frames::write(&mut self.stream, &mut BytesMut::from(bytes)).await
    }

    /// The next message that this version knows; `None` once the node has ended the session.
    ///
    /// # Errors
    /// When what comes is not a message, or nothing comes for too long.
    pub async fn receive(&mut self) -> io::Result<Option<ServerMessage>> {
        loop {
            let read = timeout(DEADLINE, frames::read(&mut self.stream, Direction::ToRequester)).await;
            let frame = match read.map_err(|_| io::Error::other("nothing came for too long"))? {
                // A node that resets the stream has ended the session as well as one that closes it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                frame => frame?,
            };
            let Some((header, payload)) = frame else { return Ok(None) };
            if let Some(message) = ServerMessage::decode(header, &payload).map_err(io::Error::other)? {
                return Ok(Some(message));
            }
        }
    }
}
