//! The index: where each object lies.
//!
//! Everything in it follows from the segments' directories, so it may lag behind them, be lost, and be built again.
//! Most commits are not durable; the watermark in a segment's row commits with the rows it speaks for, so that a
//! replay begins where the last durable commit ended. Rows carry their own check, and a damaged one counts as absent
//! for writing and as damage for reading.

mod emptying;

use std::path::PathBuf;
use std::sync::Arc;

use redb::{Durability, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::backend::Faults;
use super::error::{StoreError, Trouble};
use super::home_database::{About, HomeDatabase};
use super::in_place::FilePlace;
use super::recovery::Stays;
use super::rows::{
    Directory, ID_BYTES, INDEX_ROW_BYTES, IndexRow, ObjectId, SEGMENT_ROW_BYTES, SegmentNumber, SegmentRow,
    SegmentState, Soundness,
};

pub(super) use emptying::Moving;

const OBJECTS: TableDefinition<&[u8; ID_BYTES], &[u8; INDEX_ROW_BYTES]> = TableDefinition::new("objects");
const SEGMENTS: TableDefinition<u32, &[u8; SEGMENT_ROW_BYTES]> = TableDefinition::new("segments");

/// Rows looked at in one transaction by what goes through all of them.
const ROWS_AT_ONCE: usize = 4096;

/// What the index says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing: not held.
    Absent,
    /// Where it lies.
    At(IndexRow),
    /// Its row does not match its check.
    Unreadable,
    /// Not in a segment, but in a file of the user, which can be opened as far as is known.
    InFile(FilePlace),
    /// In a file of the user that could not be opened when it was last looked for.
    InGoneFile(FilePlace),
    /// In a file of the user that does not look as it did: only a read tells whether it is there still.
    InChangedFile(FilePlace),
}

impl Entry {
    /// Whether the object counts as held.
    pub(super) fn is_held(&self) -> bool {
        matches!(
            self,
            Self::At(IndexRow { soundness: Soundness::Sound, .. })
                | Self::InFile(FilePlace { soundness: Soundness::Sound, .. })
        )
    }
}

/// A group that a segment holds durably and that the index is to learn of.
#[derive(Debug)]
pub(super) struct Indexed {
    /// The segment.
    pub(super) segment: SegmentNumber,
    /// Which of its groups.
    pub(super) group: u64,
    /// What is in it.
    pub(super) directory: Directory,
}

/// The open index.
#[derive(Debug)]
pub(super) struct Index {
    database: HomeDatabase,
}

impl Index {
    /// Opens or creates the index at `path`. Where the disk takes no writes it goes on in memory.
    pub(super) fn open(path: PathBuf, cache_bytes: usize, faults: Option<Arc<dyn Faults>>) -> Result<Self, StoreError> {
        let database = HomeDatabase::open(path, about(cache_bytes), faults)?;
        // A first look at both tables, so that damage shows now and not in the middle of work.
        database.read(|transaction| {
            transaction.open_table(OBJECTS)?.len()?;
            transaction.open_table(SEGMENTS)?.len()?;
            Ok(())
        })?;
        Ok(Self { database })
    }

    /// An empty index in memory, in place of the one at `path`, which cannot be used or moved because of `refusal`.
    pub(super) fn in_memory(path: PathBuf, cache_bytes: usize, refusal: StoreError) -> Result<Self, StoreError> {
        Ok(Self { database: HomeDatabase::in_memory(path, about(cache_bytes), refusal)? })
    }

    /// Goes on in memory, because the disk takes nothing. The caller replays what the index has lost by it.
    pub(super) fn leave_disk(&self, refusal: StoreError) -> Result<(), StoreError> {
        self.database.leave_disk(refusal)
    }

    /// What the index says of each of `ids`, in one snapshot.
    pub(super) fn entries<'a>(&self, ids: impl Iterator<Item = &'a ObjectId>) -> Result<Vec<Entry>, StoreError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(OBJECTS)?;
            ids.map(|id| {
                let row = table.get(id)?;
                Ok(row.map_or(Entry::Absent, |value| {
                    IndexRow::decode(id, value.value()).map_or(Entry::Unreadable, Entry::At)
                }))
            })
            .collect()
        })
    }

    /// What the index knows of `segment`; nothing yet is a row of zeros.
    pub(super) fn segment(&self, segment: SegmentNumber) -> Result<SegmentRow, StoreError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(SEGMENTS)?;
            row_of(&table, segment)
        })
    }

    /// The row of each segment that the index knows.
    pub(super) fn segments(&self) -> Result<Vec<(SegmentNumber, SegmentRow)>, StoreError> {
        self.database.read(|transaction| {
            let table = transaction.open_table(SEGMENTS)?;
            let rows = table.iter()?.map(|row| {
                let (number, value) = row?;
                let number = SegmentNumber(number.value());
                Ok((number, SegmentRow::decode(number, value.value())?))
            });
            rows.collect()
        })
    }

    /// Takes in groups, in the order in which their segments have them. Groups that it has already are passed over,
    /// so that replaying and indexing may meet. `stays`: where an object is found that is known already.
    pub(super) fn add(&self, groups: &[Indexed], stays: Stays, durability: Durability) -> Result<(), StoreError> {
        self.database.write(durability, |transaction| {
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut segments = transaction.open_table(SEGMENTS)?;
            let mut rows = Vec::new();
            for Indexed { segment, group, directory } in groups {
                let mut row = row_of(&segments, *segment)?;
                if *group < row.groups {
                    continue;
                }
                if *group > row.groups {
                    return Err(Trouble::Row("a group of a segment is missing"));
                }
                row.add(directory);
                segments.insert(segment.0, &row.encode(*segment))?;
                rows.extend(directory.rows(*segment));
            }
            // In the order of their keys, neighbours share pages: a rebuild is several times faster for it. The sort
            // is stable, so of two copies of an object the later one stays.
            rows.sort_by_key(|(id, _)| *id);
            for (id, row) in rows {
                let is_known = stays == Stays::Known
                    && objects.get(&id)?.is_some_and(|value| IndexRow::is_sound(&id, value.value()));
                if !is_known {
                    objects.insert(&id, &row.encode(&id))?;
                }
            }
            Ok(())
        })
    }

    /// Makes all that was taken in durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.database.write(Durability::Immediate, |_| Ok(()))
    }

    /// Notes, durably and with all that was taken in, that nothing will be added to `complete`.
    pub(super) fn complete(&self, complete: &[SegmentNumber]) -> Result<(), StoreError> {
        self.database.write(Durability::Immediate, |transaction| {
            let mut segments = transaction.open_table(SEGMENTS)?;
            for segment in complete {
                let row = SegmentRow { state: SegmentState::Complete, ..row_of(&segments, *segment)? };
                segments.insert(segment.0, &row.encode(*segment))?;
            }
            Ok(())
        })
    }

    /// Whether it lies in memory only, and the file at its path, if there is one, is out of date.
    pub(super) fn is_in_memory(&self) -> bool {
        self.database.is_in_memory()
    }

    /// Notes that a read found `id` damaged, if it still lies at `row`. A kill may take it back: the next read finds it
    /// again.
    pub(super) fn mark_damaged(&self, id: &ObjectId, row: &IndexRow) -> Result<(), StoreError> {
        self.database.write(Durability::None, |transaction| {
            let mut objects = transaction.open_table(OBJECTS)?;
            let still = objects.get(id)?.is_some_and(|value| *value.value() == row.encode(id));
            if still {
                let damaged = IndexRow { soundness: Soundness::Damaged, ..*row };
                objects.insert(id, &damaged.encode(id))?;
            }
            Ok(())
        })
    }

    /// Checks every page of the file. When one is wrong the index is empty from then on, and the caller replays the
    /// segments into it.
    pub(super) fn check_pages(&self) -> Result<Option<StoreError>, StoreError> {
        self.database.check_or_renew(|_| Ok(()), |_, ()| Ok(()))
    }

    /// Checks every row.
    pub(super) fn check_rows(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rows = self.rows_after(after)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            if rows.iter().any(|(_, row)| row.is_none()) {
                return Err(StoreError::damaged(self.path(), "a row does not match its check"));
            }
        }
        self.segments().map(drop)
    }

    /// Up to 4,096 objects with ids after `after`, in their order; `None` for a row that does not match its check.
    pub(super) fn rows_after(&self, after: Option<ObjectId>) -> Result<Vec<(ObjectId, Option<IndexRow>)>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.database.read(|transaction| {
            let table = transaction.open_table(OBJECTS)?;
            let from = after.as_ref().map_or(Unbounded, Excluded);
            let rows = table.range::<&ObjectId>((from, Unbounded))?.take(ROWS_AT_ONCE).map(|row| {
                let (id, value) = row?;
                let id = *id.value();
                Ok((id, IndexRow::decode(&id, value.value()).ok()))
            });
            rows.collect()
        })
    }

    /// The objects that lie in this part of a segment's stream, in the order in which they lie.
    pub(super) fn rows_within(
        &self,
        segment: SegmentNumber,
        part: std::ops::Range<u64>,
    ) -> Result<Vec<(ObjectId, IndexRow)>, StoreError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let rows = self.rows_after(after)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            let rows = rows.into_iter().filter_map(|(id, row)| Some((id, row?)));
            found.extend(rows.filter(|(_, row)| row.segment == segment && part.contains(&row.offset)));
        }
        found.sort_unstable_by_key(|(_, row)| row.offset);
        Ok(found)
    }

    /// Notes, durably, what has been found of objects that still lie where `found` says.
    pub(super) fn mark(&self, found: &[(ObjectId, IndexRow)], soundness: Soundness) -> Result<(), StoreError> {
        if found.is_empty() {
            return Ok(());
        }
        self.database.write(Durability::Immediate, |transaction| {
            let mut objects = transaction.open_table(OBJECTS)?;
            for (id, row) in found {
                let still = objects.get(id)?.is_some_and(|value| *value.value() == row.encode(id));
                if still {
                    objects.insert(id, &IndexRow { soundness, ..*row }.encode(id))?;
                }
            }
            Ok(())
        })
    }

    /// Forgets objects whose rows say that they are damaged, or say nothing.
    pub(super) fn forget_damaged(&self, ids: &[ObjectId]) -> Result<(), StoreError> {
        self.database.write(Durability::Immediate, |transaction| {
            let mut objects = transaction.open_table(OBJECTS)?;
            for id in ids {
                let row = objects.get(id)?.map(|value| IndexRow::decode(id, value.value()));
                if row.is_some_and(|row| row.map_or(true, |row| row.soundness == Soundness::Damaged)) {
                    objects.remove(id)?;
                }
            }
            Ok(())
        })
    }

    /// Puts the file aside and begins an empty one. The caller replays the segments into it.
    pub(super) fn renew(&self) -> Result<(), StoreError> {
        self.database.renew()
    }

    /// Opens the file anew after a fault. The caller replays what the index has lost by it.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        self.database.reopen()
    }

    /// Lets go of the file, which says what is not true, until it is opened anew.
    pub(super) fn give_up(&self) {
        self.database.give_up();
    }

    /// Closes the file, durably.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.database.close()
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &std::path::Path {
        self.database.path()
    }
}

/// What is known of a segment; nothing yet is a row of zeros.
fn row_of(
    segments: &impl ReadableTable<u32, &'static [u8; SEGMENT_ROW_BYTES]>,
    segment: SegmentNumber,
) -> Result<SegmentRow, Trouble> {
    let known = segments.get(segment.0)?.map(|value| SegmentRow::decode(segment, value.value()));
    Ok(known.transpose()?.unwrap_or_default())
}

const fn about(cache_bytes: usize) -> About {
    About { kind: "index", cache_bytes, tables: make_tables, is_derived: true }
}

fn make_tables(transaction: &WriteTransaction) -> Result<(), Trouble> {
    transaction.open_table(OBJECTS)?;
    transaction.open_table(SEGMENTS)?;
    Ok(())
}
