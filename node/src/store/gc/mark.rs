//! What the records lead to: a bit for each place in the segments.
//!
//! Goes through each content's nodes, never twice through the same one, so that a manifest which repeats itself without
//! end takes no longer than its nodes do. Memory: a bit for 4 KiB of the store, and the id of each node.

use std::collections::HashSet;

use shoal_protocol::hash::{ChunkId, NodeId};
use shoal_protocol::manifest::{References, references};

use crate::store::error::{ReadError, StoreError};
use crate::store::holds::Places;
use crate::store::in_place::FileNumber;
use crate::store::index::Entry;
use crate::store::reader;
use crate::store::record::{ContentState, ManifestRecord};
use crate::store::rows::Kind;
use crate::store::shared::Shared;

/// Nodes that are looked up and read in one go: 1 MiB at most.
const NODES_AT_ONCE: usize = 16;
/// Chunks that are looked up in one go.
const CHUNKS_AT_ONCE: usize = 1024;

/// The places of all that records lead to.
pub(super) struct Marks {
    /// In segments.
    pub(super) places: Places,
    /// In files of the user.
    pub(super) files: Places<FileNumber>,
}

/// The places of all that records lead to. Holds must leave behind what they know from before this until the marks are
/// used.
///
/// Segments that could not be looked into are looked into again first: what they record is needed, too.
///
/// # Errors
/// [`StoreError::Unsure`] when it cannot be told what a content needs; [`StoreError::Closed`] when `stop` says so.
pub(super) fn mark(shared: &Shared, stop: &dyn Fn() -> bool) -> Result<Marks, StoreError> {
    shared.look_again();
    if shared.findings.lack_records() {
        // What they led to is there still, and of use to whoever publishes or fetches those contents again.
        let detail = "records of contents are lost: `shoal verify` names them";
        return Err(StoreError::damaged(shared.catalog.path(), detail));
    }
    let mut marker = Marker { shared, marks: Places::default(), files: Places::default(), seen: HashSet::new() };
    for record in shared.catalog.all_records()? {
        marker.content(&record, stop)?;
    }
    Ok(Marks { places: marker.marks, files: marker.files })
}

struct Marker<'a> {
    shared: &'a Shared,
    marks: Places,
    files: Places<FileNumber>,
    /// Nodes that were found and whose references have been followed, or will be.
    seen: HashSet<NodeId>,
}

impl Marker<'_> {
    fn content(&mut self, record: &ManifestRecord, stop: &dyn Fn() -> bool) -> Result<(), StoreError> {
        let mut ahead = vec![record.hash.root()];
        while !ahead.is_empty() {
            if stop() {
                return Err(StoreError::Closed);
            }
            self.shared.collector.step();
            let batch: Vec<NodeId> = ahead.split_off(ahead.len().saturating_sub(NODES_AT_ONCE));
            let present = self.present(record, &batch)?;
            let read = reader::read_many(self.shared, present.iter().map(NodeId::as_bytes), Kind::Node)?;
            for read in read {
                let unsure = |reason: String| Err(StoreError::Unsure { hash: record.hash, reason });
                match read {
                    // What is no node refers to nothing.
                    Ok(Some(bytes)) => {
                        let References { nodes, chunks } = references(&bytes).unwrap_or_default();
                        ahead.extend(nodes.into_iter().filter(|id| !self.seen.contains(id)));
                        self.chunks(record, &chunks)?;
                    }
                    Ok(None) => return unsure("a node of its manifest is gone".to_owned()),
                    Err(error @ ReadError::Damaged { .. }) => return unsure(error.to_string()),
                    Err(ReadError::Store(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Marks those of the nodes that are held and have not been seen, and says which they are.
    fn present(&mut self, record: &ManifestRecord, batch: &[NodeId]) -> Result<Vec<NodeId>, StoreError> {
        let entries = self.shared.segment_entries(batch.iter().map(NodeId::as_bytes))?;
        let mut present = Vec::with_capacity(batch.len());
        for (id, entry) in batch.iter().zip(entries) {
            match entry {
                // What lay below it cannot be told any more, unless it is fetched again.
                Entry::Absent if record.state != ContentState::Complete => {}
                Entry::Absent => {
                    let reason = "a node of its manifest is missing".to_owned();
                    return Err(StoreError::Unsure { hash: record.hash, reason });
                }
                entry => {
                    if self.seen.insert(*id) {
                        self.place(record, entry)?;
                        present.push(*id);
                    }
                }
            }
        }
        Ok(present)
    }

    fn chunks(&mut self, record: &ManifestRecord, chunks: &[ChunkId]) -> Result<(), StoreError> {
        for chunks in chunks.chunks(CHUNKS_AT_ONCE) {
            let entries = self.shared.segment_entries(chunks.iter().map(ChunkId::as_bytes))?;
            if self.shared.in_place.is_used() {
                let elsewhere = chunks.iter().zip(&entries).filter(|(_, entry)| !entry.is_held());
                let elsewhere = elsewhere.map(|(id, _)| id.as_bytes());
                for place in self.shared.in_place.places(elsewhere)?.into_iter().flatten() {
                    self.files.add(place.file, place.offset);
                }
            }
            for entry in entries {
                self.place(record, entry)?;
            }
        }
        Ok(())
    }

    fn place(&mut self, record: &ManifestRecord, entry: Entry) -> Result<(), StoreError> {
        match entry {
            Entry::Absent | Entry::InFile(_) | Entry::InGoneFile(_) | Entry::InChangedFile(_) => Ok(()),
            // Also what is known to be damaged: whoever repairs it wants to know.
            Entry::At(row) => {
                self.marks.add(row.segment, row.offset);
                Ok(())
            }
            Entry::Unreadable => {
                let reason = format!(
                    "a row of {} is damaged (it is rebuilt if it is deleted while no node runs)",
                    self.shared.index.path().display()
                );
                Err(StoreError::Unsure { hash: record.hash, reason })
            }
        }
    }
}
