//! The cutting third of an import: pieces of bytes become chunks.
//!
//! Runs on a thread that may block. The chunks share the pieces that they were read in; one is copied only where it
//! straddles two.

use bytes::Bytes;
use shoal_protocol::chunker::Chunker;
use tokio::sync::mpsc;

use super::read::{Origin, Piece};

/// Chunks that end in one piece, in stream order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) chunks: Vec<Bytes>,
    /// Where the first of them begins, if they are those of a large file.
    pub(super) origin: Option<Origin>,
}

/// Cuts all pieces. A run that breaks off with them gives no chunk for its end: whoever read it says why. Ends early
/// when nobody takes the chunks any more.
pub(super) fn cut_all(mut pieces: mpsc::Receiver<Piece>, sink: &mpsc::Sender<Batch>) {
    let mut cutter = Cutter::default();
    while let Some(piece) = pieces.blocking_recv() {
        let batch = cutter.cut(piece);
        if !batch.chunks.is_empty() && sink.blocking_send(batch).is_err() {
            return;
        }
    }
}

#[derive(Debug, Default)]
struct Cutter {
    chunker: Chunker,
    /// What the open chunk has of earlier pieces.
    open: Vec<u8>,
}

impl Cutter {
    fn cut(&mut self, piece: Piece) -> Batch {
        let origin = piece.origin.map(|origin| {
            // The first chunk may have begun in the piece before.
            Origin { offset: origin.offset - self.open.len() as u64, ..origin }
        });
        let mut rest = Bytes::from(piece.bytes);
        let mut chunks = Vec::new();
        while let Some(step) = self.chunker.next_cut(&rest) {
            chunks.push(self.end_chunk(rest.split_to(step)));
        }
        if !piece.ends_run {
            self.open.extend_from_slice(&rest);
        } else {
            self.chunker = Chunker::new();
            if !rest.is_empty() || !self.open.is_empty() {
                chunks.push(self.end_chunk(rest));
            }
        }
        Batch { chunks, origin }
    }

    /// The open chunk, which ends with `tail`.
    fn end_chunk(&mut self, tail: Bytes) -> Bytes {
        if self.open.is_empty() {
            return tail;
        }
        self.open.extend_from_slice(&tail);
        Bytes::from(std::mem::take(&mut self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8], at: usize, ends_run: bool) -> Piece {
        let origin = Some(Origin { file: 0, offset: at as u64 });
        Piece { bytes: bytes.to_vec(), origin, ends_run }
    }

    /// Bytes that repeat only after long.
    fn content(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Cut in pieces of `size`: each chunk with its place.
    fn cut(content: &[u8], size: usize) -> Vec<(u64, Bytes)> {
        let mut cutter = Cutter::default();
        let mut found = Vec::new();
        let count = content.len().div_ceil(size);
        for (number, part) in content.chunks(size).enumerate() {
            let batch = cutter.cut(piece(part, number * size, number + 1 == count));
            let mut offset = batch.origin.unwrap().offset;
            for chunk in batch.chunks {
                let len = chunk.len() as u64;
                found.push((offset, chunk));
                offset += len;
            }
        }
        assert_eq!(cutter.chunker.open_bytes(), 0);
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
        let mut cutter = Cutter::default();
        let before = cutter.cut(piece(&content[..300_000], 0, true)).chunks;
        assert_eq!(before.iter().map(Bytes::len).sum::<usize>(), 300_000);
        let after = cutter.cut(piece(&content[300_000..], 0, true)).chunks;
        assert_eq!(after, alone.into_iter().map(|(_, chunk)| chunk).collect::<Vec<_>>());
        // A run of nothing has no chunk.
        assert!(cutter.cut(piece(&[], 0, true)).chunks.is_empty());
    }
}
