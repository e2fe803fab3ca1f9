//! Placing chunks in files of the user.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};
use shoal_protocol::hash::ChunkId;

use super::super::error::{StoreError, Trouble};
use super::super::holds::Hold;
use super::super::index::Entry;
use super::super::ingest::Added;
use super::super::rows::{ObjectId, Soundness};
use super::super::shared::Shared;
use super::super::usage::disk_bytes;
use super::doubt::Reliance;
use super::{CHUNKS, FILES, FileNumber, FilePlace, FileRow, FileStamp};

/// How often the files of others are looked at while outputs begin to replace something in between.
const LOOKS: usize = 8;
/// What a row may take on the disk until it is durable: a page, copied, and one above it.
const ROW_PAGES_BYTES: u64 = 2 * 4096;
/// What a row takes in the end, generously.
const ROW_BYTES: u64 = 256;

/// A file in which chunks are to be placed.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Where it is: an absolute path.
    pub path: PathBuf,
    /// Where it will be once it is whole, if it is still being written.
    pub becomes: Option<PathBuf>,
    /// How it looks now.
    pub stamp: FileStamp,
}

/// A chunk and where in a file it lies. Whoever says so has read or written it there.
#[derive(Debug, Clone, Copy)]
pub struct KeptChunk {
    /// Its id.
    pub id: ChunkId,
    /// The file.
    pub file: FileNumber,
    /// Where in the file it begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u32,
}

/// One publish's or fetch's way of placing chunks in files. What it has placed is not collected as long as it lives.
/// Its methods block on the disk.
#[derive(Debug)]
pub struct InPlaceWriter {
    shared: Arc<Shared>,
    /// Keeps what is not placed because a segment has it.
    hold: Hold,
    files: BTreeMap<FileNumber, FileRow>,
    /// What there was when the first file came: a fetch that goes on finds its files again.
    before: Option<HashMap<PathBuf, (FileNumber, FileRow)>>,
    added: Added,
}

impl InPlaceWriter {
    pub(in crate::store) fn new(shared: Arc<Shared>, hold: Hold) -> Self {
        Self { shared, hold, files: BTreeMap::new(), before: None, added: Added::default() }
    }

    /// Takes in a file. It must be durable under its name, and its bytes before chunks are placed in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn add(&mut self, file: NewFile) -> Result<FileNumber, StoreError> {
        let before = match &mut self.before {
            Some(before) => before,
            place => {
                let files = self.shared.in_place.files()?.into_iter();
                place.insert(files.map(|(number, row)| (row.path.clone(), (number, row))).collect())
            }
        };
        let is_growing = file.becomes.is_some();
        let known = before.get(&file.path).filter(|(_, row)| {
            if is_growing {
                row.is_growing && row.stamp.is_same_file(&file.stamp)
            } else {
                !row.is_growing && row.stamp == file.stamp
            }
        });
        let mut state = self.shared.in_place.state();
        let (number, row) = known.cloned().unwrap_or_else(|| {
            let number = FileNumber(state.next.max(1));
            state.next = number.0.saturating_add(1);
            let NewFile { path, becomes, stamp } = file;
            (number, FileRow { is_growing, stamp, chunks: 0, chunk_bytes: 0, path, becomes })
        });
        state.gone.remove(&number);
        if self.files.insert(number, row).is_none() {
            *state.busy.entry(number).or_default() += 1;
        }
        Ok(number)
    }

    /// Places chunks in files that have been taken in; durable on return. Those that are held otherwise stay where
    /// they are.
    ///
    /// # Errors
    /// The disk's. What has been placed by then stays so.
    pub fn keep(&mut self, chunks: &[KeptChunk]) -> Result<(), StoreError> {
        let ids = || chunks.iter().map(|chunk| chunk.id.as_bytes());
        // Their rows take room as well, if only in a database of their own. It is asked for before the collector, which
        // may have to make it, is kept from deciding.
        let rows = self.shared.segment_entries(ids())?.iter().filter(|entry| !entry.is_held()).count() as u64;
        let database_bytes = disk_bytes(self.shared.in_place.path())?;
        let _room = match rows {
            0 => None,
            _ => Some(self.shared.room((rows * ROW_PAGES_BYTES).min(database_bytes + rows * ROW_BYTES), 0)?),
        };
        let reliance = self.look(chunks)?;
        let holds = Arc::clone(&self.shared.holds);
        // Until the rows are there the collector decides nothing.
        let looking = holds.looking();
        let mut moving = self.place(chunks, &reliance, Moves::Left)?;
        drop(looking);
        for look in 1..=LOOKS {
            if moving.is_empty() {
                break;
            }
            let reliance = self.look(&moving)?;
            // Nor does anybody else find out where they lie: whoever has found one of them holds it where it is then.
            let _deciding = holds.deciding();
            let moves = if look < LOOKS { Moves::IfSure } else { Moves::Made };
            moving = self.place(&moving, &reliance, moves)?;
        }
        Ok(())
    }

    /// Looks at the files of others in which the chunks lie, before anybody is kept waiting: one may be on a disk that
    /// hangs.
    pub(in crate::store) fn look(&self, chunks: &[KeptChunk]) -> Result<Reliance, StoreError> {
        let in_place = &self.shared.in_place;
        let places = in_place.places(chunks.iter().map(|chunk| chunk.id.as_bytes()))?;
        let others = places.into_iter().zip(chunks).filter_map(|(place, chunk)| {
            place.filter(|place| place.soundness == Soundness::Sound && place.file != chunk.file)
        });
        in_place.reliance(others)
    }

    /// Places chunks; gives back those that lie elsewhere and are left there for now. Only under
    /// [`Holds::looking`](super::super::holds::Holds::looking), or under
    /// [`deciding`](super::super::holds::Holds::deciding) if chunks are to move.
    pub(in crate::store) fn place(
        &mut self,
        chunks: &[KeptChunk],
        reliance: &Reliance,
        moves: Moves,
    ) -> Result<Vec<KeptChunk>, StoreError> {
        let (in_place, holds) = (&self.shared.in_place, &self.shared.holds);
        let held = self.shared.segment_entries(chunks.iter().map(|chunk| chunk.id.as_bytes()))?;
        self.hold.add_held(&held);
        let mut due: Vec<&KeptChunk> =
            chunks.iter().zip(held).filter(|(_, entry)| !entry.is_held()).map(|(chunk, _)| chunk).collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        // Neighbours in the table share pages.
        due.sort_unstable_by_key(|chunk| *chunk.id.as_bytes());
        let Placed { files, added, moved, left } = in_place.write(|transaction| {
            let begun = in_place.begun();
            let reliable = |file| reliance.covers(file, begun);
            let moves = if moves == Moves::IfSure && !reliance.is_of(begun) { Moves::Left } else { moves };
            let mut placing = Placing::new(transaction, &self.files)?;
            for chunk in &due {
                if let Some((file, offset)) = placing.place(chunk, &reliable, moves)? {
                    self.hold.add_in_file(file, offset);
                }
            }
            placing.finish()
        })?;
        moved.into_iter().for_each(|(from, to)| holds.follow_in_file(from, to));
        for (number, row) in files {
            // Others may have lost chunks by this, but are not ours to look after.
            if let Some(own) = self.files.get_mut(&number) {
                *own = row;
            }
        }
        self.added.chunks += added.chunks;
        self.added.bytes += added.bytes;
        Ok(left)
    }

    /// Notes that files are whole now, under the names that they were to have; durable on return. Of one that has
    /// another file in its place nothing is noted.
    ///
    /// # Errors
    /// The disk's: the files are found all the same.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        let mut whole = Vec::new();
        for (number, row) in self.files.iter().filter(|(_, row)| row.chunks > 0) {
            let path = row.becomes.as_ref().unwrap_or(&row.path);
            let meta = std::fs::metadata(path).map_err(|source| StoreError::io(path, source))?;
            let (stamp, path) = (FileStamp::of(&meta), path.clone());
            if !stamp.is_same_file(&row.stamp) {
                // It would be found to have changed, wherever the one that has the chunks is.
                tracing::warn!(path = %path.display(), "another file is where one in place was to be");
                continue;
            }
            whole.push((*number, FileRow { is_growing: false, stamp, path, becomes: None, ..row.clone() }));
        }
        if whole.is_empty() {
            return Ok(());
        }
        self.shared.in_place.write(|transaction| {
            let mut table = transaction.open_table(FILES)?;
            for (number, row) in &whole {
                // The row may have lost chunks to another file meanwhile.
                let now = table.get(number.0)?.and_then(|value| FileRow::decode(*number, value.value()).ok());
                let Some(FileRow { chunks, chunk_bytes, .. }) = now else { continue };
                let row = FileRow { chunks, chunk_bytes, ..row.clone() };
                table.insert(number.0, row.encode(*number).as_slice())?;
            }
            Ok(())
        })
    }

    /// Whether each chunk is held in this file at this place, and in no segment: whoever has read it has read it there.
    ///
    /// # Errors
    /// The disk's.
    pub fn lie_there(&self, chunks: &[KeptChunk]) -> Result<Vec<bool>, StoreError> {
        let entries = self.shared.index_entries(chunks.iter().map(|chunk| chunk.id.as_bytes()))?;
        let there = entries.into_iter().zip(chunks).map(|(entry, chunk)| {
            let KeptChunk { file, offset, len, .. } = *chunk;
            entry == Entry::InFile(FilePlace { file, offset, len, soundness: Soundness::Sound })
        });
        Ok(there.collect())
    }

    /// What has been placed that was not held before.
    pub fn added(&self) -> Added {
        self.added
    }
}

impl Drop for InPlaceWriter {
    fn drop(&mut self) {
        let mut state = self.shared.in_place.state();
        for number in self.files.keys() {
            if let Some(count) = state.busy.get_mut(number) {
                *count -= 1;
                if *count == 0 {
                    state.busy.remove(number);
                }
            }
        }
    }
}

/// Placing chunks within one transaction.
struct Placing<'t> {
    /// The files of whoever places.
    own: &'t BTreeMap<FileNumber, FileRow>,
    chunks: Table<'t, &'static ObjectId, &'static [u8; 24]>,
    table: Table<'t, u32, &'static [u8]>,
    /// Rows of files as they are to be; `None` for one whose row is lost.
    rows: BTreeMap<FileNumber, Option<FileRow>>,
    placed: Placed,
}

/// What has been placed.
#[derive(Default)]
struct Placed {
    /// The rows of files that have changed by it.
    files: BTreeMap<FileNumber, FileRow>,
    /// What was not held before.
    added: Added,
    /// Where chunks lay before, and where they lie now.
    moved: Vec<((FileNumber, u64), (FileNumber, u64))>,
    /// What is still to move.
    left: Vec<KeptChunk>,
}

/// What becomes of chunks that lie in other files, which are not to be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Moves {
    /// They are left where they are.
    Left,
    /// They move, unless something else is about to be replaced since the look: a file may have lost its standing by
    /// that, and no other.
    IfSure,
    /// They move.
    Made,
}

impl<'t> Placing<'t> {
    fn new(transaction: &'t WriteTransaction, own: &'t BTreeMap<FileNumber, FileRow>) -> Result<Self, Trouble> {
        let (chunks, table) = (transaction.open_table(CHUNKS)?, transaction.open_table(FILES)?);
        let mut rows = BTreeMap::new();
        for (number, row) in own {
            // The table knows better how many chunks there are: others may have taken some over.
            let known = table.get(number.0)?.and_then(|value| FileRow::decode(*number, value.value()).ok());
            let (chunks, chunk_bytes) = known.map_or((0, 0), |known| (known.chunks, known.chunk_bytes));
            rows.insert(*number, Some(FileRow { chunks, chunk_bytes, ..row.clone() }));
        }
        Ok(Self { own, chunks, table, rows, placed: Placed::default() })
    }

    /// Places a chunk; says where it lies then, unless it is left.
    fn place(
        &mut self,
        chunk: &KeptChunk,
        reliable: &impl Fn(FileNumber) -> bool,
        moves: Moves,
    ) -> Result<Option<(FileNumber, u64)>, Trouble> {
        let id = chunk.id.as_bytes();
        let KeptChunk { file, offset, len, .. } = *chunk;
        let place = FilePlace { file, offset, len, soundness: Soundness::Sound };
        let before = self.chunks.get(id)?.and_then(|value| FilePlace::decode(id, value.value()).ok());
        match before {
            // One that stands several times in what is being placed is there wherever it lies.
            Some(FilePlace { file, offset, soundness: Soundness::Sound, .. })
                if self.own.contains_key(&file) || reliable(file) =>
            {
                return Ok(Some((file, offset)));
            }
            Some(_) if moves == Moves::Left => {
                self.placed.left.push(*chunk);
                return Ok(None);
            }
            Some(_) => {}
            None => {
                self.placed.added.chunks += 1;
                self.placed.added.bytes += u64::from(len);
            }
        }
        if let Some(before) = before {
            self.count(before.file, before.len, false)?;
            self.placed.moved.push(((before.file, before.offset), (file, offset)));
        }
        self.count(file, len, true)?;
        self.chunks.insert(id, &place.encode(id))?;
        Ok(Some((file, offset)))
    }

    fn row(&mut self, number: FileNumber) -> Result<Option<&mut FileRow>, Trouble> {
        if !self.rows.contains_key(&number) {
            let row = self.table.get(number.0)?.and_then(|value| FileRow::decode(number, value.value()).ok());
            self.rows.insert(number, row);
        }
        Ok(self.rows.get_mut(&number).and_then(Option::as_mut))
    }

    fn count(&mut self, number: FileNumber, len: u32, more: bool) -> Result<(), Trouble> {
        if let Some(row) = self.row(number)? {
            let (chunks, bytes) = (row.chunks, row.chunk_bytes);
            let len = u64::from(len);
            (row.chunks, row.chunk_bytes) =
                if more { (chunks + 1, bytes + len) } else { (chunks.saturating_sub(1), bytes.saturating_sub(len)) };
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Placed, Trouble> {
        for (number, row) in std::mem::take(&mut self.rows) {
            let Some(row) = row else { continue };
            if row.chunks > 0 {
                self.table.insert(number.0, row.encode(number).as_slice())?;
            } else {
                self.table.remove(number.0)?;
            }
            self.placed.files.insert(number, row);
        }
        Ok(self.placed)
    }
}

/// Removes rows of chunks, and of files that have none any more; says how many files those are. What is gone already
/// is not counted again: after a fault this may run behind its own commit.
pub(super) fn remove<'a>(
    transaction: &WriteTransaction,
    dead: impl IntoIterator<Item = &'a ObjectId>,
) -> Result<u64, Trouble> {
    let nobodys = BTreeMap::new();
    let mut placing = Placing::new(transaction, &nobodys)?;
    for id in dead {
        let place = placing.chunks.remove(id)?.and_then(|value| FilePlace::decode(id, value.value()).ok());
        if let Some(place) = place {
            placing.count(place.file, place.len, false)?;
        }
    }
    let Placed { files, .. } = placing.finish()?;
    Ok(files.values().filter(|row| row.chunks == 0).count() as u64)
}
