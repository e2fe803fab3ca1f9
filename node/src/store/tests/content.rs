//! Contents for tests of the store: chunks and the manifest over them.

use shoal_protocol::chunker::MIN_CHUNK_BYTES;
use shoal_protocol::hash::ContentHash;
use shoal_protocol::manifest::{ContentKind, EncodedNode, ManifestBuilder, Root};

use super::super::{ContentState, FileStamp, Ingest, KeptChunk, NewFile};
use super::*;
use crate::manifests;

/// A chunk as it may stand anywhere in a content.
pub(super) fn whole_chunk(rng: &mut ChaCha8Rng) -> VerifiedChunk {
    let mut bytes = vec![0; MIN_CHUNK_BYTES as usize + below(rng, 8_000)];
    rng.fill_bytes(&mut bytes);
    VerifiedChunk::of(Bytes::from(bytes))
}

/// A content.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) chunks: Vec<VerifiedChunk>,
    nodes: Vec<EncodedNode>,
    root: Root,
}

impl Sample {
    /// A file of these chunks.
    pub(super) fn of(chunks: Vec<VerifiedChunk>) -> Self {
        let mut builder = ManifestBuilder::new(ContentKind::File);
        let mut nodes = Vec::new();
        for chunk in &chunks {
            builder.push_chunk(chunk.id(), chunk.bytes().len() as u32).unwrap();
            nodes.extend(builder.drain_nodes());
        }
        let finished = builder.finish().unwrap();
        nodes.extend(finished.nodes);
        Self { chunks, nodes, root: finished.root }
    }

    /// So many chunks that nobody has.
    pub(super) fn random(rng: &mut ChaCha8Rng, chunks: usize) -> Self {
        Self::of((0..chunks).map(|_| whole_chunk(rng)).collect())
    }

    /// The same with the first chunks replaced.
    pub(super) fn changed(&self, rng: &mut ChaCha8Rng, first: usize) -> Self {
        let fresh = (0..first).map(|_| whole_chunk(rng));
        Self::of(fresh.chain(self.chunks.iter().skip(first).cloned()).collect())
    }

    pub(super) fn hash(&self) -> ContentHash {
        self.root.content_hash()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.root.bytes
    }

    pub(super) fn record(&self, state: ContentState) -> ManifestRecord {
        manifests::record(self.hash(), &self.root, state, None, 1)
    }

    pub(super) fn put_nodes(&self, ingest: &Ingest) {
        wait(self.put_nodes_now(ingest)).unwrap();
    }

    pub(super) async fn put_nodes_now(&self, ingest: &Ingest) -> Result<(), StoreError> {
        for node in &self.nodes {
            ingest.put_node(node.id, node.bytes.clone()).await?;
        }
        Ok(())
    }

    /// Puts everything, durably.
    pub(super) fn put(&self, _: &Store, ingest: &Ingest) {
        self.put_nodes(ingest);
        wait(async {
            for chunk in &self.chunks {
                ingest.put_chunk(chunk.clone()).await.unwrap();
            }
            ingest.flush().await.unwrap();
        });
    }

    /// Puts everything and records it: in the commit of the last chunks, or after it.
    pub(super) fn publish(&self, store: &Store) {
        if self.hash().as_bytes()[0].is_multiple_of(2) {
            return self.complete(store);
        }
        let ingest = store.ingest();
        self.put(store, &ingest);
        wait(ingest.record(self.record(ContentState::Complete))).unwrap();
    }

    /// Puts everything, and records it in the commit of the last chunks.
    pub(super) fn complete(&self, store: &Store) {
        let ingest = store.ingest();
        self.put_nodes(&ingest);
        wait(async {
            for chunk in &self.chunks {
                ingest.put_chunk(chunk.clone()).await.unwrap();
            }
            ingest.complete(self.record(ContentState::Complete)).await.unwrap();
        });
    }

    /// Publishes two contents whose chunks lie mixed with each other.
    pub(super) fn publish_mixed(store: &Store, one: &Self, other: &Self) {
        let ingest = store.ingest();
        wait(async {
            for at in 0..one.chunks.len().max(other.chunks.len()) {
                for chunk in [one.chunks.get(at), other.chunks.get(at)].into_iter().flatten() {
                    ingest.put_chunk(chunk.clone()).await.unwrap();
                }
            }
        });
        one.put(store, &ingest);
        other.put(store, &ingest);
        wait(ingest.record(one.record(ContentState::Complete))).unwrap();
        wait(ingest.record(other.record(ContentState::Complete))).unwrap();
    }

    /// Places its chunks, and puts the rest, with `ingest`: in a new file at `path` with its bytes.
    pub(super) fn place(&self, store: &Store, ingest: &Ingest, path: &Path) {
        let bytes = self.chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect::<Vec<_>>();
        if !std::fs::read(path).is_ok_and(|there| there == bytes) {
            std::fs::write(path, bytes).unwrap();
        }
        let stamp = FileStamp::of(&std::fs::metadata(path).unwrap());
        self.put_nodes(ingest);
        wait(ingest.flush()).unwrap();
        let mut writer = store.in_place_writer_under(ingest.hold());
        let file = writer.add(NewFile { path: path.to_owned(), becomes: None, stamp }).unwrap();
        let mut offset = 0;
        let kept = self.chunks.iter().map(|chunk| {
            let len = chunk.bytes().len() as u32;
            offset += u64::from(len);
            KeptChunk { id: chunk.id(), file, offset: offset - u64::from(len), len }
        });
        writer.keep(&kept.collect::<Vec<_>>()).unwrap();
    }

    /// Publishes it in place and records it.
    pub(super) fn publish_in_place(&self, store: &Store, path: &Path) {
        let ingest = store.ingest();
        self.place(store, &ingest, path);
        wait(ingest.record(self.record(ContentState::Complete))).unwrap();
    }

    /// How many of its chunks are held.
    pub(super) fn held(&self, store: &Store) -> usize {
        let ids: Vec<_> = self.chunks.iter().map(VerifiedChunk::id).collect();
        store.holds_chunks(&ids).unwrap().into_iter().filter(|held| *held).count()
    }

    /// Whether every node is there with its bytes; says which is not.
    pub(super) fn has_nodes(&self, store: &Store) -> Result<(), String> {
        for node in &self.nodes {
            match store.read_node(&node.id).map_err(|error| error.to_string())? {
                Some(bytes) if bytes == node.bytes => {}
                other => return Err(format!("node {:?} is {other:?}", node.id)),
            }
        }
        Ok(())
    }

    /// Every chunk and node is there with its bytes.
    #[track_caller]
    pub(super) fn assert_whole(&self, store: &Store) {
        assert_holds(store, &self.chunks);
        for node in &self.nodes {
            assert_eq!(store.read_node(&node.id).unwrap().as_ref(), Some(&node.bytes));
        }
    }
}
