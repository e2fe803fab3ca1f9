//! `shoal testnet up`, `status` and `down`: a network that stays.

use std::path::PathBuf;
use std::time::Duration;

use shoal_node::api::{Failure, FailureKind};
use shoal_testnet::standing::{
    self, DownOptions, DownReport, Health, NetworkLook, StandingError, Topology, UpOptions, UpReport, Watch,
};

use crate::args::{DownArgs, StatusArgs, TestnetTopology, UpArgs};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::size::{show_rate, show_size};
use crate::stop::{Outcome, Stop};
use crate::table::{Side, Table};

/// How often a live table is drawn anew.
const REFRESH: Duration = Duration::from_secs(1);
/// Over which stretch rates are taken where the table is shown once.
const ONCE: Duration = Duration::from_millis(500);

pub(super) async fn up(args: UpArgs, folder: PathBuf, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let options = UpOptions {
        program: super::program()?,
        folder,
        nodes: args.nodes.map(usize::from),
        topology: match args.topology {
            TestnetTopology::Star => Topology::Star,
            TestnetTopology::Chain => Topology::Chain,
        },
        limit_up: args.limit_up.and_then(|limit| limit.0),
        limit_down: args.limit_down.and_then(|limit| limit.0),
    };
    let started = standing::up(&options, interrupt.wait(), &mut |step| output.note(step)).await;
    let report = started.map_err(failure)?;
    if output.json() {
        return output.document(&report);
    }
    output.table(&nodes_up(&report))?;
    let count = report.nodes.len() as u64;
    output.note(&format!(
        "{count} nodes are ready, {} of memory each, {} in all",
        show_size(report.resident_bytes / count.max(1)),
        show_size(report.resident_bytes),
    ));
    let folder = report.folder.display();
    output.note(&format!("talk to one with `shoal --home {folder}/node-0 …`; logs are in {folder}/logs"));
    output.note(&format!("stop them with `shoal testnet down --dir {folder}`"));
    Ok(())
}

pub(super) async fn status(args: StatusArgs, folder: PathBuf, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let mut watch = Watch::new(folder);
    let mut look = watch.look().await.map_err(failure)?;
    if output.json() || args.once || !output.tells_live() {
        interrupt.or(tokio::time::sleep(ONCE)).await?;
        look = watch.look().await.map_err(failure)?;
        return if output.json() { output.document(&look) } else { show(&look, output) };
    }
    loop {
        // From the top of the screen, and nothing of the table before under it.
        output.clear_screen()?;
        show(&look, output)?;
        output.line("Ctrl-C ends the table; the nodes stay")?;
        output.flush()?;
        if interrupt.or(tokio::time::sleep(REFRESH)).await.is_err() {
            return Ok(());
        }
        look = watch.look().await.map_err(failure)?;
    }
}

pub(super) async fn down(args: &DownArgs, folder: PathBuf, output: &mut Output) -> Outcome {
    // Not interrupted: half a network would be left, and it takes seconds.
    let report = standing::down(&DownOptions { folder, remove: args.remove }).await.map_err(failure)?;
    if output.json() {
        return output.document(&report);
    }
    for line in ends(&report) {
        output.line(&line)?;
    }
    Ok(())
}

fn nodes_up(report: &UpReport) -> Table {
    let mut table = Table::new(&[
        ("NODE", Side::Left),
        ("PROCESS", Side::Right),
        ("MEMORY", Side::Right),
        ("", Side::Left),
        ("ADDRESS", Side::Left),
    ]);
    for node in &report.nodes {
        let note = if node.started { "" } else { "ran already" };
        let address = node.addresses.first().cloned().unwrap_or_default();
        table.row([node.name.clone(), node.pid.to_string(), show_size(node.resident_bytes), note.to_owned(), address]);
    }
    table
}

fn show(look: &NetworkLook, output: &mut Output) -> Outcome {
    output.table(&nodes_now(look))?;
    let up = look.nodes.iter().filter(|node| node.health == Health::Up).count();
    let sum = |of: fn(&standing::NodeLook) -> u64| look.nodes.iter().map(of).sum::<u64>();
    output.line(&format!(
        "{up} of {} nodes up, {} moving, {} of memory",
        look.nodes.len(),
        show_rate(sum(|node| node.down_rate)),
        show_size(sum(|node| node.resident_bytes)),
    ))
}

fn nodes_now(look: &NetworkLook) -> Table {
    let mut table = Table::new(&[
        ("NODE", Side::Left),
        ("STATE", Side::Left),
        ("PROCESS", Side::Right),
        ("PEERS", Side::Right),
        ("HELD", Side::Right),
        ("UP", Side::Right),
        ("DOWN", Side::Right),
        ("FETCHES", Side::Right),
        ("MEMORY", Side::Right),
        ("FAULTS", Side::Left),
    ]);
    for node in &look.nodes {
        let state = match node.health {
            Health::Up => "up",
            Health::Down => "down",
            Health::Paused => "paused",
            Health::Silent => "silent",
        };
        table.row([
            node.name.clone(),
            state.to_owned(),
            node.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            node.peers.to_string(),
            show_size(node.held_bytes),
            show_rate(node.up_rate),
            show_rate(node.down_rate),
            node.fetches.to_string(),
            show_size(node.resident_bytes),
            node.faults.join("; "),
        ]);
    }
    table
}

fn ends(report: &DownReport) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &report.nodes {
        lines.push(match (node.pid, node.killed) {
            (Some(pid), false) => format!("{}: process {pid} has ended", node.name),
            (Some(pid), true) => format!("{}: process {pid} did not end when asked and was killed", node.name),
            (None, _) => format!("{}: was not running", node.name),
        });
    }
    let folder = report.folder.display();
    lines.push(match report.removed {
        true => format!("homes and logs in {folder} are removed"),
        false => format!("homes and logs stay in {folder}; `shoal testnet up --dir {folder}` starts the nodes again"),
    });
    lines
}

fn failure(error: StandingError) -> Stop {
    let kind = match &error {
        StandingError::Interrupted => FailureKind::Interrupted,
        StandingError::Occupied { .. } | StandingError::OtherSize { .. } => FailureKind::Usage,
        _ => FailureKind::Failed,
    };
    Failure::from_error(kind, &error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_testnet::standing::{NodeLook, Stopped};

    #[test]
    fn a_node_that_is_down_has_a_row() {
        let node = NodeLook { faults: vec!["killed".into()], ..NodeLook::silent("node-3", Health::Down) };
        let lines = nodes_now(&NetworkLook { folder: "/d".into(), nodes: vec![node] }).lines();
        assert_eq!(lines[1], "node-3  down         -      0   0 B  0 B/s  0 B/s        0     0 B  killed");
    }

    #[test]
    fn every_end_is_told() {
        let stopped = |name: &str, pid, killed| Stopped { name: name.into(), pid, killed };
        let nodes =
            vec![stopped("node-0", Some(7), false), stopped("node-1", Some(8), true), stopped("node-2", None, false)];
        let lines = ends(&DownReport { folder: "/d".into(), nodes, removed: false });
        assert!(lines[0].contains("process 7 has ended") && lines[1].contains("was killed"));
        assert!(lines[2].contains("was not running") && lines[3].contains("up --dir /d"));
    }
}
