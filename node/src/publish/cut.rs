//! The cutting part of an import: pieces of bytes become chunks.
//!
//! The chunks share the pieces that they were read in; one is copied only where it straddles two.

use bytes::Bytes;
use shoal_protocol::chunker::{Candidates, Cutter};

use super::read::{Origin, Piece};

/// Chunks that end in one piece, in stream order.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) chunks: Vec<Bytes>,
    /// Where the first of them begins, if they are those of a large file.
    pub(super) origin: Option<Origin>,
}

/// What the next piece is cut with.
#[derive(Debug, Default)]
pub(super) struct OpenChunk {
    cutter: Cutter,
    /// What the chunk has of earlier pieces.
    bytes: Vec<u8>,
}

impl OpenChunk {
    /// Cuts the piece that follows the one before, in which `candidates` are.
    pub(super) fn cut(&mut self, piece: Piece, candidates: &Candidates) -> Cut {
        let origin = piece.origin.map(|origin| {
            // The first chunk may have begun in the piece before.
            Origin { offset: origin.offset - self.bytes.len() as u64, ..origin }
        });
        let mut rest = piece.bytes;
        let parts = self.cutter.cut(candidates).into_iter();
        let mut chunks: Vec<Bytes> = parts.map(|part| self.end(rest.split_to(part))).collect();
        if !piece.ends_run {
            self.bytes.extend_from_slice(&rest);
        } else if self.cutter.finish() > 0 {
            chunks.push(self.end(rest));
        }
        Cut { chunks, origin }
    }

    /// The chunk, which ends with `tail`.
    fn end(&mut self, tail: Bytes) -> Bytes {
        if self.bytes.is_empty() {
            return tail;
        }
        self.bytes.extend_from_slice(&tail);
        Bytes::from(std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts what follows `before` in its run.
    fn cut_on(open: &mut OpenChunk, before: &[u8], bytes: &[u8], ends_run: bool) -> Cut {
        let before = Bytes::copy_from_slice(before);
        let origin = Some(Origin { file: 0, offset: before.len() as u64 });
        let candidates = Candidates::of(&before, bytes);
        open.cut(Piece { before, bytes: Bytes::copy_from_slice(bytes), origin, ends_run }, &candidates)
    }

    /// Bytes that repeat only after long.
    fn content(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Cut in pieces of `size`: each chunk with its place.
    fn cut(content: &[u8], size: usize) -> Vec<(u64, Bytes)> {
        let mut open = OpenChunk::default();
        let mut found = Vec::new();
        let count = content.len().div_ceil(size);
        for (number, part) in content.chunks(size).enumerate() {
            let cut = cut_on(&mut open, &content[..number * size], part, number + 1 == count);
            let mut offset = cut.origin.unwrap().offset;
            for chunk in cut.chunks {
                let len = chunk.len() as u64;
                found.push((offset, chunk));
                offset += len;
            }
        }
        assert!(open.bytes.is_empty());
        found
    }

    #[test]
    fn pieces_of_any_size_give_the_same_chunks_in_the_same_places() {
        let content = content(1_500_000);
        let whole = cut(&content, content.len());
        assert!(whole.len() > 5, "{} chunks", whole.len());
        let mut end = 0;
        for (offset, chunk) in &whole {
            assert_eq!(*offset, end);
            end += chunk.len() as u64;
            assert_eq!(content[*offset as usize..end as usize], *chunk);
        }
        assert_eq!(end, content.len() as u64);
        for size in [1_000, 40_000, 262_144, 524_288, 1_499_999] {
            assert_eq!(cut(&content, size), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_run_ends_its_chunk_and_what_follows_stands_alone() {
        let content = content(700_000);
        let alone = cut(&content[300_000..], 100_000);
        let mut open = OpenChunk::default();
        let before = cut_on(&mut open, &[], &content[..300_000], true).chunks;
        assert_eq!(before.iter().map(Bytes::len).sum::<usize>(), 300_000);
        let after = cut_on(&mut open, &[], &content[300_000..], true).chunks;
        assert_eq!(after, alone.into_iter().map(|(_, chunk)| chunk).collect::<Vec<_>>());
        // A run of nothing has no chunk.
        assert!(cut_on(&mut open, &[], &[], true).chunks.is_empty());
    }
}
