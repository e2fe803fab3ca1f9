//! What the node remembers about a content it has or is fetching.

use shoal_protocol::hash::ContentHash;

use super::error::Trouble;
use super::rows::check8;

const RECORD_VERSION: u8 = 1;
/// Of records of contents that are not whole any more: the first version knew no such state, and took it for complete.
const DAMAGED_RECORD_VERSION: u8 = 2;
const CHECK_BYTES: usize = 8;
/// Longest name that is kept, in bytes; a longer one is cut at a character.
const NAME_BYTES: usize = 1024;

/// Whether a manifest describes one file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// A single file, without a name or mode of its own.
    File,
    /// A folder with entries.
    Folder,
}

/// How much of a content is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentState {
    /// A fetch has begun; some of it may be held.
    Fetching,
    /// Everything was held, until something of it was found damaged or gone.
    Damaged,
    /// Everything is held.
    Complete,
}

impl ContentState {
    /// Whether all of it is held, or was.
    pub fn was_whole(self) -> bool {
        self != Self::Fetching
    }
}

/// What came of removing a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// There is no record of it.
    Unknown,
    /// It is pinned.
    Pinned,
    /// It is being fetched or read.
    InUse,
}

/// A content of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRecord {
    /// Its content hash.
    pub hash: ContentHash,
    /// A file or a folder.
    pub kind: ContentKind,
    /// Bytes of the content.
    pub bytes: u64,
    /// Chunks of the content.
    pub chunks: u64,
    /// Entries; 1 for a single file.
    pub entries: u64,
    /// How much of it is held.
    pub state: ContentState,
    /// The name it is listed under.
    pub name: Option<String>,
    /// Never to be evicted.
    pub pinned: bool,
    /// When it was published here or its fetch began, in milliseconds of Unix time.
    pub created_unix_ms: u64,
    /// When it was last read, served or fetched, in milliseconds of Unix time.
    pub last_used_unix_ms: u64,
}

impl ManifestRecord {
    /// The record's value; its key is the content hash.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.encode_as(match self.state {
            ContentState::Damaged => DAMAGED_RECORD_VERSION,
            ContentState::Fetching | ContentState::Complete => RECORD_VERSION,
        })
    }

    /// The same, claiming to be of this version.
    pub(super) fn encode_as(&self, version: u8) -> Vec<u8> {
        let kind = match self.kind {
            ContentKind::File => 0,
            ContentKind::Folder => 1,
        };
        let state = match self.state {
            ContentState::Fetching => 0,
            ContentState::Complete => 1,
            ContentState::Damaged => 2,
        };
        let mut value = vec![version, kind, state, u8::from(self.pinned), u8::from(self.name.is_some())];
        let numbers = [self.bytes, self.chunks, self.entries, self.created_unix_ms, self.last_used_unix_ms];
        for number in numbers {
            value.extend_from_slice(&number.to_le_bytes());
        }
        let name = self.name.as_deref().unwrap_or_default();
        let cut = (0..=NAME_BYTES.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        value.extend_from_slice(&name.as_bytes()[..cut]);
        let check = check8(&[self.hash.as_bytes(), &value]);
        value.extend_from_slice(&check);
        value
    }

    /// Reads the value found under `hash`.
    pub(super) fn decode(hash: &ContentHash, value: &[u8]) -> Result<Self, Trouble> {
        let Some((body, check)) = value.split_last_chunk::<CHECK_BYTES>() else {
            return Err(Trouble::Row("a manifest's record is cut short"));
        };
        if *check != check8(&[hash.as_bytes(), body]) {
            return Err(Trouble::Row("a manifest's record does not match its check"));
        }
        let Some((&[version, kind, state, pinned, named], rest)) = body.split_first_chunk::<5>() else {
            return Err(Trouble::Row("a manifest's record is cut short"));
        };
        let state = match (version, state) {
            (RECORD_VERSION | DAMAGED_RECORD_VERSION, 0) => ContentState::Fetching,
            (DAMAGED_RECORD_VERSION, 2) => ContentState::Damaged,
            (RECORD_VERSION | DAMAGED_RECORD_VERSION, 1) => ContentState::Complete,
            (RECORD_VERSION | DAMAGED_RECORD_VERSION, _) => {
                return Err(Trouble::Row("a manifest's record has a state that is none"));
            }
            _ => return Err(Trouble::Version(version.into())),
        };
        let mut numbers = [0; 5];
        let Some((fields, name)) = rest.split_at_checked(numbers.len() * 8) else {
            return Err(Trouble::Row("a manifest's record is cut short"));
        };
        for (number, field) in numbers.iter_mut().zip(fields.as_chunks::<8>().0) {
            *number = u64::from_le_bytes(*field);
        }
        let [bytes, chunks, entries, created_unix_ms, last_used_unix_ms] = numbers;
        let name = str::from_utf8(name).map_err(|_| Trouble::Row("a manifest's name is not UTF-8"))?;
        Ok(Self {
            hash: *hash,
            kind: if kind == 0 { ContentKind::File } else { ContentKind::Folder },
            bytes,
            chunks,
            entries,
            state,
            name: (named == 1).then(|| name.to_owned()),
            pinned: pinned == 1,
            created_unix_ms,
            last_used_unix_ms,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use shoal_protocol::hash::NodeId;

    use super::*;

    pub(in crate::store) fn sample(name: &str) -> ManifestRecord {
        ManifestRecord {
            hash: ContentHash::from_root(NodeId::of(name.as_bytes())),
            kind: ContentKind::Folder,
            bytes: 1 << 33,
            chunks: 7,
            entries: 3,
            state: ContentState::Fetching,
            name: Some(name.into()),
            pinned: true,
            created_unix_ms: 5,
            last_used_unix_ms: 6,
        }
    }

    #[test]
    fn records_read_back_and_notice_every_flipped_bit() {
        let states = [ContentState::Fetching, ContentState::Damaged, ContentState::Complete];
        for (name, state) in [None, Some(String::new()), Some("photos 🐟".to_owned())].into_iter().zip(states) {
            let record = ManifestRecord { name, state, ..sample("a") };
            let value = record.encode();
            // Who knows only the first version takes no such record for one of a whole content.
            assert_eq!(value[0], if state == ContentState::Damaged { 2 } else { 1 });
            assert_eq!(ManifestRecord::decode(&record.hash, &value).unwrap(), record);
            for bit in 0..value.len() * 8 {
                let mut wrong = value.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(ManifestRecord::decode(&record.hash, &wrong).is_err());
            }
        }
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let record = ManifestRecord { name: Some("é".repeat(NAME_BYTES)), ..sample("a") };
        let read = ManifestRecord::decode(&record.hash, &record.encode()).unwrap();
        assert_eq!(read.name.unwrap(), "é".repeat(NAME_BYTES / 2));
    }
}
