//! What lies in a kept output already, whoever wrote it and whether or not that was recorded.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;

use super::keep::{Keeper, KeptFile};

/// Follows no link and waits for nobody: whoever can write to the folder may have put anything there.
const CAREFUL: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

/// Reads the files of a kept output, one after the other.
#[derive(Debug)]
pub(crate) struct Remains {
    keeper: Keeper,
    /// The last file that was looked into, if it could be opened.
    file: Option<(KeptFile, Option<Opened>)>,
}

/// A file of an output.
#[derive(Debug)]
struct Opened {
    file: File,
    /// Nothing is written from the first to the second byte, as far as has been looked.
    hole: (u64, u64),
}

impl Remains {
    pub(crate) const fn of(keeper: Keeper) -> Self {
        Self { keeper, file: None }
    }

    /// What lies at an offset of the stream, unchecked; `None` if nothing was written there, the output keeps nothing
    /// of that place, or it cannot be read. Blocks.
    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Option<Vec<u8>> {
        let (kept, offset) = self.keeper.file_of(offset, len)?;
        if self.file.as_ref().is_none_or(|(file, _)| *file != kept) {
            let (path, _) = self.keeper.paths(kept)?;
            self.file = Some((kept, Opened::new(&path).ok()));
        }
        let (_, opened) = self.file.as_mut()?;
        opened.as_mut()?.read(offset, len).ok()?
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
