//! Manifests: the Merkle description of one published thing.
//!
//! A manifest is a [`Root`] over two trees of bounded nodes: the chunk list, and for a folder its entries. The content
//! hash is the id of the root node. What it describes is one byte stream:
//!
//! 1. the bytes of all *small* files, in the order of their paths, as one chunker run;
//! 2. the bytes of each *large* file ([`LARGE_FILE_BYTES`](crate::chunker::LARGE_FILE_BYTES) or more), in the order of
//!    their paths, each a chunker run of its own.
//!
//! A single file's manifest has no entries, neither name nor mode: its stream is the file, one run.
//!
//! [`ManifestBuilder`] makes manifests, [`ChunkWalk`] and [`EntryWalk`] read them node by node, [`Layout`] says which
//! bytes of the stream are whose. The same content always makes the same nodes: every choice of form is either fixed
//! or refused when read. Nothing here is trusted because its hash fits: a root that somebody hands out may be made to
//! harm, so sizes, sums, order, paths and shape are checked, and memory is taken for what arrived, never for what is
//! claimed. docs/format.md has every byte.

mod builder;
mod chunk_tree;
mod chunk_walk;
mod entry;
mod entry_tree;
mod entry_walk;
mod error;
mod layout;
mod node;
mod path;
mod references;
mod root;
mod tree;
mod walk;

pub use builder::{BuildError, EncodedNode, Finished, ManifestBuilder};
pub use chunk_tree::{ChunkRow, ChunkSum};
pub use chunk_walk::{ChunkLeaf, ChunkWalk};
pub use entry::{Entry, EntryKind, MAX_TARGET_BYTES, Target, TargetError};
pub use entry_tree::EntrySum;
pub use entry_walk::{EntryLeaf, EntryWalk, PlacedEntry};
pub use error::{Defect, ManifestError};
pub use layout::{EntryIndex, EntryView, KindView, Layout, LayoutBuilder, LayoutError, Span};
pub use node::MAX_NODE_BYTES;
pub use path::{EntryPath, MAX_COMPONENT_BYTES, MAX_PATH_BYTES, OrderError, PathError, PathOrder};
pub use references::{References, references};
pub use root::{ContentKind, FORMAT_VERSION, MAX_CONTENT_BYTES, Root};
pub use walk::Step;
