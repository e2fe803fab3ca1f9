//! A page of a set of chunks that is held in part: a bit for each chunk.

use super::{AvailabilityPart, ChunkIndex, MAX_BITMAP_CHUNKS, PartChunks};

/// Chunks in a page.
pub(super) const PAGE_CHUNKS: u64 = 4096;
pub(super) const PAGE_WORDS: usize = (PAGE_CHUNKS / 64) as usize;

pub(super) type Page = Box<[u64; PAGE_WORDS]>;

/// Adds bits of a word of a page; gives those that were not set before, and whether the page is full now.
pub(super) fn set(page: &mut Page, at: usize, bits: u64) -> (u64, bool) {
    let Some(word) = page.get_mut(at) else { return (0, false) };
    let news = bits & !*word;
    *word |= bits;
    (news, *word == u64::MAX && page.iter().all(|word| *word == u64::MAX))
}

/// Whether any chunk is in both. All words are looked at, since to look for the first one would cost more.
pub(super) fn meet(one: &Page, other: &Page) -> bool {
    one.iter().zip(other.iter()).fold(0, |met, (one, other)| met | one & other) != 0
}

/// Appends a page held in part: a page that is one run from its start as `All`, another as a bitmap, and joined with
/// the part before it where that is of the same form and ends where the page begins.
pub(super) fn push(parts: &mut Vec<AvailabilityPart>, page: u64, bits: &Page) {
    let start = page * PAGE_CHUNKS;
    let held = ones(bits);
    let run = bits
        .iter()
        .position(|word| *word != u64::MAX)
        .map_or(PAGE_CHUNKS, |at| at as u64 * 64 + bits.get(at).map_or(0, |word| u64::from(word.trailing_ones())));
    let before = parts.last_mut().filter(|last| last.end() == start);
    if run == held {
        match before {
            Some(AvailabilityPart { count, chunks: PartChunks::All, .. }) => *count += run,
            _ => parts.push(AvailabilityPart { start: ChunkIndex(start), count: run, chunks: PartChunks::All }),
        }
        return;
    }
    let encoded = bits.iter().flat_map(|word| word.to_le_bytes());
    if let Some(AvailabilityPart { count, chunks: PartChunks::Bitmap(bitmap), .. }) = before
        && *count < MAX_BITMAP_CHUNKS
    {
        *bitmap = bitmap.iter().copied().chain(encoded).collect();
        *count += PAGE_CHUNKS;
        return;
    }
    parts.push(AvailabilityPart {
        start: ChunkIndex(start),
        count: PAGE_CHUNKS,
        chunks: PartChunks::Bitmap(encoded.collect()),
    });
}

/// A word whose lowest `count` bits are set, at most all.
pub(super) const fn below(count: u64) -> u64 {
    if count < 64 { (1 << count) - 1 } else { u64::MAX }
}

/// How many chunks it has.
pub(super) fn ones(bits: &Page) -> u64 {
    bits.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Takes out the chunk with this place in it.
pub(super) fn clear(bits: &mut Page, at: u64) {
    if let Some(word) = bits.get_mut((at / 64) as usize) {
        *word &= !(1 << (at % 64));
    }
}
