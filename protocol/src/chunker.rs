//! Where chunks end: content-defined cuts in a run of bytes.
//!
//! A gear hash rolls over the last 64 bytes. A chunk ends at the first place, at least [`MIN_CHUNK_BYTES`] from its
//! beginning, where the high bits of that hash are all zero, and at [`MAX_CHUNK_BYTES`] if there is none. Up to
//! [`TARGET_CHUNK_BYTES`] a strict mask asks for more zero bits than the loose one beyond it ("normalised"), which
//! draws the lengths together. Whether a place is a candidate depends on the 64 bytes before it and nothing else, so
//! after an insertion the cuts fall back into step, and how the input is split over calls never matters.
//!
//! Everything here enters content hashes and is **frozen**: the table, the masks and the lengths have test vectors.
//!
//! [`Candidates`] says where in a piece of a run chunks may end, which several threads can look for in pieces of their
//! own; a [`Cutter`] then goes through them in order and chooses. [`Profile::cut`] does both for a run that is in
//! memory.
//!
//! This module neither reads files nor hashes chunks; what runs are (one for all small files, one for each large
//! file) is told by [`crate::manifest`].

mod candidates;
mod cutter;
mod gear;

pub use candidates::Candidates;
pub use cutter::Cutter;

/// No chunk is shorter, except the last one of a run.
pub const MIN_CHUNK_BYTES: u32 = Profile::V1.min;
/// The length about which chunks lie.
pub const TARGET_CHUNK_BYTES: u32 = Profile::V1.target;
/// No chunk is longer.
pub const MAX_CHUNK_BYTES: u32 = Profile::V1.max;
/// A file of this size or more is *large*: it has a run of its own, so its chunks are the same alone or in any
/// folder. Smaller files share one run, and with it chunks.
pub const LARGE_FILE_BYTES: u64 = 1024 * 1024;

/// The lengths and masks that chunks are cut by. Contents are made with [`Profile::V1`] only; others exist so that the
/// choice can be measured (`cargo run --release -p shoal-protocol --example chunk_profile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// No chunk is shorter, except the last one of a run; at least 64.
    pub min: u32,
    /// From here on the loose mask holds.
    pub target: u32,
    /// No chunk is longer.
    pub max: u32,
    /// How many high bits must be zero before `target`.
    pub strict_bits: u32,
    /// How many high bits must be zero from `target` on.
    pub loose_bits: u32,
}

impl Profile {
    /// The profile of version 1.
    pub const V1: Self = Self { min: 16 * 1024, target: 64 * 1024, max: 256 * 1024, strict_bits: 18, loose_bits: 14 };

    /// The chunks of a run, in order.
    pub fn cut(self, run: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut cutter = Cutter::new(self);
        let mut lengths = cutter.cut(&Candidates::with_profile(self, &[], run));
        lengths.extend(Some(cutter.finish()).filter(|&length| length > 0));
        lengths.into_iter().scan(run, |rest, length| {
            let (chunk, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            Some(chunk)
        })
    }
}
