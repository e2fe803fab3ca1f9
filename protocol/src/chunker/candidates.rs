//! Where chunks may end in a piece of a run, found without knowing where chunks begin in it.

use super::Profile;
use super::gear::{Gear, WINDOW_BYTES};

/// The places in a piece of a run where the gear hash has enough zeros for a chunk to end, if it is long enough.
///
/// They depend on the bytes and on [`REACH_BYTES`](Self::REACH_BYTES) before them, and on no earlier place. So several
/// threads may look for those of one piece each, which is nearly all of the work, and a [`Cutter`](super::Cutter) then
/// goes through them in order.
#[derive(Debug, Clone)]
pub struct Candidates {
    pub(super) piece_bytes: usize,
    pub(super) places: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Bytes of the piece before it.
    pub(super) offset: usize,
    /// Whether a chunk below the target may end here too.
    pub(super) is_strict: bool,
}

impl Candidates {
    /// How many bytes before a piece matter.
    pub const REACH_BYTES: usize = WINDOW_BYTES as usize - 1;

    /// Those in `piece`, of a run in which `before` comes just before it: the last [`REACH_BYTES`](Self::REACH_BYTES)
    /// bytes or more, or all there are.
    pub fn of(before: &[u8], piece: &[u8]) -> Self {
        Self::with_profile(Profile::V1, before, piece)
    }

    /// The same with other masks: for measurements only.
    pub fn with_profile(profile: Profile, before: &[u8], piece: &[u8]) -> Self {
        let (strict, loose) = (below(profile.strict_bits), below(profile.loose_bits));
        let mut gear = Gear::default();
        gear.roll(before);
        let (mut places, mut offset) = (Vec::new(), 0);
        while let Some(step) = piece.get(offset..).and_then(|rest| gear.roll_below(rest, loose)) {
            offset += step;
            places.push(Candidate { offset, is_strict: gear.hash() < strict });
        }
        Self { piece_bytes: piece.len(), places }
    }
}

/// The hashes whose `zeros` highest bits, those that depend on the widest window, are zero: all below this.
const fn below(zeros: u32) -> u64 {
    1 << (u64::BITS - zeros)
}
