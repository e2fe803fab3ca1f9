//! What is to be published: paths on disk become entries, each with the file it is read from.
//!
//! A scan reads names and metadata, never contents. What cannot be published (special files, names that are not
//! UTF-8) is refused by name before a byte is stored.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use shoal_protocol::chunker::LARGE_FILE_BYTES;
use shoal_protocol::manifest::{Entry, EntryKind, EntryPath, Target};

use super::PublishError;
use crate::store::FileStamp;

/// Deepest folder that a scan descends into; a path of 4,096 bytes holds no more components than half of that.
const MAX_DEPTH: usize = 2048;

/// What a scan found.
#[derive(Debug)]
pub(crate) enum Scan {
    /// A lone file: its manifest has neither name nor mode.
    File(Source),
    /// A folder: its entries in the order of their path's bytes.
    Folder(Vec<ScannedEntry>),
}

impl Scan {
    /// Bytes that there are to read.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File(source) => source.stamp.bytes,
            Self::Folder(entries) => entries.iter().map(|scanned| scanned.entry.kind.size()).sum(),
        }
    }

    /// The file of each entry, by the entry's number, and `Some(None)` for one without; `None` beyond the last.
    pub(super) fn source(&self, number: usize) -> Option<Option<&Source>> {
        match self {
            Self::File(source) => (number == 0).then_some(Some(source)),
            Self::Folder(entries) => entries.get(number).map(|scanned| scanned.source.as_ref()),
        }
    }

    /// The files that each are a run of their own, in the order of the stream.
    pub(crate) fn large_files(&self) -> impl Iterator<Item = &Source> {
        let (lone, entries) = match self {
            Self::File(source) => (Some(source), &[][..]),
            Self::Folder(entries) => (None, entries.as_slice()),
        };
        let files = lone.into_iter().chain(entries.iter().filter_map(|scanned| scanned.source.as_ref()));
        files.filter(|source| source.stamp.bytes >= LARGE_FILE_BYTES)
    }
}

/// An entry, and for a file where its bytes are.
#[derive(Debug)]
pub(crate) struct ScannedEntry {
    /// The entry as it goes into the manifest.
    pub(crate) entry: Entry,
    /// The file that its bytes are read from; `None` for what has no bytes.
    pub(crate) source: Option<Source>,
}

/// A file as it stood when it was scanned.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it looked like.
    pub(crate) stamp: FileStamp,
}

/// Looks at everything under `paths`. Blocks on the disk.
///
/// One file gives [`Scan::File`], one folder its contents, several paths a folder that holds each under its last name.
/// A path given by the caller is followed if it is a symbolic link; links inside folders are kept as links.
pub(crate) fn scan(paths: &[PathBuf]) -> Result<Scan, PublishError> {
    let [only] = paths else {
        return scan_several(paths);
    };
    let meta = metadata(only)?;
    if meta.is_dir() {
        let mut found = Vec::new();
        scan_folder(only, "", 0, &mut found)?;
        return Ok(Scan::Folder(sorted(found)?));
    }
    refuse_special(only, &meta)?;
    Ok(Scan::File(Source { path: only.clone(), stamp: FileStamp::of(&meta) }))
}

fn scan_several(paths: &[PathBuf]) -> Result<Scan, PublishError> {
    if paths.is_empty() {
        return Err(PublishError::NothingToPublish);
    }
    let mut found = Vec::new();
    for path in paths {
        let name = last_name(path)?;
        let meta = metadata(path)?;
        scan_one(path, &name, &meta, 0, &mut found)?;
    }
    Ok(Scan::Folder(sorted(found)?))
}

/// The last name of a path, also of one that ends in `..` or `.`.
pub(crate) fn last_name(path: &Path) -> Result<String, PublishError> {
    let resolved;
    let name = match path.file_name() {
        Some(name) => name,
        None => {
            resolved = path.canonicalize().map_err(|source| PublishError::read(path, source))?;
            resolved.file_name().ok_or_else(|| PublishError::NoName { path: path.to_owned() })?
        }
    };
    name.to_str().map(str::to_owned).ok_or_else(|| PublishError::NotUtf8 { path: path.to_owned() })
}

fn scan_folder(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<ScannedEntry>,
) -> Result<usize, PublishError> {
    if depth > MAX_DEPTH {
        return Err(PublishError::TooDeep { path: folder.to_owned() });
    }
    let listing = std::fs::read_dir(folder).map_err(|source| PublishError::read(folder, source))?;
    let mut count = 0;
    for item in listing {
        let item = item.map_err(|source| PublishError::read(folder, source))?;
        let path = item.path();
        let name = item.file_name();
        let name = name.to_str().ok_or_else(|| PublishError::NotUtf8 { path: path.clone() })?;
        let inner = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let meta = std::fs::symlink_metadata(&path).map_err(|source| PublishError::read(&path, source))?;
        scan_one(&path, &inner, &meta, depth, found)?;
        count += 1;
    }
    Ok(count)
}

fn scan_one(
    path: &Path,
    inner: &str,
    meta: &Metadata,
    depth: usize,
    found: &mut Vec<ScannedEntry>,
) -> Result<(), PublishError> {
    let entry_path = || EntryPath::new(inner).map_err(|source| PublishError::BadPath { path: path.to_owned(), source });
    if meta.is_dir() {
        if scan_folder(path, inner, depth + 1, found)? == 0 {
            let entry = Entry { path: entry_path()?, kind: EntryKind::EmptyFolder };
            found.push(ScannedEntry { entry, source: None });
        }
        return Ok(());
    }
    if meta.file_type().is_symlink() {
        let target = std::fs::read_link(path).map_err(|source| PublishError::read(path, source))?;
        let target =
            target.into_os_string().into_string().map_err(|_| PublishError::NotUtf8Target { path: path.to_owned() })?;
        let target = Target::new(target).map_err(|source| PublishError::BadTarget { path: path.to_owned(), source })?;
        let entry = Entry { path: entry_path()?, kind: EntryKind::Symlink(target) };
        found.push(ScannedEntry { entry, source: None });
        return Ok(());
    }
    refuse_special(path, meta)?;
    let executable = meta.permissions().mode() & 0o111 != 0;
    let entry = Entry { path: entry_path()?, kind: EntryKind::File { size: meta.len(), executable } };
    found.push(ScannedEntry { entry, source: Some(Source { path: path.to_owned(), stamp: FileStamp::of(meta) }) });
    Ok(())
}

fn metadata(path: &Path) -> Result<Metadata, PublishError> {
    std::fs::metadata(path).map_err(|source| PublishError::read(path, source))
}

fn refuse_special(path: &Path, meta: &Metadata) -> Result<(), PublishError> {
    let kind = meta.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "of an unknown kind"
    };
    Err(PublishError::SpecialFile { path: path.to_owned(), what })
}

/// Sorts by path bytes and refuses two that are the same (several arguments can bring that about).
fn sorted(mut found: Vec<ScannedEntry>) -> Result<Vec<ScannedEntry>, PublishError> {
    found.sort_unstable_by(|a, b| a.entry.path.as_str().as_bytes().cmp(b.entry.path.as_str().as_bytes()));
    for pair in found.windows(2) {
        if let [a, b] = pair
            && a.entry.path == b.entry.path
        {
            return Err(PublishError::SameName { name: a.entry.path.as_str().to_owned() });
        }
    }
    Ok(found)
}
