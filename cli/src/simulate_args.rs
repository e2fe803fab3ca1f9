//! What `shoal testnet simulate …` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use shoal_testnet::duration::parse_duration;
use shoal_testnet::size::{parse_rate, parse_size};

use crate::testnet_args::RunArgs;

/// `shoal testnet simulate`
#[derive(Debug, Subcommand)]
pub(crate) enum SimulateCommand {
    /// One seeder, and many who want the same at the same moment
    FlashCrowd(FlashCrowdArgs),
    /// Random networks in which much goes wrong, and every fetch has to end all the same
    Random(RandomArgs),
    /// Play a scenario with virtual peers: the same files, checks and reports as `shoal testnet run`
    Run(RunArgs),
}

/// `shoal testnet simulate flash-crowd`
#[derive(Debug, Args)]
pub(crate) struct FlashCrowdArgs {
    /// How many fetch
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..100_000))]
    pub(crate) peers: u64,
    /// How large the content is
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "200MB")]
    pub(crate) size: u64,
    /// How large a chunk is on average [default: what the chunker aims at]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) chunk: Option<u64>,
    /// What each may send
    #[arg(long, value_name = "RATE", value_parser = parse_rate, default_value = "20MB/s")]
    pub(crate) up: u64,
    /// What the seeder may send [default: what the others may]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) seeder_up: Option<u64>,
    /// What each can take in [default: what comes]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) down: Option<u64>,
    /// How long a byte takes from one to another
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2ms")]
    pub(crate) delay: Duration,
    /// What chance is drawn from; the same seed gives the same report
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write a report with pictures into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
}

/// `shoal testnet simulate random`
#[derive(Debug, Args)]
pub(crate) struct RandomArgs {
    /// The first seed; each makes another network
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many networks, with one seed after the other
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) runs: u64,
}
