//! What happens in the demo, step by step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_node::api::{Fetched, Progress, Published};
use tokio::task::JoinSet;

use super::narrator::{Step, mib};
use super::{DemoError, DemoFetch, DemoOptions, DemoPublish, DemoReport};
use crate::cluster::{Cluster, ClusterOptions};
use crate::command::{FetchOptions, Shoal};
use crate::content;
use crate::error::TestnetError;
use crate::narrator::Narrator;
use crate::tree::Tree;

const NODES: usize = 5;
const PUBLISHER: usize = 0;
const EARLY: [usize; 2] = [1, 2];
const LATE: [usize; 2] = [3, 4];
/// How often the nodes are asked how far they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A published thing and its original.
struct Thing {
    what: &'static str,
    source: PathBuf,
    published: Published,
}

/// The state of the telling.
struct Story<'a, 'b> {
    options: &'a DemoOptions,
    narrator: &'a mut Narrator<'b>,
    cluster: Cluster,
    names: BTreeMap<String, String>,
    fetches: Vec<DemoFetch>,
}

/// Tells it all; what was started is gone when the future is, finished or not.
pub(super) async fn tell(options: DemoOptions, narrator: &mut Narrator<'_>) -> Result<DemoReport, DemoError> {
    narrator.say("starting five nodes on loopback, each a process with a home and a key of its own")?;
    let cluster = Cluster::start(ClusterOptions::new(&options.program, NODES)).await?;
    let names = cluster.nodes().iter().map(|node| (node.peer_id().to_owned(), node.name().to_owned())).collect();
    for node in cluster.nodes() {
        let address = node.addresses().first().map_or("", String::as_str);
        narrator.say(&format!("{} is process {}: {address}", node.name(), node.pid().unwrap_or(0)))?;
    }
    let mut story = Story { options: &options, narrator, cluster, names, fetches: Vec::new() };
    let things = story.publish().await?;
    story.fetch_early(&things).await?;
    let killed_at_bytes = story.fetch_late(&things).await?;
    let (checked_items, checked_bytes) = story.check(&things)?;
    story.finish(&things, killed_at_bytes, checked_items, checked_bytes).await
}

impl Story<'_, '_> {
    /// Makes a folder and a large file and publishes both on the first node.
    async fn publish(&mut self) -> Result<Vec<Thing>, DemoError> {
        let (folder, file) = (self.cluster.folder().join("source/folder"), self.cluster.folder().join("source/file"));
        let make = |path: &Path, made: std::io::Result<()>| {
            made.map_err(|source| DemoError::Content { path: path.to_owned(), source })
        };
        make(&folder, std::fs::create_dir_all(&folder))?;
        make(&folder, content::write_folder(&folder, self.options.seed))?;
        make(&file, content::write_file(&file, self.options.file_bytes, self.options.seed))?;
        let mut things = Vec::new();
        for (what, source) in [("folder", folder), ("file", file)] {
            let published = self.cluster.node(PUBLISHER).shoal().publish(&source).await?;
            self.narrator.say(&format!(
                "node-0 publishes a {what} of {} MiB: {} chunks, {}",
                mib(published.bytes),
                published.chunks,
                published.hash,
            ))?;
            things.push(Thing { what, source, published });
        }
        Ok(things)
    }

    /// Two nodes fetch over the link, which names the publisher.
    async fn fetch_early(&mut self, things: &[Thing]) -> Result<(), DemoError> {
        self.narrator.say("node-1 and node-2 fetch both over the link")?;
        for thing in things {
            let mut running = JoinSet::new();
            for node in EARLY {
                running.spawn(self.fetch(node, thing, &thing.published.link, FetchOptions::default()));
            }
            while let Some(done) = running.join_next().await {
                self.done(thing.what, joined(done)?)?;
            }
        }
        Ok(())
    }

    /// Two more fetch knowing nothing but the hash, and the publisher dies in the middle. Says how far the first of
    /// them was then.
    async fn fetch_late(&mut self, things: &[Thing]) -> Result<u64, DemoError> {
        self.narrator.say("node-3 and node-4 know only the hashes and ask the DHT who has them")?;
        let options = FetchOptions { limit_down: Some(self.options.watched_rate), ..FetchOptions::default() };
        let mut killed_at = None;
        for thing in things {
            let mut running = JoinSet::new();
            for node in LATE {
                running.spawn(self.fetch(node, thing, &thing.published.hash.to_string(), options.clone()));
            }
            let mut looks = tokio::time::interval(LOOK_INTERVAL);
            loop {
                tokio::select! {
                    done = running.join_next() => match done {
                        Some(done) => self.done(thing.what, joined(done)?)?,
                        None => break,
                    },
                    _ = looks.tick(), if thing.what == "file" => {
                        let seen = self.look(thing).await?;
                        if killed_at.is_none() && seen > thing.published.bytes / 4 && seen < thing.published.bytes {
                            self.cluster.kill(PUBLISHER).await?;
                            killed_at = Some(seen);
                            self.narrator.say(&format!(
                                "node-0, which published it, is killed (SIGKILL) at {} %; the fetches go on",
                                seen * 100 / thing.published.bytes.max(1)
                            ))?;
                        }
                    }
                }
            }
        }
        killed_at.ok_or_else(|| DemoError::TooQuick { node: "node-3".to_owned() })
    }

    /// Shows how far the late nodes are with a thing; returns how far the first is.
    async fn look(&mut self, thing: &Thing) -> Result<u64, DemoError> {
        let mut seen = Vec::new();
        for node in LATE {
            let status = self.cluster.node(node).shoal().status().await?;
            let fetch = status.fetches.into_iter().find(|fetch| fetch.hash == thing.published.hash);
            seen.push((self.cluster.node(node).name().to_owned(), fetch.map(|fetch| fetch.progress)));
        }
        let step = |(node, progress): &(String, Option<Progress>)| {
            let (node, progress) = (node.clone(), progress.clone()?);
            Some((node, progress))
        };
        let running: Vec<(String, Progress)> = seen.iter().filter_map(step).collect();
        let steps: Vec<Step<'_>> = running
            .iter()
            .map(|(node, progress)| Step {
                node,
                done: progress.done_bytes,
                total: thing.published.bytes,
                rate: progress.rate,
                peers: progress.peers,
            })
            .collect();
        if !steps.is_empty() {
            self.narrator.steps(&steps)?;
        }
        Ok(seen.into_iter().next().and_then(|(_, progress)| progress).map_or(0, |progress| progress.done_bytes))
    }

    /// A fetch at a node, to be run.
    fn fetch(
        &self,
        node: usize,
        thing: &Thing,
        what: &str,
        options: FetchOptions,
    ) -> impl Future<Output = Result<(usize, Fetched), TestnetError>> + Send + 'static {
        let (shoal, output): (Shoal, PathBuf) =
            (self.cluster.node(node).shoal(), arrived(self.cluster.folder(), node, thing.what));
        let what = what.to_owned();
        async move { Ok((node, shoal.fetch(&what, &output, &options).await?)) }
    }

    /// Tells of a fetch that is done.
    fn done(&mut self, what: &str, (node, fetched): (usize, Fetched)) -> Result<(), DemoError> {
        let mut from = BTreeMap::new();
        for share in &fetched.peers {
            let name = self.names.get(&share.peer).unwrap_or(&share.peer);
            *from.entry(name.clone()).or_default() += share.bytes;
        }
        let shares: Vec<String> = from.iter().map(|(name, bytes)| format!("{name} {}", mib(*bytes))).collect();
        let fetch = DemoFetch {
            node: self.cluster.node(node).name().to_owned(),
            what: what.to_owned(),
            bytes: fetched.bytes,
            fetched_bytes: fetched.fetched_bytes,
            wasted_bytes: fetched.wasted_bytes,
            seconds: fetched.seconds,
            from,
        };
        self.narrator.say(&format!(
            "{} has the {what}: {} MiB in {:.1} s (MiB from {})",
            fetch.node,
            mib(fetch.bytes),
            fetch.seconds,
            shares.join(", "),
        ))?;
        self.fetches.push(fetch);
        Ok(())
    }

    /// Compares everything that arrived with the originals; returns how many items and bytes.
    fn check(&mut self, things: &[Thing]) -> Result<(u64, u64), DemoError> {
        self.narrator.say("comparing everything that arrived with the originals")?;
        let read =
            |path: &Path| Tree::read(path).map_err(|source| DemoError::Content { path: path.to_owned(), source });
        let (mut items, mut bytes) = (0, 0);
        for thing in things {
            let original = read(&thing.source)?;
            for node in EARLY.into_iter().chain(LATE) {
                let copy = read(&arrived(self.cluster.folder(), node, thing.what))?;
                let differences = original.differences(&copy);
                if !differences.is_empty() {
                    return Err(DemoError::Differs { node: self.cluster.node(node).name().to_owned(), differences });
                }
                items += copy.items().len() as u64;
                bytes += copy.bytes();
            }
        }
        Ok((items, bytes))
    }

    /// Ends the nodes in good order and removes everything.
    async fn finish(
        self,
        things: &[Thing],
        killed_at_bytes: u64,
        checked_items: u64,
        checked_bytes: u64,
    ) -> Result<DemoReport, DemoError> {
        let nodes: Vec<String> = self.cluster.nodes().iter().map(|node| node.name().to_owned()).collect();
        self.narrator.say("stopping the nodes and removing their homes")?;
        self.cluster.shut_down().await?;
        let published = things.iter().map(|thing| DemoPublish {
            what: thing.what.to_owned(),
            hash: thing.published.hash.to_string(),
            bytes: thing.published.bytes,
            chunks: thing.published.chunks,
        });
        Ok(DemoReport {
            killed: nodes.get(PUBLISHER).cloned().unwrap_or_default(),
            nodes,
            published: published.collect(),
            fetches: self.fetches,
            killed_at_bytes,
            checked_items,
            checked_bytes,
            seconds: self.narrator.elapsed().as_secs_f64(),
        })
    }
}

fn arrived(folder: &Path, node: usize, what: &str) -> PathBuf {
    folder.join(format!("arrived-at-node-{node}-{what}"))
}

/// What a task gave; one that panicked passes it on.
fn joined<T>(done: Result<Result<T, TestnetError>, tokio::task::JoinError>) -> Result<T, TestnetError> {
    match done {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => {
                Err(TestnetError::Deadline { what: "a fetch that was cancelled".to_owned(), deadline: Duration::ZERO })
            }
        },
    }
}
