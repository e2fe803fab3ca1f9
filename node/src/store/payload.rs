//! Payload as a byte stream in rows.
//!
//! Rows fill redb's pages exactly; one byte more and a row would take twice the room. A group's stream is cut into full
//! rows and its tail into halves of them. The key is the row's offset in the segment's stream.

use std::path::Path;

use bytes::Bytes;
use redb::{AccessGuard, ReadOnlyTable, Table, TableDefinition};

use super::database::guarded;
use super::error::{StoreError, Trouble};

/// Rows by their offset in the stream.
pub(super) const PAYLOAD: TableDefinition<u64, &[u8]> = TableDefinition::new("payload");

/// A row of payload: with its key and redb's 8 bytes of framing it fills 16 pages of 4 KiB.
const ROW_BYTES: usize = 16 * 4096 - 16;

/// Cuts the bytes of `objects` into rows from `start` to `end` of the stream.
pub(super) fn write_stream(
    payload: &mut Table<'_, u64, &'static [u8]>,
    start: u64,
    end: u64,
    objects: impl Iterator<Item = Bytes>,
) -> Result<(), Trouble> {
    let mut at = start;
    let mut want = row_bytes(end - at);
    let mut row = Vec::with_capacity(want);
    for bytes in objects {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(want - row.len()));
            rest = later;
            if now.len() == want {
                payload.insert(at, now)?;
            } else {
                row.extend_from_slice(now);
                if row.len() < want {
                    continue;
                }
                payload.insert(at, row.as_slice())?;
                row.clear();
            }
            at += want as u64;
            want = row_bytes(end - at);
        }
    }
    if at == end { Ok(()) } else { Err(Trouble::Row("a group is not as long as its directory says")) }
}

/// Reads runs of a segment's stream. It keeps the row it read last, so that neighbours share it.
pub(super) struct PayloadReader<'a> {
    table: &'a ReadOnlyTable<u64, &'static [u8]>,
    path: &'a Path,
    last: Option<(u64, AccessGuard<'static, &'static [u8]>)>,
}

impl<'a> PayloadReader<'a> {
    /// A reader of `table` in the file at `path`.
    pub(super) const fn new(table: &'a ReadOnlyTable<u64, &'static [u8]>, path: &'a Path) -> Self {
        Self { table, path, last: None }
    }

    /// The `len` bytes at `offset`, unchecked: the caller hashes them.
    pub(super) fn bytes(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, StoreError> {
        guarded(self.path, || self.rows(offset, len as usize))
    }

    fn rows(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, Trouble> {
        if len > super::MAX_OBJECT_BYTES {
            return Err(Trouble::Row("an object is longer than any can be"));
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            let from_last = self.last.as_ref().and_then(|(key, row)| part(*key, row.value(), at));
            if from_last.is_none() {
                // The first row is the one that begins at or before `at`; those after it begin exactly there.
                self.last = if bytes.is_empty() {
                    let row = self.table.range(..=at)?.next_back().transpose()?;
                    row.map(|(key, row)| (key.value(), row))
                } else {
                    self.table.get(at)?.map(|row| (at, row))
                };
            }
            let found = self.last.as_ref().and_then(|(key, row)| part(*key, row.value(), at));
            let Some(found) = found else {
                return Err(Trouble::Row("a row of its payload is missing"));
            };
            bytes.extend_from_slice(&found[..found.len().min(len - bytes.len())]);
        }
        Ok(bytes)
    }
}

/// What the row that begins at `key` has from `at` on, if it reaches there.
fn part(key: u64, row: &[u8], at: u64) -> Option<&[u8]> {
    let skip = usize::try_from(at.checked_sub(key)?).ok()?;
    row.get(skip..).filter(|rest| !rest.is_empty())
}

/// The length of the next row of a group of which `left` bytes remain: full rows, then halves as long as they fill
/// their pages, then the rest.
const fn row_bytes(left: u64) -> usize {
    let mut row = ROW_BYTES;
    while left < row as u64 {
        if row == 4096 - 16 {
            return left as usize;
        }
        row = (row + 16) / 2 - 16;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fill_their_pages() {
        let cases: [(u64, usize); 8] = [
            (1 << 20, 65_520),
            (65_520, 65_520),
            (65_519, 32_752),
            (32_751, 16_368),
            (16_000, 8_176),
            (8_000, 4_080),
            (4_079, 4_079),
            (0, 0),
        ];
        for (left, expected) in cases {
            assert_eq!(row_bytes(left), expected, "{left} bytes left");
        }
    }
}
