//! The last step of a fetch with an output: what was held already is read from the store and written.
//!
//! Reading is checking, which takes most of the time: it has a thread for each core. One more writes, and the output
//! has itself flushed meanwhile. An export that is dropped ends within a batch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use futures::future::join_all;
use shoal_protocol::availability::{Availability, ChunkIndex};
use shoal_protocol::hash::{ChunkId, ContentHash};
use shoal_protocol::manifest::{ChunkLeaf, ChunkRow, ChunkWalk, Root, Step};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::FetchError;
use super::keep::Keeping;
use super::replace::TakeOver;
use crate::output::Output;
use crate::store::{ReadError, Store};

/// Chunks that are read in one go.
const BATCH_CHUNKS: usize = 16;
/// Batches that may wait between the threads that read and the one that writes.
const QUEUE_BATCHES: usize = 4;
/// Threads that read at most: each has a batch in hand.
const MAX_READERS: usize = 4;

/// Chunks with their places in the stream.
pub(super) type Batch = Vec<(u64, ChunkRow, bytes::Bytes)>;

/// An output in which nothing is missing but what was held before.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) output: Output,
    /// What the store knows of it, if it keeps it.
    pub(super) keeping: Option<Keeping>,
    /// The chunks that are in it.
    pub(super) written: Availability,
    /// Sees to what it replaces, if it may replace anything.
    pub(super) take_over: Option<TakeOver>,
}

/// Writes every chunk that has not been written yet, then finishes the output. `on_bytes` is told how many bytes it
/// has written so far. What the output itself keeps is read and checked there, and not written again.
///
/// # Errors
/// Among others [`FetchError::Read`] when a chunk turns out to be damaged: the store has forgotten it then, and all
/// others that are damaged too, so that the fetch can be begun anew.
pub(super) async fn export(
    store: &Store,
    hash: ContentHash,
    root: Root,
    mut unfinished: Unfinished,
    on_bytes: impl FnMut(u64) + Send + 'static,
) -> Result<(), FetchError> {
    let written = std::mem::replace(&mut unfinished.written, Availability::new(0));
    if written.is_complete() {
        return spawn_blocking(move || unfinished.finish()).await.map_err(|_| FetchError::Broken)?;
    }
    // Dropped with this future: the threads know then that nobody waits for them any more.
    let given_up = CancellationToken::new();
    let _end = given_up.clone().drop_guard();
    let (sink, batches) = mpsc::channel::<Batch>(QUEUE_BATCHES);
    let plan = Arc::new(Mutex::new(Plan::new(store, hash, &root, written)));
    let count = available_parallelism().map_or(1, usize::from).min(MAX_READERS);
    let readers = (0..count).map(|_| {
        let (store, plan, sink, given_up) = (store.clone(), Arc::clone(&plan), sink.clone(), given_up.clone());
        spawn_blocking(move || read_all(&store, &plan, &sink, &given_up))
    });
    let readers: Vec<_> = readers.collect();
    drop(sink);
    let ended = given_up.clone();
    let writer = spawn_blocking(move || write_all(unfinished, batches, on_bytes, &ended));
    // A writer that failed is the cause when the readers find nobody to read for.
    let unfinished = writer.await.map_err(|_| FetchError::Broken)??;
    for read in join_all(readers).await {
        read.map_err(|_| FetchError::Broken)??;
    }
    if let Some(damage) = self::plan(&plan).damage.take() {
        return Err(FetchError::Read(damage));
    }
    spawn_blocking(move || unfinished.finish()).await.map_err(|_| FetchError::Broken)?
}

impl Unfinished {
    /// Gives the output its final name.
    fn finish(self) -> Result<(), FetchError> {
        self.output.finish()?;
        if let Some(keeping) = self.keeping {
            keeping.finish();
        }
        // What lies under the name now stays.
        drop(self.take_over);
        Ok(())
    }
}

/// Writes what comes. Of what it gives back nobody hears who has given up: it goes.
fn write_all(
    mut unfinished: Unfinished,
    mut batches: mpsc::Receiver<Batch>,
    mut on_bytes: impl FnMut(u64),
    given_up: &CancellationToken,
) -> Result<Unfinished, FetchError> {
    let Unfinished { output, keeping, take_over, .. } = &mut unfinished;
    // Whatever is there now: a file may come until the output has its name.
    let mut take_over = take_over.as_mut();
    let mut done = 0;
    while let Some(batch) = batches.blocking_recv().filter(|_| !given_up.is_cancelled()) {
        for (offset, row, bytes) in &batch {
            let is_there = match keeping {
                Some(keeping) => keeping.lies_there(*offset, row.id, row.len)?,
                None => false,
            };
            if !is_there {
                output.write(*offset, bytes)?;
                done += bytes.len() as u64;
            }
        }
        if let Some(take_over) = &mut take_over {
            take_over.take(&batch, keeping.as_mut())?;
        }
        on_bytes(done);
    }
    if given_up.is_cancelled() {
        return Ok(unfinished);
    }
    if let Some(take_over) = take_over {
        take_over.finish(keeping.as_mut())?;
    }
    Ok(unfinished)
}

/// What is still to be read; the readers share it.
struct Plan {
    store: Store,
    hash: ContentHash,
    /// The way through the chunk list: each of its nodes is read once.
    walk: ChunkWalk,
    has_ended: bool,
    written: Availability,
    /// Those of one leaf that nobody has taken yet, with their places in the stream.
    due: VecDeque<(u64, ChunkRow)>,
    /// What was found first. Nothing more is written from then on; the rest is looked at so that one round finds all.
    damage: Option<ReadError>,
}

// A std mutex: for the time of reading a node at most, on threads that may block.
fn plan(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plan {
    fn new(store: &Store, hash: ContentHash, root: &Root, written: Availability) -> Self {
        let walk = ChunkWalk::all(root);
        Self { store: store.clone(), hash, walk, has_ended: false, written, due: VecDeque::new(), damage: None }
    }

    /// The next chunks to read; none when there are no more.
    fn take(&mut self) -> Result<Vec<(u64, ChunkRow)>, FetchError> {
        while self.due.is_empty() && !self.has_ended {
            let Some(leaf) = self.next_leaf()? else {
                self.has_ended = true;
                break;
            };
            let mut offset = leaf.offset;
            for (index, row) in (leaf.first..).zip(&leaf.rows) {
                if !self.written.contains(ChunkIndex(index)) {
                    self.due.push_back((offset, *row));
                }
                offset += u64::from(row.len);
            }
        }
        let count = self.due.len().min(BATCH_CHUNKS);
        Ok(self.due.drain(..count).collect())
    }

    fn next_leaf(&mut self) -> Result<Option<ChunkLeaf>, FetchError> {
        let malformed = |error| FetchError::malformed(self.hash, error);
        loop {
            match self.walk.step().map_err(malformed)? {
                Step::Leaf(leaf) => return Ok(Some(leaf)),
                Step::Done => return Ok(None),
                Step::Need(id) => {
                    let bytes = self.store.read_node(&id)?.ok_or(FetchError::Broken)?;
                    self.walk.feed(id, &bytes).map_err(malformed)?;
                }
            }
        }
    }

    /// Has no reader begin anything more.
    fn end(&mut self) {
        self.due.clear();
        self.has_ended = true;
    }
}

/// Reads batch after batch until there are no more, or nobody takes them.
fn read_all(
    store: &Store,
    shared: &Mutex<Plan>,
    sink: &mpsc::Sender<Batch>,
    given_up: &CancellationToken,
) -> Result<(), FetchError> {
    loop {
        if given_up.is_cancelled() {
            return Ok(());
        }
        let due = plan(shared).take();
        let batch = match due {
            Ok(due) if due.is_empty() => return Ok(()),
            Ok(due) => read(store, &due, shared),
            Err(error) => Err(error),
        };
        let batch = batch.inspect_err(|_| plan(shared).end())?;
        if !batch.is_empty() && sink.blocking_send(batch).is_err() {
            return Ok(());
        }
    }
}

/// Reads some chunks; nothing of them once something is damaged.
fn read(store: &Store, due: &[(u64, ChunkRow)], shared: &Mutex<Plan>) -> Result<Batch, FetchError> {
    let ids: Vec<ChunkId> = due.iter().map(|(_, row)| row.id).collect();
    let mut batch = Batch::with_capacity(due.len());
    for (read, &(offset, row)) in store.read_chunks(&ids)?.into_iter().zip(due) {
        match read {
            Ok(Some(bytes)) => batch.push((offset, row, bytes)),
            Ok(None) => return Err(FetchError::Gone(row.id)),
            Err(error @ ReadError::Damaged { .. }) => drop(plan(shared).damage.get_or_insert(error)),
            Err(error) => return Err(error.into()),
        }
    }
    if plan(shared).damage.is_some() {
        batch.clear();
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use bytes::Bytes;
    use shoal_protocol::chunk::VerifiedChunk;
    use shoal_protocol::chunker::MIN_CHUNK_BYTES;
    use shoal_protocol::manifest::{ContentKind, ManifestBuilder};

    use super::*;
    use crate::output::{Claims, Leftovers, Shape};
    use crate::store::StoreConfig;

    /// Far more than what the threads and the queue between them have in hand.
    const CHUNKS: u32 = 400;

    async fn put(store: &Store) -> Root {
        let (ingest, mut builder) = (store.ingest(), ManifestBuilder::new(ContentKind::File));
        for number in 0..CHUNKS {
            let mut bytes = vec![0; MIN_CHUNK_BYTES as usize];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            let chunk = VerifiedChunk::of(Bytes::from(bytes));
            builder.push_chunk(chunk.id(), MIN_CHUNK_BYTES).unwrap();
            ingest.put_chunk(chunk).await.unwrap();
        }
        let finished = builder.finish().unwrap();
        for node in finished.nodes {
            ingest.put_node(node.id, node.bytes).await.unwrap();
        }
        ingest.flush().await.unwrap();
        finished.root
    }

    #[test]
    fn an_export_that_nobody_waits_for_ends_within_a_batch_and_leaves_nothing() {
        let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let store = Store::open(home.path(), StoreConfig::default()).unwrap();
        let root = runtime.block_on(put(&store));
        let (hash, shape) = (root.content_hash(), Shape::File { bytes: root.bytes });
        let (claims, target) = (Claims::default(), folder.path().join("target"));
        let output = Output::create(&claims, &target, &hash, shape, false, Leftovers::Remove).unwrap();
        let written = Availability::new(root.chunks);
        let unfinished = Unfinished { output, keeping: None, written, take_over: None };
        let (wrote, batches) = sync_channel(CHUNKS as usize);
        let (go_on, may_go_on) = sync_channel::<()>(0);
        let on_bytes = move |_| {
            wrote.send(()).unwrap();
            // Once nobody holds it back any more, at once.
            let _ = may_go_on.recv();
        };
        let exporting = store.clone();
        let task = runtime.spawn(async move { export(&exporting, hash, root, unfinished, on_bytes).await });
        batches.recv().unwrap();
        task.abort();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        drop(go_on);
        // Waits for its threads.
        drop(runtime);
        assert_eq!(batches.try_iter().count(), 0, "batches were written for nobody");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
