//! The simulator: thousands of virtual peers that run the node's own download engine and serving policy.
//!
//! Only what decides is real: [`Engine`](shoal_protocol::engine::Engine),
//! [`ServingPolicy`](shoal_protocol::serving::ServingPolicy), manifests and the lengths of messages. Lines, disks,
//! the DHT and the clock are modelled, and chunks are lengths without bytes. A [`Setup`] and a seed make a run, and the
//! same two make the same [`Report`], byte for byte, on any machine: everything is counted in integers, happens one
//! after the other, and draws from one seeded generator.
//!
//! Where to look: `line` says how bytes move, `transfer` moves them; `fetching` and `serving` are the shells round
//! engine and policy; `telling` is how news of chunks spread; `meeting` and `meets` are how peers find each other;
//! `script` says what happens when, `faults` what goes wrong. [`flash_crowd`] and [`random`] make setups, and `stage`
//! makes one of a scenario ([`play`]).
//!
//! What is not modelled: processors and disks other than a time for a commit, the headers of TCP and TLS, congestion
//! inside the network (only the lines of peers are scarce), routing in the DHT.

mod bound;
mod channel;
mod checks;
mod content;
mod dice;
mod events;
mod faults;
mod fetching;
pub mod flash_crowd;
mod joined;
mod line;
mod meeting;
mod meets;
mod peer;
pub mod random;
mod report;
mod script;
mod serving;
mod setup;
mod stage;
#[cfg(test)]
mod stage_tests;
mod store;
mod stream;
mod telling;
#[cfg(test)]
mod tests;
mod transfer;
mod world;

pub use line::Line;
pub use report::{Report, Times, Wire};
pub use setup::{Fault, Holds, Meeting, Nature, PeerSetup, Setup};
pub use stage::{can_play, play};
pub use store::Durability;

use std::time::Duration;

use world::World;

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// The content cannot be made.
    #[error("such a content cannot be: {0}")]
    Content(#[from] shoal_protocol::manifest::BuildError),
    /// A scenario has more than one content.
    #[error(
        "the simulator moves one content in a run, and {name} is the second: `shoal testnet run` plays this scenario \
         with real nodes"
    )]
    SecondContent {
        /// The second one.
        name: String,
    },
    /// A scenario's content is a folder.
    #[error(
        "the simulator has no folders, and {name} is one (`files`): leave `files` out, or play it with real nodes, \
         `shoal testnet run`"
    )]
    Folder {
        /// Which content.
        name: String,
    },
    /// More peers, or chunks, than can be numbered.
    #[error("{count} {what} are too many: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there should be.
        count: u64,
        /// How many there can be.
        most: u64,
    },
}

/// Most peers of a run.
pub const MAX_PEERS: u64 = 100_000;
/// Most chunks of a content.
const MAX_CHUNKS: u64 = 1 << 24;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// In figures.
    pub report: Report,
    /// In the form that runs of clusters have, too.
    pub run: crate::report::Report,
    /// The faults that struck, by their places in the setup, and when.
    pub faults: Vec<(Duration, usize)>,
}

/// Whether so many can be numbered.
fn bounded(peers: u64, bytes: u64, chunk_bytes: u32) -> Result<(), SimulatorError> {
    let too_many = |what, count, most| {
        if count > most { Err(SimulatorError::TooMany { what, count, most }) } else { Ok(()) }
    };
    too_many("peers", peers, MAX_PEERS)?;
    too_many("chunks", bytes / u64::from(chunk_bytes.max(1)), MAX_CHUNKS)
}

/// Runs a setup to its end.
///
/// # Errors
/// When the setup is too large, or its content cannot be. What goes wrong in the run is in the report.
pub fn simulate(setup: Setup, seed: u64) -> Result<Simulated, SimulatorError> {
    bounded(setup.peers.len() as u64, setup.bytes, setup.chunk_bytes)?;
    let mut world = World::new(setup, seed)?;
    world.run();
    world.audit();
    let report = world.report();
    let run = world.joined(&report);
    let faults = world.happened.iter().map(|(at, place)| (Duration::from_nanos(*at), *place as usize)).collect();
    Ok(Simulated { report, run, faults })
}
