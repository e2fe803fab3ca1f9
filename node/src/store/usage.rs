//! How much the store holds and what that takes on the disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::StoreError;
use super::index::Index;
use super::rows::SegmentState;
use super::shared::Shared;
use super::{CATALOG_FILE, INDEX_FILE};

/// Bytes of one block as `stat` counts them.
const BLOCK_BYTES: u64 = 512;

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Chunks held.
    pub chunks: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
    /// Bytes of chunks and manifest nodes together.
    pub payload_bytes: u64,
    /// Bytes of chunks that lie in files of the user: no part of `payload_bytes` and `disk_bytes`.
    pub in_place_bytes: u64,
    /// What the store's files take on the disk, in blocks and not by their length.
    pub disk_bytes: u64,
    /// Segments.
    pub segments: u64,
}

/// Counts.
pub(super) fn of(shared: &Shared) -> Result<Usage, StoreError> {
    let mut usage = Usage::default();
    for (number, row) in shared.with_index(Index::segments)? {
        if row.state == SegmentState::Dropped || shared.segments.is_missing(number) {
            continue;
        }
        usage.chunks += row.chunks;
        usage.chunk_bytes += row.chunk_bytes;
        usage.payload_bytes += row.stream_bytes;
    }
    for (_, file) in shared.in_place.files()? {
        usage.chunks += file.chunks;
        usage.chunk_bytes += file.chunk_bytes;
        usage.in_place_bytes += file.chunk_bytes;
    }
    usage.disk_bytes += disk_bytes(shared.in_place.path())?;
    let segments = shared.segments.all();
    usage.segments = segments.len() as u64;
    usage.disk_bytes += disk_bytes(&shared.home.join(INDEX_FILE))? + disk_bytes(&shared.home.join(CATALOG_FILE))?;
    usage.disk_bytes += disk_bytes(shared.reserve.path())?;
    for segment in segments {
        usage.disk_bytes += disk_bytes(segment.path())?;
    }
    Ok(usage)
}

/// What a file takes on the disk, in blocks; 0 if it is not there.
pub(super) fn disk_bytes(file: &Path) -> Result<u64, StoreError> {
    match std::fs::metadata(file) {
        Ok(metadata) => Ok(metadata.blocks() * BLOCK_BYTES),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(StoreError::io(file, source)),
    }
}
