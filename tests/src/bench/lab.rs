//! Where measuring happens: the program under test, folders in memory and on disk, nodes, a clock.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::statvfs;
use shoal_node::api::{Fetched, Published};
use shoal_testnet::cluster::{Cluster, ClusterOptions, NodeOptions};
use shoal_testnet::command::{FetchOptions, Shoal};
use shoal_testnet::tree::Tree;
use tempfile::TempDir;

use super::{BenchError, Options, Row};

/// How long a measured command may take.
const DEADLINE: Duration = Duration::from_secs(900);

/// What homes, sources and outputs lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Memory,
    Disk,
}

/// The place of a whole run of the benchmark.
pub(super) struct Lab {
    pub(super) program: PathBuf,
    pub(super) runs: usize,
    pub(super) quick: bool,
    memory: PathBuf,
    disk: PathBuf,
    _program_folder: TempDir,
}

impl Medium {
    /// For the row's title.
    pub(super) fn place(self) -> &'static str {
        match self {
            Self::Memory => "in memory",
            Self::Disk => "on disk",
        }
    }
}

impl Lab {
    pub(super) fn new(options: &Options) -> Result<Self, BenchError> {
        let disk = options.disk.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new().prefix("shoal-bench-").tempdir().map_err(BenchError::file(&disk))?;
        let program = match &options.program {
            Some(program) => program.clone(),
            None => {
                // This very program is `shoal` when called by that name.
                let link = folder.path().join("shoal");
                let own = std::env::current_exe().map_err(BenchError::file("/proc/self/exe"))?;
                std::os::unix::fs::symlink(own, &link).map_err(BenchError::file(&link))?;
                link
            }
        };
        let memory = options.memory.clone();
        Ok(Self {
            program,
            runs: options.effective_runs(),
            quick: options.quick,
            memory,
            disk,
            _program_folder: folder,
        })
    }

    pub(super) fn note(&self, notes: &mut (dyn Write + Send), line: &str) {
        let _ = writeln!(notes, "{line}");
    }

    /// So many bytes, or an eighth of them for a quick look.
    pub(super) fn bytes(&self, full: u64) -> u64 {
        if self.quick { full / 8 } else { full }
    }

    /// A row as it counts in this run.
    pub(super) fn judged(&self, row: Row) -> Row {
        if self.quick { row.unjudged() } else { row }
    }

    /// A fresh folder with room for so many bytes.
    pub(super) fn folder(&self, medium: Medium, bytes: u64) -> Result<TempDir, BenchError> {
        let parent = match medium {
            Medium::Memory => &self.memory,
            Medium::Disk => &self.disk,
        };
        let about = statvfs(parent).map_err(|error| BenchError::File { path: parent.clone(), source: error.into() })?;
        let free = about.f_bavail * about.f_frsize;
        if free < bytes {
            return Err(BenchError::Room { path: parent.clone(), free: free >> 20, needed: bytes >> 20 });
        }
        tempfile::Builder::new().prefix("shoal-bench-").tempdir_in(parent).map_err(BenchError::file(parent))
    }

    /// Has so much free memory at hand that what is timed next need not wait for the host of a virtual machine.
    pub(super) fn warm(&self, bytes: u64) -> Result<(), BenchError> {
        let folder = self.folder(Medium::Memory, bytes)?;
        super::warm::memory(folder.path(), bytes)
    }

    /// One daemon with its home in a folder, to publish on; others are added to it.
    pub(super) async fn publisher(&self, folder: &Path, node: NodeOptions) -> Result<Cluster, BenchError> {
        let options = ClusterOptions {
            folder: Some(folder.join("nodes")),
            node,
            command_deadline: DEADLINE,
            ..ClusterOptions::new(&self.program, 1)
        };
        Ok(Cluster::start(options).await?)
    }

    /// Publishes without a daemon, and how long that took from its start to its end in seconds.
    pub(super) async fn import(&self, home: &Path, source: &Path) -> Result<(f64, Published), BenchError> {
        let shoal = Shoal::new(&self.program, home).on_loopback().with_deadline(DEADLINE);
        let started = Instant::now();
        let published = shoal.json([Path::new("publish"), Path::new("--no-serve"), source]).await?;
        Ok((started.elapsed().as_secs_f64(), published))
    }

    /// Fetches at a node, and how long that took from the start of the command to its end in seconds. What arrived is
    /// compared with the source, outside the time.
    pub(super) async fn fetch(
        &self,
        cluster: &Cluster,
        node: usize,
        what: &str,
        source: &Path,
        output: &Path,
    ) -> Result<(f64, Fetched), BenchError> {
        self.fetch_with(cluster, node, what, &FetchOptions::default(), source, output).await
    }

    /// The same, with options.
    pub(super) async fn fetch_with(
        &self,
        cluster: &Cluster,
        node: usize,
        what: &str,
        options: &FetchOptions,
        source: &Path,
        output: &Path,
    ) -> Result<(f64, Fetched), BenchError> {
        let shoal = cluster.node(node).shoal();
        let started = Instant::now();
        let fetched = shoal.fetch(what, output, options).await?;
        let seconds = started.elapsed().as_secs_f64();
        same(source, output)?;
        Ok((seconds, fetched))
    }

    /// Ends a node and removes its home: the next run begins with a fresh one.
    pub(super) async fn discard(&self, cluster: &mut Cluster, node: usize) -> Result<(), BenchError> {
        cluster.kill(node).await?;
        remove(cluster.node(node).home())
    }
}

/// Compares what was fetched with what was published.
pub(super) fn same(source: &Path, output: &Path) -> Result<(), BenchError> {
    let read = |path: &Path| Tree::read(path).map_err(BenchError::file(path));
    match read(source)?.differences(&read(output)?).first() {
        Some(difference) => Err(BenchError::Differs(difference.clone())),
        None => Ok(()),
    }
}

/// Removes a file or folder that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), BenchError> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path).map_err(BenchError::file(path)),
        Ok(_) => fs::remove_file(path).map_err(BenchError::file(path)),
        Err(_) => Ok(()),
    }
}
