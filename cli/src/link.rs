//! The hints of a link, as the commands use them.

use shoal_protocol::hash::ContentHash;
use shoal_protocol::link::{Link, safe_file_name};

use crate::settings::{parse_address, parse_name};

/// What a link says besides the hash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hints {
    /// A name for the output, safe as a file name.
    pub(crate) name: Option<String>,
    /// Addresses of peers that may have it.
    pub(crate) peers: Vec<String>,
    /// The network it was published in.
    pub(crate) network: Option<String>,
    /// An earlier content with which it shares chunks.
    pub(crate) base: Option<ContentHash>,
}

/// Reads a link. What a person pastes is read strictly: a hint that makes no sense was damaged on its way.
pub(crate) fn read_link(text: &str) -> Result<(ContentHash, Hints), String> {
    if let Some(escape) = broken_escape(text) {
        return Err(format!("{escape:?} in the link is no escape: was it cut or changed on its way?"));
    }
    let link = text.parse::<Link>().map_err(|error| error.to_string())?;
    let peers = link.peers.iter().map(|peer| parse_address(peer)).collect::<Result<_, _>>();
    let peers = peers.map_err(|error| format!("a peer in the link: {error}"))?;
    let network = link.network.map(|name| parse_name(&name)).transpose();
    let network = network.map_err(|error| format!("the network in the link: {error}"))?;
    let name = link.name.as_deref().and_then(safe_file_name);
    Ok((link.hash, Hints { name, peers, network, base: link.base }))
}

/// A percent sign that two hexadecimal digits do not follow, with what does.
fn broken_escape(text: &str) -> Option<String> {
    text.match_indices('%').find_map(|(at, _)| {
        let escape = text.get(at..)?.chars().take(3).collect::<String>();
        let digits = escape.chars().skip(1).filter(char::is_ascii_hexdigit).count();
        (digits < 2).then_some(escape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::hash::NodeId;

    fn check(hints: &str) -> Result<Hints, String> {
        let hash = ContentHash::from_root(NodeId::of(b"link"));
        read_link(&format!("shoal:{hash}?{hints}")).map(|(found, hints)| {
            assert_eq!(found, hash);
            hints
        })
    }

    #[test]
    fn a_name_from_elsewhere_is_no_path() {
        assert_eq!(check("name=..%2F..%2Fetc%2Fpasswd").unwrap().name.as_deref(), Some("passwd"));
        assert_eq!(check("name=..").unwrap().name, None);
    }

    #[test]
    fn damaged_hints_are_refused() {
        for (hints, word) in [
            ("net=No%20Such", "the network in the link"),
            ("name=%zz", "%zz"),
            ("name=a%2", "%2"),
            ("peer=nonsense", "nonsense"),
            ("x=%", "%"),
        ] {
            let error = check(hints).unwrap_err();
            assert!(error.contains(word), "{hints}: {error}");
        }
        assert_eq!(check("later=1&&").unwrap(), Hints::default());
    }
}
