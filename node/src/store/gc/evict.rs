//! Making room under a quota: first what is garbage, then the contents that were not used for longest.
//!
//! A content goes whole or not at all. What is pinned stays, and so does what is being published, fetched or read.

use std::sync::mpsc::SyncSender;

use super::choose::Effort;
use super::collector::collect;
use crate::store::catalog::Change;
use crate::store::error::StoreError;
use crate::store::shared::Shared;
use crate::store::writer::News;

/// Of the quota, the part that is freed ahead, so that not every group has to wait for room.
const AHEAD: u64 = 32;

/// Frees so much that a writer can put a group of `payload` bytes and change `rows` of the index.
///
/// # Errors
/// [`StoreError::QuotaReached`] when nothing more can go. What hinders collecting, if evicting would not help.
pub(super) fn make_room(shared: &Shared, news: &SyncSender<News>, payload: u64, rows: u64) -> Result<(), StoreError> {
    let Some(limit) = shared.quota.limit() else { return Ok(()) };
    let missing = || shared.quota.missing_for(payload, rows);
    if missing()? == 0 {
        return Ok(());
    }
    // What is being written, and what the index may need until it is durable, is reckoned high.
    shared.quota.wait_for_writers();
    shared.sync_index()?;
    loop {
        let short = missing()?;
        if short == 0 {
            return Ok(());
        }
        match collect(shared, news, Effort::Enough(short.saturating_add(limit / AHEAD))) {
            // Without room for copies, segments have to become garbage as a whole.
            Ok(_) | Err(StoreError::Overtaken | StoreError::NoSpace { .. }) => {}
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

fn reached(shared: &Shared, quota: u64) -> Result<StoreError, StoreError> {
    let (mut pinned_bytes, mut in_use_bytes) = (0u64, shared.holds.new_bytes());
    for record in shared.catalog.records()? {
        if record.pinned {
            pinned_bytes = pinned_bytes.saturating_add(record.bytes);
        } else {
            in_use_bytes = in_use_bytes.saturating_add(record.bytes);
        }
    }
    Ok(StoreError::QuotaReached { quota, pinned_bytes, in_use_bytes })
}
