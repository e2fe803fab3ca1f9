//! Publishing: what is on disk becomes chunks and a manifest in the store.
//!
//! Data flows one way: scan (names) → read (bytes) → cut (chunks) → hash → store. Several workers each read, cut and
//! hash a piece at a time, and a bounded queue takes the chunks, in order, to the one that stores them; what comes as a
//! stream is read without a scan. The manifest is recorded last, once all it names is durable: a
//! publish that breaks off leaves chunks that the next attempt finds and nothing that anybody is told of. Announcing is
//! the caller's business.

mod cut;
mod error;
mod import;
mod input;
mod placer;
mod read;
pub(crate) mod scan;
mod workers;

pub(crate) use error::PublishError;
pub(crate) use import::import;
pub(crate) use input::Input;
