//! The threads that write: some append groups to segments, one keeps the index.
//!
//! A writer takes a group, drops from it what is held already, commits the rest to its segment and hands the directory
//! to the indexer, which makes it findable and settles the group. So a group is readable the moment it is acknowledged,
//! and a writer's wait for the disk is nobody else's.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use redb::Durability;

use super::error::StoreError;
use super::holds::Hold;
use super::index::Indexed;
use super::intake::{Group, Object, Seq};
use super::quota::Room;
use super::rows::{Directory, DirectoryEntry};
use super::segment::Segment;
use super::segments::Appender;
use super::shared::Shared;

/// After this long without a group the index is made durable; from then on an idle store touches no disk.
const INDEX_IDLE: Duration = Duration::from_secs(1);

/// News for the indexer.
#[derive(Debug)]
pub(super) enum News {
    /// A group is durable in its segment. The hold knows where all its objects lie that were held before; the room ends
    /// when the index has it.
    Written(Seq, Indexed, Hold, Room),
    /// Nothing more will be added to the segment. `clean`: it can be closed and sealed.
    Finished(Arc<Segment>, Finish),
    /// Somebody wants to know when all news before this has been dealt with.
    Settled(SyncSender<()>),
}

/// Why a segment takes no more groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// It is full.
    Full,
    /// A sync of it failed: it is left as it is.
    Suspect,
}

/// Commits groups until the intake is closed and empty.
pub(super) fn write_groups(shared: &Shared, news: &SyncSender<News>) {
    while let Some(group) = shared.intake.next_group() {
        let seq = group.seq;
        let hold = shared.holds.hold(None);
        let mut slot = None;
        match write_group(shared, &mut slot, group, &hold, news) {
            Ok(Some((indexed, room))) => {
                if news.send(News::Written(seq, indexed, hold, room)).is_err() {
                    // The indexer ends only after the writers, unless it died: then nothing can be acknowledged.
                    shared.intake.settle(seq, &Err(StoreError::Closed), None);
                }
            }
            Ok(None) => shared.intake.settle(seq, &Ok(()), Some(&hold)),
            Err(error) => {
                tracing::error!(%error, "a commit group was not stored");
                shared.intake.settle(seq, &Err(error), None);
            }
        }
        // Given back after each group, so that the collector finds segments that nobody is writing to.
        match slot {
            Some(Appender { segment, head }) if head.stream_bytes >= shared.segment_bytes => {
                let _ = news.send(News::Finished(segment, Finish::Full));
            }
            Some(appender) => shared.segments.offer(appender),
            None => {}
        }
    }
}

/// Commits what of `group` is not held yet; `None` when that is nothing. `hold` learns where the rest lies. The room is
/// what the index may need for it.
fn write_group(
    shared: &Shared,
    slot: &mut Option<Appender>,
    group: Group,
    hold: &Hold,
    news: &SyncSender<News>,
) -> Result<Option<(Indexed, Room)>, StoreError> {
    let entries = shared.find(group.objects.iter().map(|object| &object.id), hold)?;
    let objects: Vec<Object> = group
        .objects
        .into_iter()
        .zip(entries)
        .filter(|(_, entry)| !entry.is_held())
        .map(|(object, _)| object)
        .collect();
    if objects.is_empty() {
        return Ok(None);
    }
    let payload = objects.iter().map(|object| object.bytes.len() as u64).sum();
    let disk_room = shared.room(payload, objects.len() as u64)?;
    let appender = slot.insert(shared.segments.appender()?);
    let entries = objects.iter().map(entry_of).collect();
    let directory = Directory { start: appender.head.stream_bytes, entries };
    let number = appender.head.groups;
    let segment = Arc::clone(&appender.segment);
    let mut written = Vec::with_capacity(objects.len());
    // The bytes are let go as they are copied, so that a group is in memory once and not twice.
    let bytes = objects.into_iter().map(|Object { kind, bytes, ingest, room, .. }| {
        drop(room);
        written.push((ingest, kind, bytes.len()));
        bytes
    });
    if let Err(error) = segment.append(number, &directory, bytes) {
        recover(slot, news);
        return Err(error);
    }
    appender.head.groups += 1;
    appender.head.stream_bytes = directory.end();
    for (ingest, kind, bytes) in written {
        ingest.count_new(kind, bytes);
    }
    Ok(Some((Indexed { segment: segment.number(), group: number, directory }, disk_room)))
}

fn entry_of(object: &Object) -> DirectoryEntry {
    // The intake takes no object that does not fit.
    DirectoryEntry { id: object.id, len: object.bytes.len() as u32, kind: object.kind }
}

/// After a failed append: opens the segment anew and goes on with it, or leaves it for good.
fn recover(slot: &mut Option<Appender>, news: &SyncSender<News>) {
    let Some(appender) = slot.take() else {
        return;
    };
    let segment = appender.segment;
    let head = match segment.reopen() {
        Ok(false) => segment.head(),
        Ok(true) => {
            let _ = news.send(News::Finished(segment, Finish::Suspect));
            return;
        }
        Err(error) => Err(error),
    };
    match head {
        // What the file holds decides, not what we think we wrote.
        Ok(head) => *slot = Some(Appender { segment, head }),
        Err(error) => {
            tracing::warn!(%error, "a segment is left as it is after a fault");
            let _ = news.send(News::Finished(segment, Finish::Suspect));
        }
    }
}

/// Waits until the indexer has dealt with all news so far.
pub(super) fn settled_news(news: &SyncSender<News>) -> Result<(), StoreError> {
    let (reply, answer) = sync_channel(1);
    news.send(News::Settled(reply)).map_err(|_| StoreError::Closed)?;
    answer.recv().map_err(|_| StoreError::Closed)
}

/// Takes written groups into the index until all writers have ended.
pub(super) fn index_groups(shared: &Shared, news: &Receiver<News>, commit_groups: u32) {
    let mut since_sync = 0u32;
    loop {
        let next = if since_sync == 0 {
            news.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            news.recv_timeout(INDEX_IDLE)
        };
        match next {
            Ok(News::Written(seq, indexed, hold, room)) => {
                since_sync += 1;
                let durability = if since_sync >= commit_groups { Durability::Immediate } else { Durability::None };
                for (_, row) in indexed.directory.rows(indexed.segment) {
                    hold.add(row.segment, row.offset);
                }
                let outcome = shared.index_group(&indexed, durability, room);
                if let Err(error) = &outcome {
                    tracing::error!(%error, "a stored group could not be indexed");
                }
                if matches!(durability, Durability::Immediate) && outcome.is_ok() {
                    since_sync = 0;
                }
                shared.intake.settle(seq, &outcome, Some(&hold));
            }
            Ok(News::Finished(segment, finish)) => finish_segment(shared, &segment, finish),
            Ok(News::Settled(reply)) => drop(reply.send(())),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = shared.sync_index() {
                    tracing::warn!(%error, "the index could not be made durable; the next start replays more");
                }
                since_sync = 0;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Seals a full segment, once the index has durably all that is in it.
fn finish_segment(shared: &Shared, segment: &Segment, finish: Finish) {
    let done = match finish {
        Finish::Full => segment.seal().and_then(|()| shared.index.complete(&[segment.number()])).map(|()| {
            shared.segments.touch(segment.number());
            shared.collector.nudge();
        }),
        Finish::Suspect => segment.freeze(),
    };
    if let Err(error) = done {
        // It stays readable, and the next start tries again.
        tracing::warn!(%error, "a segment could not be sealed");
    }
}
