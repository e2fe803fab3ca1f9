//! A folder: chunks are spread over the files that they cover.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use shoal_protocol::manifest::{EntryIndex, KindView, Layout};

use super::flush::Flusher;
use super::{Leftovers, OutputError};

/// Files that are kept open between chunks. Large files take many chunks each, and come from few places at a time.
const OPEN_FILES: usize = 8;
/// Opens no symbolic link.
const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// A folder that is being written.
#[derive(Debug)]
pub(super) struct FolderOutput {
    root: PathBuf,
    layout: Arc<Layout>,
    /// Which entries' files exist already, by their index in the layout.
    created: Vec<bool>,
    /// Files of more than one chunk, the latest used last.
    open: VecDeque<(EntryIndex, File)>,
    /// Present when files may be there from before: the inodes of those that have been opened, so that two names which
    /// the file system takes for one are told from one that was there.
    seen: Option<HashSet<u64>>,
    /// For files of more than one chunk; absent where what is written is flushed by whoever keeps it.
    flusher: Option<Flusher>,
}

impl FolderOutput {
    pub(super) fn new(root: &Path, layout: Arc<Layout>, leftovers: Leftovers) -> Self {
        let created = vec![false; layout.len()];
        let seen = (leftovers == Leftovers::Keep).then(HashSet::new);
        let flusher = (leftovers == Leftovers::Remove).then(Flusher::default);
        Self { root: root.to_owned(), layout, created, open: VecDeque::new(), seen, flusher }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutputError> {
        let layout = Arc::clone(&self.layout);
        let mut rest = bytes;
        for span in layout.spans(offset..offset.saturating_add(bytes.len() as u64)) {
            let (head, tail) = usize::try_from(span.len)
                .ok()
                .and_then(|take| rest.split_at_checked(take))
                .ok_or(OutputError::OutOfBounds)?;
            self.write_file(span.entry, span.file_offset, head)?;
            rest = tail;
        }
        if rest.is_empty() { Ok(()) } else { Err(OutputError::OutOfBounds) }
    }

    fn write_file(&mut self, entry: EntryIndex, offset: u64, bytes: &[u8]) -> Result<(), OutputError> {
        if let Some(at) = self.open.iter().position(|(open, _)| *open == entry)
            && let Some((_, file)) = self.open.remove(at)
        {
            let written = file.write_all_at(bytes, offset).and_then(|()| match &mut self.flusher {
                Some(flusher) => flusher.wrote(&file, bytes.len()),
                None => Ok(()),
            });
            self.open.push_back((entry, file));
            return written.map_err(|error| self.failed(entry, error));
        }
        let file = self.open_file(entry)?;
        file.write_all_at(bytes, offset).map_err(|error| self.failed(entry, error))?;
        let size = self.layout.entry(entry).map_or(0, |entry| entry.stream.end - entry.stream.start);
        if bytes.len() as u64 != size {
            if self.open.len() == OPEN_FILES {
                self.open.pop_front();
            }
            self.open.push_back((entry, file));
        }
        Ok(())
    }

    /// Opens the file of an entry; the first time, makes it, and the folders above it.
    fn open_file(&mut self, index: EntryIndex) -> Result<File, OutputError> {
        let entry = self.layout.entry(index).ok_or(OutputError::OutOfBounds)?;
        let KindView::File { executable } = entry.kind else {
            return Err(OutputError::OutOfBounds);
        };
        let path = self.root.join(entry.path);
        let created = self.created.get_mut(index.get() as usize).ok_or(OutputError::OutOfBounds)?;
        let mut options = OpenOptions::new();
        options.write(true).mode(if executable { 0o777 } else { 0o666 });
        match &self.seen {
            None => options.create_new(!*created),
            Some(_) => options.create(true).truncate(false).custom_flags(NO_FOLLOW),
        };
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_parents(&path)?;
                options.open(&path)
            }
            opened => opened,
        };
        let file = file.map_err(|error| clash_or(&path, error))?;
        if !*created && let Some(seen) = &mut self.seen {
            let meta = file.metadata().map_err(|error| OutputError::write(&path, error))?;
            if !seen.insert(meta.ino()) {
                return Err(OutputError::NamesMerge { path });
            }
            let bytes = entry.stream.end - entry.stream.start;
            if meta.len() > bytes {
                file.set_len(bytes).map_err(|error| OutputError::write(&path, error))?;
            }
        }
        *created = true;
        Ok(file)
    }

    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        self.open.clear();
        let layout = Arc::clone(&self.layout);
        for entry in layout.entries() {
            let path = self.root.join(entry.path);
            match entry.kind {
                KindView::File { .. } => {
                    if !self.created.get(entry.index.get() as usize).copied().unwrap_or(true) {
                        self.open_file(entry.index)?;
                    }
                }
                KindView::EmptyFolder => {
                    make_parents(&path)?;
                    match fs::create_dir(&path) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.seen.is_some() => {}
                        made => made.map_err(|error| clash_or(&path, error))?,
                    }
                }
                KindView::Symlink(_) => {}
            }
        }
        // Links last: nothing is written through them.
        for entry in layout.entries() {
            if let KindView::Symlink(target) = entry.kind {
                let path = self.root.join(entry.path);
                make_parents(&path)?;
                symlink(target, &path).map_err(|error| clash_or(&path, error))?;
            }
        }
        self.flush()
    }

    /// Makes everything durable: the whole file system at once, where that is possible, is far cheaper than 10,000
    /// files one by one.
    fn flush(&mut self) -> Result<(), OutputError> {
        let early = self.flusher.as_mut().map_or(Ok(()), Flusher::finish);
        early.map_err(|error| OutputError::write(&self.root, error))?;
        let folder = File::open(&self.root).map_err(|error| OutputError::write(&self.root, error))?;
        rustix::fs::syncfs(&folder).map_err(|error| OutputError::write(&self.root, error.into()))
    }

    fn failed(&self, entry: EntryIndex, error: io::Error) -> OutputError {
        let path = self.layout.entry(entry).map(|entry| self.root.join(entry.path));
        OutputError::write(path.as_deref().unwrap_or(&self.root), error)
    }
}

fn make_parents(path: &Path) -> Result<(), OutputError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(parent).map_err(|error| clash_or(parent, error))
}

/// A name that exists although the manifest has it once: the file system folds case or normalises.
fn clash_or(path: &Path, error: io::Error) -> OutputError {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            OutputError::NamesMerge { path: path.to_owned() }
        }
        _ => OutputError::write(path, error),
    }
}
