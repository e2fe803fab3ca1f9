//! A file that is only read, and what would be written to it, in memory.
//!
//! redb puts right what an unclean end left before it lets anybody read, and writes for that. Where the disk takes
//! nothing (it is full, read-only, or not ours), those writes go here, and what was held stays readable. The file
//! itself is never touched, so nothing that came after is durable; the bound on memory is reported as a full disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::StorageBackend;

use super::backend::{Faults, FileCall};

const PAGE_BYTES: usize = 4096;
/// Most bytes of pages in memory. A repair changes a few; an index that catches up in memory may need more.
const MAX_BYTES: usize = 256 << 20;

/// The file, and over it the pages that have been written to.
#[derive(Debug)]
pub(super) struct Overlay {
    path: PathBuf,
    file: File,
    faults: Option<Arc<dyn Faults>>,
    pages: RwLock<Pages>,
}

struct Pages {
    /// The length as redb knows it.
    len: u64,
    /// Up to here the file counts where no page is in memory; what lies behind is zeros.
    own_bytes: u64,
    changed: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {} pages in memory", self.len, self.changed.len())
    }
}

/// The numbers of the pages that hold `bytes` bytes from `offset` on.
const fn pages_of(offset: u64, bytes: usize) -> std::ops::Range<u64> {
    offset / PAGE_BYTES as u64..(offset + bytes as u64).div_ceil(PAGE_BYTES as u64)
}

/// Where page `number` and `bytes` bytes from `offset` on meet: places in the page, and in the bytes.
fn meeting(number: u64, offset: u64, bytes: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let start = number * PAGE_BYTES as u64;
    let from = start.max(offset);
    let to = (start + PAGE_BYTES as u64).min(offset + bytes as u64).max(from);
    // Both differences are at most the length of a buffer.
    let within = |base: u64| (from - base) as usize..(to - base) as usize;
    (within(start), within(offset))
}

impl Overlay {
    /// Reads the file at `path` from now on, and leaves it as it is.
    pub(super) fn new(path: &Path, faults: Option<Arc<dyn Faults>>) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            path: path.into(),
            file,
            faults,
            pages: RwLock::new(Pages { len, own_bytes: len, changed: BTreeMap::new() }),
        })
    }

    fn read_own(&self, own_bytes: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let own = usize::try_from(own_bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (own, behind) = out.split_at_mut(own);
        behind.fill(0);
        self.faults.as_ref().map_or(Ok(()), |faults| faults.before(FileCall::Read, &self.path))?;
        self.file.read_exact_at(own, offset)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages.read().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > pages.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_own(pages.own_bytes, offset, out)?;
        for (number, page) in pages.changed.range(pages_of(offset, out.len())) {
            let (in_page, in_out) = meeting(*number, offset, out.len());
            out[in_out].copy_from_slice(&page[in_page]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        pages.own_bytes = pages.own_bytes.min(len);
        drop(pages.changed.split_off(&len.div_ceil(PAGE_BYTES as u64)));
        if let Some(last) = pages.changed.get_mut(&(len / PAGE_BYTES as u64)) {
            last[(len % PAGE_BYTES as u64) as usize..].fill(0);
        }
        pages.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let pages = &mut *pages;
        for number in pages_of(offset, data.len()) {
            let page = match pages.changed.entry(number) {
                std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let mut page = Box::new([0; PAGE_BYTES]);
                    self.read_own(pages.own_bytes, number * PAGE_BYTES as u64, page.as_mut_slice())?;
                    place.insert(page)
                }
            };
            let (in_page, in_data) = meeting(number, offset, data.len());
            page[in_page].copy_from_slice(&data[in_data]);
        }
        pages.len = pages.len.max(offset + data.len() as u64);
        if pages.changed.len() * PAGE_BYTES > MAX_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    #[test]
    fn it_reads_as_a_file_that_was_written_to_and_the_file_stays() {
        for seed in 0..50 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut below = |limit: usize| (rng.next_u64() % limit as u64) as usize;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            let original: Vec<u8> = (0..below(40_000)).map(|at| at as u8 | 1).collect();
            std::fs::write(&path, &original).unwrap();
            let overlay = Overlay::new(&path, None).unwrap();
            let mut model = original.clone();
            for step in 0..60 {
                match below(3) {
                    0 => {
                        let len = below(50_000);
                        model.resize(len, 0);
                        overlay.set_len(len as u64).unwrap();
                    }
                    1 => {
                        let (at, bytes) = (below(model.len() + 1), vec![step; below(9_000)]);
                        model.resize(model.len().max(at + bytes.len()), 0);
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                        overlay.write(at as u64, &bytes).unwrap();
                    }
                    _ => {
                        let at = below(model.len() + 1);
                        let mut out = vec![9; below(model.len() - at + 1)];
                        overlay.read(at as u64, &mut out).unwrap();
                        assert_eq!(out, model[at..at + out.len()], "seed {seed}");
                    }
                }
                assert_eq!(overlay.len().unwrap(), model.len() as u64);
                assert!(overlay.read(model.len() as u64, &mut [0]).is_err());
            }
            assert_eq!(std::fs::read(&path).unwrap(), original);
        }
    }
}
