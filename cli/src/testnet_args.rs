//! What can be written after `shoal testnet`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::simulate_args::SimulateCommand;
use crate::size::{Limit, parse_limit, parse_size};

/// `shoal testnet`
#[derive(Debug, Subcommand)]
pub(crate) enum TestnetCommand {
    /// Start five nodes, publish a folder, fetch it by its hash alone, kill its seeder meanwhile, check every byte
    Demo(DemoArgs),
    /// Start a network of daemons that stays, or what is missing of one
    Up(UpArgs),
    /// Show how each node is: a live table on a terminal, until Ctrl-C
    Status(StatusArgs),
    /// Stop exactly the processes that `up` started
    Down(DownArgs),
    /// Simulate thousands of peers that run the node's own download engine and serving policy
    #[command(subcommand)]
    Simulate(SimulateCommand),
    /// Play a scenario with real nodes: what is fetched, what goes wrong, and whether what it demands holds
    Run(RunArgs),
}

/// `shoal testnet run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A scenario file, or the name of one that comes with the program; of several with --seeds
    #[arg(value_name = "SCENARIO", required_unless_present = "list")]
    pub(crate) scenarios: Vec<PathBuf>,
    /// What the plan and the contents are made from; the same number gives the same [default: the scenario's]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Run each scenario with each of these seeds, such as 1..10, one after another, and show a line for each run
    #[arg(long, value_name = "FIRST..LAST", value_parser = parse_seeds, conflicts_with_all = ["seed", "plan"])]
    pub(crate) seeds: Option<Seeds>,
    /// Write the report into this folder: a table, JSON and pictures; with --seeds a folder in it for each run
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Print what would happen and when, and do nothing
    #[arg(long, conflicts_with = "report")]
    pub(crate) plan: bool,
    /// List the scenarios that come with the program
    #[arg(long, conflicts_with_all = ["scenarios", "seed", "seeds", "report", "plan"])]
    pub(crate) list: bool,
}

/// Seeds from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seeds {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// No series is longer: it would take days.
const MAX_SEEDS: u64 = 10_000;

fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let wrong = || format!("{text:?} are no seeds; write them like 1..10, both ends included");
    let (first, last) = text.split_once("..").ok_or_else(wrong)?;
    let number = |part: &str| part.parse::<u64>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    match last.checked_sub(first) {
        Some(more) if more < MAX_SEEDS => Ok(Seeds { first, last }),
        Some(_) => Err(format!("{text:?} are more than {MAX_SEEDS} seeds")),
        None => Err(format!("{text:?} ends before it begins")),
    }
}

/// `shoal testnet demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// A file or folder of yours to publish, which is only read [default: a made-up folder]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// How large the large file in the made-up folder is
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "256MiB", conflicts_with = "path")]
    pub(crate) size: u64,
    /// What the made-up folder is made from; another number gives other hashes
    #[arg(long, value_name = "NUMBER", default_value_t = 1, conflicts_with = "path")]
    pub(crate) seed: u64,
}

/// Which network.
#[derive(Debug, Args)]
pub(crate) struct DirArgs {
    /// The network's folder: homes, logs, and which processes belong to it [default: shoal-testnet in the XDG data
    /// folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `shoal testnet up`
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// How many nodes [default: those that the folder holds, or 5]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) nodes: Option<u16>,
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    /// How nodes come to know each other; the rest they find in the DHT
    #[arg(long, value_enum, default_value_t, value_name = "SHAPE")]
    pub(crate) topology: TestnetTopology,
    /// Each node gives at most this many bytes a second, such as 20MB/s
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) limit_up: Option<Limit>,
    /// Each node takes at most this many bytes a second
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) limit_down: Option<Limit>,
}

/// Who joins through whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TestnetTopology {
    /// Every node joins through the first
    #[default]
    Star,
    /// Every node joins through the one before it
    Chain,
}

/// `shoal testnet status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    /// Show it once, also on a terminal
    #[arg(long)]
    pub(crate) once: bool,
}

/// `shoal testnet down`
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) dir: DirArgs,
    /// Remove homes and logs too, with all that the nodes hold
    #[arg(long)]
    pub(crate) remove: bool,
}
