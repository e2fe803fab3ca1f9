//! A local network of many real Shoal nodes: start it, watch it, break it, stop it.
//!
//! [`cluster`] owns the processes, [`command`] speaks the command line to one of them, [`demo`] is the story that
//! `shoal testnet demo` tells. [`content`] makes things to publish and [`tree`] compares what arrived with them.
//!
//! What always holds: every process that this crate started is gone when its [`cluster::Cluster`] is gone, also when
//! this process dies without a word ([`process_group`]); nothing is waited for without a deadline; nothing is printed
//! but through a writer that the caller hands in.

pub mod cluster;
pub mod command;
pub mod content;
pub mod demo;
pub mod duration;
pub mod error;
pub mod links;
pub mod node;
pub mod process;
pub mod process_group;
pub mod report;
pub mod resources;
pub mod run;
pub mod scenario;
pub mod simulator;
pub mod size;
pub mod standing;
pub mod tree;
pub mod wait;

mod daemon;
#[cfg(test)]
mod fake;
mod log;
mod narrator;
mod temporary;

pub use narrator::{NarrationError, Screen};
