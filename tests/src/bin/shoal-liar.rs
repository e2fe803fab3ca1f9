//! A provider that lies, as a process: what `shoal testnet run` starts for the liars of a scenario.
//!
//! It takes the command line of `shoal daemon` as far as it concerns it, and prints the same events. It is a binary of
//! its own so that no released program can lie.
#![allow(clippy::print_stdout, reason = "its events go to whoever started it")]

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::json;
use shoal_tests::hostile::{Behaviour, LyingPeer, Served};

type Failed = Box<dyn Error + Send + Sync>;

/// A provider that lies.
#[derive(Parser)]
struct Arguments {
    /// What it would write to, if it wrote anything
    #[arg(long)]
    home: PathBuf,
    /// Taken and assumed
    #[arg(long)]
    json: bool,
    /// `daemon`
    command: String,
    /// Taken; it listens on loopback whatever this says
    #[arg(long)]
    listen: Vec<String>,
    /// Taken and assumed
    #[arg(long)]
    no_mdns: bool,
    /// The address to give to others
    #[arg(long)]
    announce: Option<String>,
    /// A node to join the DHT through
    #[arg(long)]
    bootstrap: Vec<String>,
    /// A file that it claims to provide
    #[arg(long)]
    serve: Vec<PathBuf>,
    /// How it lies
    #[arg(long)]
    lie: String,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments = Arguments::parse();
    let behaviour = behaviour(&arguments.lie).ok_or_else(|| format!("{:?} is no way to lie", arguments.lie))?;
    let mut peers = Vec::new();
    for path in &arguments.serve {
        let announce = arguments.announce.as_deref();
        peers.push(LyingPeer::start_in_dht(served(path)?, behaviour, &arguments.bootstrap, announce).await?);
    }
    let peer_id = peers.first().map(LyingPeer::id).unwrap_or_default();
    let address = |peer: &LyingPeer| match &arguments.announce {
        Some(announce) => format!("{announce}/p2p/{}", peer.id()),
        None => peer.address(),
    };
    let addresses: Vec<String> = peers.iter().map(address).collect();
    for event in ["listening", "ready"] {
        println!("{}", json!({ "event": event, "peer_id": peer_id, "addresses": addresses }));
    }
    // Whoever started it ends it.
    std::future::pending::<()>().await;
    Ok(())
}

fn served(path: &Path) -> Result<Served, Failed> {
    if path.is_dir() { Served::folder(path) } else { Ok(Served::file(&std::fs::read(path)?)?) }
}

/// The lies of scenario files, by their names.
fn behaviour(lie: &str) -> Option<Behaviour> {
    Some(match lie {
        "wrong-chunks" => Behaviour::WrongChunks,
        "short-chunks" => Behaviour::ShortChunks,
        "wrong-nodes" => Behaviour::WrongNodes,
        "silent" => Behaviour::Silent,
        "endless" => Behaviour::Endless,
        "noise" => Behaviour::Noise,
        "no-proof" => Behaviour::NoProof,
        "hangs-up" => Behaviour::HangsUp,
        _ => return None,
    })
}
