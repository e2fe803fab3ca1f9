//! The first bytes of a redb file, which redb guards by no checksum: one wrong bit there, and a file of which every
//! page is sound is refused, or opened as it was before its last commit.
//!
//! Of these bytes some are the same in every file that this program makes, some follow from the file's length, and some
//! say how it was closed. So they can be written anew, as if it had not been closed cleanly: redb then works the rest
//! out. The two commits that it chooses from have checksums.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use redb::ReadTransaction;

use super::database::{check_format, peek};
use super::error::{StoreError, Trouble};

/// redb's mark at the beginning of each file.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// Flags: which of the two commits counts, whether the file is in use; others say that the other commit need not be
/// looked at, which is not believed.
const FLAGS: usize = 9;
const SECOND_COUNTS: u8 = 1;
const IN_USE: u8 = 2;
/// Two bytes that mean nothing, then the sizes of pages and regions (`u32` each): 4,096 bytes; no header, 2^20 pages.
const SIZES: std::ops::Range<usize> = 12..24;
const SIZES_BYTES: [u8; 12] = [0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0];
/// The commits, each of which begins with the version of redb's format, and where in them their number (`u64`) is: each
/// is larger than the one before.
const COMMITS: [usize; 2] = [64, 192];
const COMMIT_NUMBER: usize = 104;
const COMMIT_VERSION: u8 = 3;

const HEADER_BYTES: usize = 320;
const CACHE_BYTES: usize = 64 << 10;

/// What the header of a file should be; `None` if nothing about it is suspicious. With `is_refused`, redb does not
/// open the file as it is.
fn mended(header: &[u8; HEADER_BYTES], is_refused: bool) -> Option<[u8; HEADER_BYTES]> {
    let number = |at: usize| {
        let bytes = header.get(at + COMMIT_NUMBER..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let [first, second] = COMMITS.map(number);
    let second_counts = header[FLAGS] & SECOND_COUNTS != 0;
    let is_newer = if second_counts { first > second } else { second > first };
    // In a file that is in use the other commit may be under way.
    let is_old = header[FLAGS] & IN_USE == 0 && is_newer;
    let has_versions = header[COMMITS[0]] != header[COMMITS[1]];
    let is_strange = !header.starts_with(&MAGIC) || header[SIZES] != SIZES_BYTES || has_versions;
    if !is_refused && !is_old && !is_strange {
        return None;
    }
    let mut mended = *header;
    mended[..MAGIC.len()].copy_from_slice(&MAGIC);
    mended[SIZES].copy_from_slice(&SIZES_BYTES);
    mended[FLAGS] = (mended[FLAGS] & SECOND_COUNTS) | IN_USE;
    if has_versions {
        COMMITS.iter().for_each(|at| mended[*at] = COMMIT_VERSION);
    }
    Some(mended)
}

/// Writes the header of the `kind` of database in `path` anew if it is damaged and that makes it one that `check` finds
/// in order; the damaged file is kept aside, under the extension `damaged`. Says whether it was. Where the last commit
/// itself is damaged, the one before counts, if all of its pages are there still: a file that was closed cleanly has
/// the same records in both.
pub(super) fn mend(
    path: &Path,
    kind: &str,
    check: impl Fn(&ReadTransaction) -> Result<(), Trouble>,
) -> Result<bool, StoreError> {
    let at = |source| StoreError::io(path, source);
    let mut header = [0; HEADER_BYTES];
    match File::open(path).and_then(|file| file.read_exact_at(&mut header, 0)) {
        Ok(()) => {}
        // Whoever opens it says what is wrong.
        Err(_) => return Ok(false),
    }
    let is_refused = peek(path, CACHE_BYTES, None, |transaction| check_format(transaction, kind))
        .is_err_and(|error| error.is_damage());
    let Some(mended) = mended(&header, is_refused) else { return Ok(false) };
    let passage = path.with_extension(super::PASSAGE_EXTENSION);
    let written = std::fs::copy(path, &passage)
        .and_then(|_| File::options().write(true).open(&passage))
        .and_then(|file| file.write_all_at(&mended, 0).and_then(|()| file.sync_all()));
    let outcome = match written.map_err(at) {
        Ok(()) if peek(&passage, CACHE_BYTES, None, &check).is_ok() => {
            take_its_place(path, &passage).map_err(at).map(|()| true)
        }
        other => other.map(|()| false),
    };
    if !matches!(outcome, Ok(true)) {
        let _ = std::fs::remove_file(&passage);
    }
    outcome
}

fn take_its_place(path: &Path, passage: &Path) -> std::io::Result<()> {
    let aside = path.with_extension("damaged");
    // It may be a link to the file itself.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => drop(std::fs::copy(path, &aside)?),
    }
    std::fs::rename(passage, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
