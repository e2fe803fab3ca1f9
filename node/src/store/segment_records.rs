//! Records of contents in a segment: each was committed with the last objects of its content, so that both are durable
//! at once. The catalog takes them in, and is what counts from then on.

use std::path::Path;

use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};
use shoal_protocol::hash::ContentHash;

use super::error::Trouble;
use super::record::ManifestRecord;
use super::rows::ID_BYTES;

/// Group and content hash → record.
const RECORDS: TableDefinition<(u64, &[u8; ID_BYTES]), &[u8]> = TableDefinition::new("manifests");

/// Makes the table.
pub(super) fn make_table(transaction: &WriteTransaction) -> Result<(), Trouble> {
    transaction.open_table(RECORDS)?;
    Ok(())
}

/// Adds the records that come with `group`.
pub(super) fn write(transaction: &WriteTransaction, group: u64, records: &[ManifestRecord]) -> Result<(), Trouble> {
    if records.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(RECORDS)?;
    for record in records {
        table.insert((group, record.hash.as_bytes()), record.encode().as_slice())?;
    }
    Ok(())
}

/// The records that came with group `from` and those after it, each with its group. What is damaged is left out.
pub(super) fn read(
    transaction: &ReadTransaction,
    from: u64,
    file: &Path,
) -> Result<Vec<(u64, ManifestRecord)>, Trouble> {
    let table = match transaction.open_table(RECORDS) {
        Ok(table) => table,
        // An earlier version made the segment.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut records = Vec::new();
    for row in table.range((from, &[0; ID_BYTES])..)? {
        let (key, value) = row?;
        let (group, hash) = key.value();
        match ManifestRecord::decode(&ContentHash::from_bytes(*hash), value.value()) {
            Ok(record) => records.push((group, record)),
            Err(version @ Trouble::Version(_)) => return Err(version),
            Err(trouble) => {
                let error = trouble.about(file);
                tracing::error!(%error, group, "the record of a content is lost");
            }
        }
    }
    Ok(records)
}
