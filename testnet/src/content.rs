//! Made-up content that is the same for the same seed, and as incompressible and unrepeating as real archives are.
//!
//! Bytes are BLAKE3's output stream keyed by the seed: quick, without repetitions, and any range of it can be made
//! again without the file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that an edit replaces in one place.
const EDIT_BYTES: u64 = 4096;

/// An endless stream of bytes that a seed names.
#[derive(Clone)]
pub struct Stream(blake3::OutputReader);

impl Stream {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new_derive_key("shoal testnet content").update(&seed.to_le_bytes()).finalize_xof())
    }

    /// The next so many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill(&mut bytes);
        bytes
    }

    /// Writes the next so many bytes.
    pub fn write(&mut self, out: &mut impl Write, count: u64) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = count;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            if let Some(part) = buffer.get_mut(..now) {
                self.0.fill(part);
                out.write_all(part)?;
            }
            left -= now as u64;
        }
        Ok(())
    }
}

/// Writes a file of so many bytes of the seed's stream.
pub fn write_file(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    Stream::new(seed).write(&mut File::create(path)?, bytes)
}

/// Writes a second version of [`write_file`]'s file: `inserted` other bytes at `at`, all else as it was.
pub fn write_file_with_insertion(path: &Path, bytes: u64, seed: u64, at: u64, inserted: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut stream = Stream::new(seed);
    stream.write(&mut file, at.min(bytes))?;
    Stream::new(!seed).write(&mut file, inserted)?;
    stream.write(&mut file, bytes.saturating_sub(at))
}

/// Writes a second version of [`write_file`]'s file: as long, with `changed` bytes replaced in runs of up to 4 KiB that
/// are spread evenly.
pub fn write_file_with_edits(path: &Path, bytes: u64, seed: u64, changed: u64) -> io::Result<()> {
    write_file(path, bytes, seed)?;
    let changed = changed.min(bytes);
    let runs = changed.div_ceil(EDIT_BYTES);
    let file = File::options().write(true).open(path)?;
    let mut stream = Stream::new(!seed);
    for run in 0..runs {
        let length = EDIT_BYTES.min(changed - run * EDIT_BYTES);
        let at = u64::try_from(u128::from(bytes - length) * u128::from(run) / u128::from(runs)).unwrap_or(0);
        file.write_all_at(&stream.bytes(usize::try_from(length).unwrap_or(0)), at)?;
    }
    Ok(())
}

/// Makes a folder with one of everything that a manifest can say: nested folders, an empty file, an empty folder, a
/// symbolic link, an executable, names beyond ASCII, small files and one of 3 MiB.
pub fn write_folder(path: &Path, seed: u64) -> io::Result<()> {
    let put = |name: &str, bytes: u64| {
        let file = path.join(name);
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        let offset = name.bytes().fold(seed, |sum, byte| sum.rotate_left(8) ^ u64::from(byte));
        write_file(&file, bytes, offset)
    };
    put("README.md", 1_734)?;
    put("src/main.rs", 12_001)?;
    put("src/deeply/nested/module/of/some/length.rs", 5)?;
    put("data/large.bin", 3 << 20)?;
    put("data/just-one-byte", 1)?;
    put("Grüße/日本語/Ελληνικά.txt", 70_000)?;
    put("names with spaces/and 'quotes' \"too\"", 333)?;
    put("empty-file", 0)?;
    fs::create_dir_all(path.join("empty/folder"))?;
    put("bin/run.sh", 64)?;
    fs::set_permissions(path.join("bin/run.sh"), fs::Permissions::from_mode(0o755))?;
    symlink("../README.md", path.join("src/link-to-readme"))?;
    symlink("nowhere/at/all", path.join("dangling"))?;
    for n in 0..40 {
        put(&format!("many/{:02}/file-{n}", n % 7), 100 * n)?;
    }
    Ok(())
}

/// Makes `count` files of `bytes` each, a hundred to a folder.
pub fn write_small_files(path: &Path, count: u32, bytes: u64, seed: u64) -> io::Result<()> {
    let mut stream = Stream::new(seed);
    for n in 0..count {
        let folder = path.join(format!("folder-{:03}", n / 100));
        if n % 100 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let mut file = BufWriter::new(File::create(folder.join(format!("file-{n:05}")))?);
        let part = stream.bytes(usize::try_from(bytes).unwrap_or(0));
        file.write_all(&part)?;
        file.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_same_seed_makes_the_same_folder_and_another_does_not() {
        let folder = tempfile::tempdir().unwrap();
        for (name, seed) in [("a", 1), ("b", 1), ("c", 2)] {
            write_folder(&folder.path().join(name), seed).unwrap();
        }
        let tree = |name| Tree::read(&folder.path().join(name)).unwrap();
        assert_eq!(tree("a").differences(&tree("b")), Vec::<String>::new());
        assert!(!tree("a").differences(&tree("c")).is_empty());
    }

    #[test]
    fn edits_replace_as_much_as_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        write_file(&one, 1_000_000, 9).unwrap();
        write_file_with_edits(&two, 1_000_000, 9, 10_000).unwrap();
        let (one, two) = (fs::read(one).unwrap(), fs::read(two).unwrap());
        let differing = one.iter().zip(&two).filter(|(a, b)| a != b).count();
        // One byte in 256 is replaced by itself.
        assert!(two.len() == one.len() && (9_800..=10_000).contains(&differing), "{differing}");
    }

    #[test]
    fn an_insertion_moves_the_rest_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        write_file(&one, 3_000_000, 9).unwrap();
        write_file_with_insertion(&two, 3_000_000, 9, 1_500_000, 1_000).unwrap();
        let (one, two) = (fs::read(one).unwrap(), fs::read(two).unwrap());
        assert_eq!(two.len(), one.len() + 1_000);
        assert_eq!((&one[..1_500_000], &one[1_500_000..]), (&two[..1_500_000], &two[1_501_000..]));
    }
}
