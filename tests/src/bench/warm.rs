//! Memory that is really there before something is timed.
//!
//! A virtual machine may give what its guest frees back to the host within seconds (free page reporting of
//! virtio-balloon) and fetch it again page by page on the next touch. Measured on such a machine: a GiB of fresh page
//! cache takes 0.3 s while the pages are there and 2.6 s where they are not, more than all of a fetch. What is timed,
//! ours and the floors alike, therefore begins with as much free memory at hand as it will take.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::BenchError;

/// Takes so many bytes of memory and frees them again: as a file in a folder that lies in memory.
pub(super) fn memory(folder: &Path, bytes: u64) -> Result<(), BenchError> {
    let path = folder.join("warm");
    let taken = take(&path, bytes);
    let removed = fs::remove_file(&path);
    taken.and(removed).map_err(BenchError::file(&path))
}

fn take(path: &Path, bytes: u64) -> std::io::Result<()> {
    let block = vec![0x5a; 1 << 20];
    let mut file = File::create(path)?;
    for _ in 0..bytes.div_ceil(block.len() as u64) {
        file.write_all(&block)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        memory(folder.path(), (3 << 20) + 1)?;
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        assert!(memory(&folder.path().join("none"), 1).is_err());
        Ok(())
    }
}
