//! The collector: gives back the room of what no content needs.
//!
//! redb gives no deleted space back, so room comes back by whole segments: the collector marks what the records lead to
//! ([`mark`]), chooses segments with much garbage ([`choose`]), and empties each of them ([`empty`]): what is needed is
//! verified and copied to another segment, the index learns of it, and the file goes once that is durable.
//!
//! What always holds:
//! * Nothing is dropped that a record leads to or that a [`Hold`](super::Hold) knows. Where it cannot be told what a
//!   record leads to, because one of its nodes is damaged, nothing is dropped at all.
//! * Nobody waits for the collector longer than for one commit of the index.
//! * After an end at any moment, either the old copy or the new one is found.
//!
//! One thread does it all, one cycle at a time. It sleeps unless it is asked or there is something to suspect.

pub(super) mod choose;
mod collector;
mod cycle;
mod empty;
mod evict;
mod mark;

pub use self::choose::Effort;
pub(super) use self::collector::{Collector, run};

/// What a collection did, or with a dry run would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Bytes of the disk that it gave back: files that went, less what was copied elsewhere.
    pub reclaimed_bytes: u64,
    /// Segments that went because nothing in them was needed.
    pub dropped_segments: u64,
    /// Segments that went after what was needed had been copied.
    pub rewritten_segments: u64,
    /// Bytes of objects that were copied.
    pub moved_bytes: u64,
    /// Bytes of objects that contents need.
    pub live_bytes: u64,
    /// Bytes of objects that nothing needs and that stay, as they are not worth the copying or lie where groups are
    /// still written.
    pub garbage_bytes: u64,
    /// Bytes of objects that nothing needs and that stay, because there is no room for copies of what is needed beside
    /// them.
    pub blocked_bytes: u64,
}
