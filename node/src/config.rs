//! How a node is set up. Parsed once, at the edge; the node itself reads no environment and no file for it.

use std::path::PathBuf;
use std::time::Duration;

use crate::network::{Address, NetworkName};
pub use crate::network::{AddressError, NetworkNameError};

pub use crate::store::MIN_QUOTA_BYTES;

/// The name of the network that a node joins unless told otherwise.
pub const DEFAULT_NETWORK: &str = "main";

/// Whether a network can have this name.
///
/// # Errors
/// What is wrong with it.
pub fn check_network_name(name: &str) -> Result<(), NetworkNameError> {
    name.parse::<NetworkName>().map(drop)
}

/// Whether this is an address as this node reads them: a multiaddress.
///
/// # Errors
/// What is wrong with it.
pub fn check_address(address: &str) -> Result<(), AddressError> {
    address.parse::<Address>().map(drop)
}

/// Everything a node can be told when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder with the store, the identity and the control socket. It is made if it is missing.
    pub home: PathBuf,
    /// Who the node talks to, and how.
    pub network: NetworkOptions,
    /// How much it gives and takes.
    pub limits: Limits,
}

/// Who a node talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOptions {
    /// The network's name. Nodes of other networks are not talked to. Default: [`DEFAULT_NETWORK`].
    pub name: String,
    /// Multiaddresses to listen on; empty: TCP and QUIC on every interface, on ports that the system gives.
    pub listen: Vec<String>,
    /// Multiaddresses to give to others in place of those that the node listens on, such as a router's; empty: those.
    pub announce: Vec<String>,
    /// Multiaddresses of nodes to join the DHT through; empty: only what mDNS and links bring.
    pub bootstrap: Vec<String>,
    /// Whether to find and to be found on the local network by mDNS. Default: on. Tests turn it off.
    pub mdns: bool,
    /// Whether to stay away from others: for commands that only look at what is held. Default: off.
    pub offline: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            name: DEFAULT_NETWORK.to_owned(),
            listen: Vec::new(),
            announce: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            offline: false,
        }
    }
}

/// How much a node gives and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most chunk bytes a second to send, to all peers together. Default: no limit.
    pub up: Option<u64>,
    /// Most chunk bytes a second to send to one peer. Default: no limit.
    pub up_per_peer: Option<u64>,
    /// Most chunk bytes a second to send of one content, to all peers together. Default: no limit.
    pub up_per_content: Option<u64>,
    /// Most chunk bytes a second to take in, from all peers together. Default: no limit.
    pub down: Option<u64>,
    /// Most bytes of the disk that the home may take; at least [`MIN_QUOTA_BYTES`]. Default: no limit.
    pub quota: Option<u64>,
}

impl Config {
    /// The defaults, in this home.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into(), network: NetworkOptions::default(), limits: Limits::default() }
    }
}

/// Most sessions that a node serves at once. Each costs a task and two batches of the serving policy; one more is told
/// BUSY.
pub(crate) const MAX_SERVING_SESSIONS: usize = 256;
/// Most sessions that one peer is served at once.
pub(crate) const MAX_SERVING_SESSIONS_PER_PEER: usize = 16;
/// How long either side may take to move one frame.
pub(crate) const FRAME_DEADLINE: Duration = Duration::from_secs(30);
/// How long a serving session may lie idle: a leecher may wait that long for something new to want.
pub(crate) const IDLE_SESSION: Duration = Duration::from_secs(600);
/// Sessions that one fetch holds open at once.
pub(crate) const MAX_FETCH_SESSIONS: usize = 40;
/// With so many it seeks no more by itself. The other places are for peers that have come to this node: in a crowd,
/// whoever came late would be asked by nobody if all others were served already.
pub(crate) const SOUGHT_FETCH_SESSIONS: usize = 24;
/// Dials and opens that one fetch has under way at once.
pub(crate) const MAX_FETCH_DIALS: usize = 8;
/// Peers that one fetch remembers. Beyond it, new names are not taken in.
pub(crate) const MAX_CANDIDATES: usize = 256;
/// For how long a peer that sent wrong bytes is not talked to.
pub(crate) const BAN: Duration = Duration::from_secs(600);
/// Verified chunk bytes of one fetch that may wait for the store and the output file.
pub(crate) const FETCH_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Chunk bytes that all fetches of this node may have in flight together. It is what one connection's receive windows
/// may grow to (`NetworkLimits::receive_window_bytes`), so that a single fast peer can use it all.
pub(crate) const FETCH_BUDGET_BYTES: u64 = 64 * 1024 * 1024;
/// Bases of one fetch.
pub(crate) const MAX_BASES: usize = 8;
/// How long a fetch whose sessions bring nothing goes on hoping.
pub(crate) const STALL: Duration = Duration::from_secs(60);
