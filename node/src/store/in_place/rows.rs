//! What the rows of `in-place.redb` look like in bytes. `docs/format.md` has the tables.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::error::Trouble;
use super::super::rows::{INDEX_ROW_BYTES, ObjectId, Soundness, check4, check8, u32_at, u64_at};

const ROW_VERSION: u8 = 1;
const PLACE_FILE: u8 = 1;
const KIND_CHUNK: u8 = 0;
const CODEC_PLAIN: u8 = 0;
const CHECK_BYTES: usize = 8;
const FILE_HEAD_BYTES: usize = 66;

/// The number under which a file of the user is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNumber(pub(in crate::store) u32);

/// Where in a file of the user a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct FilePlace {
    pub(in crate::store) file: FileNumber,
    pub(in crate::store) offset: u64,
    pub(in crate::store) len: u32,
    pub(in crate::store) soundness: Soundness,
}

/// What tells that a file has changed between two looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileStamp {
    /// Bytes in it.
    pub bytes: u64,
    device: u64,
    inode: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

/// A file of the user that has chunks in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct FileRow {
    /// Whether a fetch is still writing it: then its size and times say nothing.
    pub(in crate::store) is_growing: bool,
    /// How it looked when the last chunk was placed in it.
    pub(in crate::store) stamp: FileStamp,
    /// Chunks that are placed in it.
    pub(in crate::store) chunks: u64,
    /// Their bytes.
    pub(in crate::store) chunk_bytes: u64,
    /// Where it is.
    pub(in crate::store) path: PathBuf,
    /// Where it will be once it is whole.
    pub(in crate::store) becomes: Option<PathBuf>,
}

impl FileStamp {
    /// The stamp of a file with this metadata.
    pub fn of(meta: &Metadata) -> Self {
        // Nanoseconds of a second fit, whatever a file system says.
        let nanoseconds = |number: i64| u32::try_from(number).unwrap_or(0);
        Self {
            bytes: meta.len(),
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), nanoseconds(meta.mtime_nsec())),
            changed: (meta.ctime(), nanoseconds(meta.ctime_nsec())),
        }
    }

    /// Whether both are of one file, whatever has become of it.
    pub(in crate::store) const fn is_same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }

    /// In words, what is different in `now`.
    pub(in crate::store) fn change(&self, now: &Self) -> String {
        if self.bytes != now.bytes {
            format!("it has changed: {} bytes now, {} before", now.bytes, self.bytes)
        } else if !self.is_same_file(now) {
            "another file has taken its place".to_owned()
        } else if self.modified != now.modified || self.changed != now.changed {
            "it has been written to since".to_owned()
        } else {
            "its bytes are others although its size and times are not: check the disk".to_owned()
        }
    }
}

impl FilePlace {
    /// The row's value under the key `id`.
    pub(super) fn encode(&self, id: &ObjectId) -> [u8; INDEX_ROW_BYTES] {
        let mut value = [0; INDEX_ROW_BYTES];
        let damaged = u8::from(self.soundness == Soundness::Damaged);
        value[..4].copy_from_slice(&[PLACE_FILE, KIND_CHUNK, CODEC_PLAIN, damaged]);
        value[4..8].copy_from_slice(&self.file.0.to_le_bytes());
        value[8..16].copy_from_slice(&self.offset.to_le_bytes());
        value[16..20].copy_from_slice(&self.len.to_le_bytes());
        let check = check4(&[id, &value[..20]]);
        value[20..].copy_from_slice(&check);
        value
    }

    /// Reads the value found under the key `id`.
    pub(super) fn decode(id: &ObjectId, value: &[u8; INDEX_ROW_BYTES]) -> Result<Self, Trouble> {
        let (body, check) = value.split_at(20);
        if check != check4(&[id, body]) {
            return Err(Trouble::Row("the row of a chunk in place does not match its check"));
        }
        let &[place, kind, codec, damaged, ..] = value;
        if (place, kind, codec) != (PLACE_FILE, KIND_CHUNK, CODEC_PLAIN) || damaged > 1 {
            return Err(Trouble::Row("the row of a chunk in place says what this version does not know"));
        }
        let (Some(file), Some(offset), Some(len)) = (u32_at(value, 4), u64_at(value, 8), u32_at(value, 16)) else {
            return Err(Trouble::Row("the row of a chunk in place is cut short"));
        };
        let soundness = if damaged == 1 { Soundness::Damaged } else { Soundness::Sound };
        Ok(Self { file: FileNumber(file), offset, len, soundness })
    }
}

impl FileRow {
    /// The row's value under the key `number`.
    pub(super) fn encode(&self, number: FileNumber) -> Vec<u8> {
        let mut value = vec![ROW_VERSION, u8::from(!self.is_growing)];
        let stamp = &self.stamp;
        for field in [stamp.device, stamp.inode, stamp.bytes] {
            value.extend_from_slice(&field.to_le_bytes());
        }
        for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
            value.extend_from_slice(&seconds.to_le_bytes());
            value.extend_from_slice(&nanoseconds.to_le_bytes());
        }
        for field in [self.chunks, self.chunk_bytes] {
            value.extend_from_slice(&field.to_le_bytes());
        }
        for path in [Some(self.path.as_path()), self.becomes.as_deref()] {
            // The system takes no path of 64 KiB.
            let bytes = path.map_or(&[][..], |path| path.as_os_str().as_bytes());
            let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
            value.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
            value.extend_from_slice(bytes);
        }
        let check = check8(&[&number.0.to_le_bytes(), &value]);
        value.extend_from_slice(&check);
        value
    }

    /// Reads the value found under the key `number`.
    pub(super) fn decode(number: FileNumber, value: &[u8]) -> Result<Self, Trouble> {
        let cut_short = Trouble::Row("the row of a file in place is cut short");
        let Some((body, check)) = value.split_last_chunk::<CHECK_BYTES>() else {
            return Err(cut_short);
        };
        if *check != check8(&[&number.0.to_le_bytes(), body]) {
            return Err(Trouble::Row("the row of a file in place does not match its check"));
        }
        if let Some(&version) = body.first().filter(|version| **version != ROW_VERSION) {
            return Err(Trouble::Version(version.into()));
        }
        Self::fields(body).ok_or(cut_short)
    }

    fn fields(body: &[u8]) -> Option<Self> {
        let time = |at| Some((u64_at(body, at)?.cast_signed(), u32_at(body, at + 8)?));
        let stamp = FileStamp {
            device: u64_at(body, 2)?,
            inode: u64_at(body, 10)?,
            bytes: u64_at(body, 18)?,
            modified: time(26)?,
            changed: time(38)?,
        };
        let (path, rest) = path(body.get(FILE_HEAD_BYTES..)?)?;
        let (becomes, _) = path_or_none(rest)?;
        Some(Self {
            is_growing: *body.get(1)? == 0,
            stamp,
            chunks: u64_at(body, 50)?,
            chunk_bytes: u64_at(body, 58)?,
            path,
            becomes,
        })
    }

    /// The paths where it can be, the likelier one first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        [Some(self.path.as_path()), self.becomes.as_deref()].into_iter().flatten()
    }
}

fn path(bytes: &[u8]) -> Option<(PathBuf, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (path, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    Some((OsString::from_vec(path.to_vec()).into(), rest))
}

fn path_or_none(bytes: &[u8]) -> Option<(Option<PathBuf>, &[u8])> {
    let (path, rest) = path(bytes)?;
    Some((Some(path).filter(|path| !path.as_os_str().is_empty()), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_and_notice_every_flipped_bit() {
        let place = FilePlace { file: FileNumber(3), offset: 1 << 40, len: 65_536, soundness: Soundness::Damaged };
        let id = [7; 32];
        let value = place.encode(&id);
        assert_eq!(FilePlace::decode(&id, &value).unwrap(), place);
        assert!(FilePlace::decode(&[8; 32], &value).is_err());
        let stamp = FileStamp { bytes: 9, device: 1, inode: 2, modified: (-5, 6), changed: (7, 8) };
        let path = PathBuf::from(OsString::from_vec(b"/a/\xff".to_vec()));
        for becomes in [None, Some(PathBuf::from("/b"))] {
            let row = FileRow { is_growing: true, stamp, chunks: 4, chunk_bytes: 5, path: path.clone(), becomes };
            let value = row.encode(FileNumber(1));
            assert_eq!(FileRow::decode(FileNumber(1), &value).unwrap(), row);
            assert!(FileRow::decode(FileNumber(2), &value).is_err());
            for bit in 0..value.len() * 8 {
                let mut wrong = value.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(FileRow::decode(FileNumber(1), &wrong).is_err(), "bit {bit}");
            }
        }
        for bit in 0..INDEX_ROW_BYTES * 8 {
            let mut wrong = value;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(FilePlace::decode(&id, &wrong).is_err(), "bit {bit}");
        }
    }
}
