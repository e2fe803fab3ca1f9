//! What is wrong with a catalog, and what can be read of it all the same.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Durability, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use shoal_protocol::hash::ContentHash;

use super::changes::{Change, apply, mend};
use super::recent::Recents;
use super::{COPIES, Catalog, KEYS, RECORDS};
use crate::store::error::{StoreError, Trouble};
use crate::store::findings::{CATALOG, Findings};
use crate::store::home_database::HomeDatabase;
use crate::store::record::ManifestRecord;
use crate::store::rows::ID_BYTES;
use crate::store::salvage::Salvage;

impl Catalog {
    /// Looks at every page and at every row of both copies. A damaged page has the catalog written anew with what can
    /// be read, and goes to `findings`; with `repair` a damaged copy is written anew from the other. Gives back these,
    /// and of each whether it was.
    pub(in crate::store) fn verify(
        &self,
        repair: bool,
        findings: &Findings,
    ) -> Result<Vec<(StoreError, bool)>, StoreError> {
        // A fault of the disk has closed the handle, maybe long ago.
        let pages = self.database.again(|| check_pages(&self.database, &self.recents))?;
        let mut found = Vec::new();
        if !pages.is_empty() {
            pages.iter().for_each(|(error, mended)| findings.note(CATALOG, self.path(), error, *mended));
            self.losses.note();
        }
        for (hash, sound) in self.copies()? {
            let detail = match sound {
                2.. => continue,
                1 => "one of two copies of a record is damaged".to_owned(),
                0 => both_damaged(&hash),
            };
            let mended = repair && self.database.write(Durability::Immediate, |t| mend(t, &hash)).is_ok();
            found.push((StoreError::damaged(self.path(), detail), mended));
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

/// Checks every page. When one is damaged the catalog is written anew with what can be read of it. What was wrong, and
/// whether it is mended: a content of which nothing is left but that there was a record is not.
pub(super) fn check_pages(database: &HomeDatabase, recents: &Recents) -> Result<Vec<(StoreError, bool)>, StoreError> {
    let mut lost = Vec::new();
    let fill = |transaction: &WriteTransaction, salvaged: Salvaged| {
        lost = salvaged.lost;
        for record in salvaged.records {
            apply(transaction, &Change::Put(record))?;
        }
        recents.save(transaction)
    };
    let wrong = database.check_or_renew(salvage, fill)?;
    let lost = lost.into_iter().map(|detail| (StoreError::damaged(database.path(), detail), false));
    Ok(wrong.into_iter().map(|wrong| (wrong, true)).chain(lost).collect())
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

fn both_damaged(hash: &ContentHash) -> String {
    format!("both copies of the record of {hash} are damaged: publish or fetch it again")
}

/// What can be read of a catalog.
struct Salvaged {
    /// The records of which at least one copy can be read.
    records: Vec<ManifestRecord>,
    /// What is said of the others.
    lost: Vec<String>,
}

/// Reads what can be read. What one table has on a page that cannot be, or behind one, is looked for in the other, and
/// by its key.
fn salvage(damaged: &Salvage<'_>) -> Result<Salvaged, StoreError> {
    let mut records = Records::new();
    let (mut is_readable, mut has_all) = (false, false);
    for table in [RECORDS, COPIES] {
        let mut sound = true;
        let read = damaged.rows(table, |hash, value| sound &= take(&mut records, hash, value))?;
        is_readable |= read;
        has_all |= read && sound;
    }
    let (mut wanted, mut sound) = (BTreeSet::new(), true);
    let read = damaged.rows(KEYS, |key, hash| {
        // Of a row that is damaged itself the key does not follow from the value.
        match ContentHash::from_bytes(*hash).discovery_key().as_bytes() == key {
            true => drop(wanted.insert(*hash)),
            false => sound = false,
        }
    })?;
    for table in [RECORDS, COPIES] {
        wanted.retain(|hash| !records.contains_key(hash));
        look_up(damaged, table, &wanted, &mut records)?;
    }
    if !is_readable && records.is_empty() {
        return Err(StoreError::damaged(damaged.path, "neither copy of the records can be read"));
    }
    let lost = wanted.iter().filter(|hash| !records.contains_key(*hash));
    let mut lost: Vec<_> = lost.map(|hash| both_damaged(&ContentHash::from_bytes(*hash))).collect();
    let are_all_named = read && sound;
    if !has_all && !are_all_named {
        lost.push("records may be lost of which nothing else is known: publish or fetch again what is missing".into());
    }
    Ok(Salvaged { records: records.into_values().collect(), lost })
}

type Records = BTreeMap<[u8; ID_BYTES], ManifestRecord>;

/// Takes a row's record if it is in order; says whether it is.
fn take(records: &mut Records, hash: &[u8; ID_BYTES], value: &[u8]) -> bool {
    let record = ManifestRecord::decode(&ContentHash::from_bytes(*hash), value);
    record.map(|record| records.insert(*hash, record)).is_ok()
}

/// Takes those records of `wanted` that a table has on pages that can be read.
fn look_up(
    damaged: &Salvage<'_>,
    table: TableDefinition<'_, &[u8; ID_BYTES], &[u8]>,
    wanted: &BTreeSet<[u8; ID_BYTES]>,
    records: &mut Records,
) -> Result<(), StoreError> {
    let mut left = wanted.iter();
    while left.len() > 0 {
        let before = left.len();
        let read = damaged.peek(|transaction| {
            let table = transaction.open_table(table)?;
            for hash in left.by_ref() {
                if let Some(value) = table.get(hash)? {
                    take(records, hash, value.value());
                }
            }
            Ok(())
        });
        match read {
            // That row is on such a page; the next may not be.
            Err(error) if error.is_damage() && left.len() < before => {}
            Err(error) if error.is_damage() => break,
            read => read?,
        }
    }
    Ok(())
}
