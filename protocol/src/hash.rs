//! The names of things: ids that are BLAKE3 hashes, and their text.
//!
//! Each id has a type of its own, so that a chunk's id cannot be passed where a content hash is due. This module
//! owns the text form of a content hash and the derivation of the discovery key; it never hashes files.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};

/// Bytes in a BLAKE3 hash.
pub const HASH_BYTES: usize = 32;
/// Characters in the text of a content hash.
pub const CONTENT_HASH_CHARS: usize = 56;
/// The version that the text of a content hash ends with.
pub const CONTENT_HASH_VERSION: u8 = 1;

const CHECKSUM_BYTES: usize = 2;
const CHECKSUM_CONTEXT: &str = "shoal v1 content hash checksum";
const DISCOVERY_CONTEXT: &str = "shoal v1 discovery";
const NODE_CONTEXT: &str = "shoal v1 manifest node";

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; HASH_BYTES]);

        impl $name {
            /// Takes the 32 bytes as they are: whoever calls this vouches that they are such an id.
            pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), HEXLOWER.encode(&self.0[..6]))
            }
        }
    };
}

hash_id! {
    /// The BLAKE3 hash of a chunk's plain bytes.
    ChunkId
}
hash_id! {
    /// The BLAKE3 hash of the encoding of one node of a manifest's trees, under a context of its own: somebody may
    /// publish a file with the bytes of a node, and that chunk must not have the node's id.
    NodeId
}
hash_id! {
    /// The BLAKE3 hash of a manifest's root node: what `publish` prints and `fetch` takes. Knowing it is the right
    /// to read, so it never goes to the DHT.
    ContentHash
}
hash_id! {
    /// What the DHT and strangers see in place of a [`ContentHash`]. Knowing it gives nothing to read.
    DiscoveryKey
}

impl ChunkId {
    /// The id of a chunk with these plain bytes.
    pub fn of(plain: &[u8]) -> Self {
        Self(*blake3::hash(plain).as_bytes())
    }
}

impl NodeId {
    /// The id of a node with this encoding.
    pub fn of(encoding: &[u8]) -> Self {
        Self(blake3::derive_key(NODE_CONTEXT, encoding))
    }
}

impl ContentHash {
    /// The content hash of the manifest whose root node has this id.
    pub const fn from_root(root: NodeId) -> Self {
        Self(root.0)
    }

    /// The id of the manifest's root node.
    pub const fn root(&self) -> NodeId {
        NodeId(self.0)
    }

    /// The key under which providers of this content announce themselves.
    pub fn discovery_key(&self) -> DiscoveryKey {
        DiscoveryKey(blake3::derive_key(DISCOVERY_CONTEXT, &self.0))
    }

    fn checksum(&self, version: u8) -> [u8; CHECKSUM_BYTES] {
        let mut hasher = blake3::Hasher::new_derive_key(CHECKSUM_CONTEXT);
        hasher.update(&self.0);
        hasher.update(&[version]);
        let digest = hasher.finalize();
        let [a, b, ..] = *digest.as_bytes();
        [a, b]
    }
}

/// Writes the 56 characters: lower-case base32 of hash, checksum and version.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut raw = [0u8; HASH_BYTES + CHECKSUM_BYTES + 1];
        raw[..HASH_BYTES].copy_from_slice(&self.0);
        raw[HASH_BYTES..HASH_BYTES + CHECKSUM_BYTES].copy_from_slice(&self.checksum(CONTENT_HASH_VERSION));
        raw[HASH_BYTES + CHECKSUM_BYTES] = CONTENT_HASH_VERSION;
        f.pad(&BASE32_NOPAD.encode(&raw).to_ascii_lowercase())
    }
}

/// Why a text is not a content hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseHashError {
    /// Not as long as a content hash is: probably cut, or something else altogether.
    #[error("a content hash has {CONTENT_HASH_CHARS} characters, this has {found}")]
    Length {
        /// How many characters there were.
        found: usize,
    },
    /// A character that base32 does not have.
    #[error("{found:?} at position {position} cannot stand in a content hash (it has a-z and 2-7)")]
    Character {
        /// The character.
        found: char,
        /// Where it stands, counted from 1.
        position: usize,
    },
    /// The checksum does not fit the hash.
    #[error("its checksum does not match: a character is wrong")]
    Checksum,
    /// A version that this program does not know.
    #[error("it is of version {found}; this program knows version {CONTENT_HASH_VERSION}")]
    Version {
        /// The version it claims.
        found: u8,
    },
}

/// Reads the 56 characters, in either case, with or without `shoal:` before them.
impl FromStr for ContentHash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let text = text.strip_prefix("shoal:").unwrap_or(text);
        let found = text.chars().count();
        if found != CONTENT_HASH_CHARS {
            return Err(ParseHashError::Length { found });
        }
        if let Some((at, found)) =
            text.chars().enumerate().find(|(_, c)| !matches!(c, 'a'..='z' | 'A'..='Z' | '2'..='7'))
        {
            return Err(ParseHashError::Character { found, position: at + 1 });
        }
        let raw = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).map_err(|_| ParseHashError::Checksum)?;
        let Some((hash, tail)) = raw.split_first_chunk::<HASH_BYTES>() else {
            return Err(ParseHashError::Length { found });
        };
        let &[a, b, version] = tail else {
            return Err(ParseHashError::Length { found });
        };
        let hash = ContentHash(*hash);
        // The checksum covers the version too, so a last character that is mistyped is no later version.
        if hash.checksum(version) != [a, b] {
            return Err(ParseHashError::Checksum);
        }
        match version {
            CONTENT_HASH_VERSION => Ok(hash),
            found => Err(ParseHashError::Version { found }),
        }
    }
}

impl serde::Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ContentHash {
        ContentHash::from_root(NodeId::of(b"shoal"))
    }

    #[test]
    fn text_is_frozen() {
        assert_eq!(sample().to_string(), "3hvbfgco6akxz4c6aoraxgm7s3kqys7gjxeu55qu3blstdp4ltsllrab");
    }

    #[test]
    fn text_reads_back_in_either_case_and_with_the_prefix() {
        let text = sample().to_string();
        for text in [text.clone(), text.to_ascii_uppercase(), format!("shoal:{text}")] {
            assert_eq!(text.parse(), Ok(sample()));
        }
    }

    #[test]
    fn every_single_wrong_character_is_noticed() {
        let text = sample().to_string();
        for at in 0..text.len() {
            for with in "abcdefghijklmnopqrstuvwxyz234567".chars() {
                let mut wrong = text.clone();
                wrong.replace_range(at..=at, &with.to_string());
                if wrong != text {
                    // Two checksum bytes let one typo in 65,536 through; none of these 1,736 is that one.
                    assert_eq!(wrong.parse::<ContentHash>(), Err(ParseHashError::Checksum), "{wrong}");
                }
            }
        }
    }

    #[test]
    fn a_later_version_is_named_if_its_checksum_fits() {
        let raw = [sample().0.as_slice(), &sample().checksum(2), &[2]].concat();
        let text = BASE32_NOPAD.encode(&raw).to_ascii_lowercase();
        assert_eq!(text.parse::<ContentHash>(), Err(ParseHashError::Version { found: 2 }));
    }

    #[test]
    fn each_way_to_be_wrong_has_its_own_words() {
        assert_eq!("abc".parse::<ContentHash>(), Err(ParseHashError::Length { found: 3 }));
        let with_one = format!("1{}", &sample().to_string()[1..]);
        assert_eq!(with_one.parse::<ContentHash>(), Err(ParseHashError::Character { found: '1', position: 1 }));
    }

    #[test]
    fn discovery_key_differs_from_the_hash() {
        assert_ne!(sample().discovery_key().as_bytes(), sample().as_bytes());
    }
}
