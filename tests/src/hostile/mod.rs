//! Peers that speak the transfer protocol over stock libp2p, and that may lie.
//!
//! [`LyingPeer`] serves and [`Requester`] asks. Neither shares code with the node above the wire format: transport,
//! security and streams are libp2p's own, so an honest one proves that a node works with any libp2p peer, and every
//! other one does what no node would. [`Served`] is what there is to serve, also manifests that no builder would make.

mod forged;
mod frames;
mod peer;
mod requester;
mod served;
mod session;

pub use forged::{entry_row, forge_folder, forge_totals, forge_version};
pub use peer::{LyingPeer, Security};
pub use requester::Requester;
pub use served::Served;
pub use session::Behaviour;

#[cfg(test)]
mod tests;
