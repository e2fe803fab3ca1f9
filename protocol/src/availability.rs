//! Which chunks of a manifest somebody has.
//!
//! Owns the index of a chunk in a manifest ([`ChunkIndex`]), runs of them ([`ChunkRange`]) and the set of chunks that
//! a peer holds ([`Availability`]). Memory follows what was said, never what was merely claimed: runs cost a few bytes
//! however long they are, and a set keeps to its bound of pages. Nothing here knows the chunks' ids or lengths.

mod page;
mod runs;

use std::collections::BTreeMap;

use bytes::Bytes;

use page::{PAGE_CHUNKS, PAGE_WORDS, Page};
pub use runs::{ChunkIndex, ChunkRange, push_index};

/// What a peer says of a run of chunks at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvailabilityPart {
    /// The first chunk it speaks of.
    pub start: ChunkIndex,
    /// How many chunks it speaks of.
    pub count: u64,
    /// Which of them are there.
    pub chunks: PartChunks,
}

/// Which chunks of an [`AvailabilityPart`] are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartChunks {
    /// Every one.
    All,
    /// Those whose bit is set: bit `i % 8` of byte `i / 8` stands for chunk `start + i`, and there are exactly as many
    /// bytes as `count` needs.
    Bitmap(Bytes),
}

impl AvailabilityPart {
    /// The index after the last chunk it speaks of.
    pub const fn end(&self) -> u64 {
        self.start.0.saturating_add(self.count)
    }
}

/// Pages that are neither empty nor full, before the chunk count is known: 8 Mi chunks, 1 MiB.
const UNCOUNTED_PAGES: usize = 2048;
/// Chunks in a bitmap part at most: 64 KiB of bitmap.
pub const MAX_BITMAP_CHUNKS: u64 = 64 * 1024 * 8;

/// A set of chunks: what a peer holds of one manifest.
///
/// Whole pages that are held are kept as runs, so that a seeder's set costs the same for any manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Availability {
    /// First page → page after the last, of pages held in full. Never adjacent, never overlapping.
    full: BTreeMap<u64, u64>,
    /// Pages held in part.
    pages: BTreeMap<u64, Page>,
    /// Chunks of the manifest, once known: nothing at or past it is kept.
    count: Option<u64>,
    /// How many chunks are in the set.
    held: u64,
}

impl Availability {
    /// An empty set for a manifest of `count` chunks.
    pub fn new(count: u64) -> Self {
        Self { count: Some(count), ..Self::default() }
    }

    /// The set of all `count` chunks.
    pub fn all(count: u64) -> Self {
        let mut all = Self::new(count);
        all.insert_run(0, count);
        all
    }

    /// Says how many chunks the manifest has, and forgets what lies past them.
    pub fn set_count(&mut self, count: u64) {
        self.count = Some(count);
        if self.is_empty() {
            return;
        }
        let last_page = count / PAGE_CHUNKS;
        self.unfill(last_page);
        let behind: Vec<u64> = self.full.range(last_page..).map(|(start, _)| *start).collect();
        for start in behind {
            self.full.remove(&start);
        }
        self.pages.retain(|page, _| *page <= last_page);
        if let Some(bits) = self.pages.get_mut(&last_page) {
            for at in (count % PAGE_CHUNKS)..PAGE_CHUNKS {
                page::clear(bits, at);
            }
            if bits.iter().all(|word| *word == 0) {
                self.pages.remove(&last_page);
            }
        }
        let full: u64 = self.full.iter().map(|(start, end)| (end - start) * PAGE_CHUNKS).sum();
        self.held = full + self.pages.values().map(page::ones).sum::<u64>();
    }

    /// Whether the chunk is in the set.
    pub fn contains(&self, index: ChunkIndex) -> bool {
        let page = index.0 / PAGE_CHUNKS;
        if self.page_is_full(page) {
            return true;
        }
        let at = index.0 % PAGE_CHUNKS;
        self.pages
            .get(&page)
            .and_then(|bits| bits.get((at / 64) as usize))
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// The 16 chunks from `first`, which is a multiple of 16: bit `i` stands for chunk `first + i`.
    pub fn sixteen(&self, first: u64) -> u16 {
        let page = first / PAGE_CHUNKS;
        if self.page_is_full(page) {
            return u16::MAX;
        }
        let at = first % PAGE_CHUNKS;
        let word = self.pages.get(&page).and_then(|bits| bits.get((at / 64) as usize));
        word.map_or(0, |word| (word >> (at % 64)) as u16)
    }

    /// Whether any chunk is in both sets. Takes as long as this one has pages.
    pub fn meets(&self, other: &Self) -> bool {
        let is_shared = |page: &u64, bits: &Page| match other.pages.get(page) {
            Some(words) => page::meet(bits, words),
            None => other.page_is_full(*page),
        };
        let is_met = |start: u64, end: u64| {
            other.pages.range(start..end).next().is_some()
                || other.full.range(..end).next_back().is_some_and(|(_, until)| *until > start)
        };
        self.pages.iter().any(|(page, bits)| is_shared(page, bits))
            || self.full.iter().any(|(start, end)| is_met(*start, *end))
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.pages.is_empty()
    }

    /// Whether it holds every chunk of a manifest whose count is known. True of an empty manifest.
    pub fn is_complete(&self) -> bool {
        self.count.is_some_and(|count| self.len() == count)
    }

    /// How many chunks are in the set.
    pub const fn len(&self) -> u64 {
        self.held
    }

    /// Adds one chunk.
    pub fn insert(&mut self, index: ChunkIndex) {
        self.insert_run(index.0, index.0.saturating_add(1));
    }

    /// Adds those of the 16 chunks from `first`, which is a multiple of 16, whose bit is set: bit `i` stands for chunk
    /// `first + i`. Gives those that were not in the set before.
    pub fn insert_sixteen(&mut self, first: u64, chunks: u16) -> u16 {
        let shift = first % 64;
        (self.insert_word(first / 64, u64::from(chunks) << shift) >> shift) as u16
    }

    /// Adds a run.
    pub fn insert_range(&mut self, range: ChunkRange) {
        self.insert_run(range.start.0, range.end());
    }

    /// Adds what a peer said.
    pub fn insert_part(&mut self, part: &AvailabilityPart) {
        match &part.chunks {
            PartChunks::All => self.insert_run(part.start.0, part.end()),
            PartChunks::Bitmap(bits) => {
                for (at, bytes) in bits.chunks(8).enumerate() {
                    let offset = at as u64 * 64;
                    let word = bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
                    let word = word & page::below(part.count.saturating_sub(offset));
                    let start = part.start.0.saturating_add(offset);
                    let shift = start % 64;
                    self.insert_word(start / 64, word << shift);
                    self.insert_word(start / 64 + 1, word >> 1 >> (63 - shift));
                }
            }
        }
    }

    /// Adds those of the 64 chunks from `number` × 64 whose bit is set; gives those that were not in the set before.
    fn insert_word(&mut self, number: u64, word: u64) -> u64 {
        let count = self.count.unwrap_or(u64::MAX);
        let word = word & page::below(count.saturating_sub(number.saturating_mul(64)));
        if word == 0 {
            0
        } else {
            self.set_word(number / PAGE_WORDS as u64, (number % PAGE_WORDS as u64) as usize, word)
        }
    }

    /// Takes one chunk out.
    pub fn remove(&mut self, index: ChunkIndex) {
        let (page, at) = (index.0 / PAGE_CHUNKS, index.0 % PAGE_CHUNKS);
        self.unfill(page);
        let Some(bits) = self.pages.get_mut(&page) else { return };
        let Some(word) = bits.get_mut((at / 64) as usize) else { return };
        let before = std::mem::replace(word, *word & !(1 << (at % 64)));
        self.held -= u64::from(before != *word);
        if *word == 0 && bits.iter().all(|word| *word == 0) {
            self.pages.remove(&page);
        }
    }

    /// The set as parts for the wire, in order; runs that are held in full come as one part, empty ones not at all.
    pub fn parts(&self) -> Vec<AvailabilityPart> {
        let mut parts: Vec<AvailabilityPart> = Vec::new();
        let mut full = self.full.iter().peekable();
        let mut pages = self.pages.iter().peekable();
        loop {
            let next_full = full.peek().map(|(start, _)| **start);
            let next_page = pages.peek().map(|(page, _)| **page);
            match (next_full, next_page) {
                (None, None) => return parts,
                (Some(start), page) if page.is_none_or(|page| start < page) => {
                    let end = full.next().map_or(start, |(_, end)| *end);
                    parts.push(AvailabilityPart {
                        start: ChunkIndex(start * PAGE_CHUNKS),
                        count: (end - start).saturating_mul(PAGE_CHUNKS),
                        chunks: PartChunks::All,
                    });
                }
                _ => {
                    if let Some((page, bits)) = pages.next() {
                        page::push(&mut parts, *page, bits);
                    }
                }
            }
        }
    }

    fn page_is_full(&self, page: u64) -> bool {
        self.full.range(..=page).next_back().is_some_and(|(_, end)| page < *end)
    }

    /// How many pages held in part are allowed: as many as the manifest has, or a fixed few before that is known.
    fn page_limit(&self) -> usize {
        match self.count {
            Some(count) => usize::try_from(count / PAGE_CHUNKS + 1).unwrap_or(usize::MAX),
            None => UNCOUNTED_PAGES,
        }
    }

    fn insert_run(&mut self, start: u64, end: u64) {
        let end = end.min(self.count.unwrap_or(u64::MAX));
        if start >= end {
            return;
        }
        let first_whole = start.div_ceil(PAGE_CHUNKS);
        let after_whole = end / PAGE_CHUNKS;
        if first_whole < after_whole {
            self.fill_pages(first_whole, after_whole);
        }
        let first_page = start / PAGE_CHUNKS;
        if first_page < first_whole {
            self.set_bits(first_page, start, end.min(first_whole.saturating_mul(PAGE_CHUNKS)));
        }
        if after_whole > first_page || first_page == first_whole {
            self.set_bits(after_whole, start.max(after_whole.saturating_mul(PAGE_CHUNKS)), end);
        }
    }

    fn set_bits(&mut self, page: u64, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let base = page * PAGE_CHUNKS;
        for at in (start - base) / 64..=(end - 1 - base) / 64 {
            let first = base + at * 64;
            self.set_word(page, at as usize, page::below(end - first) & !page::below(start.saturating_sub(first)));
        }
    }

    /// Adds the bits of a word of a page; gives those that were not set before.
    fn set_word(&mut self, page: u64, at: usize, bits: u64) -> u64 {
        let (news, is_full) = match self.pages.get_mut(&page) {
            Some(words) => page::set(words, at, bits),
            None => {
                if self.page_is_full(page) || self.pages.len() >= self.page_limit() {
                    return 0;
                }
                let mut words = Box::new([0; PAGE_WORDS]);
                let set = page::set(&mut words, at, bits);
                self.pages.insert(page, words);
                set
            }
        };
        self.held += u64::from(news.count_ones());
        if is_full {
            self.fill_pages(page, page + 1);
        }
        news
    }

    /// Marks pages as full, joining them with the full runs that they touch.
    fn fill_pages(&mut self, start: u64, end: u64) {
        if self.full.len() >= self.page_limit() {
            return;
        }
        let overlap = |from: u64, until: u64| until.min(end).saturating_sub(from.max(start)) * PAGE_CHUNKS;
        let before = self.full.range(..start).next_back().map_or(0, |(from, until)| overlap(*from, *until));
        let within: u64 = self.full.range(start..end).map(|(from, until)| overlap(*from, *until)).sum();
        let mut fresh = (end - start) * PAGE_CHUNKS - before - within;
        let covered: Vec<u64> = self.pages.range(start..end).map(|(page, _)| *page).collect();
        for page in covered {
            fresh -= self.pages.remove(&page).map_or(0, |bits| page::ones(&bits));
        }
        self.held += fresh;
        let (mut start, mut end) = (start, end);
        if let Some((before, until)) = self.full.range(..=start).next_back()
            && *until >= start
        {
            start = *before;
        }
        let touched: Vec<(u64, u64)> = self.full.range(start..=end).map(|(a, b)| (*a, *b)).collect();
        for (from, until) in touched {
            end = end.max(until);
            self.full.remove(&from);
        }
        self.full.insert(start, end);
    }

    /// Turns a page that is part of a full run into bits of its own.
    fn unfill(&mut self, page: u64) {
        let Some((start, end)) = self.full.range(..=page).next_back().map(|(a, b)| (*a, *b)) else {
            return;
        };
        if page >= end {
            return;
        }
        self.full.remove(&start);
        if start < page {
            self.full.insert(start, page);
        }
        if page + 1 < end {
            self.full.insert(page + 1, end);
        }
        self.pages.insert(page, Box::new([u64::MAX; PAGE_WORDS]));
    }
}

#[cfg(test)]
mod tests;
