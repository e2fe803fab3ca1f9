//! Why measuring was impossible.

use std::io;
use std::path::PathBuf;

use shoal_testnet::error::TestnetError;

/// Why measuring was impossible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A node or a command failed.
    #[error(transparent)]
    Testnet(#[from] TestnetError),
    /// A file could not be made, read or removed.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that a floor is measured with failed.
    #[error("{program} failed: {words}")]
    Floor {
        /// The program.
        program: &'static str,
        /// What it said.
        words: String,
    },
    /// What was fetched is not what was published.
    #[error("what was fetched differs from what was published: {0}")]
    Differs(String),
    /// Not enough room for what is measured.
    #[error("{path} has {free} MiB free and this takes {needed}; try --quick, or another folder")]
    Room {
        /// Where.
        path: PathBuf,
        /// MiB that are free.
        free: u64,
        /// MiB that it takes.
        needed: u64,
    },
    /// A part of the measurement itself did not start or broke off.
    #[error("a part of the measurement failed: {0}")]
    Part(String),
    /// Stopped with Ctrl-C.
    #[error("interrupted; nothing is left")]
    Interrupted,
}

impl BenchError {
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
