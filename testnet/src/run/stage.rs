//! What there is in a run: the nodes, the lines between them, and the originals of what is published.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{RunError, RunOptions};
use crate::cluster::{Cluster, ClusterOptions, NodeOptions};
use crate::content;
use crate::links::{Links, NodeLink};
use crate::scenario::{Content, ContentIndex, Group, NodeIndex, Scenario, Shape};

/// Everything on it is gone when it is.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) links: Option<Arc<Links>>,
    pub(super) conditions: Vec<Condition>,
    /// Where each content lies.
    pub(super) originals: Vec<PathBuf>,
}

/// What was done to a node and not undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Condition {
    pub(super) wanted: Wanted,
    pub(super) paused: bool,
    pub(super) parted: bool,
    pub(super) full: bool,
    /// Whether it loses all it holds before it is started again.
    pub(super) wipe: bool,
    /// Whether it has ended although nobody asked it to.
    pub(super) fell: bool,
}

/// Whether a node is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wanted {
    #[default]
    Up,
    Down,
    /// Started again as soon as its process has ended.
    Again,
}

impl Condition {
    /// Why nothing can be expected of the node; `None` if something can.
    pub(super) fn excuse(&self) -> Option<&'static str> {
        match self {
            Self { wanted: Wanted::Down, .. } => Some("the node is down"),
            Self { paused: true, .. } => Some("the node is paused"),
            Self { parted: true, .. } => Some("the node is cut off"),
            Self { full: true, .. } => Some("the node's disk is full"),
            _ => None,
        }
    }
}

impl Stage {
    /// Makes the originals and starts the nodes.
    pub(super) async fn set(scenario: &Scenario, options: &RunOptions) -> Result<Self, RunError> {
        let mut cluster = Cluster::start(ClusterOptions::new(&options.program, 0)).await?;
        let folder = cluster.folder().join("originals");
        std::fs::create_dir_all(&folder).map_err(RunError::file(&folder))?;
        let mut originals: Vec<PathBuf> = scenario.contents.iter().map(|content| folder.join(&content.name)).collect();
        let made = usize::from(options.publish.is_some());
        originals.iter_mut().zip(&options.publish).for_each(|(original, own)| original.clone_from(own));
        for (index, path) in originals.iter().enumerate().skip(made) {
            make(scenario, ContentIndex(index), path.clone(), options.seed).await?;
        }
        let links = match scenario.shapes_lines() {
            true => {
                let lines = scenario.nodes().map(|(_, _, group)| group.line).collect();
                Some(Arc::new(Links::start(lines, options.seed).map_err(RunError::Links)?))
            }
            false => None,
        };
        let nodes = scenario.nodes().map(|(node, name, group)| {
            let link = links.clone().map(|links| NodeLink { links, node: node.0 });
            node_options(scenario, options, &originals, node, name, group, link)
        });
        cluster.add_all(nodes.collect()).await?;
        let conditions = vec![Condition::default(); scenario.node_count()];
        Ok(Self { cluster, links, conditions, originals })
    }

    /// Where a fetch puts its content.
    pub(super) fn output(&self, node: NodeIndex, content: ContentIndex) -> PathBuf {
        self.cluster.folder().join(format!("fetched-{}-{}", node.0, content.0))
    }

    /// The home of a node.
    pub(super) fn home(&self, node: NodeIndex) -> Option<&Path> {
        self.cluster.nodes().get(node.0).map(crate::node::Node::home)
    }
}

fn node_options(
    scenario: &Scenario,
    options: &RunOptions,
    originals: &[PathBuf],
    node: NodeIndex,
    name: String,
    group: &Group,
    link: Option<NodeLink>,
) -> NodeOptions {
    let mut of_node = NodeOptions {
        name: Some(name),
        limit_up: group.limit_up,
        limit_down: group.limit_down,
        survives_file_limit: true,
        link,
        ..NodeOptions::default()
    };
    if let Some(lie) = group.lie {
        of_node.program = Some(options.liar.clone());
        of_node.arguments = vec!["--lie".into(), lie.name().into()];
        for publish in scenario.publishes.iter().filter(|publish| publish.nodes.contains(&node)) {
            let path = originals.get(publish.content.0).map(|path| path.as_os_str().to_owned());
            of_node.arguments.extend([OsString::from("--serve"), path.unwrap_or_default()]);
        }
    }
    of_node
}

/// Makes an original, from the seed of the run and its own place.
async fn make(scenario: &Scenario, index: ContentIndex, path: PathBuf, seed: u64) -> Result<(), RunError> {
    let Some(Content { bytes, shape, version_of, .. }) = scenario.content(index).cloned() else { return Ok(()) };
    let seed_of = move |index: ContentIndex| seed.wrapping_mul(1_000_003).wrapping_add(index.0 as u64);
    let place = path.clone();
    let made = tokio::task::spawn_blocking(move || match (version_of, shape) {
        (Some((older, changed)), _) => content::write_file_with_edits(&place, bytes, seed_of(older), changed.of(bytes)),
        (None, Shape::File) => content::write_file(&place, bytes, seed_of(index)),
        (None, Shape::Folder { files }) => {
            content::write_small_files(&place, files, bytes / u64::from(files.max(1)), seed_of(index))
        }
    });
    made.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(RunError::file(path))
}
