//! The root node of a manifest: what the content hash is the hash of.

use super::error::{Defect, ManifestError};
use super::{chunk_tree::ChunkSum, entry_tree::EntrySum};
use crate::chunker::{LARGE_FILE_BYTES, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use crate::codec::{Reader, Writer};
use crate::hash::{ContentHash, NodeId};

/// The version of the content format, in every root.
pub const FORMAT_VERSION: u8 = 1;
/// No content has more bytes: every offset fits the signed 64 bits of file systems.
pub const MAX_CONTENT_BYTES: u64 = i64::MAX as u64;

const MAGIC: &[u8; 5] = b"shoal";
const KIND_FILE: u8 = 0;
const KIND_FOLDER: u8 = 1;

/// Whether a content is one file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// A file: bytes without name or mode.
    File,
    /// A folder: entries, of which there may be none.
    Folder,
}

/// The root node. A value of this type, decoded or built, is consistent in itself: no root is present without
/// something below it, and its totals can belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// A file or a folder.
    pub kind: ContentKind,
    /// Bytes of the stream.
    pub bytes: u64,
    /// Chunks of the stream.
    pub chunks: u64,
    /// Entries; 0 for a file.
    pub entries: u64,
    /// Bytes of the stream that belong to small files: where the first large file begins; 0 for a file.
    pub small_bytes: u64,
    /// The top of the chunk tree; `None` if there are no chunks.
    pub chunk_root: Option<NodeId>,
    /// The top of the entry tree; `None` if there are no entries.
    pub entry_root: Option<NodeId>,
}

impl Root {
    /// The bytes of the node.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_raw(MAGIC);
        out.put_byte(FORMAT_VERSION);
        out.put_byte(match self.kind {
            ContentKind::File => KIND_FILE,
            ContentKind::Folder => KIND_FOLDER,
        });
        out.put_qword(self.bytes);
        out.put_qword(self.chunks);
        if let Some(id) = self.chunk_root {
            out.put_raw(id.as_bytes());
        }
        if self.kind == ContentKind::Folder {
            out.put_qword(self.entries);
            out.put_qword(self.small_bytes);
            if let Some(id) = self.entry_root {
                out.put_raw(id.as_bytes());
            }
        }
        out
    }

    /// Takes the root of `hash` apart, after checking that it is that.
    pub fn decode(hash: &ContentHash, bytes: &[u8]) -> Result<Self, ManifestError> {
        let id = hash.root();
        let found = NodeId::of(bytes);
        if found != id {
            return Err(ManifestError::WrongBytes { id, found });
        }
        Self::decode_unverified(bytes).map_err(|defect| ManifestError::Malformed { id, defect })
    }

    /// Takes a root apart whose id the caller knows to be right.
    pub(super) fn decode_unverified(bytes: &[u8]) -> Result<Self, Defect> {
        let mut reader = Reader::new(bytes);
        if reader.array().ok() != Some(MAGIC) {
            return Err(Defect::NotARoot);
        }
        match reader.u8()? {
            FORMAT_VERSION => {}
            found => return Err(Defect::Version { found }),
        }
        let kind = match reader.u8()? {
            KIND_FILE => ContentKind::File,
            KIND_FOLDER => ContentKind::Folder,
            found => return Err(Defect::Unknown { what: "kind of content", found }),
        };
        let id_if = |reader: &mut Reader<'_>, present: bool| -> Result<Option<NodeId>, Defect> {
            Ok(if present { Some(NodeId::from_bytes(*reader.array()?)) } else { None })
        };
        let (bytes, chunks) = (reader.u64()?, reader.u64()?);
        let chunk_root = id_if(&mut reader, chunks > 0)?;
        let (entries, small_bytes) = match kind {
            ContentKind::File => (0, 0),
            ContentKind::Folder => (reader.u64()?, reader.u64()?),
        };
        let entry_root = id_if(&mut reader, entries > 0)?;
        reader.finish()?;
        let root = Self { kind, bytes, chunks, entries, small_bytes, chunk_root, entry_root };
        root.check()?;
        Ok(root)
    }

    /// The content hash: the id of this node.
    pub fn content_hash(&self) -> ContentHash {
        ContentHash::from_root(NodeId::of(&self.encode()))
    }

    /// What the chunk tree must add up to.
    pub const fn chunk_sum(&self) -> ChunkSum {
        ChunkSum { chunks: self.chunks, bytes: self.bytes }
    }

    /// What the entry tree must add up to.
    pub const fn entry_sum(&self) -> EntrySum {
        EntrySum {
            entries: self.entries,
            small_bytes: self.small_bytes,
            large_bytes: self.bytes.saturating_sub(self.small_bytes),
        }
    }

    /// Refuses totals that no chunker makes: with them go manifests that cost far more than the content they stand for.
    pub(super) fn check(&self) -> Result<(), Defect> {
        if self.bytes > MAX_CONTENT_BYTES {
            return Err(Defect::Overflow);
        }
        // Every chunk but the last of a run has the least length, and runs are few: one, and one for each large file.
        let most_chunks = self.bytes / u64::from(MIN_CHUNK_BYTES) + self.bytes / LARGE_FILE_BYTES + 1;
        let fits = (self.chunks == 0) == (self.bytes == 0)
            && (self.chunks == 0 || self.chunks <= most_chunks)
            && self.bytes <= self.chunks.saturating_mul(MAX_CHUNK_BYTES.into())
            && self.small_bytes <= self.bytes
            && (self.kind == ContentKind::File || self.entries > 0 || self.bytes == 0);
        if fits { Ok(()) } else { Err(Defect::Contradiction) }
    }
}
