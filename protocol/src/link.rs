//! Links: a content hash with hints, as people paste it.
//!
//! `shoal:<content hash>?name=…&peer=…&net=…&base=…`. Everything behind `?` is a hint and may be missing; keys that
//! are not known are skipped. Values are percent-encoded UTF-8. Peers stay plain text here: what an address is, the
//! network knows. A link comes from anywhere, so its parts are bounded, and its name is for showing: whoever makes a
//! file of it asks [`safe_file_name`] first.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::hash::{ContentHash, ParseHashError};

/// Most bytes in a link.
pub const MAX_LINK_BYTES: usize = 16 * 1024;
/// Most peers that are kept of a link; further ones are skipped.
pub const MAX_LINK_PEERS: usize = 16;
/// Most bytes in the address of a peer, once decoded.
pub const MAX_PEER_BYTES: usize = 512;
/// Most bytes in a name, once decoded.
pub const MAX_NAME_BYTES: usize = 255;
/// Most bytes in the name of a network, once decoded.
pub const MAX_NETWORK_BYTES: usize = 64;

const SCHEME: &str = "shoal:";
/// What stands for itself in a value: unreserved characters (RFC 3986, 2.3) and those that multiaddrs are made of.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A content hash with hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What to fetch.
    pub hash: ContentHash,
    /// What the publisher calls it: anything at all, see [`safe_file_name`].
    pub name: Option<String>,
    /// Addresses of peers that may have it.
    pub peers: Vec<String>,
    /// The network in which it was published.
    pub network: Option<String>,
    /// An earlier content with which it shares chunks.
    pub base: Option<ContentHash>,
}

/// Why a text is not a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseLinkError {
    /// It is longer than any link.
    #[error("a link has at most {MAX_LINK_BYTES} bytes, this has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// What should be the content hash is none.
    #[error(transparent)]
    Hash(#[from] ParseHashError),
    /// What should be the content hash of the base is none.
    #[error("the base in the link: {0}")]
    Base(#[source] ParseHashError),
    /// A value that is too long.
    #[error("the {key:?} in the link has {bytes} bytes, above the limit of {limit}")]
    ValueTooLong {
        /// Which one.
        key: &'static str,
        /// Its length.
        bytes: usize,
        /// The highest one allowed.
        limit: usize,
    },
    /// A value that does not decode to UTF-8.
    #[error("the {key:?} in the link is not UTF-8")]
    NotUtf8 {
        /// Which one.
        key: &'static str,
    },
}

impl Link {
    /// A link without hints.
    pub const fn new(hash: ContentHash) -> Self {
        Self { hash, name: None, peers: Vec::new(), network: None, base: None }
    }
}

/// Writes the link.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.hash)?;
        let base = self.base.map(|base| base.to_string());
        let hints = (self.name.iter().map(|name| ("name", name)))
            .chain(self.peers.iter().map(|peer| ("peer", peer)))
            .chain(self.network.iter().map(|network| ("net", network)))
            .chain(base.iter().map(|base| ("base", base)));
        for (index, (key, value)) in hints.enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            write!(f, "{mark}{key}={}", utf8_percent_encode(value, ENCODED))?;
        }
        Ok(())
    }
}

/// Reads a link, or a content hash alone, with or without `shoal:` before it.
impl FromStr for Link {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, ParseLinkError> {
        let text = text.trim();
        if text.len() > MAX_LINK_BYTES {
            return Err(ParseLinkError::TooLong { bytes: text.len() });
        }
        let scheme = text.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME));
        let rest = scheme.and_then(|scheme| text.get(scheme.len()..)).unwrap_or(text);
        let (hash, hints) = rest.split_once('?').unwrap_or((rest, ""));
        let mut link = Self::new(hash.parse()?);
        for hint in hints.split('&') {
            link.take(hint)?;
        }
        Ok(link)
    }
}

impl Link {
    /// Takes a hint. Of those that make sense only once, the first counts.
    fn take(&mut self, hint: &str) -> Result<(), ParseLinkError> {
        let (key, value) = hint.split_once('=').unwrap_or((hint, ""));
        if value.is_empty() {
            return Ok(());
        }
        match key {
            "name" if self.name.is_none() => self.name = Some(decode("name", value, MAX_NAME_BYTES)?),
            "peer" if self.peers.len() < MAX_LINK_PEERS => self.peers.push(decode("peer", value, MAX_PEER_BYTES)?),
            "net" if self.network.is_none() => self.network = Some(decode("net", value, MAX_NETWORK_BYTES)?),
            "base" if self.base.is_none() => self.base = Some(value.parse().map_err(ParseLinkError::Base)?),
            _ => {}
        }
        Ok(())
    }
}

fn decode(key: &'static str, value: &str, limit: usize) -> Result<String, ParseLinkError> {
    let value = percent_decode_str(value).decode_utf8().map_err(|_| ParseLinkError::NotUtf8 { key })?;
    match value.len() {
        bytes if bytes > limit => Err(ParseLinkError::ValueTooLong { key, bytes, limit }),
        _ => Ok(value.into_owned()),
    }
}

/// A name for a file, made of a name that came from somebody else: one component, visible, on any file system, and
/// never hidden, an option or a device. `None` if nothing is left of it.
pub fn safe_file_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).find(|part| !part.trim_matches(['.', ' ']).is_empty())?;
    let is_bad = |c: char| c.is_control() || is_invisible(c) || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*');
    let clean: String = last.chars().map(|c| if is_bad(c) { '_' } else { c }).collect();
    let clean = clean.trim_start_matches(['.', '-', ' ', '~']);
    let mut end = clean.len().min(MAX_NAME_BYTES - 1);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    let clean = clean.get(..end)?.trim_end_matches(['.', ' ']);
    if clean.is_empty() {
        return None;
    }
    Some(if is_device(clean) { format!("_{clean}") } else { clean.to_owned() })
}

/// Characters that turn or hide what stands round them, so that a name shows as another one.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Names that Windows keeps for devices, whatever extension follows.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" => true,
        stem => {
            let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
            numbered.is_some_and(|number| matches!(number.as_bytes(), [b'0'..=b'9']))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::NodeId;

    fn hash_of(text: &str) -> ContentHash {
        ContentHash::from_root(NodeId::of(text.as_bytes()))
    }

    #[test]
    fn text_of_a_full_link_is_frozen() {
        let hash = hash_of("shoal");
        let link = Link {
            hash,
            name: Some("Größe & more?.iso".into()),
            peers: vec!["/ip4/192.0.2.1/tcp/4001/p2p/12D3Koo".into(), "/dns/example.org/udp/1/quic-v1".into()],
            network: Some("lab=1".into()),
            base: Some(hash_of("base")),
        };
        let text = link.to_string();
        assert_eq!(
            text,
            format!(
                "shoal:{hash}?name=Gr%C3%B6%C3%9Fe%20%26%20more%3F.iso&peer=/ip4/192.0.2.1/tcp/4001/p2p/12D3Koo\
                 &peer=/dns/example.org/udp/1/quic-v1&net=lab%3D1&base={}",
                hash_of("base")
            )
        );
        assert_eq!(text.parse(), Ok(link));
    }

    #[test]
    fn hints_may_be_missing_empty_double_or_unknown() {
        let hash = hash_of("shoal");
        for text in [
            format!("{hash}"),
            format!(" shoal:{hash}\n"),
            format!("SHOAL:{hash}?"),
            format!("shoal:{hash}?colour=red&&name=&peer&=x"),
        ] {
            assert_eq!(text.parse(), Ok(Link::new(hash)), "{text}");
        }
        let link: Link = format!("shoal:{hash}?name=a&name=b").parse().unwrap();
        assert_eq!(link.name.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let hash = hash_of("shoal");
        let parse = |text: &str| text.parse::<Link>().unwrap_err();
        assert_eq!(parse("shoal:abc?name=x"), ParseHashError::Length { found: 3 }.into());
        assert_eq!(parse(&format!("{hash}?base=abc")), ParseLinkError::Base(ParseHashError::Length { found: 3 }));
        assert_eq!(parse(&format!("{hash}?name=%ff")), ParseLinkError::NotUtf8 { key: "name" });
        assert_eq!(
            parse(&format!("{hash}?name={}", "n".repeat(256))),
            ParseLinkError::ValueTooLong { key: "name", bytes: 256, limit: 255 }
        );
        assert_eq!(parse(&"x".repeat(20_000)), ParseLinkError::TooLong { bytes: 20_000 });
        let many: Link = format!("{hash}?{}", "peer=p&".repeat(1_000)).parse().unwrap();
        assert_eq!(many.peers.len(), MAX_LINK_PEERS);
    }

    #[test]
    fn names_become_safe() {
        let long = format!("{}é", "n".repeat(253));
        let cases = [
            ("disk.iso", Some("disk.iso")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Windows\\x.dll", Some("x.dll")),
            ("folder/", Some("folder")),
            ("..", None),
            ("", None),
            ("/", None),
            (".bashrc", Some("bashrc")),
            ("--help", Some("help")),
            ("a\nb\u{202e}c\0", Some("a_b_c_")),
            ("trailing. ", Some("trailing")),
            ("con", Some("_con")),
            ("Com1.txt", Some("_Com1.txt")),
            ("command", Some("command")),
            ("naïve 文件", Some("naïve 文件")),
            (&long, Some(&long[..253])),
        ];
        for (name, safe) in cases {
            assert_eq!(safe_file_name(name).as_deref(), safe, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn links_read_back(
            name in proptest::option::of("\\PC{1,60}"),
            peers in proptest::collection::vec("\\PC{1,40}", 0..MAX_LINK_PEERS),
            network in proptest::option::of("\\PC{1,15}"),
        ) {
            let link = Link { name, peers, network, ..Link::new(hash_of("any")) };
            prop_assert_eq!(link.to_string().parse(), Ok(link));
        }

        #[test]
        fn no_text_panics(text in "\\PC*", name in any::<String>()) {
            let _ = text.parse::<Link>();
            let _ = format!("{}?{text}", hash_of("any")).parse::<Link>();
            if let Some(safe) = safe_file_name(&name) {
                prop_assert!(!safe.is_empty() && safe.len() <= MAX_NAME_BYTES);
                prop_assert!(!safe.contains(['/', '\\', '\0']) && !safe.starts_with(['.', '-']));
                prop_assert_eq!(safe_file_name(&safe), Some(safe));
            }
        }
    }
}
