//! Reading objects, each checked against its hash before anyone sees it.
//!
//! No byte leaves here unhashed. Reads take no lock that a writer holds; several are read in the order in which they
//! lie, so that neighbours share a row.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use shoal_protocol::hash::{ChunkId, NodeId};

use super::error::{ReadError, StoreError};
use super::in_place::{FileNumber, Wanted};
use super::index::Entry;
use super::rows::{IndexRow, Kind, ObjectId, SegmentNumber, Soundness};
use super::shared::Shared;

/// What reading one object gave: `None` when it is not held.
pub type Read = Result<Option<Bytes>, ReadError>;

/// What the object is called in an error.
pub(super) fn name(id: &ObjectId, kind: Kind) -> String {
    let kind = match kind {
        Kind::Chunk => "chunk",
        Kind::Node => "manifest node",
    };
    let hex = blake3::Hash::from_bytes(*id).to_hex();
    format!("{kind} {:.16}", hex.as_str())
}

/// Whether each of `ids` is held. One that is known to be damaged is not.
pub(super) fn holds<'a>(
    shared: &Shared,
    ids: impl Iterator<Item = &'a ObjectId> + Clone,
) -> Result<Vec<bool>, StoreError> {
    Ok(shared.index_entries(ids)?.iter().map(Entry::is_held).collect())
}

/// How often an object is looked for again that was moved while it was read.
const MOVES: u32 = 8;

/// Reads one object.
pub(super) fn read_one(shared: &Shared, id: &ObjectId, kind: Kind) -> Read {
    read_many(shared, std::iter::once(id), kind)?.pop().unwrap_or(Ok(None))
}

/// Reads each of `ids`; the results stand in their order.
pub(super) fn read_many<'a>(
    shared: &Shared,
    ids: impl Iterator<Item = &'a ObjectId> + Clone,
    kind: Kind,
) -> Result<Vec<Read>, StoreError> {
    shared.reads.fetch_add(1, Ordering::Relaxed);
    let entries = shared.index_entries(ids.clone())?;
    let mut results: Vec<Read> = Vec::with_capacity(entries.len());
    let mut places: BTreeMap<SegmentNumber, Vec<(u64, usize, &ObjectId, IndexRow)>> = BTreeMap::new();
    let mut files: BTreeMap<FileNumber, Vec<Wanted<'_>>> = BTreeMap::new();
    for (at, (id, entry)) in ids.zip(entries).enumerate() {
        results.push(Ok(None));
        match entry {
            Entry::Absent => {}
            Entry::Unreadable => {
                let detail = "its row in the index does not match its check".to_owned();
                results[at] = Err(shared.damaged(id, name(id, kind), None, detail));
            }
            Entry::At(row) if row.soundness == Soundness::Damaged => {
                let file = shared.segments.path(row.segment);
                let missing = shared.segments.is_missing(row.segment);
                let detail = if missing { "it is missing" } else { "an earlier read found so" }.to_owned();
                results[at] = Err(ReadError::Damaged { what: name(id, row.kind), file, detail });
            }
            Entry::InFile(place) | Entry::InGoneFile(place) | Entry::InChangedFile(place) => {
                files.entry(place.file).or_default().push(Wanted { at, id, place });
            }
            Entry::At(row) => places.entry(row.segment).or_default().push((row.offset, at, id, row)),
        }
    }
    for (segment, mut wanted) in places {
        wanted.sort_unstable_by_key(|(offset, at, ..)| (*offset, *at));
        for (at, result) in read_segment(shared, segment, &wanted) {
            if let Some(place) = results.get_mut(at) {
                *place = result;
            }
        }
    }
    for (file, mut wanted) in files {
        wanted.sort_unstable_by_key(|wanted| wanted.place.offset);
        for (at, result) in shared.in_place.read_chunks(file, &wanted) {
            if let Some(place) = results.get_mut(at) {
                *place = result;
            }
        }
    }
    Ok(results)
}

/// Reads again an object that was found damaged where `row` says it lies.
pub(super) fn reread(shared: &Shared, id: &ObjectId, row: &IndexRow) -> Result<(), ReadError> {
    let file = shared.segments.path(row.segment);
    let damaged = |detail: String| ReadError::Damaged { what: name(id, row.kind), file, detail };
    let segment = match shared.segments.segment(row.segment) {
        Ok(segment) => segment,
        Err(_) => return Err(damaged("it is missing".to_owned())),
    };
    match segment.read(|reader| reader.bytes(row.offset, row.len)) {
        Ok(Ok(bytes)) => match checked(row.kind, id, bytes) {
            Some(_) => Ok(()),
            None => Err(damaged("its bytes do not match its hash".to_owned())),
        },
        Ok(Err(error)) | Err(error) => Err(damaged(error.to_string())),
    }
}

fn read_segment(
    shared: &Shared,
    number: SegmentNumber,
    wanted: &[(u64, usize, &ObjectId, IndexRow)],
) -> Vec<(usize, Read)> {
    let read = shared.segments.segment(number).and_then(|segment| {
        let read = segment.read(|reader| {
            let bytes = wanted.iter().map(|(_, at, id, row)| {
                let bytes = reader.bytes(row.offset, row.len).map(|bytes| checked(row.kind, id, bytes));
                (*at, *id, *row, bytes)
            });
            bytes.collect::<Vec<_>>()
        });
        if segment.is_sealed() {
            shared.segments.touch(number);
        }
        read
    });
    match read {
        // Damage is noted only now, when no transaction on the segment is open any more.
        Ok(found) => {
            let results = found.into_iter().map(|(at, id, row, bytes)| (at, judged(shared, id, &row, bytes)));
            results.collect()
        }
        Err(error) => {
            let results = wanted.iter().map(|(_, at, id, row)| (*at, judged(shared, id, row, Err(error.clone()))));
            results.collect()
        }
    }
}

/// The bytes, if they are those of `id`.
fn checked(kind: Kind, id: &ObjectId, bytes: Vec<u8>) -> Option<Bytes> {
    let is_it = match kind {
        Kind::Chunk => ChunkId::of(&bytes).as_bytes() == id,
        Kind::Node => NodeId::of(&bytes).as_bytes() == id,
    };
    is_it.then(|| Bytes::from(bytes))
}

fn closed_handle(error: &StoreError) -> bool {
    error.closes_handle() && !error.is_damage()
}

fn is_missing(shared: &Shared, row: &IndexRow) -> bool {
    shared.segments.segment(row.segment).map_or(true, |segment| segment.is_gone())
}

fn judged(shared: &Shared, id: &ObjectId, row: &IndexRow, bytes: Result<Option<Bytes>, StoreError>) -> Read {
    if let Ok(Some(bytes)) = bytes {
        return Ok(Some(bytes));
    }
    let (mut row, mut bytes, mut reopened) = (*row, bytes, false);
    for _ in 0..MOVES {
        // The collector may have moved it, and removed the segment, since the index was asked.
        match shared.index_entries(std::iter::once(id))?.pop() {
            Some(Entry::At(now)) if now.soundness == Soundness::Sound && now != row => row = now,
            None | Some(Entry::Absent) => return Ok(None),
            Some(Entry::InFile(_) | Entry::InGoneFile(_) | Entry::InChangedFile(_)) => {
                return read_one(shared, id, row.kind);
            }
            // A fault of the disk, maybe somebody else's, has closed the handle.
            Some(Entry::At(_)) if !reopened && bytes.as_ref().is_err_and(closed_handle) => {
                reopened = true;
                shared.segments.segment(row.segment)?.reopen()?;
            }
            Some(Entry::At(_) | Entry::Unreadable) => break,
        }
        let segment = shared.segments.segment(row.segment);
        let read = segment.and_then(|segment| segment.read(|reader| reader.bytes(row.offset, row.len))?);
        bytes = read.map(|bytes| checked(row.kind, id, bytes));
        if let Ok(Some(bytes)) = bytes {
            return Ok(Some(bytes));
        }
    }
    let row = &row;
    match bytes {
        Ok(Some(bytes)) => Ok(Some(bytes)),
        Ok(None) => {
            let detail = "its bytes do not match its hash".to_owned();
            Err(shared.damaged(id, name(id, row.kind), Some(row), detail))
        }
        Err(error) if is_missing(shared, row) => {
            // Noted once for all that is in it, and not object by object.
            shared.segments.note_missing(row.segment);
            shared.losses.note();
            let file = shared.segments.path(row.segment);
            tracing::debug!(%error, "a segment is missing");
            Err(ReadError::Damaged { what: name(id, row.kind), file, detail: "it is missing".to_owned() })
        }
        Err(StoreError::Damaged { detail, .. }) => Err(shared.damaged(id, name(id, row.kind), Some(row), detail)),
        Err(error) => Err(error.into()),
    }
}
