//! Whether this program knows the format of what a home holds: looked at before anything in it is opened for writing.
//!
//! redb marks a file when it opens it, and puts right what an unclean end left. So each file that a start would open is
//! first read over pages in memory. What is wrong with a file otherwise is for whoever opens it to say.

use std::path::{Path, PathBuf};

use redb::ReadTransaction;

use super::catalog::check_versions;
use super::database::{check_format, peek};
use super::error::{StoreError, Trouble};
use super::in_place;
use super::segments::number_of;
use super::{CATALOG_FILE, IN_PLACE_FILE, INDEX_FILE, SEGMENTS_FOLDER};

const CACHE_BYTES: usize = 64 << 10;

/// Looks at each file of `home` that a start opens for writing, and at the latest segment.
///
/// # Errors
/// [`StoreError::Version`] when another version of this program wrote one of them, or a row in it.
pub(super) fn check(home: &Path) -> Result<(), StoreError> {
    look(&home.join(CATALOG_FILE), "catalog", check_versions)?;
    look(&home.join(IN_PLACE_FILE), "in-place", in_place::check_versions)?;
    look(&home.join(INDEX_FILE), "index", |_| Ok(()))?;
    for (path, kind) in segments(&home.join(SEGMENTS_FOLDER)) {
        look(&path, &kind, |_| Ok(()))?;
    }
    Ok(())
}

/// The segments that take groups, and the one that was made last.
fn segments(folder: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut segments: Vec<_> = paths.filter_map(|path| Some((number_of(&path)?, path))).collect();
    segments.sort_unstable();
    let last = segments.len().saturating_sub(1);
    let is_open = |path: &Path| std::fs::metadata(path).is_ok_and(|about| !about.permissions().readonly());
    let looked = segments.into_iter().enumerate().filter(|(at, (_, path))| *at == last || is_open(path));
    looked.map(|(_, (number, path))| (path, super::segment::kind(number))).collect()
}

fn look(path: &Path, kind: &str, rows: impl Fn(&ReadTransaction) -> Result<(), Trouble>) -> Result<(), StoreError> {
    if std::fs::metadata(path).map_or(0, |about| about.len()) == 0 {
        return Ok(());
    }
    let looked = peek(path, CACHE_BYTES, None, |transaction| {
        check_format(transaction, kind)?;
        rows(transaction)
    });
    match looked {
        Err(version @ StoreError::Version { .. }) => Err(version),
        _ => Ok(()),
    }
}
