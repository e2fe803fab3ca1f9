//! What can be wrong with a manifest that somebody else made.

use super::entry::TargetError;
use super::path::{OrderError, PathError};
use crate::codec::DecodeError;
use crate::hash::NodeId;

/// Why a node was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are not those of the node that was asked for: whoever sent them is at fault, others may have it.
    #[error("the bytes received for {id:?} hash to {found:?}")]
    WrongBytes {
        /// What was asked for.
        id: NodeId,
        /// What came.
        found: NodeId,
    },
    /// The bytes are the node's, and no manifest has such a node there: whoever made the manifest is at fault, and
    /// nobody can have a better one.
    #[error("the manifest is malformed at {id:?}: {defect}")]
    Malformed {
        /// The node.
        id: NodeId,
        /// What is wrong with it.
        defect: Defect,
    },
}

/// What is wrong with a node whose bytes are genuine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// It is not made of the values a node is made of.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// More bytes than any node has.
    #[error("a node of {bytes} bytes is above the limit")]
    TooBig {
        /// How many.
        bytes: usize,
    },
    /// It does not begin as a manifest's root does.
    #[error("this is not the root of a manifest")]
    NotARoot,
    /// A later version of the format.
    #[error("it is of format version {found}, which this program does not know")]
    Version {
        /// The version.
        found: u8,
    },
    /// A value that has no meaning in its place.
    #[error("{found} is no known {what}")]
    Unknown {
        /// What kind of value.
        what: &'static str,
        /// The value.
        found: u8,
    },
    /// A node of another tree, or of another level than its parent says.
    #[error("a node of tree {expected_tag:#04x} level {expected_level:?} was due, this is {tag:#04x} level {level}")]
    Misplaced {
        /// Which tree was due.
        expected_tag: u8,
        /// Which level was due; `None` at the top.
        expected_level: Option<u8>,
        /// The tree it says it belongs to.
        tag: u8,
        /// The level it says it has.
        level: u8,
    },
    /// Rows that the rule for the ends of nodes would have put elsewhere.
    #[error("it ends where no node ends ({rows} rows)")]
    Shape {
        /// How many rows it has.
        rows: usize,
    },
    /// A chunk that is empty or longer than any chunk.
    #[error("a chunk of {length} bytes")]
    ChunkLength {
        /// Its length.
        length: u32,
    },
    /// More bytes than a content may have.
    #[error("its sizes add up to more than a content may have")]
    Overflow,
    /// It holds something else than its parent, or the root, says.
    #[error("it does not add up to the totals stated for it")]
    Totals,
    /// Totals in a root that cannot belong together.
    #[error("the totals of its root contradict each other")]
    Contradiction,
    /// A path that is not behind the one before it in its node, or not shortened by all that both share.
    #[error("a path does not follow on the one before it")]
    Sequence,
    /// A text that is not a path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Paths that cannot stand beside each other.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A text that no symbolic link can hold.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A subtree that begins with another path than its parent says.
    #[error("it begins with another path than stated for it")]
    FirstPath,
}
