//! A network that stays: daemons that outlive the command that started them, until another command stops them.
//!
//! One folder holds it all: a home for each node (`node-0`, `node-1` and so on, so that every ordinary command works
//! with `--home FOLDER/node-3`), the logs, and `testnet.json`, which says which processes belong to it.
//!
//! What always holds: the file is replaced as a whole, and names a node before its process is started and the process
//! as soon as it is; a process is signalled only if number and start are those that were written down; one command at
//! a time changes a network (a lock on the folder, which the system lifts when its holder dies).

mod down;
mod error;
mod look;
mod state;
mod up;

pub use down::{DownOptions, DownReport, Stopped, down};
pub use error::StandingError;
pub(crate) use look::Asked;
pub use look::{Health, NetworkLook, NodeLook, Watch};
pub use up::{Topology, UpNode, UpOptions, UpReport, up};

#[cfg(test)]
mod tests;
