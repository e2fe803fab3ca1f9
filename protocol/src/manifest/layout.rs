//! Which bytes of the stream belong to which entry, for all entries at once.
//!
//! A layout keeps at most 36 bytes an entry and its path, in a few large allocations, and answers in logarithmic time.
//! It grows with the entries that were pushed, never with what a root claims.

use std::ops::Range;

use super::entry::{Entry, EntryKind};
use super::path::{EntryPath, OrderError, PathOrder};
use super::root::MAX_CONTENT_BYTES;

/// The index of an entry in the order of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryIndex(u32);

impl EntryIndex {
    /// As a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// An entry of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView<'a> {
    /// Its index.
    pub index: EntryIndex,
    /// Its path; empty for the one file of a single file's layout.
    pub path: &'a str,
    /// What it is.
    pub kind: KindView<'a>,
    /// The bytes of the stream that are its own; empty for what has none.
    pub stream: Range<u64>,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindView<'a> {
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder with nothing in it.
    EmptyFolder,
    /// A symbolic link with its text.
    Symlink(&'a str),
}

/// A part of the stream that lies in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub entry: EntryIndex,
    /// Where in the file it begins.
    pub file_offset: u64,
    /// Where in the stream it begins.
    pub stream_offset: u64,
    /// How many bytes it has; at least 1.
    pub len: u64,
}

/// Why a layout cannot be made of some entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// An entry cannot come here.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// More entries than this machine's layouts can hold.
    #[error("more than {} entries", u32::MAX)]
    TooMany,
    /// More bytes than a content may have.
    #[error("its files are larger together than a content may be")]
    Overflow,
}

const FILE: u8 = 0;
const EXECUTABLE: u8 = 1;
const EMPTY_FOLDER: u8 = 2;
const SYMLINK: u8 = 3;

#[derive(Debug, Clone, Copy)]
struct Row {
    /// Where its text begins: the path and, for a symbolic link, its target.
    text: u64,
    /// While building: among the small or among the large files. Then: in the stream.
    offset: u64,
    size: u64,
    path_len: u16,
    kind: u8,
}

/// Takes entries in the order of their paths and makes a [`Layout`].
#[derive(Debug, Default)]
pub struct LayoutBuilder {
    text: String,
    rows: Vec<Row>,
    small: Vec<EntryIndex>,
    large: Vec<EntryIndex>,
    small_bytes: u64,
    large_bytes: u64,
    order: PathOrder,
}

impl LayoutBuilder {
    /// Adds the entry with the next path.
    pub fn push(&mut self, entry: &Entry) -> Result<EntryIndex, LayoutError> {
        self.order.accept(&entry.path)?;
        self.push_row(entry.path.as_str(), &entry.kind)
    }

    fn push_row(&mut self, path: &str, entry_kind: &EntryKind) -> Result<EntryIndex, LayoutError> {
        let index = EntryIndex(u32::try_from(self.rows.len()).map_err(|_| LayoutError::TooMany)?);
        let size = entry_kind.size();
        let both = self.small_bytes.saturating_add(self.large_bytes);
        both.checked_add(size).filter(|&bytes| bytes <= MAX_CONTENT_BYTES).ok_or(LayoutError::Overflow)?;
        let (files, bytes) = if entry_kind.is_large() {
            (&mut self.large, &mut self.large_bytes)
        } else {
            (&mut self.small, &mut self.small_bytes)
        };
        let offset = *bytes;
        *bytes += size;
        let text = self.text.len() as u64;
        self.text.push_str(path);
        let kind = match entry_kind {
            EntryKind::File { executable, .. } => {
                files.push(index);
                if *executable { EXECUTABLE } else { FILE }
            }
            EntryKind::EmptyFolder => EMPTY_FOLDER,
            EntryKind::Symlink(target) => {
                self.text.push_str(target.as_str());
                SYMLINK
            }
        };
        self.rows.push(Row { text, offset, size, path_len: path.len() as u16, kind });
        Ok(index)
    }

    /// The layout of all entries pushed.
    pub fn finish(self) -> Layout {
        let Self { mut text, mut rows, small: mut files, large, small_bytes, large_bytes, .. } = self;
        for index in &large {
            if let Some(row) = rows.get_mut(index.0 as usize) {
                row.offset += small_bytes;
            }
        }
        files.extend(large);
        text.shrink_to_fit();
        rows.shrink_to_fit();
        files.shrink_to_fit();
        Layout { text, rows, files, bytes: small_bytes + large_bytes }
    }
}

/// All entries of a manifest and where their bytes lie in the stream.
#[derive(Debug, Clone)]
pub struct Layout {
    text: String,
    rows: Vec<Row>,
    /// Files in the order of the stream.
    files: Vec<EntryIndex>,
    bytes: u64,
}

impl Layout {
    /// Begins a folder's layout.
    pub fn builder() -> LayoutBuilder {
        LayoutBuilder::default()
    }

    /// The layout of a single file: one entry with an empty path.
    pub fn of_file(bytes: u64) -> Self {
        let mut builder = LayoutBuilder::default();
        let _ = builder.push_row("", &EntryKind::File { size: bytes.min(MAX_CONTENT_BYTES), executable: false });
        builder.finish()
    }

    /// Bytes that are kept for an entry, besides its text and the place of a file in the order of the stream.
    pub const fn row_bytes() -> usize {
        size_of::<Row>()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of the stream.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry with this index. `None` for an index of another layout.
    pub fn entry(&self, index: EntryIndex) -> Option<EntryView<'_>> {
        let at = index.0 as usize;
        let row = self.rows.get(at)?;
        let text_end = self.rows.get(at + 1).map_or(self.text.len(), |next| next.text as usize);
        let (path, rest) = self.text.get(row.text as usize..text_end)?.split_at_checked(row.path_len.into())?;
        let kind = match row.kind {
            FILE => KindView::File { executable: false },
            EXECUTABLE => KindView::File { executable: true },
            EMPTY_FOLDER => KindView::EmptyFolder,
            _ => KindView::Symlink(rest),
        };
        Some(EntryView { index, path, kind, stream: row.offset..row.offset + row.size })
    }

    /// All entries in the order of paths.
    pub fn entries(&self) -> impl Iterator<Item = EntryView<'_>> {
        self.range(0..self.rows.len())
    }

    /// The files in the order of the stream: first the small ones, then the large ones, each by path. The empty ones
    /// are among them.
    pub fn files(&self) -> impl Iterator<Item = EntryView<'_>> {
        self.files.iter().filter_map(|&index| self.entry(index))
    }

    /// The entry at this path.
    pub fn find(&self, path: &EntryPath) -> Option<EntryView<'_>> {
        let at = self.first_from(path.as_bytes());
        self.range(at..at + 1).next().filter(|entry| entry.path == path.as_str())
    }

    /// The entries below this folder, in the order of paths.
    pub fn below(&self, folder: &EntryPath) -> impl Iterator<Item = EntryView<'_>> {
        let start = self.first_from(&[folder.as_bytes(), b"/"].concat());
        self.range(start..self.first_from(&[folder.as_bytes(), b"0"].concat()))
    }

    /// Which files a part of the stream lies in, in the order of the stream. What lies behind the end is left out.
    pub fn spans(&self, stream: Range<u64>) -> impl Iterator<Item = Span> {
        let row_of = |index: &EntryIndex| self.rows.get(index.0 as usize).copied();
        let ends_before = |index: &EntryIndex| row_of(index).is_some_and(|row| row.offset + row.size <= stream.start);
        let first = self.files.partition_point(ends_before);
        let files = self.files.get(first..).unwrap_or_default();
        let Range { start, end } = stream;
        files
            .iter()
            .filter_map(move |&entry| row_of(&entry).map(|row| (entry, row)))
            .take_while(move |(_, row)| row.offset < end)
            .filter_map(move |(entry, row)| {
                let from = row.offset.max(start);
                let len = (row.offset + row.size).min(end).checked_sub(from).filter(|&len| len > 0)?;
                Some(Span { entry, file_offset: from - row.offset, stream_offset: from, len })
            })
    }

    fn range(&self, rows: Range<usize>) -> impl Iterator<Item = EntryView<'_>> {
        rows.filter_map(|at| self.entry(EntryIndex(u32::try_from(at).ok()?)))
    }

    /// How many entries have a path below these bytes.
    fn first_from(&self, path: &[u8]) -> usize {
        self.rows.partition_point(|row| {
            let start = row.text as usize;
            self.text.as_bytes().get(start..start + usize::from(row.path_len)).is_some_and(|own| own < path)
        })
    }
}
