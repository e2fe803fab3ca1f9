//! What is measured, how often, and where.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures Shoal's figures against floors taken in the same run.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench")]
pub struct Options {
    /// One run of each on an eighth of the bytes: shows that it works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// How many runs the median is taken of
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Figure>,
    /// Another `shoal` than the one built with this program
    #[arg(long, value_name = "PATH")]
    pub program: Option<PathBuf>,
    /// A folder in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub memory: PathBuf,
    /// A folder on disk [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
}

/// A figure, or some that come out of the same runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// 1 GiB from one provider, with the CPU time of both ends
    Fetch,
    /// The raw transfer stream against plain rustls
    RawStream,
    /// Four providers of 20 MB/s each, and of 5 to 40; one that comes late or leaves early
    Limited,
    /// One provider over 500 Mbit/s with 200 ms round trip
    Far,
    /// 1 KiB and 1 MiB, with and without a connection
    Latency,
    /// Resident memory with fifty peers
    Peers,
    /// One seeder and eight leechers that begin at once, 20 MB/s each
    Crowd,
    /// One honest provider among silent, dripping and lying ones
    Hostile,
    /// The next version of 1 GiB with scattered edits
    Delta,
    /// Publishing 1 GiB, and what it takes on disk
    Publish,
    /// Publishing and fetching a tree of 10,000 x 10 KiB
    SmallFiles,
    /// A file imported, imported in place and exported, and a home opened after a kill
    Store,
    /// The second versions of a source archive, a database dump and a file system image
    Versions,
    /// Fetching while 2 GiB of garbage are collected
    Collect,
    /// Resident memory of both ends while 4 GiB are fetched
    Memory,
    /// A home of 20 GB; takes 26 GB of the disk, and is measured only if it is named
    Large,
    /// Fetching while 10 GiB of garbage are collected; takes 22 GB of the disk, and is measured only if it is named
    CollectMuch,
}

impl Options {
    pub(super) fn figures(&self) -> Vec<Figure> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        let short =
            Figure::value_variants().iter().filter(|figure| !matches!(figure, Figure::Large | Figure::CollectMuch));
        short.copied().collect()
    }

    /// Runs of each figure.
    pub(super) fn effective_runs(&self) -> usize {
        if self.quick { 1 } else { self.runs.max(1) }
    }
}

impl Figure {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Fetch => "fetch from one provider",
            Self::RawStream => "raw transfer stream",
            Self::Limited => "four limited providers",
            Self::Far => "a long line",
            Self::Latency => "small contents",
            Self::Peers => "fifty peers",
            Self::Crowd => "flash crowd",
            Self::Hostile => "one honest provider among others",
            Self::Delta => "the next version",
            Self::Publish => "publish",
            Self::SmallFiles => "tree of small files",
            Self::Store => "the store by itself",
            Self::Versions => "second versions",
            Self::Collect => "collecting garbage while fetching",
            Self::CollectMuch => "collecting 10 GiB of garbage while fetching",
            Self::Memory => "resident memory",
            Self::Large => "a large home",
        }
    }
}
