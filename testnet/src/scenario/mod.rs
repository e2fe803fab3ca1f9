//! What happens in a network, written down: the one language of the cluster and the simulator.
//!
//! A scenario file (TOML, [`Scenario::parse`]) says which nodes there are and over which lines they talk, what is
//! published and fetched, what goes wrong, and what must hold in the end. A [`Scenario`] is a checked one: names are
//! resolved, numbers are within bounds, and whatever it refers to exists. A [`Plan`] is what a seed makes of it: who
//! is struck, and when. docs/testnet.md has every key.
//!
//! Nothing here reads a clock, opens a file or draws randomness but from the seed: the same file and the same seed
//! make the same plan on any machine. No floating point decides anything.

mod bound;
mod error;
mod file;
mod names;
mod plan;
mod quantity;
mod reader;
mod resolve;
mod shipped;

use std::fmt;
use std::time::Duration;

pub use bound::{lower_bound, lower_bound_of};
pub use error::ScenarioError;
pub use plan::{Action, Plan, Planned, Trigger, When};
pub use quantity::{Factor, Share};
pub use shipped::{Shipped, shipped, shipped_scenarios};

/// Most nodes in a scenario; how many the cluster takes is bounded by [`Scenario::MAX_CLUSTER_NODES`].
const MAX_NODES: usize = 100_000;

/// A checked scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it is for, in a sentence or two.
    pub purpose: String,
    /// The seed to use unless told otherwise.
    pub seed: u64,
    /// When the run is given up, counted from its start.
    pub deadline: Duration,
    /// The nodes, by group; [`nodes`](Self::nodes) lists them one by one.
    pub groups: Vec<Group>,
    /// What there is to publish.
    pub contents: Vec<Content>,
    /// Who publishes what, and when. At a liar: what it claims to have.
    pub publishes: Vec<Publish>,
    /// Who fetches what, and when.
    pub fetches: Vec<Fetch>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What must hold in the end.
    pub checks: Checks,
}

/// Nodes that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name; nodes of a group of several are `name-1`, `name-2` and so on.
    pub name: String,
    /// How many.
    pub count: usize,
    /// What their line to the world is like.
    pub line: Line,
    /// The node's own limit on what it sends (`--limit-up`), in bytes a second.
    pub limit_up: Option<u64>,
    /// The node's own limit on what it takes in (`--limit-down`), in bytes a second.
    pub limit_down: Option<u64>,
    /// How it lies, if it is no honest node.
    pub lie: Option<Lie>,
}

/// A line between a node and all others. Delays of both ends add up, and so do losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    /// Most bytes a second that leave the node; `None`: no limit.
    pub up: Option<u64>,
    /// Most bytes a second that reach the node; `None`: no limit.
    pub down: Option<u64>,
    /// What the line adds to the time that a byte takes, each way.
    pub delay: Duration,
    /// Share of packets that are lost, each way.
    pub loss: Share,
}

/// How a peer that is no honest node treats those who fetch from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Every chunk has a bit turned.
    WrongChunks,
    /// Every chunk is half as long as it should be.
    ShortChunks,
    /// Every manifest node has a bit turned.
    WrongNodes,
    /// It says that it has everything and answers nothing.
    Silent,
    /// It states frames of 4 GiB.
    Endless,
    /// It sends bytes that are no frames.
    Noise,
    /// It takes sessions without knowing the content hash.
    NoProof,
    /// It hangs up on everybody.
    HangsUp,
}

/// Something to publish, made from the seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The name by which the scenario refers to it.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// A file or many.
    pub shape: Shape,
    /// The content that it is a newer version of, and the share of the bytes that differ.
    pub version_of: Option<(ContentIndex, Share)>,
}

/// What a content looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One file.
    File,
    /// A folder of files that are all of one size.
    Folder {
        /// How many.
        files: u32,
    },
}

/// A content is published at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// What.
    pub content: ContentIndex,
    /// Where.
    pub nodes: Vec<NodeIndex>,
    /// When, and how far apart the nodes are.
    pub when: Moment,
    /// Time between one node and the next.
    pub apart: Duration,
}

/// A content is fetched at nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// What.
    pub content: ContentIndex,
    /// Where.
    pub nodes: Vec<NodeIndex>,
    /// When the first begins.
    pub when: Moment,
    /// Time between one node and the next.
    pub apart: Duration,
}

/// Something goes wrong, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// To whom it may happen.
    pub nodes: Vec<NodeIndex>,
    /// To how many of them at a time, drawn from the seed; `None`: to all.
    pub pick: Option<usize>,
    /// When.
    pub when: Moment,
    /// How often; 1 is once.
    pub times: u32,
    /// Time from one to the next. With `one_by_one` from one node to the next, else the stretch within which the
    /// seed draws each one's moment.
    pub every: Duration,
    /// Whether the nodes have their turns in order.
    pub one_by_one: bool,
    /// After how long it is undone; `None`: never.
    pub lasts: Option<Duration>,
}

/// What can go wrong at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Its process is killed (SIGKILL); undone by starting it again.
    Kill,
    /// Its process stands still (SIGSTOP); undone by letting it go on.
    Pause,
    /// It is asked to end (SIGTERM) and started again once it has.
    Restart,
    /// It is killed, loses all it holds, and is started again with its old identity.
    Wipe,
    /// Whatever it writes to a file fails; undone by letting it write.
    DiskFull,
    /// Its line changes; undone by the line that it had.
    Line(Line),
    /// The struck nodes reach each other and nobody else; undone by joining the network again.
    Partition,
    /// So many bytes of what it holds change on disk.
    Corrupt {
        /// How many.
        bytes: u32,
    },
}

/// When something happens, as the file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Somewhere in this stretch of time after the start, drawn from the seed; both ends are often the same.
    Time(Duration, Duration),
    /// Once so much of all that is to be fetched has arrived, in total; a share between the two, drawn from the seed.
    Progress(Share, Share),
    /// Once every honest node that publishes this content has done so.
    Published(ContentIndex),
    /// Once every fetch of this content is done.
    Done(ContentIndex),
}

/// What must hold in the end. Every output is compared with its original whatever is set here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    /// Every fetch completes, but for those at nodes that are in no state to at the end.
    pub complete: bool,
    /// The last fetch ends within so many times the [`lower_bound`].
    pub within: Option<Factor>,
    /// Bytes that came in vain are at most this share of those that were of use.
    pub wasted: Option<Share>,
    /// Publishers send each content at most so many times, all its publishers together.
    pub seeder_copies: Option<Factor>,
    /// Fetches take in at most this share of their content over the network (the rest was held).
    pub fetched: Option<Share>,
}

/// Which node; counts through all groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub usize);

/// Which content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentIndex(pub usize);

impl Scenario {
    /// Most nodes that a cluster of real processes takes.
    pub const MAX_CLUSTER_NODES: usize = 100;

    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its line.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        resolve::resolve(text)
    }

    /// Every node with its name and group, in the order of [`NodeIndex`].
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIndex, String, &Group)> {
        let each = self.groups.iter().flat_map(|group| (1..=group.count).map(move |n| (n, group)));
        each.enumerate().map(|(index, (n, group))| (NodeIndex(index), group.node_name(n), group))
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// The name of a node; empty for a number that there is not.
    pub fn node_name(&self, node: NodeIndex) -> String {
        let mut first = 0;
        for group in &self.groups {
            if node.0 < first + group.count {
                return group.node_name(node.0 - first + 1);
            }
            first += group.count;
        }
        String::new()
    }

    /// The group of a node.
    pub fn group_of(&self, node: NodeIndex) -> Option<&Group> {
        let mut before = 0;
        self.groups.iter().find(|group| {
            before += group.count;
            node.0 < before
        })
    }

    /// A content.
    pub fn content(&self, index: ContentIndex) -> Option<&Content> {
        self.contents.get(index.0)
    }

    /// Whether lines matter: some node has one that is slower than the machine's own, or some fault changes lines.
    pub fn shapes_lines(&self) -> bool {
        let fault = |fault: &Fault| matches!(fault.kind, FaultKind::Line(_) | FaultKind::Partition);
        self.groups.iter().any(|group| group.line != Line::default()) || self.faults.iter().any(fault)
    }

    /// Whether some node is no honest one.
    pub fn has_liars(&self) -> bool {
        self.groups.iter().any(|group| group.lie.is_some())
    }
}

impl Group {
    /// The name of its `n`th node, counted from 1.
    fn node_name(&self, n: usize) -> String {
        if self.count == 1 { self.name.clone() } else { format!("{}-{n}", self.name) }
    }

    /// Most bytes a second that a node of it sends: its line or its own limit, whichever is less.
    pub fn sends_at_most(&self) -> Option<u64> {
        least(self.line.up, self.limit_up)
    }

    /// Most bytes a second that a node of it takes in.
    pub fn takes_at_most(&self) -> Option<u64> {
        least(self.line.down, self.limit_down)
    }
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Lie {
    /// Every way to lie.
    pub const ALL: [Self; 8] = [
        Self::WrongChunks,
        Self::ShortChunks,
        Self::WrongNodes,
        Self::Silent,
        Self::Endless,
        Self::Noise,
        Self::NoProof,
        Self::HangsUp,
    ];

    /// Its name in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongChunks => "wrong-chunks",
            Self::ShortChunks => "short-chunks",
            Self::WrongNodes => "wrong-nodes",
            Self::Silent => "silent",
            Self::Endless => "endless",
            Self::Noise => "noise",
            Self::NoProof => "no-proof",
            Self::HangsUp => "hangs-up",
        }
    }

    /// The lie of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lie| lie.name() == name)
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self { complete: true, within: None, wasted: None, seeder_copies: None, fetched: None }
    }
}

#[cfg(test)]
mod tests;
