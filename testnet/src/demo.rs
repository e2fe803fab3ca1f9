//! The story that `shoal testnet demo` tells: five real nodes, a folder that is found by its hash alone, a dead seeder,
//! and every byte arrives.
//!
//! It is a scenario like any other (`scenarios/demo.toml`); what it publishes is a real folder: the caller's, or one
//! with everything in it that a folder can have.

use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::content;
use crate::report::Report;
use crate::run::{self, RunError, RunOptions, Shown};
use crate::scenario::{ContentIndex, Scenario, ScenarioError};
use crate::temporary::Temporary;
use crate::tree::Tree;

const SCENARIO: &str = include_str!("../scenarios/demo.toml");
/// The group whose rate is set by what there is to fetch.
const READERS: &str = "reader";
/// How long the readers take at least, for whoever watches.
const WATCHED_SECONDS: u64 = 10;
/// Less is over before anything can happen in the middle of it.
const LEAST_BYTES: u64 = 1 << 20;
/// Readers take in no less, however little there is.
const LEAST_RATE: u64 = 256 << 10;

/// What the demo does and how it shows it.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The `shoal` executable that every node runs.
    pub program: PathBuf,
    /// What to publish.
    pub publish: DemoContent,
    /// How it is shown.
    pub shown: Shown,
}

/// What the demo publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DemoContent {
    /// A made-up folder with nested folders, links, an executable, names in several scripts, and a large file.
    MadeUp {
        /// Bytes of the large file. 256 MiB is big enough to watch, and small enough for half a minute.
        bytes: u64,
        /// Another seed gives other hashes.
        seed: u64,
    },
    /// A file or folder of the caller's own, which is only read.
    Own(PathBuf),
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// It could not be run, or was interrupted.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The demo's own scenario is wrong.
    #[error("the demo's scenario: {0}")]
    Scenario(#[from] ScenarioError),
    /// What is to be published cannot be read, or the made-up folder not be written.
    #[error("{path}: {source}")]
    Content {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is too little to publish.
    #[error(
        "{path} has {bytes} bytes: too few to kill somebody in the middle of fetching them; name something of 1 MiB or more"
    )]
    TooLittle {
        /// What was named.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
}

/// Runs the demo to its end and cleans up, however it ends.
///
/// # Errors
/// When it could not be run, or was `interrupted`. That a check fails is no error: the report says so.
pub async fn run(
    options: &DemoOptions,
    interrupted: impl Future<Output = ()>,
    out: &mut (dyn Write + Send),
) -> Result<Report, DemoError> {
    // Gone at the end, whatever the end is.
    let (_made, path, seed) = match &options.publish {
        DemoContent::Own(path) => (None, path.canonicalize().map_err(failed(path))?, 1),
        DemoContent::MadeUp { bytes, seed } => {
            let made = Temporary::new().map_err(failed(&std::env::temp_dir()))?;
            let folder = made.path().join("folder");
            make(&folder, *bytes, *seed).map_err(failed(&folder))?;
            (Some(made), folder, *seed)
        }
    };
    let bytes = Tree::sizes(&path).map_err(failed(&path))?;
    if bytes < LEAST_BYTES {
        return Err(DemoError::TooLittle { path, bytes });
    }
    let options = RunOptions {
        program: options.program.clone(),
        liar: PathBuf::new(),
        seed,
        publish: Some(path),
        shown: options.shown,
    };
    Ok(run::run(&scenario(bytes)?, &options, interrupted, out).await?)
}

/// The demo's scenario, with so much to fetch.
fn scenario(bytes: u64) -> Result<Scenario, ScenarioError> {
    let mut scenario = Scenario::parse(SCENARIO)?;
    scenario.contents.iter_mut().take(ContentIndex(0).0 + 1).for_each(|content| content.bytes = bytes);
    let rate = (bytes / WATCHED_SECONDS).max(LEAST_RATE);
    let readers = scenario.groups.iter_mut().filter(|group| group.name == READERS);
    readers.for_each(|group| group.limit_down = Some(rate));
    Ok(scenario)
}

fn make(folder: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    content::write_folder(folder, seed)?;
    content::write_file(&folder.join("disk.img"), bytes, seed)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DemoError {
    let path = path.to_owned();
    move |source| DemoError::Content { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_middle_whatever_is_published() {
        for bytes in [LEAST_BYTES, 256 << 20, 1 << 40] {
            let scenario = scenario(bytes).unwrap();
            assert_eq!((scenario.node_count(), scenario.contents[0].bytes), (5, bytes));
            let rate = scenario.groups.iter().find_map(|group| group.limit_down).unwrap();
            assert!(bytes / rate >= 4, "{bytes} bytes are over at once");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_a_demo_is_refused_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("letter"), "dear").unwrap();
        let refused = async |path: PathBuf| {
            let options = DemoOptions {
                program: "/nowhere/at/all".into(),
                publish: DemoContent::Own(path),
                shown: Shown::default(),
            };
            let mut out = Vec::new();
            let error = run(&options, std::future::pending(), &mut out).await.unwrap_err();
            assert!(out.is_empty());
            error
        };
        let error = refused(folder.path().to_owned()).await;
        assert!(matches!(error, DemoError::TooLittle { bytes: 4, .. }), "{error}");
        let error = refused(folder.path().join("missing")).await;
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
