//! What is wrong with a catalog, and what can be read of it all the same.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Durability, ReadTransaction, ReadableTable};
use shoal_protocol::hash::ContentHash;

use super::changes::{Change, apply, mend};
use super::recent::Recents;
use super::{COPIES, Catalog, KEYS, RECORDS};
use crate::store::error::{StoreError, Trouble};
use crate::store::home_database::HomeDatabase;
use crate::store::panics::caught;
use crate::store::record::ManifestRecord;

impl Catalog {
    /// Looks at every page and at every row of both copies. A damaged page has the catalog written anew with what can
    /// be read; with `repair` a damaged copy is written anew from the other. Says of each whether it was.
    pub(in crate::store) fn verify(&self, repair: bool) -> Result<Vec<(StoreError, bool)>, StoreError> {
        let damaged = |detail: &str| StoreError::damaged(self.path(), detail);
        let mut found = Vec::new();
        // A fault of the disk has closed the handle, maybe long ago.
        let checked = self.database.again(|| check_pages(&self.database, &self.recents));
        if let (Some(wrong), lost) = checked? {
            found.push((wrong, true));
            found.extend(lost.iter().map(|hash| (damaged(&both_damaged(hash)), false)));
        }
        for (hash, sound) in self.copies()? {
            let detail = match sound {
                2.. => continue,
                1 => "one of two copies of a record is damaged".to_owned(),
                0 => both_damaged(&hash),
            };
            let mended = repair && self.database.write(Durability::Immediate, |t| mend(t, &hash)).is_ok();
            found.push((damaged(&detail), mended));
        }
        if !found.is_empty() {
            self.losses.note();
        }
        Ok(found)
    }

    /// How many copies of each record can be read.
    fn copies(&self) -> Result<BTreeMap<ContentHash, u32>, StoreError> {
        self.read(|transaction| {
            let mut copies: BTreeMap<ContentHash, u32> = BTreeMap::new();
            for table in [RECORDS, COPIES] {
                for row in transaction.open_table(table)?.iter()? {
                    let (hash, value) = row?;
                    let hash = ContentHash::from_bytes(*hash.value());
                    let is_sound = ManifestRecord::decode(&hash, value.value()).is_ok();
                    *copies.entry(hash).or_default() += u32::from(is_sound);
                }
            }
            Ok(copies)
        })
    }
}

/// Fails if a row of the records cannot be read.
pub(super) fn read_all(transaction: &ReadTransaction) -> Result<(), Trouble> {
    for table in [RECORDS, COPIES] {
        for row in transaction.open_table(table)?.iter()? {
            row?;
        }
    }
    Ok(())
}

/// Checks every page. When one is damaged the catalog is written anew with what can be read of it: says what was wrong,
/// and of which contents nothing is left but that there was a record.
pub(super) fn check_pages(
    database: &HomeDatabase,
    recents: &Recents,
) -> Result<(Option<StoreError>, Vec<ContentHash>), StoreError> {
    let mut lost = Vec::new();
    let wrong = database.check_or_renew(salvage, |transaction, salvaged| {
        lost = salvaged.lost;
        for record in salvaged.records {
            apply(transaction, &Change::Put(record))?;
        }
        recents.save(transaction)
    })?;
    Ok((wrong, lost))
}

/// Fails if a record is of a version that this program does not know: it would be taken for damaged, and written over.
/// What cannot be read is nothing to this.
pub(in crate::store) fn check_versions(transaction: &ReadTransaction) -> Result<(), Trouble> {
    for table in [RECORDS, COPIES] {
        for (hash, value) in transaction.open_table(table)?.iter()?.map_while(Result::ok) {
            let read = ManifestRecord::decode(&ContentHash::from_bytes(*hash.value()), value.value());
            if let Err(version @ Trouble::Version(_)) = read {
                return Err(version);
            }
        }
    }
    Ok(())
}

pub(super) fn both_damaged(hash: &ContentHash) -> String {
    format!("both copies of the record of {hash} are damaged: publish or fetch it again")
}

/// What can be read of a catalog.
#[derive(Default)]
struct Salvaged {
    /// The records of which at least one copy can be read.
    records: Vec<ManifestRecord>,
    /// Contents of which that there was one is all that is known.
    lost: Vec<ContentHash>,
}

/// Reads what can be read: of each table by itself, since what redb makes of a damaged page may be a panic. What comes
/// after a page that cannot be read is looked for in the other copy.
fn salvage(transaction: &ReadTransaction) -> Result<Salvaged, Trouble> {
    let (mut records, mut known) = (BTreeMap::new(), BTreeSet::new());
    let mut readable = false;
    for table in [RECORDS, COPIES] {
        readable |= each_row(|| {
            for (hash, value) in transaction.open_table(table)?.iter()?.map_while(Result::ok) {
                if let Ok(record) = ManifestRecord::decode(&ContentHash::from_bytes(*hash.value()), value.value()) {
                    records.insert(*hash.value(), record);
                }
            }
            Ok(())
        });
    }
    each_row(|| {
        for (key, hash) in transaction.open_table(KEYS)?.iter()?.map_while(Result::ok) {
            // Of a row that is damaged itself the key does not follow from the value.
            if ContentHash::from_bytes(*hash.value()).discovery_key().as_bytes() == key.value() {
                known.insert(*hash.value());
            }
        }
        Ok(())
    });
    if !readable {
        return Err(Trouble::Row("neither copy of the records can be read"));
    }
    known.retain(|hash| !records.contains_key(hash));
    Ok(Salvaged {
        records: records.into_values().collect(),
        lost: known.into_iter().map(ContentHash::from_bytes).collect(),
    })
}

/// Goes through a table; says whether that could be done.
fn each_row(read: impl FnOnce() -> Result<(), Trouble>) -> bool {
    matches!(caught(read), Ok(Ok(())))
}
