//! Some real daemons on loopback, joined into one DHT.
//!
//! Every node has a home of its own under one folder, ports that the system chose, and a log. `node-0` is what the
//! others bootstrap from. All processes are members of one [`ProcessGroup`], so none outlives the cluster; the folder
//! goes with it unless the caller named one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::{COMMAND_DEADLINE, Shoal, rate_text};
use crate::error::TestnetError;
use crate::links::NodeLink;
use crate::node::Node;
use crate::process_group::ProcessGroup;
use crate::temporary::Temporary;
use crate::wait;

const READY_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// Nodes that a new one joins through: enough that one of them is likely to live.
const MAX_BOOTSTRAP: usize = 3;
/// How long the end of killed processes is waited for when a cluster is dropped.
const REAP_DEADLINE: Duration = Duration::from_secs(5);

/// How a cluster is set up.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The `shoal` executable.
    pub program: PathBuf,
    /// How many nodes to start with.
    pub nodes: usize,
    /// Where homes and logs go; it stays afterwards. `None`: a temporary folder that is removed.
    pub folder: Option<PathBuf>,
    /// What each node is told besides.
    pub node: NodeOptions,
    /// How long a node may take to be ready, and to know a peer.
    pub ready_deadline: Duration,
    /// How long one command may take.
    pub command_deadline: Duration,
}

/// How one node is started.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// What it is called; `None`: `node-` and its number.
    pub name: Option<String>,
    /// Bytes a second for `--limit-up`.
    pub limit_up: Option<u64>,
    /// Bytes a second for `--limit-down`.
    pub limit_down: Option<u64>,
    /// More arguments for `shoal daemon`.
    pub arguments: Vec<OsString>,
    /// Environment variables for the daemon and the commands of this node.
    pub environment: Vec<(OsString, OsString)>,
    /// The user to run as; takes being root. The home must be theirs.
    pub user: Option<u32>,
    /// Where the home is, if not in the cluster's folder.
    pub home: Option<PathBuf>,
    /// Not bootstrapped from others: it knows nobody.
    pub alone: bool,
    /// Another executable than the cluster's, with the same command line: no real node, and it has no control socket.
    pub program: Option<PathBuf>,
    /// The line that it is reached over.
    pub link: Option<NodeLink>,
    /// Whether a write beyond the limit on file sizes is an error for it, as a full disk is, and not its end.
    pub survives_file_limit: bool,
}

impl ClusterOptions {
    /// So many nodes of this executable, in a temporary folder.
    pub fn new(program: impl Into<PathBuf>, nodes: usize) -> Self {
        Self {
            program: program.into(),
            nodes,
            folder: None,
            node: NodeOptions::default(),
            ready_deadline: READY_DEADLINE,
            command_deadline: COMMAND_DEADLINE,
        }
    }
}

/// Daemons that are gone when this is.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order, after `drop` has seen to the processes: the folder goes last.
    nodes: Vec<Node>,
    group: ProcessGroup,
    options: ClusterOptions,
    folder: PathBuf,
    _temporary: Option<Temporary>,
}

impl Cluster {
    /// Starts the nodes and waits until each is ready and knows a peer. On failure nothing is left running.
    pub async fn start(options: ClusterOptions) -> Result<Self, TestnetError> {
        let (folder, temporary) = match &options.folder {
            Some(folder) => (folder.clone(), None),
            None => {
                let made = Temporary::new().map_err(TestnetError::file(std::env::temp_dir()))?;
                (made.path().to_owned(), Some(made))
            }
        };
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs).map_err(TestnetError::file(&logs))?;
        let group =
            ProcessGroup::start().map_err(|source| TestnetError::Start { program: "/bin/sh".into(), source })?;
        let mut cluster = Self { nodes: Vec::new(), group, options, folder, _temporary: temporary };
        let nodes = vec![cluster.options.node.clone(); cluster.options.nodes];
        cluster.add_all(nodes).await?;
        Ok(cluster)
    }

    /// Adds nodes and waits until each is ready and knows a peer.
    pub async fn add_all(&mut self, nodes: Vec<NodeOptions>) -> Result<(), TestnetError> {
        let before = self.nodes.len();
        for options in nodes {
            let index = self.spawn(options)?;
            if index == 0 {
                // The first alone: its addresses are what the others bootstrap from.
                self.nodes_ready(0).await?;
            }
        }
        self.nodes_ready(before).await?;
        self.connected().await
    }

    async fn nodes_ready(&mut self, from: usize) -> Result<(), TestnetError> {
        for node in self.nodes.iter_mut().skip(from) {
            node.ready(self.options.ready_deadline).await?;
        }
        Ok(())
    }

    /// Adds a node, waits until it is ready, and says which it is.
    pub async fn add(&mut self, options: NodeOptions) -> Result<usize, TestnetError> {
        let index = self.spawn(options)?;
        let deadline = self.options.ready_deadline;
        self.node_mut(index)?.ready(deadline).await?;
        Ok(index)
    }

    /// The command line for a home of this cluster that no daemon runs on. Its processes go with the cluster too.
    pub fn without_daemon(&self, home_name: &str) -> Shoal {
        self.shoal(self.folder.join(home_name), &NodeOptions::default())
    }

    /// A node; panics on a number that there is not, as indexing does.
    #[track_caller]
    pub fn node(&self, index: usize) -> &Node {
        match self.nodes.get(index) {
            Some(node) => node,
            None => panic!("there is no node-{index}"),
        }
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Homes, logs and whatever the caller puts there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills a node as a crash does (SIGKILL) and waits for its end.
    pub async fn kill(&mut self, index: usize) -> Result<(), TestnetError> {
        self.node_mut(index)?.kill().await
    }

    /// Asks a node to end (SIGTERM) and waits for it; its exit code must be 0.
    pub async fn stop(&mut self, index: usize) -> Result<(), TestnetError> {
        let node = self.node_mut(index)?;
        match node.stop(STOP_DEADLINE).await? {
            Some(status) if !status.success() => Err(TestnetError::Ended {
                node: node.name().to_owned(),
                status,
                log: node.log().to_owned(),
                tail: crate::log::tail(node.log()),
            }),
            _ => Ok(()),
        }
    }

    /// Starts a node again that was killed or stopped, and waits until it is ready.
    pub async fn restart(&mut self, index: usize) -> Result<(), TestnetError> {
        self.start_again(index)?;
        let deadline = self.options.ready_deadline;
        self.node_mut(index)?.ready(deadline).await
    }

    /// Starts a node again that was killed or stopped, without waiting until it is ready.
    pub fn start_again(&mut self, index: usize) -> Result<(), TestnetError> {
        let bootstrap = self.bootstrap_for(index);
        self.node_mut(index)?.start(&bootstrap)
    }

    /// Takes note of where a node that was started again listens now.
    pub fn note_addresses(&mut self, index: usize, addresses: Vec<String>) {
        if let Ok(node) = self.node_mut(index) {
            node.note_addresses(addresses);
        }
    }

    /// Addresses of nodes that run now, to join through.
    fn bootstrap_for(&self, index: usize) -> Vec<String> {
        let others = self.nodes.iter().enumerate().filter(|(other, node)| *other != index && node.pid().is_some());
        others.flat_map(|(_, node)| node.addresses().iter().take(1).cloned()).take(MAX_BOOTSTRAP).collect()
    }

    /// Asks every node to end and waits for all; for tests of a clean end. Dropping the cluster does as well.
    pub async fn shut_down(mut self) -> Result<(), TestnetError> {
        for index in 0..self.nodes.len() {
            self.stop(index).await?;
        }
        Ok(())
    }

    fn spawn(&mut self, options: NodeOptions) -> Result<usize, TestnetError> {
        let index = self.nodes.len();
        let name = options.name.clone().unwrap_or_else(|| format!("node-{index}"));
        let home = options.home.clone().unwrap_or_else(|| self.folder.join(&name));
        let mut arguments: Vec<OsString> =
            ["--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns"].iter().map(OsString::from).collect();
        if let Some(port) = options.link.as_ref().and_then(NodeLink::port) {
            arguments.extend(["--announce".into(), format!("/ip4/127.0.0.1/tcp/{port}").into()]);
        }
        for (flag, rate) in [("--limit-up", options.limit_up), ("--limit-down", options.limit_down)] {
            if let Some(rate) = rate {
                arguments.extend([flag.into(), rate_text(rate)]);
            }
        }
        arguments.extend(options.arguments.iter().cloned());
        let shoal = self.shoal(home, &options);
        let mut node = Node::new(name, shoal, &self.folder.join("logs"), arguments);
        node.is_real = options.program.is_none();
        node.link = options.link.clone();
        node.start(&if options.alone { Vec::new() } else { self.bootstrap_for(index) })?;
        self.nodes.push(node);
        Ok(index)
    }

    fn shoal(&self, home: PathBuf, options: &NodeOptions) -> Shoal {
        let program = options.program.as_ref().unwrap_or(&self.options.program);
        let mut shoal = Shoal::new(program, home)
            .on_loopback()
            .in_process_group(self.group.number())
            .with_deadline(self.options.command_deadline);
        for (name, value) in &options.environment {
            shoal = shoal.with_environment(name, value);
        }
        if options.survives_file_limit {
            shoal = shoal.surviving_file_limit();
        }
        match options.user {
            Some(user) => shoal.as_user(user),
            None => shoal,
        }
    }

    /// Waits until every node has a peer in its DHT.
    async fn connected(&self) -> Result<(), TestnetError> {
        if self.nodes.len() < 2 {
            return Ok(());
        }
        for node in self.nodes.iter().filter(|node| node.is_real) {
            let shoal = node.shoal();
            let what = format!("{} to find a peer for its DHT", node.name());
            wait::until(&what, self.options.ready_deadline, || async {
                Ok((shoal.status().await?.dht_peers > 0).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    pub(crate) fn node_mut(&mut self, index: usize) -> Result<&mut Node, TestnetError> {
        self.nodes.get_mut(index).ok_or(TestnetError::NoNode { index })
    }
}

impl Drop for Cluster {
    /// Kills what still runs and waits for its end, so that the folder can go and no process is seen afterwards.
    fn drop(&mut self) {
        self.group.kill();
        let end = Instant::now() + REAP_DEADLINE;
        while self.nodes.iter_mut().any(|node| !node.has_ended()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A stand-in for `shoal` that says what a daemon says, and notes its pid and what it was bootstrapped from.
    const FAKE: &str = r#"#!/bin/sh
home="$2"; shift 2
case "$*" in
  *daemon*)
    mkdir -p "$home"; echo "$*" > "$home/arguments"
    [ -e "$home/../refuse" ] && { echo "port in use" >&2; exit 1; }
    echo "{\"event\":\"listening\",\"peer_id\":\"peer-$$\",\"addresses\":[\"/ip4/127.0.0.1/tcp/$$\"]}"
    echo '{"event":"ready"}'
    trap 'exit 0' TERM
    while :; do sleep 0.05; done;;
  *status*) cat <<END
{"version":"0","identity":{"peer_id":"p","addresses":[]},"network":"n","home":"/","uptime_seconds":1,"connections":1,
"dht_peers":1,"dht_mode":"server","announced_keys":0,"foreign_records":0,"contents":0,"chunks":0,"payload_bytes":0,
"disk_bytes":0,"received_bytes":0,"sent_bytes":0,"serving_sessions":0,"fetches":[],"problems":[],"counters":{}}
END
  ;;
esac
"#;

    fn options(folder: &Path, nodes: usize) -> ClusterOptions {
        let program = crate::fake::program(folder, FAKE);
        ClusterOptions { folder: Some(folder.to_owned()), ..ClusterOptions::new(program, nodes) }
    }

    fn alive(pid: u32) -> bool {
        // A zombie that init has not collected yet is dead enough.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn nodes_start_break_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::start(options(folder.path(), 3)).await.unwrap();
        let arguments = fs::read_to_string(folder.path().join("node-2/arguments")).unwrap();
        assert!(arguments.contains(&format!("--bootstrap {}", cluster.node(0).addresses()[0])), "{arguments}");
        let first = cluster.node(1).pid().unwrap();
        cluster.kill(1).await.unwrap();
        assert!(!alive(first) && cluster.node(1).pid().is_none());
        cluster.restart(1).await.unwrap();
        assert!(alive(cluster.node(1).pid().unwrap()));
        cluster.stop(2).await.unwrap();
        assert!(matches!(cluster.kill(9).await, Err(TestnetError::NoNode { index: 9 })));
        let pids: Vec<u32> = cluster.nodes().iter().filter_map(Node::pid).collect();
        assert_eq!(pids.len(), 2);
        drop(cluster);
        assert!(pids.into_iter().all(|pid| !alive(pid)));
    }

    #[tokio::test]
    async fn all_end_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        Cluster::start(options(folder.path(), 2)).await.unwrap().shut_down().await.unwrap();
    }

    #[tokio::test]
    async fn a_node_that_fails_is_named_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("refuse"), "").unwrap();
        let error = Cluster::start(options(folder.path(), 2)).await.unwrap_err().to_string();
        assert!(error.contains("node-0") && error.contains("port in use"), "{error}");
    }

    #[tokio::test]
    async fn a_temporary_folder_goes_with_the_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(ClusterOptions { folder: None, ..options(folder.path(), 1) }).await.unwrap();
        let path = cluster.folder().to_owned();
        assert!(path.join("node-0").exists());
        drop(cluster);
        assert!(!path.exists());
    }
}
