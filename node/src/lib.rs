//! A Shoal node to embed: IO shells round the pure core of `shoal-protocol`.
//!
//! The public face is one [`Node`] handle; it is set up by a [`Config`], and requests, results and progress are the
//! plain types of [`api`]. No type of libp2p or redb appears in it.
//!
//! Inside, `network` knows nothing of `store`; only publishing, fetching and serving join the two. Nothing that
//! hashes, encrypts or touches the disk runs on the task that drives the libp2p swarm.

pub mod api;
mod clock;
pub mod config;
mod contents;
pub mod control;
mod failure;
mod fetch;
mod frames;
mod leaves;
mod limiter;
mod manifests;
// Not part of the face, like the store: public so that examples and the tests of other crates can reach them.
#[doc(hidden)]
pub mod network;
pub mod node;
mod operation;
mod output;
mod publication;
mod publish;
mod rate;
mod read;
mod real_path;
mod serve;
mod service;
mod space;
mod status;
#[doc(hidden)]
pub mod store;
mod swarm;
mod traffic;
mod verify;
mod way_out;

pub use config::Config;
pub use node::{BLOCKING_THREADS, Node, StartError};
