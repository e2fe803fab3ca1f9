//! What the index learns while a segment is emptied and removed.

use redb::{Durability, ReadableTable};

use super::{Index, Indexed, OBJECTS, SEGMENTS, row_of};
use crate::store::error::{StoreError, Trouble};
use crate::store::rows::{IndexRow, Kind, ObjectId, SegmentNumber, SegmentRow, SegmentState, Soundness};

/// An object that is taken out of a segment.
#[derive(Debug)]
pub(in crate::store) struct Moving {
    pub(in crate::store) id: ObjectId,
    pub(in crate::store) kind: Kind,
    pub(in crate::store) len: u32,
    /// Where in the segment's stream it lies.
    pub(in crate::store) offset: u64,
    /// Where a verified copy of it lies.
    pub(in crate::store) copy: Option<IndexRow>,
}

impl Index {
    /// Takes `objects` out of segment `from`: those with a copy lie there from now on, the rest is forgotten, but for
    /// what is `needed` without having a copy: the numbers of these are returned. What is needed and damaged stays
    /// known as that. `target` is the group with the copies. Not durable.
    pub(in crate::store) fn relocate(
        &self,
        from: SegmentNumber,
        objects: &[Moving],
        target: Option<&Indexed>,
        needed: impl Fn(&Moving) -> bool,
    ) -> Result<Vec<usize>, StoreError> {
        self.database.write(Durability::None, |transaction| {
            let mut rows = transaction.open_table(OBJECTS)?;
            if let Some(Indexed { segment, group, directory }) = target {
                let mut segments = transaction.open_table(SEGMENTS)?;
                let mut row = row_of(&segments, *segment)?;
                if *group != row.groups {
                    return Err(Trouble::Row("a group of a segment is missing"));
                }
                row.add(directory);
                segments.insert(segment.0, &row.encode(*segment))?;
            }
            let mut left = Vec::new();
            for (at, object) in objects.iter().enumerate() {
                let row = rows.get(&object.id)?.map(|value| IndexRow::decode(&object.id, value.value()));
                // A row that is not readable is nobody's: had it been needed, nothing would be collected.
                let Some(Ok(row)) = row else { continue };
                if row.segment != from || row.offset != object.offset {
                    continue;
                }
                match (row.soundness, &object.copy) {
                    (Soundness::Sound, Some(copy)) => drop(rows.insert(&object.id, &copy.encode(&object.id))?),
                    (Soundness::Sound, None) if needed(object) => left.push(at),
                    (Soundness::Damaged, _) if needed(object) => {}
                    _ => drop(rows.remove(&object.id)?),
                }
            }
            Ok(left)
        })
    }

    /// Notes that no row leads to `segment` any more. Not durable.
    pub(in crate::store) fn drop_segment(&self, segment: SegmentNumber) -> Result<(), StoreError> {
        self.database.write(Durability::None, |transaction| {
            let mut segments = transaction.open_table(SEGMENTS)?;
            let row = SegmentRow { state: SegmentState::Dropped, ..row_of(&segments, segment)? };
            segments.insert(segment.0, &row.encode(segment))?;
            Ok(())
        })
    }

    /// Makes everything durable; says whether it is still noted that no row leads to `segment`. It is not if the file
    /// was opened anew meanwhile: then what came before that note may be lost too.
    pub(in crate::store) fn confirm_dropped(&self, segment: SegmentNumber) -> Result<bool, StoreError> {
        self.database.write(Durability::Immediate, |transaction| {
            Ok(row_of(&transaction.open_table(SEGMENTS)?, segment)?.state == SegmentState::Dropped)
        })
    }

    /// Forgets a segment whose file is gone. Not durable.
    pub(in crate::store) fn forget(&self, segment: SegmentNumber) -> Result<(), StoreError> {
        self.database.write(Durability::None, |transaction| {
            transaction.open_table(SEGMENTS)?.remove(segment.0)?;
            Ok(())
        })
    }
}
