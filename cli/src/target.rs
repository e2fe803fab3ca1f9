//! What a command is about: `HASH`, `HASH/PATH` or a link with hints.

use std::str::FromStr;

use shoal_protocol::hash::{CONTENT_HASH_CHARS, ContentHash};

use crate::link::{Hints, read_link};

const SCHEME: &str = "shoal:";

/// A content, or something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The content.
    pub(crate) hash: ContentHash,
    /// A path within it; empty for all of it.
    pub(crate) path: String,
    /// What a link adds.
    pub(crate) hints: Hints,
}

/// Reads a hash, optionally with a path behind it, or a link.
///
/// Only a `?` right behind the hash begins hints; behind a `/` everything is path, whatever it holds.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim_start();
        let scheme = text.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME));
        let bare = scheme.and_then(|scheme| text.get(scheme.len()..)).unwrap_or(text);
        let (hash, path) = match bare.find(['/', '?']) {
            Some(at) if bare.get(at..).is_some_and(|rest| rest.starts_with('/')) => {
                (bare.get(..at).unwrap_or_default(), bare.get(at + 1..).unwrap_or_default())
            }
            Some(_) => {
                let (hash, hints) = read_link(&format!("shoal:{bare}"))?;
                return Ok(Self { hash, path: String::new(), hints });
            }
            // A space behind a path may be part of it.
            None => (bare.trim_end(), ""),
        };
        let hash = hash.parse::<ContentHash>().map_err(|error| match std::path::Path::new(text).exists() {
            true if hash.chars().count() != CONTENT_HASH_CHARS => {
                format!("{error} (there is a file of that name: `shoal publish` takes files)")
            }
            _ => error.to_string(),
        })?;
        Ok(Self { hash, path: path.trim_end_matches('/').to_owned(), hints: Hints::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::hash::NodeId;

    fn hash() -> ContentHash {
        ContentHash::from_root(NodeId::of(b"target"))
    }

    #[test]
    fn hashes_may_have_a_path() {
        for (tail, path) in [("", ""), ("/", ""), ("/a/b c", "a/b c"), ("/a/", "a"), ("/what?.txt", "what?.txt")] {
            for text in
                [format!("{}{tail}", hash()), format!("shoal:{}{tail}", hash()), format!(" SHOAL:{}{tail}", hash())]
            {
                let target = Target { hash: hash(), path: path.to_owned(), hints: Hints::default() };
                assert_eq!(text.parse(), Ok(target), "{text}");
            }
        }
    }

    #[test]
    fn links_bring_hints() {
        let text = format!("shoal:{}?name=a%20b&peer=/ip4/127.0.0.1/tcp/1&net=lab", hash());
        let target = text.parse::<Target>().unwrap();
        assert_eq!(target.hash, hash());
        assert_eq!(target.hints.name.as_deref(), Some("a b"));
        assert_eq!(target.hints.peers, ["/ip4/127.0.0.1/tcp/1"]);
        assert_eq!(target.hints.network.as_deref(), Some("lab"));
    }

    #[test]
    fn nonsense_has_its_reason() {
        let cut = &hash().to_string()[..50];
        for (text, word) in [("abc", "has 3"), (cut, "has 50"), ("", "has 0"), ("Cargo.toml", "shoal publish")] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
