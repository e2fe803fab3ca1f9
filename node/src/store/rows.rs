//! What the store's rows look like in bytes: index rows, segment rows, directories.
//!
//! redb checks nothing on ordinary reads, so each row ends with a check of its own over its key and its value. All
//! integers are little-endian. `docs/format.md` has the tables.

use super::error::Trouble;

/// Bytes of an object's id.
pub(super) const ID_BYTES: usize = 32;
/// Bytes of an index row's value.
pub(super) const INDEX_ROW_BYTES: usize = 24;
/// Bytes of a segment row's value.
pub(super) const SEGMENT_ROW_BYTES: usize = 48;

/// Bytes of the check that ends a row of fixed length.
pub(super) const CHECK_BYTES: usize = 4;
const DIRECTORY_HEAD_BYTES: usize = 12;
const DIRECTORY_ENTRY_BYTES: usize = ID_BYTES + 6;
const DIRECTORY_CHECK_BYTES: usize = 8;

/// An object's id: a chunk id or a node id, which are hashed in different modes.
pub(super) type ObjectId = [u8; ID_BYTES];

/// The number of a segment, which is also its file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentNumber(pub(super) u32);

/// What an object is: says how its bytes are hashed when they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A chunk of content.
    Chunk,
    /// A node of a manifest.
    Node,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Chunk => 0,
            Self::Node => 1,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, Trouble> {
        match byte {
            0 => Ok(Self::Chunk),
            1 => Ok(Self::Node),
            _ => Err(Trouble::Row("a row names an unknown kind of object")),
        }
    }
}

/// The only codec there is: bytes as they are.
const CODEC_PLAIN: u8 = 0;
/// In this table there is only one place: a segment. Chunks in files of the user have a table of their own.
const PLACE_SEGMENT: u8 = 0;

/// Whether an object's bytes are as they should be, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Soundness {
    /// Nothing is known against them.
    Sound,
    /// A read found them damaged: the object counts as not held.
    Damaged,
}

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexRow {
    pub(super) kind: Kind,
    pub(super) soundness: Soundness,
    pub(super) segment: SegmentNumber,
    /// In the segment's stream.
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// What a segment is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SegmentState {
    /// It may take groups; a start looks into it.
    #[default]
    Open,
    /// Nothing will be added to it: the next start need not look into it.
    Complete,
    /// Nothing in it is needed, and no row leads to it: its file goes, if it is still there.
    Dropped,
}

/// What the index knows of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SegmentRow {
    /// Groups whose directories are in the index: the watermark from which to replay.
    pub(super) groups: u64,
    /// Bytes of its stream.
    pub(super) stream_bytes: u64,
    /// Chunks in it.
    pub(super) chunks: u64,
    /// Their bytes.
    pub(super) chunk_bytes: u64,
    /// Manifest nodes in it.
    pub(super) nodes: u64,
    /// What it is used for.
    pub(super) state: SegmentState,
}

/// One object of a commit group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryEntry {
    pub(super) id: ObjectId,
    pub(super) len: u32,
    pub(super) kind: Kind,
}

/// What a commit group holds, in the order of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    /// Where in the segment's stream the group begins.
    pub(super) start: u64,
    pub(super) entries: Vec<DirectoryEntry>,
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

pub(super) fn check4(parts: &[&[u8]]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = digest(parts);
    [a, b, c, d]
}

/// The check that ends a row of varying length: the first 8 bytes of the hash of its key and value.
pub(super) fn check8(parts: &[&[u8]]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = digest(parts);
    [a, b, c, d, e, f, g, h]
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

impl IndexRow {
    /// Whether the value found under `id` is a row, and says that the object is sound.
    pub(super) fn is_sound(id: &ObjectId, value: &[u8; INDEX_ROW_BYTES]) -> bool {
        Self::decode(id, value).is_ok_and(|row| row.soundness == Soundness::Sound)
    }

    /// The row's value under the key `id`.
    pub(super) fn encode(&self, id: &ObjectId) -> [u8; INDEX_ROW_BYTES] {
        let mut value = [0; INDEX_ROW_BYTES];
        let damaged = u8::from(self.soundness == Soundness::Damaged);
        value[..4].copy_from_slice(&[PLACE_SEGMENT, self.kind.byte(), CODEC_PLAIN, damaged]);
        value[4..8].copy_from_slice(&self.segment.0.to_le_bytes());
        value[8..16].copy_from_slice(&self.offset.to_le_bytes());
        value[16..20].copy_from_slice(&self.len.to_le_bytes());
        let check = check4(&[id, &value[..20]]);
        value[20..].copy_from_slice(&check);
        value
    }

    /// Reads the value found under the key `id`.
    pub(super) fn decode(id: &ObjectId, value: &[u8; INDEX_ROW_BYTES]) -> Result<Self, Trouble> {
        let (body, check) = value.split_at(INDEX_ROW_BYTES - CHECK_BYTES);
        if check != check4(&[id, body]) {
            return Err(Trouble::Row("an index row does not match its check"));
        }
        let &[place, kind, codec, damaged, ..] = value;
        if place != PLACE_SEGMENT || codec != CODEC_PLAIN || damaged > 1 {
            return Err(Trouble::Row("an index row names a place or codec that this version does not know"));
        }
        let (Some(segment), Some(offset), Some(len)) = (u32_at(value, 4), u64_at(value, 8), u32_at(value, 16)) else {
            return Err(Trouble::Row("an index row is cut short"));
        };
        let soundness = if damaged == 1 { Soundness::Damaged } else { Soundness::Sound };
        Ok(Self { kind: Kind::from_byte(kind)?, soundness, segment: SegmentNumber(segment), offset, len })
    }
}

impl SegmentRow {
    /// Counts `directory` as the next group.
    pub(super) fn add(&mut self, directory: &Directory) {
        self.groups += 1;
        self.stream_bytes = directory.end();
        for entry in &directory.entries {
            match entry.kind {
                Kind::Chunk => {
                    self.chunks += 1;
                    self.chunk_bytes += u64::from(entry.len);
                }
                Kind::Node => self.nodes += 1,
            }
        }
    }

    /// The row's value under the key `number`.
    pub(super) fn encode(&self, number: SegmentNumber) -> [u8; SEGMENT_ROW_BYTES] {
        let mut value = [0; SEGMENT_ROW_BYTES];
        let fields = [self.groups, self.stream_bytes, self.chunks, self.chunk_bytes, self.nodes];
        for (place, field) in value.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        let state: u32 = match self.state {
            SegmentState::Open => 0,
            SegmentState::Complete => 1,
            SegmentState::Dropped => 2,
        };
        value[40..44].copy_from_slice(&state.to_le_bytes());
        let check = check4(&[&number.0.to_le_bytes(), &value[..44]]);
        value[44..].copy_from_slice(&check);
        value
    }

    /// Reads the value found under the key `number`.
    pub(super) fn decode(number: SegmentNumber, value: &[u8; SEGMENT_ROW_BYTES]) -> Result<Self, Trouble> {
        let (body, check) = value.split_at(SEGMENT_ROW_BYTES - CHECK_BYTES);
        if check != check4(&[&number.0.to_le_bytes(), body]) {
            return Err(Trouble::Row("a segment's row does not match its check"));
        }
        let field = |at: usize| u64_at(value, at * 8).ok_or(Trouble::Row("a segment's row is cut short"));
        Ok(Self {
            groups: field(0)?,
            stream_bytes: field(1)?,
            chunks: field(2)?,
            chunk_bytes: field(3)?,
            nodes: field(4)?,
            state: match u32_at(value, 40) {
                Some(0) => SegmentState::Open,
                Some(1) => SegmentState::Complete,
                Some(2) => SegmentState::Dropped,
                _ => return Err(Trouble::Row("a segment's row has a state that this version does not know")),
            },
        })
    }
}

impl Directory {
    /// The end of the group in the segment's stream.
    pub(super) fn end(&self) -> u64 {
        self.entries.iter().fold(self.start, |end, entry| end + u64::from(entry.len))
    }

    /// Each object with its row.
    pub(super) fn rows(&self, segment: SegmentNumber) -> impl Iterator<Item = (ObjectId, IndexRow)> {
        self.entries.iter().scan(self.start, move |offset, entry| {
            let at = *offset;
            *offset += u64::from(entry.len);
            let &DirectoryEntry { id, len, kind } = entry;
            Some((id, IndexRow { kind, soundness: Soundness::Sound, segment, offset: at, len }))
        })
    }

    /// The value under the key `group` in segment `segment`.
    pub(super) fn encode(&self, segment: SegmentNumber, group: u64) -> Vec<u8> {
        let bytes = DIRECTORY_HEAD_BYTES + self.entries.len() * DIRECTORY_ENTRY_BYTES + DIRECTORY_CHECK_BYTES;
        let mut value = Vec::with_capacity(bytes);
        value.extend_from_slice(&self.start.to_le_bytes());
        // A group's objects are at least one byte each and a group is far below 4 GiB.
        value.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            value.extend_from_slice(&entry.id);
            value.extend_from_slice(&entry.len.to_le_bytes());
            value.extend_from_slice(&[entry.kind.byte(), CODEC_PLAIN]);
        }
        let check = check8(&[&segment.0.to_le_bytes(), &group.to_le_bytes(), &value]);
        value.extend_from_slice(&check);
        value
    }

    /// Reads the value found under the key `group` in segment `segment`.
    pub(super) fn decode(segment: SegmentNumber, group: u64, value: &[u8]) -> Result<Self, Trouble> {
        let Some((body, check)) = value.split_last_chunk::<DIRECTORY_CHECK_BYTES>() else {
            return Err(Trouble::Row("a group's directory is cut short"));
        };
        if *check != check8(&[&segment.0.to_le_bytes(), &group.to_le_bytes(), body]) {
            return Err(Trouble::Row("a group's directory does not match its check"));
        }
        let (Some(start), Some(count), Some(rows)) =
            (u64_at(body, 0), u32_at(body, 8), body.get(DIRECTORY_HEAD_BYTES..))
        else {
            return Err(Trouble::Row("a group's directory is cut short"));
        };
        if rows.len() != count as usize * DIRECTORY_ENTRY_BYTES {
            return Err(Trouble::Row("a group's directory has another length than it says"));
        }
        let entries = rows.chunks_exact(DIRECTORY_ENTRY_BYTES).map(decode_entry).collect::<Result<_, _>>()?;
        Ok(Self { start, entries })
    }
}

fn decode_entry(row: &[u8]) -> Result<DirectoryEntry, Trouble> {
    let Some((id, rest)) = row.split_first_chunk::<ID_BYTES>() else {
        return Err(Trouble::Row("a group's directory is cut short"));
    };
    let (Some(len), Some(&[kind, codec])) = (u32_at(rest, 0), rest.get(4..6)) else {
        return Err(Trouble::Row("a group's directory is cut short"));
    };
    if codec != CODEC_PLAIN {
        return Err(Trouble::Row("a group's directory names a codec that this version does not know"));
    }
    Ok(DirectoryEntry { id: *id, len, kind: Kind::from_byte(kind)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> IndexRow {
        IndexRow {
            kind: Kind::Node,
            soundness: Soundness::Damaged,
            segment: SegmentNumber(7),
            offset: 1 << 40,
            len: 65_520,
        }
    }

    #[test]
    fn index_rows_read_back_and_notice_every_flipped_bit() {
        let id = [3; ID_BYTES];
        let value = row().encode(&id);
        assert_eq!(IndexRow::decode(&id, &value).unwrap(), row());
        for bit in 0..INDEX_ROW_BYTES * 8 {
            let mut wrong = value;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(IndexRow::decode(&id, &wrong).is_err(), "bit {bit}");
        }
        assert!(IndexRow::decode(&[4; ID_BYTES], &value).is_err());
    }

    #[test]
    fn directories_read_back_and_count() {
        let entry = |byte, len, kind| DirectoryEntry { id: [byte; ID_BYTES], len, kind };
        let directory = Directory { start: 100, entries: vec![entry(1, 10, Kind::Chunk), entry(2, 5, Kind::Node)] };
        let value = directory.encode(SegmentNumber(1), 9);
        assert_eq!(Directory::decode(SegmentNumber(1), 9, &value).unwrap(), directory);
        assert!(Directory::decode(SegmentNumber(1), 8, &value).is_err());
        for at in 0..value.len() {
            assert!(Directory::decode(SegmentNumber(1), 9, &value[..at]).is_err());
        }
        let offsets: Vec<_> = directory.rows(SegmentNumber(1)).map(|(_, row)| row.offset).collect();
        assert_eq!(offsets, [100, 110]);
        let mut count = SegmentRow::default();
        count.add(&directory);
        let expected =
            SegmentRow { groups: 1, stream_bytes: 115, chunks: 1, chunk_bytes: 10, nodes: 1, ..SegmentRow::default() };
        assert_eq!(count, expected);
        for state in [SegmentState::Open, SegmentState::Complete, SegmentState::Dropped] {
            let row = SegmentRow { state, ..expected };
            assert_eq!(SegmentRow::decode(SegmentNumber(2), &row.encode(SegmentNumber(2))).unwrap(), row);
        }
    }
}
