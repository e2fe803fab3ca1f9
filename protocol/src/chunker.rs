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
//! [`Chunker::next_cut`] looks at the bytes one after the other and skips those where no chunk may end;
//! a [`Cutter`] is told where they may, which several threads can have looked for.
//!
//! This module neither reads files nor hashes chunks; what runs are (one for all small files, one for each large
//! file) is told by [`crate::manifest`].

mod candidates;
mod gear;

pub use candidates::{Candidates, Cutter};
use gear::{Gear, WINDOW_BYTES};

/// No chunk is shorter, except the last one of a run.
pub const MIN_CHUNK_BYTES: u32 = Profile::V1.min;
/// The length about which chunks lie.
pub const TARGET_CHUNK_BYTES: u32 = Profile::V1.target;
/// No chunk is longer.
pub const MAX_CHUNK_BYTES: u32 = Profile::V1.max;
/// A file of this size or more is *large*: it has a run of its own, so its chunks are the same alone or in any
/// folder. Smaller files share one run, and with it chunks.
pub const LARGE_FILE_BYTES: u64 = 1024 * 1024;

/// The lengths and masks of a chunker. Contents are made with [`Profile::V1`] only; others exist so that the choice
/// can be measured (`cargo run --release -p shoal-protocol --example chunk_profile`).
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
}

/// Finds the ends of chunks in a run of bytes that comes in pieces of any size.
///
/// Copies nothing and holds a few words of state.
#[derive(Debug, Clone)]
pub struct Chunker {
    profile: Profile,
    gear: Gear,
    length: u32,
}

impl Default for Chunker {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunker {
    /// A chunker at the beginning of a run.
    pub fn new() -> Self {
        Self::with_profile(Profile::V1)
    }

    /// A chunker with other lengths and masks: for measurements only.
    pub fn with_profile(profile: Profile) -> Self {
        Self { profile, gear: Gear::default(), length: 0 }
    }

    /// Takes the bytes that follow those of the last call.
    ///
    /// `Some(count)`: the first `count` of them (at least 1) complete the open chunk; call again with the rest.
    /// `None`: all of them belong to the open chunk, which goes on.
    pub fn next_cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let (step, cut) = self.scan(rest);
            taken += step;
            if cut {
                self.restart();
                return Some(taken);
            }
        }
        None
    }

    /// Ends the run and with it the open chunk, whose length this returns (0: there is none). What comes next
    /// begins a run.
    pub fn finish(&mut self) -> u32 {
        let length = self.length;
        self.restart();
        length
    }

    /// How many bytes the open chunk has so far.
    pub const fn open_bytes(&self) -> u32 {
        self.length
    }

    fn restart(&mut self) {
        self.length = 0;
        self.gear = Gear::default();
    }

    /// Goes through one stretch in which one rule holds; says how many bytes it took and whether they end the chunk.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        let Profile { min, target, max, strict_bits, loose_bits } = self.profile;
        let warm_from = min - WINDOW_BYTES;
        let stretch =
            |until: u32| bytes.split_at_checked((until - self.length) as usize).map_or(bytes, |(head, _)| head);
        let (head, limit) = match self.length {
            length if length < warm_from => {
                let head = stretch(warm_from);
                self.length += head.len() as u32;
                return (head.len(), false);
            }
            length if length < min - 1 => {
                let head = stretch(min - 1);
                self.gear.roll(head);
                self.length += head.len() as u32;
                return (head.len(), false);
            }
            length if length < target - 1 => (stretch(target - 1), below(strict_bits)),
            _ => (stretch(max), below(loose_bits)),
        };
        let found = self.gear.roll_below(head, limit);
        let step = found.unwrap_or(head.len());
        self.length += step as u32;
        (step, found.is_some() || self.length == max)
    }
}

/// The hashes whose `zeros` highest bits, those that depend on the widest window, are zero: all below this.
const fn below(zeros: u32) -> u64 {
    1 << (u64::BITS - zeros)
}
