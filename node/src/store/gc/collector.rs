//! The collector's thread: what it is asked, when it looks by itself, and a cycle from marks to removed files.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Collected;
use super::choose::{Effort, Share, choose, is_due};
use super::empty::Emptier;
use super::evict::make_room;
use super::mark::{Marks, mark};
use crate::store::error::StoreError;
use crate::store::holds::Places;
use crate::store::in_place::{FileNumber, FilePlace};
use crate::store::rows::{SegmentNumber, SegmentState};
use crate::store::shared::Shared;
use crate::store::writer::{Finish, News, settled_news};

/// Askers that may wait.
const ASKERS: usize = 64;
/// Of the time that others have something to do, the collector works one part in so many.
const YIELD: u32 = 4;
/// Longest pause between two of its steps.
const MAX_PAUSE: Duration = Duration::from_millis(200);

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

    /// Whether a writer waits for room.
    fn is_hurried(&self) -> bool {
        self.queue().asks.iter().any(|ask| matches!(ask, Ask::Room { .. }))
    }

    fn is_closing(&self) -> bool {
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
    fn pause(&self, time: Duration) -> bool {
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
                let _ = reply.send(make_room(shared, news, payload, rows));
            }
            Task::Do(Ask::Collect { effort, dry_run, reply }) => {
                let outcome = if dry_run { look(shared, effort) } else { collect(shared, news, effort) };
                // Whoever asked may be gone.
                let _ = reply.send(outcome);
            }
            Task::Look if shared.quota.is_exceeded().unwrap_or(false) => match make_room(shared, news, 0, 0) {
                Ok(()) | Err(StoreError::Closed) => {}
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

/// Forgets chunks in files of the user that no content has any more. The files stay as they are.
fn forget_in_place(shared: &Shared, files: &Places<FileNumber>) {
    let is_live = |place: &FilePlace| {
        files.covers(place.file, place.offset) || shared.holds.covers_in_file(place.file, place.offset)
    };
    match shared.in_place.sweep(|| shared.holds.deciding(), is_live) {
        Ok(swept) if swept.chunks > 0 => tracing::info!(?swept, "forgot chunks in place"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "chunks in place that nothing needs stay known"),
    }
}

fn is_worth_it(shared: &Shared) -> Result<bool, StoreError> {
    let segments = shared.index.segments()?;
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

/// What is where. A segment that cannot be read is left out, and so stays.
fn shares(shared: &Shared, marks: &Places) -> Result<Vec<Share>, StoreError> {
    let mut shares = Vec::new();
    for (number, row) in shared.index.segments()? {
        if row.state == SegmentState::Dropped {
            continue;
        }
        match needed_bytes(shared, marks, number) {
            Ok(live_bytes) => shares.push(Share { number, payload_bytes: row.stream_bytes, live_bytes }),
            Err(error) => tracing::warn!(%error, "a segment is left out"),
        }
    }
    Ok(shares)
}

/// Bytes of a segment's objects that a record or a hold needs.
fn needed_bytes(shared: &Shared, marks: &Places, number: SegmentNumber) -> Result<u64, StoreError> {
    let segment = shared.segments.segment(number)?;
    let (mut next, mut needed) = (0, 0);
    loop {
        let directories = segment.directories(next)?;
        let Some((last, _)) = directories.last() else { return Ok(needed) };
        next = last + 1;
        for directory in directories.into_iter().filter_map(|(_, directory)| directory.ok()) {
            let is_needed = |offset| marks.covers(number, offset) || shared.holds.covers(number, offset);
            let bytes = directory.rows(number).filter(|(_, row)| is_needed(row.offset));
            needed += bytes.map(|(_, row)| u64::from(row.len)).sum::<u64>();
        }
    }
}

/// A dry run.
fn look(shared: &Shared, effort: Effort) -> Result<Collected, StoreError> {
    shared.holds.begin_marking();
    let _marking = Marking(shared);
    let marks = mark(shared, &|| shared.collector.is_closing())?.places;
    let all = shares(shared, &marks)?;
    let live_bytes = all.iter().map(|share| share.live_bytes).sum();
    let garbage: u64 = all.iter().map(Share::garbage_bytes).sum();
    let mut collected = Collected { live_bytes, ..Collected::default() };
    for share in choose(all, effort) {
        collected.count(&share, share.live_bytes);
        collected.reclaimed_bytes += share.garbage_bytes();
    }
    collected.garbage_bytes = garbage.saturating_sub(collected.reclaimed_bytes);
    Ok(collected)
}

impl Collected {
    fn count(&mut self, share: &Share, moved_bytes: u64) {
        match share.live_bytes {
            0 => self.dropped_segments += 1,
            _ => self.rewritten_segments += 1,
        }
        self.moved_bytes += moved_bytes;
    }
}

/// Ends what marking began, however the cycle ends.
struct Marking<'a>(&'a Shared);

impl Drop for Marking<'_> {
    fn drop(&mut self) {
        self.0.holds.end_marking();
    }
}

pub(super) fn collect(shared: &Shared, news: &SyncSender<News>, effort: Effort) -> Result<Collected, StoreError> {
    let heals = shared.heals();
    shared.holds.begin_marking();
    let _marking = Marking(shared);
    let removed_before = shared.collector.queue().removed_bytes;
    shared.collector.step();
    let Marks { places: marks, files } = mark(shared, &|| shared.collector.is_closing())?;
    forget_in_place(shared, &files);
    let all = shares(shared, &marks)?;
    let mut collected =
        Collected { live_bytes: all.iter().map(|share| share.live_bytes).sum(), ..Collected::default() };
    let garbage: u64 = all.iter().map(Share::garbage_bytes).sum();
    let chosen = seal(shared, news, choose(all, effort))?;
    shared.collector.step();
    if shared.heals() != heals {
        // For a moment the index did not know what it had held in memory only, and the marks may lack that.
        return Err(StoreError::Overtaken);
    }
    let mut worked = Instant::now();
    let mut pace = || {
        let took = worked.elapsed();
        let may_go_on = match effort {
            Effort::Enough(_) => !shared.collector.is_closing(),
            _ if shared.collector.is_hurried() => !shared.collector.is_closing(),
            _ if shared.is_busy() => shared.collector.pause((took * (YIELD - 1)).min(MAX_PAUSE)),
            _ => !shared.collector.is_closing(),
        };
        worked = Instant::now();
        may_go_on
    };
    let mut emptier = Emptier::new(shared, news, &marks, heals, &mut pace);
    let (mut failed, mut gone) = (None, 0u64);
    for share in &chosen {
        match emptier.empty(share.number) {
            Ok(emptied) => {
                collected.count(share, emptied.moved_bytes);
                collected.reclaimed_bytes += emptied.file_bytes.saturating_sub(emptied.moved_bytes);
                gone += share.garbage_bytes();
            }
            Err(StoreError::Closed) => {
                failed = Some(StoreError::Closed);
                break;
            }
            Err(error) => {
                tracing::warn!(%error, segment = share.number.0, "a segment could not be emptied");
                failed.get_or_insert(error);
            }
        }
    }
    emptier.finish();
    collected.garbage_bytes = garbage.saturating_sub(gone);
    let mut queue = shared.collector.queue();
    queue.removed_bytes = queue.removed_bytes.saturating_sub(removed_before);
    queue.left_bytes = collected.garbage_bytes;
    queue.last = Some(Instant::now());
    match failed {
        // What was given back all the same is worth more than the error, which the log has.
        Some(error) if collected.reclaimed_bytes == 0 => Err(error),
        _ => Ok(collected),
    }
}

/// Lets no more groups be added to those of the segments that take groups, if no writer has them just now. Gives back those
/// that take none any more: any other may be what is copied into from now on, and of its copies the marks know nothing.
fn seal(shared: &Shared, news: &SyncSender<News>, mut chosen: Vec<Share>) -> Result<Vec<Share>, StoreError> {
    for share in &chosen {
        let row = shared.index.segment(share.number)?;
        if row.state != SegmentState::Open {
            continue;
        }
        if let Some(appender) = shared.segments.withdraw(share.number) {
            let _ = news.send(News::Finished(appender.segment, Finish::Full));
        } else {
            // One that was left after a fault, with all of it in the index, is as good as complete.
            let segment = shared.segments.segment(share.number)?;
            if segment.is_frozen()? && segment.head()?.groups == row.groups {
                shared.index.complete(&[share.number])?;
            }
        }
    }
    settled_news(news)?;
    let rows = shared.index.segments()?;
    let is_complete = |number| rows.iter().any(|(at, row)| *at == number && row.state == SegmentState::Complete);
    chosen.retain(|share| is_complete(share.number));
    Ok(chosen)
}
