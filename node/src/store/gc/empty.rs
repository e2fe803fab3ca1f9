//! Emptying a segment: what is needed is copied elsewhere, the rest forgotten, and the file removed.
//!
//! The order is what makes it safe. A copy is durable in its segment before the index learns of it. What nobody needs
//! is decided, and taken out of the index, while nobody can look anything up. That no row leads to the segment any more
//! is durable before its file goes. An end in between leaves copies that the next cycle finds to be garbage.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use shoal_protocol::hash::{ChunkId, NodeId};

use super::evict::reached;
use crate::store::error::StoreError;
use crate::store::holds::Places;
use crate::store::index::{Entry, Indexed, Moving};
use crate::store::quota::{Purpose, Room};
use crate::store::rows::{Directory, DirectoryEntry, Kind, SegmentNumber, Soundness};
use crate::store::segment::Segment;
use crate::store::segments::Appender;
use crate::store::shared::Shared;
use crate::store::writer::{News, leave, settled_news};

/// Objects that are decided on in one commit of the index: others wait for it.
const OBJECTS_AT_ONCE: usize = 256;
/// Bytes that are copied in one group.
const BYTES_AT_ONCE: usize = 2 << 20;
/// How often objects are gone through that turn out to be needed after all.
const ROUNDS: u32 = 4;

/// Empties segments into one of its own.
pub(super) struct Emptier<'a> {
    shared: &'a Shared,
    news: &'a SyncSender<News>,
    marks: &'a Places,
    /// How often the index had been opened anew when the marks were made. Of another one they say nothing, and an
    /// object that was taken out may lie in its segment again.
    heals: u64,
    /// Waits as long as others are to go first; `false`: the store closes.
    pace: &'a mut dyn FnMut() -> bool,
    target: Option<Appender>,
}

/// What emptying a segment gave.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Emptied {
    /// Bytes of the disk that its file took.
    pub(super) file_bytes: u64,
    /// Bytes of objects that were copied.
    pub(super) moved_bytes: u64,
}

impl<'a> Emptier<'a> {
    /// One that keeps what `marks` and the holds say.
    pub(super) fn new(
        shared: &'a Shared,
        news: &'a SyncSender<News>,
        marks: &'a Places,
        heals: u64,
        pace: &'a mut dyn FnMut() -> bool,
    ) -> Self {
        Self { shared, news, marks, heals, pace, target: None }
    }

    /// Empties a segment that takes no more groups and removes it. After an error it is still there, with some of its
    /// objects moved.
    pub(super) fn empty(&mut self, number: SegmentNumber) -> Result<Emptied, StoreError> {
        let segment = self.shared.segments.segment(number)?;
        let known = self.shared.with_index(|index| index.segment(number))?;
        let mut emptied = Emptied::default();
        let (mut groups, mut end) = (0, 0);
        loop {
            self.shared.collector.step();
            let directories = segment.directories(groups)?;
            if directories.is_empty() {
                break;
            }
            for (group, directory) in directories {
                // The index may still know what a directory that is damaged named.
                let directory = directory?;
                if group != groups {
                    break;
                }
                (groups, end) = (group + 1, directory.end());
                let objects = directory.rows(number).map(|(id, row)| Moving {
                    id,
                    kind: row.kind,
                    len: row.len,
                    offset: row.offset,
                    copy: None,
                });
                emptied.moved_bytes += self.take_out(&segment, objects.collect())?;
            }
        }
        if (groups, end) != (known.groups, known.stream_bytes) {
            return Err(StoreError::damaged(segment.path(), "groups of it are missing"));
        }
        drop(segment);
        // Among what the catalog does not have yet may be what this segment told.
        self.shared.catalog.sync()?;
        self.shared.collector.step();
        self.shared.on_same_index(self.heals, |index| index.drop_segment(number))?;
        self.shared.collector.step();
        if !self.shared.index.confirm_dropped(number)? {
            return Err(StoreError::Overtaken);
        }
        self.shared.quota.index_is_durable();
        self.shared.forget_stale_index()?;
        self.shared.collector.step();
        // An index that is built anew from now on knows nothing of it.
        let taken = self.shared.on_same_index(self.heals, |_| Ok(self.shared.segments.take_away(number)))?;
        self.shared.collector.step();
        emptied.file_bytes = self.shared.segments.remove(number, taken)?;
        self.shared.holds.forget(number);
        self.shared.index.forget(number)?;
        Ok(emptied)
    }

    /// Gives the segment that it copied to back to the writers.
    pub(super) fn finish(mut self) {
        self.leave_target();
    }

    /// Takes some objects out of the segment; says how many bytes were copied for it.
    fn take_out(&mut self, segment: &Segment, objects: Vec<Moving>) -> Result<u64, StoreError> {
        let (mut moved, mut rest) = (0, objects);
        for _ in 0..ROUNDS {
            if rest.is_empty() {
                return Ok(moved);
            }
            let mut left = Vec::new();
            let mut ahead = rest.into_iter().peekable();
            while ahead.peek().is_some() {
                let (mut batch, mut bytes) = (Vec::new(), 0);
                while batch.len() < OBJECTS_AT_ONCE
                    && bytes < BYTES_AT_ONCE
                    && let Some(object) = ahead.next()
                {
                    bytes += object.len as usize;
                    batch.push(object);
                }
                if !(self.pace)() {
                    return Err(StoreError::Closed);
                }
                self.shared.collector.step();
                let _rows = self.room(0, batch.len())?;
                let group = self.copy(segment, &mut batch)?;
                self.shared.collector.step();
                moved += group.as_ref().map_or(0, |group| group.directory.end() - group.directory.start);
                left.extend(self.decide(segment.number(), batch, group)?);
            }
            rest = left;
        }
        // Somebody keeps asking for what was about to go.
        if rest.is_empty() { Ok(moved) } else { Err(StoreError::Overtaken) }
    }

    fn is_needed(&self, number: SegmentNumber, offset: u64) -> bool {
        self.marks.covers(number, offset) || self.shared.holds.covers(number, offset)
    }

    /// Changes the index so that nothing of `objects` is in the segment, and says what is needed and has no copy yet.
    fn decide(
        &mut self,
        number: SegmentNumber,
        mut objects: Vec<Moving>,
        group: Option<Indexed>,
    ) -> Result<Vec<Moving>, StoreError> {
        let decided = {
            let _deciding = self.shared.holds.deciding();
            let needed = |object: &Moving| self.is_needed(number, object.offset);
            let decided =
                self.shared.on_same_index(self.heals, |index| index.relocate(number, &objects, group.as_ref(), needed));
            if decided.is_ok() {
                for (object, copy) in objects.iter().filter_map(|object| Some((object, object.copy?))) {
                    self.shared.holds.follow((number, object.offset), (copy.segment, copy.offset));
                }
            }
            decided
        };
        // What lay in a file of the user too may lie only there from now on.
        self.shared.losses.note();
        let Ok(left) = &decided else {
            // The index does not know of the group that was copied; nothing more may follow it there.
            if group.is_some() {
                self.give_up_target();
            }
            return decided.map(|_| Vec::new());
        };
        let mut at = 0;
        objects.retain(|_| {
            at += 1;
            left.binary_search(&(at - 1)).is_ok()
        });
        Ok(objects)
    }

    /// Copies what is needed of `objects`, verified and durably, and notes in each where its copy lies.
    fn copy(&mut self, segment: &Segment, objects: &mut [Moving]) -> Result<Option<Indexed>, StoreError> {
        let number = segment.number();
        let entries = self.shared.segment_entries(objects.iter().map(|object| &object.id))?;
        let lies_here = |object: &Moving, entry: &Entry| {
            matches!(entry, Entry::At(row) if row.segment == number
                && row.offset == object.offset
                && row.soundness == Soundness::Sound)
        };
        let needed =
            |(object, entry): &(&mut Moving, Entry)| lies_here(object, entry) && self.is_needed(number, object.offset);
        let mut wanted: Vec<&mut Moving> =
            objects.iter_mut().zip(entries).filter(needed).map(|(object, _)| object).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let read = segment
            .read(|reader| wanted.iter().map(|object| reader.bytes(object.offset, object.len)).collect::<Vec<_>>())?;
        let mut bytes = Vec::with_capacity(read.len());
        let mut damaged = Vec::new();
        for (object, read) in wanted.iter().zip(read) {
            match read {
                Ok(read) if is_it(object, &read) => bytes.push(Bytes::from(read)),
                Err(error) if !error.is_damage() => return Err(error),
                _ => damaged.push(object.offset),
            }
        }
        for object in wanted.iter().filter(|object| damaged.contains(&object.offset)) {
            self.shared.found_damaged(number, object);
        }
        wanted.retain(|object| !damaged.contains(&object.offset));
        if wanted.is_empty() { Ok(None) } else { self.append(wanted, bytes).map(Some) }
    }

    fn append(&mut self, objects: Vec<&mut Moving>, bytes: Vec<Bytes>) -> Result<Indexed, StoreError> {
        let payload = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        let _room = self.room(payload, 0)?;
        if self.target.as_ref().is_some_and(|target| target.head.stream_bytes >= self.shared.segment_bytes) {
            self.leave_target();
        }
        if self.target.is_none() {
            self.target = Some(self.shared.segments.appender()?);
            // What a writer has put there last is in the index before what comes now.
            settled_news(self.news)?;
        }
        let Some(target) = &mut self.target else { return Err(StoreError::Closed) };
        let entries = objects.iter().map(|object| DirectoryEntry { id: object.id, len: object.len, kind: object.kind });
        let directory = Directory { start: target.head.stream_bytes, entries: entries.collect() };
        let (segment, group) = (Arc::clone(&target.segment), target.head.groups);
        if let Err(error) = segment.append(group, &directory, bytes.into_iter(), &[]) {
            self.give_up_target();
            return Err(error);
        }
        target.head.groups += 1;
        target.head.stream_bytes = directory.end();
        for (object, (_, row)) in objects.into_iter().zip(directory.rows(segment.number())) {
            object.copy = Some(row);
        }
        Ok(Indexed { segment: segment.number(), group, directory })
    }

    /// Room under the quota for a copy of `payload` bytes and for `rows` of the index.
    fn room(&self, payload: u64, rows: usize) -> Result<Room, StoreError> {
        let room = self.shared.quota.reserve(payload, rows as u64, Purpose::Collect)?;
        match (room, self.shared.quota.limit()) {
            (Some(room), _) => Ok(room),
            (None, limit) => Err(reached(self.shared, limit.unwrap_or(u64::MAX))?),
        }
    }

    fn leave_target(&mut self) {
        match self.target.take() {
            Some(target) if target.head.stream_bytes >= self.shared.segment_bytes => {
                let _ = self.news.send(News::Full(target.segment));
            }
            Some(target) => self.shared.segments.offer(target),
            None => {}
        }
    }

    /// Leaves the target as it is after a fault: it takes no more groups.
    fn give_up_target(&mut self) {
        if let Some(target) = self.target.take() {
            let _ = target.segment.reopen();
            leave(&target.segment);
        }
    }
}

fn is_it(object: &Moving, bytes: &[u8]) -> bool {
    match object.kind {
        Kind::Chunk => ChunkId::of(bytes).as_bytes() == &object.id,
        Kind::Node => NodeId::of(bytes).as_bytes() == &object.id,
    }
}
