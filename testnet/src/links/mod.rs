//! Lines between the nodes of a cluster: rates, delays, losses and partitions, without root and without the kernel.
//!
//! Every node has a relay in this process, and gives the relay's address to others in place of its own
//! (`shoal daemon --announce`). So every connection goes through the relay of the node that is dialled, and both its
//! directions are shaped there: a byte from A to B passes A's line up and B's line down. Who dials is found out from
//! the kernel's table of sockets (`sockets`), so that all connections of a node share its one line.
//!
//! What always holds: bytes are neither changed nor reordered, since a relay carries TCP's stream and not its
//! packets; so a loss is what TCP makes of it, a pause of a round trip for all that follows. A partition lets nothing
//! through and closes nothing, as a cut cable does. Memory is bounded for each connection. All ends with [`Links`].

mod carry;
mod shape;
mod sockets;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::scenario::Line;
use shape::Shapes;

/// What the kernel may hold for a relay before a sender notices that the line is slow.
const RECEIVE_BUFFER_BYTES: u32 = 256 << 10;
const BACKLOG: u32 = 1024;

/// The lines of a cluster; its connections break when it is dropped.
#[derive(Debug)]
pub struct Links {
    shapes: Arc<Shapes>,
    ports: Vec<u16>,
    _relays: JoinSet<()>,
}

impl Links {
    /// Starts a relay for each node, with its line. `seed` draws what is lost.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub fn start(lines: Vec<Line>, seed: u64) -> io::Result<Self> {
        let (mut ports, mut relays) = (Vec::new(), JoinSet::new());
        let shapes = Arc::new(Shapes::new(lines, seed));
        for node in 0..shapes.len() {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            let listener = socket.listen(BACKLOG)?;
            ports.push(listener.local_addr()?.port());
            relays.spawn(relay(shapes.clone(), node, listener));
        }
        Ok(Self { shapes, ports, _relays: relays })
    }

    /// The port that leads to a node.
    pub fn port(&self, node: usize) -> Option<u16> {
        self.ports.get(node).copied()
    }

    /// Says which process a node is now.
    pub fn set_process(&self, node: usize, pid: Option<u32>) {
        self.shapes.set_process(node, pid);
    }

    /// Changes a line.
    pub fn set_line(&self, node: usize, line: Line) {
        self.shapes.set_line(node, line);
    }

    /// Cuts these nodes off from all others, not from each other.
    pub fn part(&self, nodes: &[usize]) {
        self.shapes.part(nodes);
    }

    /// Joins these nodes with all others again.
    pub fn join(&self, nodes: &[usize]) {
        self.shapes.join(nodes);
    }

    /// Bytes that have reached their end so far, over all lines.
    pub fn carried_bytes(&self) -> u64 {
        self.shapes.carried_bytes()
    }
}

/// One node's part of the lines.
#[derive(Debug, Clone)]
pub struct NodeLink {
    /// All lines.
    pub links: Arc<Links>,
    /// Which of them.
    pub node: usize,
}

impl NodeLink {
    /// The port that leads to the node.
    pub fn port(&self) -> Option<u16> {
        self.links.port(self.node)
    }

    /// Says which process the node is now.
    pub fn set_process(&self, pid: Option<u32>) {
        self.links.set_process(self.node, pid);
    }
}

/// Takes connections to a node for as long as it is polled.
async fn relay(shapes: Arc<Shapes>, node: usize, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => drop(connections.spawn(connect(shapes.clone(), node, stream, from))),
                // Out of descriptors: those that end make room.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Joins a connection with the node that it is meant for. Whoever dials notices nothing of what goes wrong here but
/// the end of the connection.
async fn connect(shapes: Arc<Shapes>, to: usize, near: TcpStream, from: SocketAddr) {
    let (Ok(here), SocketAddr::V4(from)) = (near.local_addr(), from) else { return };
    let SocketAddr::V4(here) = here else { return };
    let processes = shapes.processes();
    let looked = tokio::task::spawn_blocking(move || sockets::owner(from, here, &processes)).await;
    let dialler = looked.ok().flatten();
    // A cut cable answers nobody; whoever is still there when it is mended gets through.
    shapes.wait_while_parted(dialler, Some(to)).await;
    let Some(port) = port_of(&shapes, to).await else { return };
    let Ok(socket) = TcpSocket::new_v4() else { return };
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let Ok(far) = socket.connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into()).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let there = carry::carry(shapes.clone(), near_read, far_write, dialler, Some(to));
    let back = carry::carry(shapes, far_read, near_write, Some(to), dialler);
    tokio::join!(there, back);
}

/// Where a node listens; found out once for each of its processes.
async fn port_of(shapes: &Shapes, node: usize) -> Option<u16> {
    if let Some(port) = shapes.port(node) {
        return Some(port);
    }
    let pid = shapes.process(node)?;
    let port = tokio::task::spawn_blocking(move || sockets::listening_port(pid)).await.ok()??;
    shapes.set_port(node, port);
    Some(port)
}

#[cfg(test)]
mod tests;
