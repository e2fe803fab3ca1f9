//! What can be written on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use shoal_protocol::hash::ContentHash;

use crate::duration::parse_duration;
use crate::output::{ColorChoice, Manner, Verbosity};
use crate::quota::{Quota, parse_quota};
use crate::settings::{parse_address, parse_name};
use crate::size::{Limit, parse_limit};
use crate::target::Target;
pub(crate) use crate::testnet_args::{
    DemoArgs, DirArgs, DownArgs, RunArgs, Seeds, StatusArgs, TestnetCommand, TestnetTopology, UpArgs,
};

const SETTINGS_HELP: &str = "\
Settings come from flags, then the environment (SHOAL_HOME, SHOAL_NETWORK, SHOAL_LISTEN, SHOAL_BOOTSTRAP, SHOAL_MDNS, \
SHOAL_LIMIT_UP, SHOAL_LIMIT_DOWN, SHOAL_QUOTA, SHOAL_TIMEOUT), then config.toml in the home; `shoal config show` tells them all.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 could not be verified, 5 no space or no permission, \
130 interrupted. Errors are one line on stderr; stdout carries results only, JSON with --json.";

/// Distribute big files and folders among many machines, by content hash and without a server.
#[derive(Debug, Parser)]
#[command(name = "shoal", version, after_long_help = SETTINGS_HELP, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Whether it works on so much memory, all of it at random, that it waits for little else.
    pub(crate) fn waits_for_memory(&self) -> bool {
        matches!(self.command, Command::Testnet(TestnetCommand::Simulate(_)))
    }
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The folder that the node lives in [default: shoal in the XDG data folder; env: SHOAL_HOME]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) home: Option<PathBuf>,
    /// JSON on stdout: one document, or a line each where results stream
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Say more on stderr: causes of errors, progress without a terminal, the node's log (twice: all of it)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Global options")]
    pub(crate) color: ColorChoice,
}

impl GlobalArgs {
    /// How the command is to talk.
    pub(crate) fn manner(&self) -> Manner {
        let verbosity = match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        };
        Manner { json: self.json, verbosity, color: self.color }
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish a file or a folder and print its link
    Publish(PublishArgs),
    /// Fetch a content from all peers that have any of it
    Fetch(FetchArgs),
    /// Write verified bytes of a file to stdout as they come
    Cat(CatArgs),
    /// List the entries of a content
    Ls(LsArgs),
    /// List what this node holds
    List,
    /// Keep a content from eviction, fetching what is missing of it
    Pin(PinArgs),
    /// Let a content be evicted again; nothing is deleted by this
    Unpin(TargetArgs),
    /// Drop a content; refused while it is pinned, or being fetched or read
    Rm(TargetArgs),
    /// Give back room that no content needs
    Gc(GcArgs),
    /// Hash again what this node holds, and say what is damaged
    Verify(VerifyArgs),
    /// Run the node in the foreground until Ctrl-C or SIGTERM
    Daemon(DaemonArgs),
    /// Show this node's peer id and addresses
    Id,
    /// Show how this node is: traffic, store, transfers
    Status,
    /// Show the peers this node is connected to
    Peers,
    /// Show why the fetches of a content are as fast or slow as they are
    Explain {
        /// The content: its hash or a link
        #[arg(value_name = "HASH|LINK")]
        target: Target,
    },
    /// Run, watch and break a local network of many nodes
    #[command(subcommand)]
    Testnet(TestnetCommand),
    /// Show the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// How a node that is started now meets others.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network (a node that runs already keeps its own settings)")]
pub(crate) struct NetworkArgs {
    /// Listen on this address, such as /ip4/0.0.0.0/tcp/4001; may be given several times [default: any port]
    #[arg(long, value_name = "MULTIADDR", value_parser = parse_address)]
    pub(crate) listen: Vec<String>,
    /// Give others this address in place of those listened on, such as a router's; may be given several times
    #[arg(long, value_name = "MULTIADDR", value_parser = parse_address)]
    pub(crate) announce: Vec<String>,
    /// Find others through this peer, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3…; may be given several times
    #[arg(long, value_name = "MULTIADDR", value_parser = parse_address)]
    pub(crate) bootstrap: Vec<String>,
    /// The network to be in; nodes of other networks are not found
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub(crate) network: Option<String>,
    /// Do not look for peers on the local network
    #[arg(long)]
    pub(crate) no_mdns: bool,
}

/// `shoal publish`
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// Files and folders; several become one folder that holds them all. Or - alone: what comes on stdin, as one file
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// The name in the link [default: the last part of the path; none for stdin]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Keep references into files of 1 MiB and more instead of copies. Costs no second copy on disk (below 0.5 % of
    /// their size) and is several times quicker; but this node serves the content only for as long as nobody changes,
    /// moves or removes these files (what changed is noticed on every read, reported and never served) [default: copy,
    /// which takes as much disk again]
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Store and exit without telling anybody; the next node that runs in this home announces and serves it, as all
    /// that the home holds
    #[arg(long)]
    pub(crate) no_serve: bool,
    /// Return only once several other nodes hold the record of who has it, and a lookup by another path finds it; fail
    /// when that takes longer than DURATION [default: 1m]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1m")]
    #[arg(value_parser = parse_duration, conflicts_with = "no_serve")]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// `shoal fetch`
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// What to fetch: the hash or the link that `publish` printed
    #[arg(value_name = "HASH|LINK")]
    pub(crate) target: Target,
    /// Where to put it; with a slash at the end: the folder to put it in [default: its name, here]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Ask this peer too; may be given several times
    #[arg(long, value_name = "MULTIADDR", value_parser = parse_address)]
    pub(crate) peer: Vec<String>,
    /// Ask the providers of this earlier content, too, for what both share; may be given several times
    #[arg(long, value_name = "HASH", value_parser = parse_base)]
    pub(crate) base: Vec<ContentHash>,
    /// Take at most this many bytes a second, such as 20MB/s
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) limit_down: Option<Limit>,
    /// How long to look for a first provider [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Replace what is there already
    #[arg(long)]
    pub(crate) force: bool,
    /// Let the output be this node's copy of files of 1 MiB and more, instead of writing everything twice. Takes half
    /// the disk and half the writing; but this node serves the content only for as long as nobody changes, moves or
    /// removes the output [default: the store keeps a copy of its own]
    #[arg(long)]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// `shoal cat`
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// The file: a hash, HASH/PATH within a folder, or a link
    #[arg(value_name = "HASH[/PATH]")]
    pub(crate) target: Target,
    /// Only bytes A to B, both counted from 0 and included; B may be left out
    #[arg(long, value_name = "A-B", value_parser = parse_range, allow_hyphen_values = true)]
    pub(crate) range: Option<ByteRange>,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

/// `shoal ls`
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The content: a hash, HASH/PATH for a folder in it, or a link
    #[arg(value_name = "HASH[/PATH]")]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

/// `shoal pin`
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The content: a hash or a link
    #[arg(value_name = "HASH|LINK")]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

/// `shoal unpin` and `shoal rm`
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The content: a hash or a link
    #[arg(value_name = "HASH|LINK")]
    pub(crate) target: Target,
}

/// `shoal gc`
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Where to look for what is not held.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Ask this peer too; may be given several times
    #[arg(long, value_name = "MULTIADDR", value_parser = parse_address)]
    pub(crate) peer: Vec<String>,
    /// How long to look for a first provider [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// `shoal verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only this content [default: everything that is held, and the store's own tables]
    #[arg(value_name = "HASH")]
    pub(crate) target: Option<Target>,
    /// Fetch anew what is damaged, and mend what can be mended from within
    #[arg(long)]
    pub(crate) repair: bool,
    /// Read at most this many bytes a second, such as 20MB/s, and leave the disk to others [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) limit: Option<Limit>,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

/// `shoal daemon`
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Give at most this many bytes a second, such as 20MB/s; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) limit_up: Option<Limit>,
    /// Take at most this many bytes a second; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub(crate) limit_down: Option<Limit>,
    /// Let the home take at most so much of the disk, such as 50GB; what nobody pinned and was not used for longest
    /// makes room for what is new. 0 for no limit
    #[arg(long, value_name = "SIZE", value_parser = parse_quota)]
    pub(crate) quota: Option<Quota>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// `shoal config`
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting and where it comes from
    Show,
    /// Show where config.toml of this home lies
    Path,
}

/// Bytes of a file, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
}

fn parse_base(text: &str) -> Result<ContentHash, String> {
    let target = text.parse::<Target>()?;
    if target.path.is_empty() { Ok(target.hash) } else { Err("a base is a whole content, without a path".to_owned()) }
}

fn parse_range(text: &str) -> Result<ByteRange, String> {
    let wrong = || format!("{text:?} is not a range; write it like 0-1023, or 1024- for all from there");
    let (start, end) = text.split_once('-').ok_or_else(wrong)?;
    let start = start.parse().map_err(|_| wrong())?;
    let end = if end.is_empty() { None } else { Some(end.parse::<u64>().map_err(|_| wrong())?) };
    match end {
        Some(end) if end < start => Err(format!("{text:?} ends before it begins")),
        end => Ok(ByteRange { start, end }),
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
