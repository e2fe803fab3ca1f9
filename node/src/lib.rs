//! A Shoal node to embed: IO shells round the pure core of `shoal-protocol`.
//!
//! The public face is one [`Node`](node::Node) handle; requests, results and progress are the plain types of [`api`].
//! No type of libp2p or redb appears in it.
//!
//! Inside, `network` knows nothing of `store`; only publishing, fetching and serving join the two. Nothing that
//! hashes, encrypts or touches the disk runs on the task that drives the libp2p swarm.

pub mod api;

pub mod control;
pub mod network;
mod store;
