//! The tree of a folder's entries, in the order of their paths.
//!
//! Paths are written without what they share with the one before them in the same node. Where nodes end depends on
//! paths alone, so that a change of sizes moves no boundary.

use super::entry::{Entry, EntryKind, MAX_TARGET_BYTES, Target};
use super::error::Defect;
use super::path::{EntryPath, MAX_PATH_BYTES, PathOrder, shared_prefix};
use super::root::MAX_CONTENT_BYTES;
use super::tree::{Branch, Row, Sum, Tree, total};
use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{HASH_BYTES, NodeId};

const KIND_FILE: u8 = 0;
const KIND_EXECUTABLE: u8 = 1;
const KIND_EMPTY_FOLDER: u8 = 2;
const KIND_SYMLINK: u8 = 3;

/// How much a part of the entries holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntrySum {
    /// How many entries.
    pub entries: u64,
    /// Bytes in small files.
    pub small_bytes: u64,
    /// Bytes in large files.
    pub large_bytes: u64,
}

impl Sum for EntrySum {
    fn plus(self, other: Self) -> Option<Self> {
        let small_bytes = self.small_bytes.checked_add(other.small_bytes)?;
        let large_bytes = self.large_bytes.checked_add(other.large_bytes)?;
        small_bytes.checked_add(large_bytes).filter(|&bytes| bytes <= MAX_CONTENT_BYTES)?;
        Some(Self { entries: self.entries.checked_add(other.entries)?, small_bytes, large_bytes })
    }
}

/// Which entries are wanted: those whose paths, as bytes, are in this range.
#[derive(Debug, Clone)]
pub(super) struct EntryBounds {
    /// The first path wanted.
    pub start: Box<[u8]>,
    /// The first path no longer wanted.
    pub end: Option<Box<[u8]>>,
}

impl EntryBounds {
    fn is_before(&self, path: &EntryPath) -> bool {
        path.as_bytes() < &*self.start
    }

    fn is_behind(&self, path: &EntryPath) -> bool {
        self.end.as_ref().is_some_and(|end| path.as_bytes() >= &**end)
    }
}

/// A subtree of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryBranch {
    id: NodeId,
    sum: EntrySum,
    /// The first path below; `None` in the row that a root stands in for, which promises no path.
    first: Option<EntryPath>,
}

fn encode_path(path: &EntryPath, previous: Option<&EntryPath>, out: &mut Vec<u8>) {
    let shared = previous.map_or(0, |previous| shared_prefix(previous.as_bytes(), path.as_bytes()));
    out.put_word(shared as u16);
    out.put_bytes(path.as_bytes().get(shared..).unwrap_or_default());
}

fn decode_path(reader: &mut Reader<'_>, previous: Option<&EntryPath>) -> Result<EntryPath, Defect> {
    let previous = previous.map_or(&[][..], EntryPath::as_bytes);
    let at = reader.position();
    let shared = usize::from(reader.u16()?);
    let rest = reader.bytes(MAX_PATH_BYTES)?;
    let (beginning, replaced) = previous.split_at_checked(shared).ok_or(Defect::Sequence)?;
    // The first byte that differs must be higher: then the paths ascend, and as much is left out as can be.
    if rest.first() <= replaced.first() {
        return Err(Defect::Sequence);
    }
    let path = String::from_utf8([beginning, rest].concat()).map_err(|_| DecodeError::NotUtf8 { at })?;
    Ok(EntryPath::new(path)?)
}

/// The low 32 bits of the hash of a path.
fn word_of(path: &EntryPath) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(path.as_bytes()).as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

impl Row for Entry {
    type Sum = EntrySum;
    type Bounds = EntryBounds;

    fn encode(&self, previous: Option<&Self>, out: &mut Vec<u8>) {
        encode_path(&self.path, previous.map(|entry| &entry.path), out);
        match &self.kind {
            EntryKind::File { size, executable } => {
                out.put_byte(if *executable { KIND_EXECUTABLE } else { KIND_FILE });
                out.put_qword(*size);
            }
            EntryKind::EmptyFolder => out.put_byte(KIND_EMPTY_FOLDER),
            EntryKind::Symlink(target) => {
                out.put_byte(KIND_SYMLINK);
                out.put_bytes(target.as_str().as_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>, previous: Option<&Self>) -> Result<Self, Defect> {
        let path = decode_path(reader, previous.map(|entry| &entry.path))?;
        let kind = match reader.u8()? {
            KIND_FILE => EntryKind::File { size: reader.u64()?, executable: false },
            KIND_EXECUTABLE => EntryKind::File { size: reader.u64()?, executable: true },
            KIND_EMPTY_FOLDER => EntryKind::EmptyFolder,
            KIND_SYMLINK => EntryKind::Symlink(Target::new(reader.text(MAX_TARGET_BYTES)?)?),
            found => return Err(Defect::Unknown { what: "kind of entry", found }),
        };
        Ok(Self { path, kind })
    }

    fn sum(&self) -> EntrySum {
        let size = self.kind.size();
        let (small_bytes, large_bytes) = if self.kind.is_large() { (0, size) } else { (size, 0) };
        EntrySum { entries: 1, small_bytes, large_bytes }
    }

    fn cut_word(&self) -> u32 {
        word_of(&self.path)
    }

    fn weight(&self) -> usize {
        let target = match &self.kind {
            EntryKind::Symlink(target) => target.as_str().len(),
            EntryKind::File { .. } | EntryKind::EmptyFolder => 0,
        };
        13 + self.path.as_bytes().len() + target
    }

    fn precedes(&self, bounds: &EntryBounds, _before: &EntrySum, _next: Option<&Self>) -> bool {
        bounds.is_before(&self.path)
    }

    fn succeeds(&self, bounds: &EntryBounds, _before: &EntrySum) -> bool {
        bounds.is_behind(&self.path)
    }
}

impl Row for EntryBranch {
    type Sum = EntrySum;
    type Bounds = EntryBounds;

    fn encode(&self, previous: Option<&Self>, out: &mut Vec<u8>) {
        out.put_raw(self.id.as_bytes());
        out.put_qword(self.sum.entries);
        out.put_qword(self.sum.small_bytes);
        out.put_qword(self.sum.large_bytes);
        if let Some(first) = &self.first {
            encode_path(first, previous.and_then(|row| row.first.as_ref()), out);
        }
    }

    fn decode(reader: &mut Reader<'_>, previous: Option<&Self>) -> Result<Self, Defect> {
        let id = NodeId::from_bytes(*reader.array()?);
        let sum = EntrySum { entries: reader.u64()?, small_bytes: reader.u64()?, large_bytes: reader.u64()? };
        let first = decode_path(reader, previous.and_then(|row| row.first.as_ref()))?;
        Ok(Self { id, sum, first: Some(first) })
    }

    fn sum(&self) -> EntrySum {
        self.sum
    }

    fn cut_word(&self) -> u32 {
        self.first.as_ref().map_or(0, word_of)
    }

    fn weight(&self) -> usize {
        HASH_BYTES + 24 + 4 + self.first.as_ref().map_or(0, |first| first.as_bytes().len())
    }

    fn precedes(&self, bounds: &EntryBounds, _before: &EntrySum, next: Option<&Self>) -> bool {
        next.and_then(|next| next.first.as_ref()).is_some_and(|next| next.as_bytes() <= &*bounds.start)
    }

    fn succeeds(&self, bounds: &EntryBounds, _before: &EntrySum) -> bool {
        self.first.as_ref().is_some_and(|first| bounds.is_behind(first))
    }
}

impl EntryBranch {
    /// The row that a root stands in for.
    pub(super) const fn new(id: NodeId, sum: EntrySum) -> Self {
        Self { id, sum, first: None }
    }
}

impl Branch<Entry> for EntryBranch {
    fn over_leaves(id: NodeId, rows: &[Entry]) -> Result<Option<Self>, Defect> {
        let Some(first) = rows.first() else { return Ok(None) };
        Ok(Some(Self { id, sum: total(rows)?, first: Some(first.path.clone()) }))
    }

    fn over_branches(id: NodeId, rows: &[Self]) -> Result<Option<Self>, Defect> {
        let Some(first) = rows.first() else { return Ok(None) };
        Ok(Some(Self { id, sum: total(rows)?, first: first.first.clone() }))
    }

    fn id(&self) -> NodeId {
        self.id
    }

    fn promises(&self, made: &Self) -> Result<(), Defect> {
        if self.sum != made.sum {
            return Err(Defect::Totals);
        }
        if self.first.is_some() && self.first != made.first { Err(Defect::FirstPath) } else { Ok(()) }
    }
}

/// The tree of the entries.
#[derive(Debug, Clone)]
pub(super) struct EntryTree;

impl Tree for EntryTree {
    const TAG: u8 = b'E';
    type Sum = EntrySum;
    type Bounds = EntryBounds;
    type Leaf = Entry;
    type Branch = EntryBranch;
    type Order = PathOrder;

    fn accept(order: &mut PathOrder, row: &Entry) -> Result<(), Defect> {
        Ok(order.accept(&row.path)?)
    }
}
