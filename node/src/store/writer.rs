//! The threads that write: some append groups to segments, one looks after the index.
//!
//! A writer takes a group, drops from it what is held already, commits the rest to its segment, makes it findable in
//! the index and settles it, without another thread in between: whoever fetches something small waits for each of these
//! steps. So a group is readable the moment it is acknowledged. What nobody waits for, making the index of an idle
//! store durable and sealing segments, the keeper does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use redb::Durability;

use super::catalog::{Change, Recent};
use super::error::StoreError;
use super::holds::Hold;
use super::index::{Entry, Indexed};
use super::intake::{Completion, Group, Object};
use super::quota::Room;
use super::record::ManifestRecord;
use super::rows::{Directory, DirectoryEntry};
use super::segment::Segment;
use super::segments::Appender;
use super::shared::Shared;

/// News for the keeper.
#[derive(Debug)]
pub(super) enum News {
    /// The index, or the catalog, has something new that is not durable in it, and had nothing before.
    Noted,
    /// The segment is full.
    Full(Arc<Segment>),
    /// Somebody wants to know when all news before this has been dealt with.
    Settled(SyncSender<()>),
}

/// Commits groups until the intake is closed and empty.
pub(super) fn write_groups(shared: &Shared, news: &SyncSender<News>, commit_groups: u32) {
    while let Some(group) = shared.intake.next_group() {
        let seq = group.seq;
        let hold = shared.holds.hold(None);
        let mut slot = None;
        let outcome = match write_group(shared, &mut slot, group, &hold) {
            Ok(Some(written)) => index_group(shared, written, &hold, commit_groups),
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a commit group was not stored");
                Err(error)
            }
        };
        // Given back after each group, so that the collector finds segments that nobody is writing to, and before
        // whoever waits puts the next: that goes there too.
        let full = match slot {
            Some(Appender { segment, head }) if head.stream_bytes >= shared.segment_bytes => Some(segment),
            Some(appender) => {
                shared.segments.offer(appender);
                None
            }
            None => None,
        };
        shared.intake.settle(seq, &outcome, Some(&hold));
        // The keeper ends only after the writers. Where it has died, the index is durable when it is closed.
        if !is_durable(shared) && shared.quiet.begin() {
            let _ = news.send(News::Noted);
        }
        if let Some(segment) = full {
            let _ = news.send(News::Full(segment));
        }
    }
}

/// A group that is durable in its segment.
struct Written {
    indexed: Indexed,
    /// What the index may need for it.
    room: Room,
    /// Of contents that are complete with it.
    records: Vec<ManifestRecord>,
    /// Keep the rest of these contents until their records are known.
    holds: Vec<Hold>,
}

/// Whether the index and the catalog have, durably, all that they know.
fn is_durable(shared: &Shared) -> bool {
    shared.unsynced_groups.load(Ordering::Relaxed) == 0 && shared.catalog.has_all()
}

/// Makes a group findable, durably so every `commit_groups` groups, and then the records that came with it. `hold`,
/// which knows where all its objects lie that were held before, learns of the others.
fn index_group(shared: &Shared, written: Written, hold: &Hold, commit_groups: u32) -> Result<(), StoreError> {
    let Written { indexed, room, records, holds: _holds } = written;
    for (_, row) in indexed.directory.rows(indexed.segment) {
        hold.add(row.segment, row.offset);
    }
    let is_due = shared.unsynced_groups.load(Ordering::Relaxed) + 1 >= commit_groups;
    let durability = if is_due { Durability::Immediate } else { Durability::None };
    if is_due {
        // Before: what others take in meanwhile counts for the next time.
        shared.unsynced_groups.store(0, Ordering::Relaxed);
    }
    let outcome = shared.index_group(&indexed, durability, room);
    if !is_due || outcome.is_err() {
        shared.unsynced_groups.fetch_add(1, Ordering::Relaxed);
    }
    if let Err(error) = &outcome {
        tracing::error!(%error, "a stored group could not be indexed");
    } else if !records.is_empty() {
        let Indexed { segment, group, .. } = indexed;
        shared.catalog.add_recent(records.into_iter().map(|record| Recent { record, segment, group }));
    }
    outcome
}

/// Commits what of `group` is not held yet, and the records that come with it; `None` when only the records were new.
/// `hold` learns where the rest lies.
fn write_group(
    shared: &Shared,
    slot: &mut Option<Appender>,
    group: Group,
    hold: &Hold,
) -> Result<Option<Written>, StoreError> {
    let Group { objects, completions, .. } = group;
    let entries = shared.find_to_stay(objects.iter().map(|object| &object.id), hold)?;
    let is_new = |(object, entry): &(Object, Entry)| object.is_anew() || !entry.is_held();
    let objects: Vec<Object> = objects.into_iter().zip(entries).filter(is_new).map(|(object, _)| object).collect();
    if objects.is_empty() {
        for Completion { record, hold: _hold } in completions {
            shared.catalog.change_now(Change::Put(record))?;
        }
        return Ok(None);
    }
    let completions = completions.into_iter().map(|completion| (completion.record, completion.hold));
    let (records, holds): (Vec<ManifestRecord>, Vec<Hold>) = completions.unzip();
    if !records.is_empty() {
        shared.catalog.make_room()?;
    }
    // First, so that it counts with what is there.
    shared.reserve.keep();
    let payload = objects.iter().map(|object| object.bytes.len() as u64).sum();
    let room = shared.room(payload, (objects.len() + records.len()) as u64)?;
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
    if let Err(error) = segment.append(number, &directory, bytes, &records) {
        recover(shared, slot);
        return Err(error);
    }
    appender.head.groups += 1;
    appender.head.stream_bytes = directory.end();
    for (ingest, kind, bytes) in written {
        ingest.count_new(kind, bytes);
    }
    let indexed = Indexed { segment: segment.number(), group: number, directory };
    Ok(Some(Written { indexed, room, records, holds }))
}

fn entry_of(object: &Object) -> DirectoryEntry {
    // The intake takes no object that does not fit.
    DirectoryEntry { id: object.id, len: object.bytes.len() as u32, kind: object.kind }
}

/// After a failed append: opens the segment anew and goes on with it, or leaves it for good.
fn recover(shared: &Shared, slot: &mut Option<Appender>) {
    let Some(appender) = slot.take() else {
        return;
    };
    let segment = appender.segment;
    if segment.is_gone() {
        shared.segments.note_missing(segment.number());
        shared.losses.note();
        return;
    }
    let head = match segment.reopen() {
        Ok(false) => segment.head(),
        Ok(true) => {
            leave(&segment);
            return;
        }
        Err(error) => Err(error),
    };
    match head {
        // What the file holds decides, not what we think we wrote.
        Ok(head) => *slot = Some(Appender { segment, head }),
        Err(error) => {
            tracing::warn!(%error, "a segment is left as it is after a fault");
            leave(&segment);
        }
    }
}

/// Leaves a segment as it is after a fault. At once: a kill from here on, and the next start would add to it.
pub(super) fn leave(segment: &Segment) {
    if let Err(error) = segment.freeze() {
        tracing::warn!(%error, "the next start may add to a segment after a fault");
    }
}

/// Waits until the keeper has dealt with all news so far.
pub(super) fn settled_news(news: &SyncSender<News>) -> Result<(), StoreError> {
    let (reply, answer) = sync_channel(1);
    news.send(News::Settled(reply)).map_err(|_| StoreError::Closed)?;
    answer.recv().map_err(|_| StoreError::Closed)
}

/// Makes the index durable when no more groups come, and seals segments, until all writers have ended.
pub(super) fn keep_index(shared: &Shared, news: &Receiver<News>) {
    loop {
        let next = match shared.quiet.left() {
            Some(left) => news.recv_timeout(left),
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            // It waits from now on, and not for ever.
            Ok(News::Noted) => {}
            Ok(News::Full(segment)) => finish_segment(shared, &segment),
            Ok(News::Settled(reply)) => drop(reply.send(())),
            Err(RecvTimeoutError::Timeout) if shared.quiet.end() => make_durable(shared),
            // A group has come meanwhile.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Makes durable what the index and the catalog know. Where one refuses, that is tried again when a group has come.
fn make_durable(shared: &Shared) {
    if is_durable(shared) {
        return;
    }
    shared.unsynced_groups.store(0, Ordering::Relaxed);
    if let Err(error) = shared.sync_index() {
        tracing::warn!(%error, "the index could not be made durable; the next start replays more");
    }
    if let Err(error) = shared.catalog.sync() {
        tracing::warn!(%error, "the catalog does not take records in; the next start finds them");
    }
}

/// Seals a segment to which nobody adds anything any more.
pub(super) fn seal(shared: &Shared, segment: &Segment) -> Result<(), StoreError> {
    segment.seal()?;
    shared.catalog.change_now(Change::FinishSegment(segment.number()))?;
    shared.complete_segment(segment.number())?;
    shared.segments.touch(segment.number());
    shared.collector.nudge();
    Ok(())
}

/// Seals a full segment, once the index and the catalog have durably all that is in it.
fn finish_segment(shared: &Shared, segment: &Segment) {
    if let Err(error) = seal(shared, segment) {
        // It stays readable, and the next start tries again.
        tracing::warn!(%error, "a segment could not be sealed");
    }
}
