//! Bringing the index up to date from the segments.
//!
//! One piece of code for three cases: a start after an unclean end replays the last few groups, a lost index is built
//! from all of them, and an index whose file had to be opened anew while the node runs takes in again what it held
//! only in memory.

use std::path::Path;
use std::sync::Arc;

use redb::Durability;

use super::backend::Faults;
use super::config::StoreConfig;
use super::error::StoreError;
use super::findings::{Findings, INDEX};
use super::index::{Index, Indexed};
use super::rows::{Directory, SegmentRow, SegmentState};
use super::segment::Segment;
use super::segments::{Appender, Segments};

/// Opens the index at `path` and brings it up to date from the segments. Where the disk takes no writes it goes on in
/// memory for as long as that lasts: what is held stays readable. One that is damaged is moved aside, since the
/// segments can make it again.
pub(super) fn ready_index(
    path: &Path,
    config: &StoreConfig,
    segments: &Segments,
    faults: Option<&Arc<dyn Faults>>,
    findings: &Findings,
) -> Result<Index, StoreError> {
    let index = open_index(path, config, faults, findings)?;
    match start(&index, segments, config.segment_bytes) {
        Err(error) if error.is_refusal() && !index.is_in_memory() => {
            tracing::warn!(%error, "keeping the index in memory");
            index.leave_disk(error)?;
        }
        Err(error) if error.is_damage() => {
            findings.note(INDEX, path, &error, true);
            index.renew()?;
        }
        started => return started.map(|()| index),
    }
    start(&index, segments, config.segment_bytes)?;
    Ok(index)
}

fn open_index(
    path: &Path,
    config: &StoreConfig,
    faults: Option<&Arc<dyn Faults>>,
    findings: &Findings,
) -> Result<Index, StoreError> {
    let open = || Index::open(path.into(), config.index_cache_bytes, faults.cloned());
    match open() {
        Err(error) if error.is_damage() => {
            findings.note(INDEX, path, &error, true);
            match std::fs::rename(path, path.with_extension("damaged")) {
                Ok(()) => open(),
                Err(source) => Index::in_memory(path.into(), config.index_cache_bytes, StoreError::io(path, source)),
            }
        }
        result => result,
    }
}

/// Opens the segments that may have grown since the index was last durable, takes their groups into the index, and
/// offers those with room to the writers. A segment that cannot be read is passed over: what it held is then damaged,
/// not the store.
fn start(index: &Index, segments: &Segments, segment_bytes: u64) -> Result<(), StoreError> {
    finish_drops(index, segments)?;
    note_missing(index, segments)?;
    let replayed = replay(index, segments, Durability::None)?;
    if replayed > 0 {
        tracing::info!(groups = replayed, "took groups into the index that it had not held durably");
        index.sync()?;
    }
    let (mut complete, mut vacant) = (Vec::new(), Vec::new());
    for segment in segments.all() {
        let row = index.segment(segment.number())?;
        if row.state != SegmentState::Open {
            continue;
        }
        match segment.head().and_then(|head| Ok((head, segment.is_frozen()?))) {
            Ok((head, false)) if head.stream_bytes < segment_bytes => vacant.push(Appender { segment, head }),
            // It was full, and the node ended before it was sealed.
            Ok((_, false)) => match segment.seal() {
                Ok(()) => complete.push(segment.number()),
                Err(error) => tracing::warn!(%error, "a segment could not be sealed"),
            },
            // The index was lost, or whoever left it after a fault did not live to say so.
            Ok((head, true)) if head.groups == row.groups => {
                segments.touch(segment.number());
                complete.push(segment.number());
            }
            Ok((_, true)) => {}
            Err(error) => tracing::error!(%error, "a segment cannot be written to"),
        }
    }
    if !complete.is_empty() {
        index.complete(&complete)?;
    }
    // Last, as all before this is done again with another index when this one fails.
    vacant.into_iter().for_each(|appender| segments.offer(appender));
    Ok(())
}

/// Removes the files of segments that the collector had emptied when the node ended.
fn finish_drops(index: &Index, segments: &Segments) -> Result<(), StoreError> {
    for (number, row) in index.segments()? {
        // A number is not given to another segment while the index remembers it.
        segments.pass_over(number);
        if row.state == SegmentState::Dropped {
            match segments.remove(number, segments.take_away(number)) {
                Ok(_) => index.forget(number)?,
                Err(error) => tracing::warn!(%error, "an empty segment could not be removed"),
            }
        }
    }
    Ok(())
}

fn note_missing(index: &Index, segments: &Segments) -> Result<(), StoreError> {
    for (number, row) in index.segments()? {
        if row.state != SegmentState::Dropped && segments.segment(number).is_err() {
            segments.note_missing(number);
        }
    }
    Ok(())
}

/// Takes every group into the index that it does not have; says how many there were.
pub(super) fn replay(index: &Index, segments: &Segments, durability: Durability) -> Result<u64, StoreError> {
    let mut replayed = 0;
    for segment in segments.all() {
        replayed += replay_segment(index, &segment, Stays::Later, durability)?;
    }
    Ok(replayed)
}

/// Which of two copies of an object is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    /// The one that is taken in.
    Later,
    /// The one that is known, if that is sound.
    Known,
}

/// The same with the groups of one segment. `stays`: which copy of an object is found from then on.
pub(super) fn replay_segment(
    index: &Index,
    segment: &Segment,
    stays: Stays,
    durability: Durability,
) -> Result<u64, StoreError> {
    let SegmentRow { groups: from, mut stream_bytes, state, .. } = index.segment(segment.number())?;
    if state != SegmentState::Open {
        return Ok(0);
    }
    let mut next = from;
    loop {
        let directories = match segment.directories(next) {
            Ok(directories) if directories.is_empty() => return Ok(next - from),
            Ok(directories) => directories,
            Err(error) => {
                tracing::error!(%error, "a segment cannot be read");
                return Ok(next - from);
            }
        };
        let mut groups = Vec::with_capacity(directories.len());
        for (group, directory) in directories {
            // A damaged directory costs the objects of its group, not those of the groups after it.
            let directory = directory.unwrap_or_else(|error| {
                tracing::error!(%error, group, "the objects of one group are lost");
                Directory { start: stream_bytes, entries: Vec::new() }
            });
            if group != next {
                tracing::error!(file = %segment.path().display(), group, next, "groups of a segment are missing");
                return Ok(next - from);
            }
            stream_bytes = directory.end();
            next += 1;
            groups.push(Indexed { segment: segment.number(), group, directory });
        }
        index.add(&groups, stays, durability)?;
    }
}
