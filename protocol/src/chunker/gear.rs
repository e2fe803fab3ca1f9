//! The rolling hash that marks where chunks may end.
//!
//! Each byte shifts a 64-bit state by one and adds the byte's word of the table, so the state depends on the last 64
//! bytes. The recurrence is that of Xia and others, "FastCDC" (USENIX ATC 2016), who also roll two bytes in one step
//! ("The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems", 2020): what the two
//! words add up to does not wait for the state, which halves the chain of operations that each wait for the one
//! before.

use std::sync::LazyLock;

/// The bytes on which a hash depends: each step shifts a 64-bit state by one.
pub(super) const WINDOW_BYTES: u32 = u64::BITS;
/// The BLAKE3 key derivation context of which the table is the first 2,048 bytes of output.
const TABLE_CONTEXT: &str = "shoal v1 gear table";
/// Bytes that are rolled over before it is asked whether a match is among them (measured: 8 is faster than 4 or 16).
const STRIDE: usize = 16;

/// A random word for each value of a byte.
type Table = [u64; 256];

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut output = blake3::Hasher::new_derive_key(TABLE_CONTEXT).finalize_xof();
    let mut table = [0u64; 256];
    for word in &mut table {
        let mut bytes = [0u8; 8];
        output.fill(&mut bytes);
        *word = u64::from_le_bytes(bytes);
    }
    table
});

/// The state after some bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Gear {
    hash: u64,
}

impl Gear {
    /// The hash of the last [`WINDOW_BYTES`].
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Rolls over all of the bytes.
    pub(super) fn roll(&mut self, bytes: &[u8]) {
        let table = &*TABLE;
        self.hash = bytes.iter().fold(self.hash, |hash, &byte| (hash << 1).wrapping_add(word(table, byte)));
    }

    /// Rolls until the hash is below `limit`, and says over how many bytes; without a match it has rolled over all.
    pub(super) fn roll_below(&mut self, bytes: &[u8], limit: u64) -> Option<usize> {
        let table = &*TABLE;
        let (strides, rest) = bytes.as_chunks::<STRIDE>();
        let mut hash = self.hash;
        for (number, stride) in strides.iter().enumerate() {
            let (next, found) = roll_stride(table, hash, stride, limit);
            if found {
                self.hash = hash;
                return self.roll_singly(stride, limit).map(|count| number * STRIDE + count);
            }
            hash = next;
        }
        self.hash = hash;
        self.roll_singly(rest, limit).map(|count| strides.len() * STRIDE + count)
    }

    fn roll_singly(&mut self, bytes: &[u8], limit: u64) -> Option<usize> {
        let table = &*TABLE;
        let mut rolled = 0;
        bytes
            .iter()
            .any(|&byte| {
                rolled += 1;
                self.hash = (self.hash << 1).wrapping_add(word(table, byte));
                self.hash < limit
            })
            .then_some(rolled)
    }
}

/// The hash behind a stride, and whether one on the way was below `limit`.
fn roll_stride(table: &Table, mut hash: u64, stride: &[u8; STRIDE], limit: u64) -> (u64, bool) {
    let mut found = false;
    for group in stride.as_chunks::<4>().0 {
        let [first, second, third, fourth] = group.map(|byte| word(table, byte));
        let two = (first << 1).wrapping_add(second);
        let three = (two << 1).wrapping_add(third);
        let four = (two << 2).wrapping_add((third << 1).wrapping_add(fourth));
        found |= (hash << 1).wrapping_add(first) < limit;
        found |= (hash << 2).wrapping_add(two) < limit;
        found |= (hash << 3).wrapping_add(three) < limit;
        hash = (hash << 4).wrapping_add(four);
        found |= hash < limit;
    }
    (hash, found)
}

const fn word(table: &Table, byte: u8) -> u64 {
    table[byte as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_every_match_wherever_it_lies_in_a_stride() {
        let mut bytes = vec![0; 40_000];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        // One byte in 16 matches.
        let limit = 1 << 60;
        let mut hash = 0u64;
        let mut expected = Vec::new();
        for (index, &byte) in bytes.iter().enumerate() {
            hash = (hash << 1).wrapping_add(TABLE[usize::from(byte)]);
            if hash < limit {
                expected.push((index + 1, hash));
            }
        }
        assert!(expected.len() > 2_000, "{} matches", expected.len());
        let (mut gear, mut at, mut found) = (Gear::default(), 0, Vec::new());
        while let Some(count) = gear.roll_below(&bytes[at..], limit) {
            at += count;
            found.push((at, gear.hash()));
        }
        assert_eq!(found, expected);
        assert_eq!(gear.hash(), hash);
    }
}
