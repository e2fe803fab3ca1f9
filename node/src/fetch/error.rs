//! Why a fetch ended without what was asked for.

use std::time::Duration;

use shoal_protocol::hash::{ChunkId, ContentHash};
use shoal_protocol::manifest::ManifestError;

use crate::api::{Failure, FailureKind};
use crate::manifests::ManifestReadError;
use crate::network::NetworkError;
use crate::output::OutputError;
use crate::store::{ReadError, StoreError};

/// Why a fetch failed. What it had verified stays in the store; running it again goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nobody announced the content, or said to have it.
    #[error(
        "not found: no provider of {hash} turned up within {} s{}; check the hash, and that the publisher runs and shares a network with this node",
        after.as_secs(), hint(*dht_peers)
    )]
    NobodyHasIt {
        /// The content.
        hash: ContentHash,
        /// How long was looked.
        after: Duration,
        /// How many nodes this one knew to ask.
        dht_peers: usize,
    },
    /// There are providers, but none that answered.
    #[error(
        "not found: no provider of {hash} answered within {} s ({found} known); the last one: {last}",
        after.as_secs()
    )]
    NoneAnswered {
        /// The content.
        hash: ContentHash,
        /// How many providers were tried.
        found: usize,
        /// How long was tried.
        after: Duration,
        /// What became of the last one.
        last: String,
    },
    /// It was under way, and then nothing came any more.
    #[error(
        "not found: {held} of {total} bytes are here, and no peer has sent any of the rest for {} s; run the same fetch again to go on from here",
        after.as_secs()
    )]
    Stalled {
        /// Bytes that are held.
        held: u64,
        /// Bytes in all, as far as they are known.
        total: u64,
        /// How long nothing came.
        after: Duration,
    },
    /// The only peers that offered it sent something else.
    #[error(
        "what was offered as {hash} is not that: {liars} of its providers sent wrong bytes and were banned, and no other has it; nothing wrong was kept"
    )]
    OnlyLiars {
        /// The content.
        hash: ContentHash,
        /// How many peers lied.
        liars: usize,
    },
    /// The bytes are what the hash says, and no manifest.
    #[error("{hash} cannot be used: {source}; whoever published it made it so")]
    Malformed {
        /// The content.
        hash: ContentHash,
        /// What is wrong.
        source: ManifestError,
    },
    /// What was held turned out damaged, and could not be had anew.
    #[error("what was held of {hash} is damaged on this disk{}, and no provider gave it anew", place(damage))]
    Damaged {
        /// The content.
        hash: ContentHash,
        /// The damage, if it was found just now.
        #[source]
        damage: Option<ReadError>,
    },
    /// A path that the content does not have.
    #[error("{hash} has no entry {path:?}: `shoal ls {hash}` shows what it has")]
    NoSuchEntry {
        /// The content.
        hash: ContentHash,
        /// The path.
        path: String,
    },
    /// Bytes were asked of something that is not a file.
    #[error("{} is {what}, only files have bytes to show: name a file in it (`shoal ls` shows them)", shown(path))]
    NotAFile {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A range beyond the end of a file.
    #[error("the range reaches to byte {last}, beyond the end: {} has {bytes} bytes, counted from 0", shown(path))]
    BeyondTheEnd {
        /// The path.
        path: String,
        /// Last byte asked for.
        last: u64,
        /// Bytes that there are.
        bytes: u64,
    },
    /// The address of a peer that cannot be one.
    #[error("{text:?} is no address of a peer: {reason}")]
    BadPeer {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store gave back something damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A chunk that was held is held no more.
    #[error("{0:?} was in the store and is not any more: run the same fetch again to get it anew")]
    Gone(ChunkId),
    /// A task of this fetch ended without a word.
    #[error("the fetch broke off inside the node; its log says why")]
    Broken,
}

impl FetchError {
    /// The error for a manifest of `hash` that does not read.
    pub(crate) fn malformed(hash: ContentHash, source: ManifestError) -> Self {
        Self::Malformed { hash, source }
    }

    /// The error for a manifest that could not be read from the store.
    pub(crate) fn manifest(hash: ContentHash, error: ManifestReadError) -> Self {
        match error {
            ManifestReadError::Store(error) => Self::Store(error),
            ManifestReadError::Read(error) => Self::Read(error),
            ManifestReadError::Manifest(error) => Self::malformed(hash, error),
        }
    }

    /// Whether it says that nobody was there to ask.
    pub(super) fn is_about_providers(&self) -> bool {
        matches!(self, Self::NobodyHasIt { .. } | Self::NoneAnswered { .. } | Self::Stalled { .. })
    }

    /// The family that decides the exit code.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::NobodyHasIt { .. } | Self::NoneAnswered { .. } | Self::Stalled { .. } => FailureKind::NotFound,
            Self::OnlyLiars { .. } | Self::Malformed { .. } | Self::Damaged { .. } => FailureKind::Integrity,
            Self::Read(ReadError::Damaged { .. }) => FailureKind::Integrity,
            Self::NoSuchEntry { .. } => FailureKind::NotFound,
            Self::NotAFile { .. } | Self::BeyondTheEnd { .. } | Self::BadPeer { .. } => FailureKind::Usage,
            Self::Output(error) => error.kind(),
            Self::Store(error) | Self::Read(ReadError::Store(error)) => error.failure_kind(),
            _ => FailureKind::Failed,
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::from_error(error.kind(), &error)
    }
}

fn hint(dht_peers: usize) -> String {
    match dht_peers {
        0 => " (this node knows no other node: no bootstrap node answers or none is named; a link that names a peer helps too)".to_owned(),
        1 => " (asked by way of 1 node)".to_owned(),
        n => format!(" (asked by way of {n} nodes)"),
    }
}

/// Where something damaged lies, and what about it is wrong.
fn place(damage: &Option<ReadError>) -> String {
    match damage {
        Some(ReadError::Damaged { file, detail, .. }) => format!(" ({}: {detail})", file.display()),
        _ => String::new(),
    }
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "the content" } else { path }
}
