//! Where chunks go that a fetch has verified: the store, the output, and, once they are durable, those who wait for
//! them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_protocol::availability::{Availability, ChunkIndex, ChunkRange};
use shoal_protocol::chunk::VerifiedChunk;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::FetchError;
use super::export::Unfinished;
use super::keep::{Keeping, Kept};
use super::replace::TakeOver;
use super::writer::{OutputWriter, Piece};
use crate::contents::Live;
use crate::output::{Keeper, Output};
use crate::store::{Hold, Ingest, ManifestRecord, Replacing, Seq, Store};

/// Runs of chunks that may wait to become durable before no more places are looked up, 24 bytes each. What the store
/// has room for is far less; repeated chunks may stand at many places.
const MAX_UNSETTLED: usize = 128 * 1024;

/// How long after the last time that chunks were made durable because others wait for them it is done again: what comes
/// into a crowd must be passed on from peer to peer, and each has to make it durable first. The first are at once,
/// since until then this node has nothing to give.
const AWAITED_DELAY: Duration = Duration::from_millis(50);

/// Takes chunks in.
#[derive(Debug)]
pub(super) struct Sink {
    ingest: Ingest,
    settled: watch::Receiver<Seq>,
    output: Option<OutputWriter>,
    /// Chunks that have been handed to the output.
    written: Availability,
    /// Chunks on their way to being durable, oldest first: each is once both numbers are reached.
    unsettled: VecDeque<(Seq, u64, ChunkRange)>,
    /// Stands for the last chunk that was put into the store.
    last: Seq,
    /// When the first chunk of the group was put that is open there, if any may be.
    open_since: Option<Instant>,
    /// Stands for what was made durable in a hurry last: the next waits for it, so that a slow disk is not swamped.
    hurried: Seq,
    /// When that was.
    hurried_at: Option<Instant>,
    /// Present when the output may replace something.
    replacing: Option<Replacing>,
    /// Present when the output is the store's copy of what lies in large files.
    keeper: Option<Keeper>,
    /// The number of the last chunk that is to be kept in the output.
    last_kept: u64,
    /// The number of the last one that is, durably.
    kept: watch::Receiver<u64>,
}

impl Sink {
    pub(super) fn new(store: &Store, hold: Hold) -> Self {
        Self {
            ingest: store.ingest_under(hold),
            settled: store.settled(),
            output: None,
            written: Availability::new(0),
            unsettled: VecDeque::new(),
            last: Seq::default(),
            open_since: None,
            hurried: Seq::default(),
            hurried_at: None,
            replacing: None,
            keeper: None,
            last_kept: 0,
            kept: watch::channel(0).1,
        }
    }

    /// What there is to know of the output, if the store keeps it as its own copy.
    pub(super) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Where manifest nodes are put.
    pub(super) fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// Begins to write chunks to an output too.
    pub(super) fn set_output(&mut self, store: &Store, (output, replacing): (Output, Option<Replacing>), chunks: u64) {
        self.replacing = replacing;
        self.keeper = output.keeper().cloned();
        let keeping = self.keeper.clone().map(|keeper| {
            let (durable, kept) = watch::channel(0);
            self.kept = kept;
            (Keeping::new(store, self.ingest.hold(), keeper), durable)
        });
        self.output = Some(OutputWriter::start(output, keeping));
        self.written = Availability::new(chunks);
    }

    /// Takes a chunk in, at a place where it was missing. Waits for room in the store.
    pub(super) async fn put(
        &mut self,
        index: ChunkIndex,
        offset: u64,
        chunk: VerifiedChunk,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), FetchError> {
        let kept = self.place_of(offset, &chunk);
        if let Some(output) = &mut self.output {
            output.write(Piece { offset, bytes: chunk.bytes().clone(), kept, _permit: permit }).await?;
            self.written.insert(index);
        }
        match kept {
            Some(kept) => self.last_kept = kept.number,
            None => {
                let seq = self.ingest.put_chunk(chunk).await?;
                if seq > self.last || self.open_since.is_none() {
                    self.open_since = Some(Instant::now());
                }
                // One that was pending already has the number of its first time.
                self.last = self.last.max(seq);
            }
        }
        self.unsettled.push_back((self.last, self.last_kept, ChunkRange::one(index)));
        Ok(())
    }

    /// Where the output keeps a chunk, if it is the one to do so.
    fn place_of(&self, offset: u64, chunk: &VerifiedChunk) -> Option<Kept> {
        let len = u32::try_from(chunk.bytes().len()).ok()?;
        let (file, offset) = self.keeper.as_ref()?.file_of(offset, len)?;
        Some(Kept { number: self.last_kept + 1, id: chunk.id(), len, file, offset })
    }

    /// Notes further places of chunks that have been put: they become durable with them. Nothing is written there now;
    /// the end of the fetch sees to that, from the store.
    pub(super) fn expect(&mut self, places: &[ChunkRange]) {
        self.unsettled.extend(places.iter().map(|places| (self.last, self.last_kept, *places)));
    }

    /// Whether so much waits to become durable that no more places should be added. Ends by itself.
    pub(super) fn is_full(&self) -> bool {
        self.unsettled.len() >= MAX_UNSETTLED
    }

    /// Waits until something that was put has become durable. For ever, when nothing is on its way.
    pub(super) async fn settles(&mut self) -> Result<(), FetchError> {
        match self.unsettled.front() {
            None => std::future::pending().await,
            Some(&(seq, kept, _)) => {
                // The store outlives its ingests; it only closes when the node stops.
                let _ = self.settled.wait_for(|settled| *settled >= seq).await;
                self.ingest.check()?;
                if kept > 0 && self.kept.wait_for(|number| *number >= kept).await.is_err() {
                    return Err(match &mut self.output {
                        Some(output) => output.failure().await,
                        None => FetchError::Broken,
                    });
                }
                Ok(())
            }
        }
    }

    /// When what was put is to be made durable, if others wait for it, and what was hurried before is durable.
    pub(super) fn hurry_at(&self) -> Option<Instant> {
        let since = self.open_since.filter(|_| *self.settled.borrow() >= self.hurried)?;
        Some(self.hurried_at.map_or(since, |last| since.max(last + AWAITED_DELAY)))
    }

    /// Others wait for what was put: it is made durable if that is due.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.hurry_at().is_some_and(|at| at <= now) {
            self.open_since = None;
            self.hurried_at = Some(now);
            self.hurried = self.last;
            self.ingest.hurry();
        }
    }

    /// Tells those who wait of everything that has become durable. `true`: there was something.
    pub(super) fn tell(&mut self, live: &Live) -> Result<bool, FetchError> {
        self.ingest.check()?;
        let settled = *self.settled.borrow_and_update();
        let kept = *self.kept.borrow_and_update();
        let mut ranges: Vec<ChunkRange> = Vec::new();
        while let Some(&(seq, number, run)) = self.unsettled.front()
            && seq <= settled
            && number <= kept
        {
            self.unsettled.pop_front();
            match ranges.last_mut() {
                Some(last) if last.end() == run.start.0 && last.count.checked_add(run.count).is_some() => {
                    last.count += run.count;
                }
                _ => ranges.push(run),
            }
        }
        for range in &ranges {
            live.add(*range);
        }
        Ok(!ranges.is_empty())
    }

    /// Makes everything durable, and gives back the output with what has been written to it. What was put completes the
    /// content of `record`, if there is one, which is recorded with it.
    pub(super) async fn finish(
        mut self,
        live: Option<&Arc<Live>>,
        record: Option<ManifestRecord>,
    ) -> Result<Option<Unfinished>, FetchError> {
        // What is kept in the output has to be durable there first.
        let (record, late_record) = if self.keeper.is_none() { (record, None) } else { (None, record) };
        let output = async {
            match self.output.take() {
                Some(output) => output.finish().await.map(Some),
                None => Ok(None),
            }
        };
        let stored = async {
            match record {
                Some(record) => Ok(self.ingest.complete(record).await?),
                None => Ok(self.ingest.flush().await?),
            }
        };
        let (output, ()) = tokio::try_join!(output, stored)?;
        if let Some(record) = late_record {
            self.ingest.record(record).await?;
        }
        if let Some(live) = live {
            self.tell(live)?;
        }
        let take_over = self.replacing.map(|replacing| TakeOver::new(replacing, self.ingest));
        let unfinished = |(output, keeping)| Unfinished { output, keeping, written: self.written, take_over };
        Ok(output.map(unfinished))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::store::StoreConfig;

    #[tokio::test]
    async fn what_others_wait_for_is_durable_before_a_group_is_full_or_old() {
        let home = tempfile::tempdir().unwrap();
        let config = StoreConfig { group_delay: Duration::from_secs(86_400), ..StoreConfig::default() };
        let store = Store::open(home.path(), config).unwrap();
        let mut sink = Sink::new(&store, store.hold(None));
        let put = async |index: u64, bytes: &'static [u8], sink: &mut Sink| {
            let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let chunk = VerifiedChunk::of(Bytes::from_static(bytes));
            sink.put(ChunkIndex(index), 0, chunk, permit).await.unwrap();
        };
        let before = Instant::now();
        assert_eq!(sink.hurry_at(), None);
        put(3, b"first", &mut sink).await;
        let first = sink.hurry_at().unwrap();
        assert!(before <= first && first <= Instant::now(), "the first does not wait");
        sink.hurry(first);
        assert_eq!(sink.hurry_at(), None);
        sink.settles().await.unwrap();
        sink.unsettled.clear();
        put(4, b"second", &mut sink).await;
        let due = sink.hurry_at().unwrap();
        assert!(due >= first + AWAITED_DELAY);
        sink.hurry(due - Duration::from_nanos(1));
        assert_eq!(sink.hurry_at(), Some(due), "it is too soon");
        sink.hurry(due);
        assert_eq!(sink.hurry_at(), None);
        // A day later, otherwise.
        sink.settles().await.unwrap();
    }
}
