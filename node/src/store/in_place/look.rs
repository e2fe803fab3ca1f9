//! Files that do not look as they did, and what reads find in them.
//!
//! One that was merely touched would be doubted for ever. So once each chunk that lies in one was read and found, while
//! it looked the same from the first read to the last, its row says how it looks now. Nothing is read for that, and of
//! a file that looks as its row says nothing is noted. While chunks are being placed in a file, nothing is noted either.

use std::collections::{BTreeMap, HashMap};

use redb::ReadableTable;

use super::super::error::StoreError;
use super::super::holds::Places;
use super::super::index::Entry;
use super::super::rows::{ObjectId, Soundness};
use super::{FILES, FileNumber, FilePlace, FileRow, FileStamp, InPlace, Wanted};

/// Files that are noted at once: some 200 bytes each, and a bit for each 4 KiB of them.
const MAX_LOOKS: usize = 1 << 16;
/// Chunks that are read in one go: some MiB.
const CHUNKS_AT_ONCE: usize = 32;

/// What has been found in files that do not look as they did.
#[derive(Debug, Default)]
pub(super) struct Looks {
    looks: HashMap<FileNumber, Look>,
    /// Where chunks were found.
    found: Places<FileNumber>,
}

/// What has been found in one file.
#[derive(Debug)]
struct Look {
    /// Its row at the first read. Chunks only leave it as long as nobody places any, so one with as many has the same.
    row: FileRow,
    /// How it has looked since the first read.
    now: FileStamp,
    /// Chunks that were found in it.
    chunks: u64,
}

impl Looks {
    /// Notes where chunks were found in a file that has looked like `now` all the while; says whether these are all.
    fn add(&mut self, file: FileNumber, row: &FileRow, now: FileStamp, offsets: impl Iterator<Item = u64>) -> bool {
        if !self.looks.get(&file).is_some_and(|look| look.now == now && look.row == *row) {
            self.end(file);
            if self.looks.len() >= MAX_LOOKS {
                return false;
            }
        }
        let look = self.looks.entry(file).or_insert_with(|| Look { row: row.clone(), now, chunks: 0 });
        for offset in offsets {
            // Two that share a bit count once: they are not known to be all too late, never too early.
            if !self.found.covers(file, offset) {
                self.found.add(file, offset);
                look.chunks += 1;
            }
        }
        look.chunks >= look.row.chunks
    }

    /// The row that a file is to have, if it has `row` now and everything was found in it.
    fn renewed(&self, file: FileNumber, row: &FileRow) -> Option<FileRow> {
        let look = self.looks.get(&file).filter(|look| look.row == *row && look.chunks >= row.chunks)?;
        Some(FileRow { stamp: look.now, ..row.clone() })
    }

    /// Forgets what was found in a file.
    pub(super) fn end(&mut self, file: FileNumber) {
        if self.looks.remove(&file).is_some() {
            self.found.forget(file);
        }
    }
}

impl InPlace {
    /// Notes that chunks were read and found at these places of a file that does not look as its `row` says. `now`: how
    /// it looked before and after; `None` when these differ, or not all was found.
    pub(super) fn looked(
        &self,
        file: FileNumber,
        row: &FileRow,
        now: Option<FileStamp>,
        offsets: impl Iterator<Item = u64>,
    ) {
        let mut state = self.state();
        let Some(now) = now.filter(|_| !state.busy.contains_key(&file)) else {
            return state.looks.end(file);
        };
        let is_all = state.looks.add(file, row, now, offsets);
        drop(state);
        if is_all && let Err(error) = self.renew(file) {
            tracing::warn!(%error, file = %row.path.display(), "could not note that it has all that it had");
        }
    }

    /// Notes, durably, how a file looks in which everything was found.
    fn renew(&self, file: FileNumber) -> Result<(), StoreError> {
        let renewed = self.write(|transaction| {
            let mut table = transaction.open_table(FILES)?;
            let row = table.get(file.0)?.and_then(|value| FileRow::decode(file, value.value()).ok());
            // Whoever places chunks in it has ended the look before.
            let Some(row) = row.and_then(|row| self.state().looks.renewed(file, &row)) else { return Ok(None) };
            table.insert(file.0, row.encode(file).as_slice())?;
            Ok(Some(row))
        });
        self.state().looks.end(file);
        if let Some(row) = renewed? {
            tracing::info!(file = %row.path.display(), "it does not look as it did, but has all that it had");
        }
        Ok(())
    }

    /// Reads what a segment holds as well in those files that do not look as they did: nobody else would, and they
    /// would be doubted for ever. `on_read` is told of bytes, and may end it: `false` then.
    pub(in crate::store) fn read_doubted(
        &self,
        chunks: &[(ObjectId, FilePlace)],
        mut on_read: impl FnMut(u64) -> bool,
    ) -> Result<bool, StoreError> {
        let sound = |place| FilePlace { soundness: Soundness::Sound, ..place };
        let mut entries: Vec<Entry> = chunks.iter().map(|(_, place)| Entry::InFile(sound(*place))).collect();
        self.doubt(&mut entries)?;
        let mut files: BTreeMap<FileNumber, Vec<Wanted<'_>>> = BTreeMap::new();
        for (at, ((id, place), entry)) in chunks.iter().zip(&entries).enumerate() {
            if matches!(entry, Entry::InChangedFile(_)) {
                files.entry(place.file).or_default().push(Wanted { at, id, place: *place });
            }
        }
        for (file, mut wanted) in files {
            wanted.sort_unstable_by_key(|wanted| wanted.place.offset);
            for wanted in wanted.chunks(CHUNKS_AT_ONCE) {
                let reads = self.read_chunks(file, wanted);
                let bytes = reads.into_iter().filter_map(|(_, read)| read.ok().flatten());
                if !on_read(bytes.map(|bytes| bytes.len() as u64).sum()) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileNumber = FileNumber(1);

    fn stamp(bytes: u64) -> FileStamp {
        let mut stamp = FileStamp::default();
        stamp.bytes = bytes;
        stamp
    }

    fn row(chunks: u64) -> FileRow {
        FileRow { is_growing: false, stamp: stamp(1), chunks, chunk_bytes: 9, path: "/a".into(), becomes: None }
    }

    #[test]
    fn only_all_chunks_found_while_neither_the_row_nor_the_looks_have_changed_renew() {
        let (now, later) = (stamp(2), stamp(3));
        let mut looks = Looks::default();
        let mut add = |row: &FileRow, now, at: u64| looks.add(FILE, row, now, std::iter::once(at << 16));
        assert!(!add(&row(3), now, 0) && !add(&row(3), now, 1));
        assert!(!add(&row(3), now, 1), "one twice is one");
        assert!(!add(&row(3), later, 2), "it looks otherwise again");
        assert!(!add(&row(3), later, 0));
        assert!(!add(&row(2), later, 1), "one has gone to another file");
        assert!(!add(&row(3), now, 0) && !add(&row(3), now, 1) && add(&row(3), now, 2));
        assert_eq!(looks.renewed(FILE, &row(3)).unwrap(), FileRow { stamp: now, ..row(3) });
        assert_eq!(looks.renewed(FILE, &row(2)), None);
        looks.end(FILE);
        assert_eq!(looks.renewed(FILE, &row(3)), None);
        assert!(!looks.add(FILE, &row(3), now, std::iter::once(0)), "nothing is left of it");
    }

    #[test]
    fn so_many_files_are_noted_at_once() {
        let mut looks = Looks::default();
        let mut add = |file, at| looks.add(FileNumber(file), &row(2), FileStamp::default(), std::iter::once(at));
        for file in 0..MAX_LOOKS as u32 {
            add(file, 0);
        }
        assert!(!add(u32::MAX, 0) && !add(u32::MAX, 1 << 16));
        assert!(add(7, 1 << 16), "those that are go on");
    }
}
