//! Making room under a quota: first what is garbage, then the contents that were not used for longest.
//!
//! A content goes whole or not at all. What is pinned stays, and so does what is being published, fetched or read, and
//! what lies in files of the user: to forget it would give next to nothing back.

use std::collections::HashSet;
use std::sync::mpsc::SyncSender;

use shoal_protocol::hash::{ChunkId, NodeId};
use shoal_protocol::manifest::{References, references};

use super::choose::Effort;
use super::cycle::collect;
use crate::store::catalog::Change;
use crate::store::error::StoreError;
use crate::store::index::Entry;
use crate::store::reader;
use crate::store::record::ManifestRecord;
use crate::store::rows::Kind;
use crate::store::shared::Shared;
use crate::store::writer::News;

/// Of the quota, the part that is freed ahead, so that not every group has to wait for room.
const AHEAD: u64 = 32;
/// A content takes room if at least one part in so many of it lies in segments.
const LEAST_PART: u64 = 64;
/// What is looked at to tell: some 5 GB of a content.
const LOOKED_CHUNKS: usize = 64 * 1024;

/// Frees so much that a writer can put a group of `payload` bytes and change `rows` of the index; says how many bytes
/// of the disk that gave back.
///
/// # Errors
/// [`StoreError::QuotaReached`] when nothing more can go. What hinders collecting, if evicting would not help.
pub(super) fn make_room(shared: &Shared, news: &SyncSender<News>, payload: u64, rows: u64) -> Result<u64, StoreError> {
    let Some(limit) = shared.quota.limit() else { return Ok(0) };
    let missing = || shared.quota.missing_for(payload, rows);
    if missing()? == 0 {
        return Ok(0);
    }
    let mut freed = 0;
    // What is being written, and what the index may need until it is durable, is reckoned high.
    shared.quota.wait_for_writers();
    shared.sync_index()?;
    loop {
        let short = missing()?;
        if short == 0 {
            return Ok(freed);
        }
        match collect(shared, news, Effort::Enough(short.saturating_add(limit / AHEAD))) {
            // Without room for copies, segments have to become garbage as a whole.
            Ok(collected) => freed += collected.reclaimed_bytes,
            Err(StoreError::Overtaken | StoreError::NoSpace { .. } | StoreError::QuotaReached { .. }) => {}
            Err(error) => return Err(error),
        }
        let short = missing()?;
        let is_evicted = short == 0 || evict(shared, short.saturating_add(limit / AHEAD))? > 0;
        if !is_evicted && !shared.quota.wait_for_writers() {
            return Err(reached(shared, limit)?);
        }
    }
}

/// Forgets contents that were not used for longest until they make up so many bytes; says how many were forgotten.
fn evict(shared: &Shared, bytes: u64) -> Result<u64, StoreError> {
    let mut records = shared.catalog.records()?;
    records.retain(|record| !record.pinned && !shared.holds.is_in_use(&record.hash));
    records.sort_by_key(|record| (record.last_used_unix_ms, *record.hash.as_bytes()));
    let (mut forgotten, mut freed) = (0, 0u64);
    for record in records {
        if freed >= bytes {
            break;
        }
        if !takes_room(shared, &record)? {
            continue;
        }
        if shared.catalog.change_now(Change::RemoveUnpinned(record.hash))? {
            tracing::info!(hash = %record.hash, bytes = record.bytes, "evicted, as the quota is reached");
            // Nobody may listen.
            let _ = shared.evicted.send(record.hash);
            forgotten += 1;
            freed = freed.saturating_add(record.bytes);
        }
    }
    Ok(forgotten)
}

/// Whether a content lies in segments, or next to nothing of it because it lies in files of the user. What cannot be
/// told counts as lying in segments.
fn takes_room(shared: &Shared, record: &ManifestRecord) -> Result<bool, StoreError> {
    if !shared.in_place.is_used() {
        return Ok(true);
    }
    let (mut ahead, mut seen) = (vec![record.hash.root()], HashSet::from([record.hash.root()]));
    let (mut looked, mut placed, mut stored) = (0, 0u64, 0u64);
    while let Some(id) = ahead.pop() {
        let Ok(Some(bytes)) = reader::read_one(shared, NodeId::as_bytes(&id), Kind::Node) else {
            return Ok(true);
        };
        let References { nodes, chunks } = references(&bytes).unwrap_or_default();
        ahead.extend(nodes.into_iter().filter(|id| seen.insert(*id)));
        for entry in shared.index_entries(chunks.iter().map(ChunkId::as_bytes))? {
            match entry {
                Entry::At(row) => stored += u64::from(row.len),
                Entry::InFile(place) => placed += u64::from(place.len),
                Entry::Absent | Entry::InGoneFile(_) | Entry::InChangedFile(_) | Entry::Unreadable => {}
            }
        }
        looked += chunks.len();
        if stored.saturating_mul(LEAST_PART) >= record.bytes {
            return Ok(true);
        }
        if looked >= LOOKED_CHUNKS {
            break;
        }
    }
    Ok(placed == 0 || stored.saturating_mul(LEAST_PART) >= stored + placed)
}

/// That the quota is reached, and by what.
pub(super) fn reached(shared: &Shared, quota: u64) -> Result<StoreError, StoreError> {
    let (mut pinned_bytes, mut in_use_bytes) = (0u64, shared.holds.new_bytes());
    for record in shared.catalog.records()? {
        if !takes_room(shared, &record)? {
            continue;
        }
        if record.pinned {
            pinned_bytes = pinned_bytes.saturating_add(record.bytes);
        } else {
            in_use_bytes = in_use_bytes.saturating_add(record.bytes);
        }
    }
    Ok(StoreError::QuotaReached { quota, pinned_bytes, in_use_bytes })
}
