//! The hints of a link, as the commands use them.

use shoal_protocol::hash::ContentHash;
use shoal_protocol::link::{Link, safe_file_name};

/// What a link says besides the hash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hints {
    /// A name for the output, safe as a file name.
    pub(crate) name: Option<String>,
    /// Addresses of peers that may have it.
    pub(crate) peers: Vec<String>,
    /// The network it was published in.
    pub(crate) network: Option<String>,
}

/// Reads a link.
pub(crate) fn read_link(text: &str) -> Result<(ContentHash, Hints), String> {
    let link = text.parse::<Link>().map_err(|error| error.to_string())?;
    let name = link.name.as_deref().and_then(safe_file_name);
    Ok((link.hash, Hints { name, peers: link.peers, network: link.network }))
}
