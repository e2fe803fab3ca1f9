//! The collector's thread: what it is asked, and when it looks by itself.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Collected;
use super::choose::{Effort, is_due};
use super::cycle::{collect, look};
use super::evict::make_room;
use crate::store::error::StoreError;
use crate::store::index::Index;
use crate::store::rows::SegmentState;
use crate::store::shared::Shared;
use crate::store::writer::News;

/// Askers that may wait.
const ASKERS: usize = 64;

/// What somebody wants of the collector.
#[derive(Debug)]
enum Ask {
    /// A collection, or with a dry run to know what it would do.
    Collect { effort: Effort, dry_run: bool, reply: oneshot::Sender<Result<Collected, StoreError>> },
    /// Room for a writer's group of so many bytes and rows of the index.
    Room { payload: u64, rows: u64, reply: SyncSender<Result<(), StoreError>> },
}

#[derive(Debug, Default)]
struct Queue {
    asks: VecDeque<Ask>,
    is_nudged: bool,
    is_closing: bool,
    /// Bytes of contents that were removed since the last cycle.
    removed_bytes: u64,
    /// Garbage that the last cycle left, as not worth its while.
    left_bytes: u64,
    last: Option<Instant>,
}

/// The way to the collector's thread.
#[derive(Debug, Default)]
pub(in crate::store) struct Collector {
    // A std mutex: a few moves at a time.
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Called at each step of a cycle: lets a test do things in between.
    #[cfg(test)]
    pub(in crate::store) steps: Steps,
}

/// What a test does between two steps of a cycle.
#[cfg(test)]
#[derive(Default)]
pub(in crate::store) struct Steps(pub(in crate::store) Mutex<Option<Box<dyn FnMut() + Send>>>);

#[cfg(test)]
impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}

enum Task {
    Do(Ask),
    Look,
    End,
}

impl Collector {
    /// Asks for a collection; the answer comes when it is done.
    pub(in crate::store) fn ask(
        &self,
        effort: Effort,
        dry_run: bool,
    ) -> Result<oneshot::Receiver<Result<Collected, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let mut queue = self.queue();
        if queue.is_closing || queue.asks.len() >= ASKERS {
            return Err(StoreError::Closed);
        }
        queue.asks.push_back(Ask::Collect { effort, dry_run, reply });
        self.wake.notify_all();
        Ok(answer)
    }

    /// Asks for room under the quota, and waits until it is there.
    pub(in crate::store) fn ask_room(&self, payload: u64, rows: u64) -> Result<(), StoreError> {
        let (reply, answer) = sync_channel(1);
        {
            let mut queue = self.queue();
            if queue.is_closing {
                return Err(StoreError::Closed);
            }
            // Only writers ask, each one thing at a time.
            queue.asks.push_back(Ask::Room { payload, rows, reply });
            self.wake.notify_all();
        }
        answer.recv().map_err(|_| StoreError::Closed)?
    }

    /// Lets the collector look whether there is something to do.
    pub(in crate::store) fn nudge(&self) {
        self.queue().is_nudged = true;
        self.wake.notify_all();
    }

    /// Notes that so many bytes more may be garbage now. It does not begin by itself: what comes back is for whoever
    /// removed them and asks next.
    pub(in crate::store) fn note_removed(&self, bytes: u64) {
        let mut queue = self.queue();
        queue.removed_bytes = queue.removed_bytes.saturating_add(bytes);
        queue.is_nudged = true;
    }

    /// Ends the thread; whoever still waits hears that the store is closed.
    pub(in crate::store) fn close(&self) {
        let mut queue = self.queue();
        queue.is_closing = true;
        queue.asks.clear();
        self.wake.notify_all();
    }

    /// Marks a place in a cycle between which and the next anything may happen.
    pub(super) fn step(&self) {
        #[cfg(test)]
        if let Some(step) = &mut *self.steps.0.lock().unwrap_or_else(PoisonError::into_inner) {
            step();
        }
    }

    /// Bytes of contents that were removed since the last cycle.
    pub(super) fn removed_bytes(&self) -> u64 {
        self.queue().removed_bytes
    }

    /// A cycle has ended that knew of `removed_bytes`, and has left so much garbage.
    pub(super) fn note_cycle(&self, removed_bytes: u64, left_bytes: u64) {
        let mut queue = self.queue();
        queue.removed_bytes = queue.removed_bytes.saturating_sub(removed_bytes);
        queue.left_bytes = left_bytes;
        queue.last = Some(Instant::now());
    }

    /// Whether a writer waits for room.
    pub(super) fn is_hurried(&self) -> bool {
        self.queue().asks.iter().any(|ask| matches!(ask, Ask::Room { .. }))
    }

    pub(super) fn is_closing(&self) -> bool {
        self.queue().is_closing
    }

    fn next(&self) -> Task {
        let mut queue = self.queue();
        loop {
            if queue.is_closing {
                return Task::End;
            }
            if let Some(ask) = queue.asks.pop_front() {
                return Task::Do(ask);
            }
            if std::mem::take(&mut queue.is_nudged) {
                return Task::Look;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits so long, or until the store closes: `false`.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let queue = self.queue();
        let waited = self.wake.wait_timeout_while(queue, time, |queue| !queue.is_closing);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what is asked, and looks after garbage, until the store closes. Runs on a thread of its own.
pub(in crate::store) fn run(shared: &Shared, news: &SyncSender<News>) {
    loop {
        match shared.collector.next() {
            Task::End => return,
            Task::Do(Ask::Room { payload, rows, reply }) => {
                let _ = reply.send(make_room(shared, news, payload, rows).map(drop));
            }
            Task::Do(Ask::Collect { effort, dry_run, reply }) => {
                let outcome = match effort {
                    _ if dry_run => look(shared, effort),
                    Effort::Thorough => shrink_and_collect(shared, news),
                    Effort::Routine | Effort::Enough(_) => collect(shared, news, effort),
                };
                // Whoever asked may be gone.
                let _ = reply.send(outcome);
            }
            Task::Look if shared.quota.is_exceeded().unwrap_or(false) => match make_room(shared, news, 0, 0) {
                Ok(_) | Err(StoreError::Closed) => {}
                Err(error) => tracing::warn!(%error, "the home takes more than its quota"),
            },
            Task::Look => match is_worth_it(shared) {
                Ok(false) => {}
                Ok(true) => match collect(shared, news, Effort::Routine) {
                    Ok(collected) => tracing::info!(?collected, "collected garbage"),
                    Err(StoreError::Closed) => {}
                    Err(error) => tracing::warn!(%error, "garbage could not be collected"),
                },
                Err(error) => tracing::warn!(%error, "cannot tell whether there is garbage"),
            },
        }
    }
}

/// All that can be given back. A home that is above its quota, which may have been lowered, is brought below it first.
fn shrink_and_collect(shared: &Shared, news: &SyncSender<News>) -> Result<Collected, StoreError> {
    let shrunk = if shared.quota.is_exceeded()? { make_room(shared, news, 0, 0) } else { Ok(0) };
    let collected = collect(shared, news, Effort::Thorough);
    match (shrunk, collected) {
        (Err(error), Ok(collected)) if collected.reclaimed_bytes == 0 => Err(error),
        (Ok(bytes), Ok(collected)) => Ok(Collected { reclaimed_bytes: collected.reclaimed_bytes + bytes, ..collected }),
        (_, collected) => collected,
    }
}

fn is_worth_it(shared: &Shared) -> Result<bool, StoreError> {
    let segments = shared.with_index(Index::segments)?;
    let kept = segments.iter().filter(|(_, row)| row.state != SegmentState::Dropped);
    let payload: u64 = kept.map(|(_, row)| row.stream_bytes).sum();
    let recorded = shared.catalog.records()?.iter().fold(0u64, |sum, record| sum.saturating_add(record.bytes));
    let under_way = shared.holds.new_bytes();
    let queue = shared.collector.queue();
    // What all contents need together is at most the sum of their bytes, and manifests are far less than the rest.
    let surely =
        payload.saturating_sub(recorded.saturating_add(recorded / 64)).saturating_sub(queue.left_bytes + under_way);
    let suspected = surely.max(queue.removed_bytes);
    Ok(is_due(suspected, payload, queue.last.map(|last| last.elapsed())))
}
