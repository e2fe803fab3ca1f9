//! Making room under a quota: first what is garbage, then the contents that were not used for longest.
//!
//! A content goes whole or not at all. What is pinned stays, and so does what is being published, fetched or read, or
//! was given to somebody just now.

use std::sync::mpsc::SyncSender;

use super::choose::Effort;
use super::collector::collect;
use crate::store::catalog::Change;
use crate::store::error::StoreError;
use crate::store::shared::Shared;
use crate::store::writer::News;

/// Of the quota, the part that is freed ahead, so that not every group has to wait for room.
const AHEAD: u64 = 32;

/// Frees so much that a writer can put a group of `payload` bytes in `objects` objects.
///
/// # Errors
/// [`StoreError::QuotaReached`] when nothing more can go.
pub(super) fn make_room(
    shared: &Shared,
    news: &SyncSender<News>,
    payload: u64,
    objects: u64,
) -> Result<(), StoreError> {
    let Some(limit) = shared.quota.limit() else { return Ok(()) };
    let missing = || shared.quota.missing_for(payload, objects);
    let mut short = missing()?;
    while short > 0 {
        let wanted = short.saturating_add(limit / AHEAD);
        let collected = collect(shared, news, Effort::Enough(wanted));
        short = missing()?;
        if short == 0 {
            return Ok(());
        }
        if let Err(error @ (StoreError::Closed | StoreError::Unsure { .. } | StoreError::Damaged { .. })) = collected {
            return Err(error);
        }
        if evict(shared, short.saturating_add(limit / AHEAD))? == 0 {
            return Err(reached(shared, limit)?);
        }
    }
    Ok(())
}

/// Forgets contents that were not used for longest until they make up so many bytes; says how many were forgotten.
fn evict(shared: &Shared, bytes: u64) -> Result<u64, StoreError> {
    let mut records = shared.catalog.records()?;
    records.retain(|record| !record.pinned && !shared.is_in_use(&record.hash));
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
