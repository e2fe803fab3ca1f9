//! What asking twice may cost: a hundredth of a fetch, or a chunk or two if it is small.

/// A fetch may always ask twice for this much: a chunk of ordinary length, or two short ones.
const LEAST_BYTES: u64 = 128 * 1024;
/// The part of what is fetched that may be asked for twice: less than a hundredth.
const PART: u64 = 128;

/// Bytes that were asked for a second time, or came although they had been taken back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waste {
    spent: u64,
}

impl Waste {
    pub(super) fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// What may still be spent in a fetch of so many bytes.
    pub(super) fn left(self, fetched_bytes: u64) -> u64 {
        (fetched_bytes / PART).max(LEAST_BYTES).saturating_sub(self.spent)
    }
}
