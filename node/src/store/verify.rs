//! Hashing again all that is held, and mending what the store itself can mend.
//!
//! Objects are read in the order in which they lie, a bounded number at a time. One that is found damaged counts as not
//! held from then on; one that was, and is as it should be (a file in place that came back), is held again. The tables
//! are checked too: the index page by page, and it is built anew from the segments when something is wrong with it; the
//! catalog page by page and row by row, whose second copies mend the first; the directories of the segments, whose
//! objects are written anew, or a lost index would lose them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::hash::{ChunkId, NodeId};

use super::Store;
use super::error::{ReadError, StoreError};
use super::findings::{CATALOG, IN_PLACE};
use super::index::Entry;
use super::ingest::Ingest;
use super::reader::read_many;
use super::rows::{Directory, IndexRow, Kind, ObjectId, Soundness};
use super::segment::Segment;
use super::shared::Shared;

/// Objects read in one go: some MiB.
const OBJECTS_AT_ONCE: usize = 32;

/// Something that is not as it was written.
#[derive(Debug, Clone)]
pub struct Damage {
    /// The object's id; `None` for a part of a table.
    pub id: Option<[u8; 32]>,
    /// What it is.
    pub what: String,
    /// The file it lies in.
    pub file: PathBuf,
    /// What about it is wrong.
    pub detail: String,
    /// Whether the store has mended it by itself.
    pub mended: bool,
}

/// Whoever follows a verification.
pub trait Watcher {
    /// So many more objects have been looked at, and so many bytes. May take its time, to bound the rate; `false` ends
    /// the work.
    fn checked(&mut self, objects: u64, bytes: u64) -> bool;
    /// Something is damaged.
    fn damaged(&mut self, damage: Damage);
}

/// Nobody watches any more.
struct Stopped;

impl Store {
    /// Checks the tables. What follows from others is built anew at once; with `repair`, what takes rewriting is mended
    /// too. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn verify_tables(&self, repair: bool, watcher: &mut dyn Watcher) -> Result<(), StoreError> {
        let shared = self.shared();
        shared.check_index()?;
        for (error, mended) in shared.catalog.verify(repair, &shared.findings)? {
            watcher.damaged(of_table(CATALOG, &error, shared.catalog.path(), mended));
        }
        if let Some(wrong) = shared.in_place.verify()? {
            watcher.damaged(of_table(IN_PLACE, &wrong, shared.in_place.path(), true));
        }
        for segment in shared.segments.all() {
            verify_directories(self, &segment, repair, watcher)?;
        }
        // Last, since it is told once, and not if any of this fails.
        shared.findings.take().into_iter().for_each(|damage| watcher.damaged(damage));
        Ok(())
    }

    /// Reads and hashes every object. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn verify_objects(&self, watcher: &mut dyn Watcher) -> Result<(), StoreError> {
        let shared = self.shared();
        shared.in_place.look_again();
        let mut after = None;
        loop {
            let rows = shared.with_index(|index| index.rows_after(after))?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            let (mut sound, mut unsound) = (Vec::new(), Vec::new());
            for (id, row) in rows {
                match row {
                    Some(row) if row.soundness == Soundness::Sound => {
                        sound.push(((row.segment, row.offset), id, row.kind))
                    }
                    Some(row) => unsound.push((id, row)),
                    // Its key may be another object's, but no object is held under it.
                    None => watcher.damaged(unreadable(shared, id)),
                }
            }
            sound.sort_unstable_by_key(|(place, ..)| *place);
            if verify_sound(shared, &sound, watcher).is_err() || verify_unsound(shared, &unsound, watcher)?.is_err() {
                return Ok(());
            }
        }
        verify_in_place(shared, watcher).map(drop)
    }

    /// Forgets an object that is damaged, so that nothing speaks of it any more. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn forget_damaged(&self, ids: &[[u8; 32]]) -> Result<(), StoreError> {
        self.shared().with_index(|index| index.forget_damaged(ids))?;
        self.shared().in_place.forget_damaged(ids)
    }

    /// Whether each of the chunks is held, or was and is damaged or gone, as far as that is remembered. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn knows_chunks(&self, ids: &[ChunkId]) -> Result<Vec<bool>, StoreError> {
        let entries = self.shared().index_entries(ids.iter().map(ChunkId::as_bytes))?;
        Ok(entries.iter().map(|entry| *entry != Entry::Absent).collect())
    }

    /// Whether each of the objects, chunks or nodes, is held. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn holds_objects(&self, ids: &[[u8; 32]]) -> Result<Vec<bool>, StoreError> {
        super::reader::holds(self.shared(), ids.iter())
    }
}

pub(super) fn of_table(what: &str, error: &StoreError, file: &std::path::Path, mended: bool) -> Damage {
    let detail = match error {
        StoreError::Damaged { detail, .. } => detail.clone(),
        other => other.to_string(),
    };
    Damage { id: None, what: what.to_owned(), file: file.to_owned(), detail, mended }
}

fn unreadable(shared: &Shared, id: ObjectId) -> Damage {
    let detail = "a row does not match its check".to_owned();
    let what = super::reader::name(&id, Kind::Chunk);
    Damage { id: Some(id), what, file: shared.index.path().to_owned(), detail, mended: false }
}

/// Reads objects that are thought to be sound, in the order of their places.
fn verify_sound<P>(shared: &Shared, objects: &[(P, ObjectId, Kind)], watcher: &mut dyn Watcher) -> Result<(), Stopped> {
    for batch in objects.chunks(OBJECTS_AT_ONCE) {
        // What both kinds have in common is enough here: a row knows its own.
        let reads = match read_many(shared, batch.iter().map(|(_, id, _)| id), Kind::Chunk) {
            Ok(reads) => reads,
            Err(error) => {
                tracing::error!(%error, "some objects could not be looked up");
                continue;
            }
        };
        let mut bytes = 0;
        for ((_, id, _), read) in batch.iter().zip(reads) {
            match read {
                Ok(found) => bytes += found.map_or(0, |found| found.len() as u64),
                Err(error) => watcher.damaged(of_read(*id, error)),
            }
        }
        if !watcher.checked(batch.len() as u64, bytes) {
            return Err(Stopped);
        }
    }
    Ok(())
}

fn of_read(id: ObjectId, error: ReadError) -> Damage {
    let (what, file, detail) = match error {
        ReadError::Damaged { what, file, detail } => (what, file, detail),
        ReadError::Store(error) => (super::reader::name(&id, Kind::Chunk), PathBuf::new(), error.to_string()),
    };
    Damage { id: Some(id), what, file, detail, mended: false }
}

/// Looks again at objects that a read has found damaged.
fn verify_unsound(
    shared: &Shared,
    objects: &[(ObjectId, IndexRow)],
    watcher: &mut dyn Watcher,
) -> Result<Result<(), Stopped>, StoreError> {
    for batch in objects.chunks(OBJECTS_AT_ONCE) {
        let entries = shared.index_entries(batch.iter().map(|(id, _)| id))?;
        let mut sound = Vec::new();
        for ((id, row), entry) in batch.iter().zip(entries) {
            if matches!(entry, Entry::InFile(_)) && entry.is_held() {
                continue;
            }
            match super::reader::reread(shared, id, row) {
                Ok(()) => sound.push((*id, *row)),
                Err(error) => watcher.damaged(of_read(*id, error)),
            }
        }
        shared.with_index(|index| index.mark(&sound, Soundness::Sound))?;
        if !watcher.checked(batch.len() as u64, 0) {
            return Ok(Err(Stopped));
        }
    }
    Ok(Ok(()))
}

/// Reads what lies in files of the user.
fn verify_in_place(shared: &Shared, watcher: &mut dyn Watcher) -> Result<Result<(), Stopped>, StoreError> {
    let mut after = None;
    loop {
        let rows = shared.in_place.rows_after(after)?;
        let Some((last, _)) = rows.last() else { return Ok(Ok(())) };
        after = Some(*last);
        let ids: Vec<ObjectId> = rows.iter().map(|(id, _)| *id).collect();
        // What a segment holds as well has been looked at there.
        let stored = shared.segment_entries(ids.iter())?;
        let mut objects = Vec::new();
        let mut returned = Vec::new();
        for ((id, place), stored) in rows.into_iter().zip(stored) {
            match place {
                _ if stored.is_held() => {}
                Some(place) if place.soundness == Soundness::Sound => {
                    objects.push(((place.file, place.offset), id, Kind::Chunk));
                }
                Some(place) => match read_many(shared, std::iter::once(&id), Kind::Chunk)?.pop() {
                    Some(Err(error)) => watcher.damaged(of_read(id, error)),
                    _ => returned.push((id, place)),
                },
                None => {
                    let detail = "a row does not match its check".to_owned();
                    let what = super::reader::name(&id, Kind::Chunk);
                    let file = shared.in_place.path().to_owned();
                    watcher.damaged(Damage { id: Some(id), what, file, detail, mended: false });
                }
            }
        }
        shared.in_place.mark(&returned, Soundness::Sound)?;
        objects.sort_unstable_by_key(|(place, ..)| *place);
        if verify_sound(shared, &objects, watcher).is_err() {
            return Ok(Err(Stopped));
        }
    }
}

/// Checks the directories of a segment. A damaged one says nothing of its group, so what the index knows to lie there
/// is written anew elsewhere.
fn verify_directories(
    store: &Store,
    segment: &Segment,
    repair: bool,
    watcher: &mut dyn Watcher,
) -> Result<(), StoreError> {
    let mut next = 0;
    let mut start = 0;
    loop {
        let directories = match segment.directories(next) {
            Ok(directories) => directories,
            // Its objects are found damaged one by one.
            Err(error) if error.is_damage() => {
                return lost_group(store, segment, start..u64::MAX, &error, repair, watcher);
            }
            Err(error) => return Err(error),
        };
        if directories.is_empty() {
            break;
        }
        let ends: BTreeMap<u64, u64> =
            directories.iter().filter_map(|(group, d)| Some((*group, d.as_ref().ok()?.start))).collect();
        for (group, directory) in directories {
            match directory {
                Ok(directory) if group == next => start = Directory::end(&directory),
                found => {
                    let error = match found {
                        Err(error) => error,
                        Ok(_) => StoreError::damaged(segment.path(), "the directory of a group is missing"),
                    };
                    let end = ends.range(group + u64::from(group == next)..).next().map_or(u64::MAX, |(_, at)| *at);
                    lost_group(store, segment, start..end, &error, repair, watcher)?;
                    start = ends.get(&group).copied().unwrap_or(end);
                }
            }
            next = group + 1;
        }
    }
    Ok(())
}

/// A group of which nothing says what is in it but the index.
fn lost_group(
    store: &Store,
    segment: &Segment,
    range: std::ops::Range<u64>,
    error: &StoreError,
    repair: bool,
    watcher: &mut dyn Watcher,
) -> Result<(), StoreError> {
    let objects = store.shared().with_index(|index| index.rows_within(segment.number(), range.clone()))?;
    if objects.is_empty() {
        // Nothing that is held lies there any more.
        return Ok(());
    }
    let mended = repair && rewrite(store, &objects).map_err(|error| tracing::error!(%error, "not rewritten")).is_ok();
    watcher.damaged(of_table("a segment's directory", error, segment.path(), mended));
    Ok(())
}

/// Writes objects anew, to another segment.
fn rewrite(store: &Store, objects: &[(ObjectId, IndexRow)]) -> Result<(), StoreError> {
    let shared = store.shared();
    for batch in objects.chunks(OBJECTS_AT_ONCE) {
        let reads = read_many(shared, batch.iter().map(|(id, _)| id), Kind::Chunk)?;
        let sound: Vec<_> = batch.iter().zip(reads).filter_map(|(object, read)| Some((*object, read.ok()??))).collect();
        put_anew(store, sound)?;
    }
    Ok(())
}

/// Writes objects that are held once more. They are found where they were until they are found where they are then.
fn put_anew(store: &Store, objects: Vec<((ObjectId, IndexRow), Bytes)>) -> Result<(), StoreError> {
    let failed = |source| StoreError::io(&store.shared().home, source);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let ingest = Ingest::anew(Arc::clone(store.shared()), store.hold(None));
        for ((id, row), bytes) in objects {
            match row.kind {
                Kind::Chunk => ingest.put_chunk(VerifiedChunk::of(bytes)).await?,
                Kind::Node => ingest.put_node(NodeId::from_bytes(id), bytes).await?,
            };
        }
        ingest.flush().await
    })
}
