//! The pure core of Shoal: formats and decisions.
//!
//! What lives here turns bytes into bytes and events into actions. It opens no file and no socket, reads no clock
//! (time is an argument), starts no task and draws no randomness of its own (a seeded generator is handed in), so
//! the node, the property tests and the simulator all run the same code with the same outcome.
//!
//! Where to look: [`hash`] for the names of things, [`chunker`] for where chunks end, [`manifest`] for the Merkle
//! description of a published thing, [`link`] for what people paste, [`wire`] for what peers say to each other,
//! [`availability`] for who has what, [`engine`] for what to ask of whom, [`token_bucket`] for rates.

pub mod availability;
pub mod chunk;
pub mod chunker;
pub mod codec;
pub mod engine;
pub mod hash;
pub mod link;
pub mod manifest;
pub mod serving;
mod sorted;
pub mod token_bucket;
pub mod wire;
