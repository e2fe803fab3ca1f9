//! What a fetch that was cut short has left in its output without the store knowing of it.
//!
//! An output that the store keeps becomes durable in groups, so after a kill some of what was written to it is in no
//! record. It is read, checked like what comes from a peer, and placed: only what is not there is transferred.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::chunk::VerifiedChunk;
use shoal_protocol::manifest::ChunkLeaf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::FetchError;
use super::coordinator::Coordinator;
use super::rows::PlacedRow;
use crate::config::FETCH_QUEUE_BYTES;
use crate::output::{Keeper, KeptFile};

/// Chunks that may wait to be taken, besides the bytes that wait to be written.
const FOUND: usize = 1;
/// Follows no link and waits for nobody: whoever can write to the folder may have put anything there.
const CAREFUL: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

impl Coordinator<'_> {
    /// Takes those chunks of a leaf that are missing and lie in the output all the same.
    pub(super) async fn take_leftovers(&mut self, leaf: &ChunkLeaf) -> Result<(), FetchError> {
        let Some(keeper) = self.sink.keeper().cloned() else {
            return Ok(());
        };
        let begun = Instant::now();
        let indices = (leaf.first..).map(ChunkIndex).take(leaf.rows.len());
        let missing = indices.filter(|index| self.engine.is_missing(*index));
        let missing: Vec<_> = missing.filter_map(|index| Some((index, self.rows.find(index)?))).collect();
        let (found, mut chunks) = mpsc::channel(FOUND);
        let search = spawn_blocking(move || {
            let mut leftovers = Leftovers { keeper, file: None };
            for (index, placed) in missing {
                if let Some(chunk) = leftovers.find(&placed)
                    && found.blocking_send((index, placed, chunk)).is_err()
                {
                    return;
                }
            }
        });
        while let Some((index, placed, chunk)) = chunks.recv().await {
            let room = Arc::clone(&self.leftover_room).acquire_many_owned(placed.row.len).await;
            let permit = room.map_err(|_| FetchError::Broken)?;
            self.rows.arrived(index);
            let others = self.repeats.arrived(&chunk.id());
            self.engine.handle_held(index, self.now());
            self.sink.put(index, placed.offset, chunk, permit).await?;
            self.sink.expect(&others);
            if self.tell_settled()? {
                self.tell_progress(false);
            }
        }
        search.await.map_err(|_| FetchError::Broken)?;
        // It is this node's own disk that took its time, and no peer.
        self.held_up += begun.elapsed();
        self.last_progress += begun.elapsed();
        Ok(())
    }
}

/// Room for chunks that have been found so and wait to be written. Not that which sessions fill: they wait for the task
/// that takes these.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FETCH_QUEUE_BYTES))
}

/// Looks into the files of an output, one after the other.
struct Leftovers {
    keeper: Keeper,
    /// The last file that was looked into, if it could be opened.
    file: Option<(KeptFile, Option<Opened>)>,
}

/// A file of an output.
struct Opened {
    file: File,
    /// Nothing is written from the first to the second byte, as far as has been looked.
    hole: (u64, u64),
}

impl Leftovers {
    /// The chunk of a row, if it lies where it belongs. Blocks.
    fn find(&mut self, placed: &PlacedRow) -> Option<VerifiedChunk> {
        let (kept, offset) = self.keeper.file_of(placed.offset, placed.row.len)?;
        if self.file.as_ref().is_none_or(|(file, _)| *file != kept) {
            let (path, _) = self.keeper.paths(kept)?;
            self.file = Some((kept, Opened::new(&path).ok()));
        }
        let (_, opened) = self.file.as_mut()?;
        // What cannot be read is fetched: writing it says what is wrong.
        let bytes = opened.as_mut()?.read(offset, placed.row.len).ok()??;
        VerifiedChunk::verify(placed.row.id, bytes.into()).ok()
    }
}

impl Opened {
    fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(CAREFUL).open(path)?;
        Ok(Self { file, hole: (0, 0) })
    }

    /// Bytes of the file; `None` where a hole shows that they were not all written.
    fn read(&mut self, offset: u64, len: u32) -> io::Result<Option<Vec<u8>>> {
        let in_hole = |hole: (u64, u64)| hole.0 <= offset && offset < hole.1;
        if !in_hole(self.hole) {
            let data = match seek(&self.file, SeekFrom::Data(offset)) {
                Err(Errno::NXIO) => u64::MAX,
                // The file system does not say where holes are.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
                data => data?,
            };
            self.hole = (offset, data);
        }
        if in_hole(self.hole) {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        const BLOCK: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let file = File::create(&path).unwrap();
        file.write_all_at(&[7; 100_000], 2 * BLOCK).unwrap();
        let mut opened = Opened::new(&path).unwrap();
        let mut read = |offset, len| opened.read(offset, len).unwrap_or_default();
        assert_eq!(read(0, 1000), None);
        assert_eq!(opened.hole, (0, 2 * BLOCK), "looked for once");
        let mut read = |offset, len| opened.read(offset, len).unwrap_or_default();
        assert_eq!(read(BLOCK, 1000), None);
        assert_eq!(read(2 * BLOCK + 5, 50_000), Some(vec![7; 50_000]));
        assert_eq!(read(2 * BLOCK + 5, 100_000), None, "beyond the end");
        assert_eq!(read(3 * BLOCK, 1000), None);
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        assert!(Opened::new(&folder.path().join("link")).is_err());
    }
}
