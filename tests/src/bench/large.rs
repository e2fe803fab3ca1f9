//! A home of 20 GB: memory while it grows by 4 GiB at a time and while it is held, and how soon it serves after a kill.

use std::time::Instant;

use shoal_testnet::cluster::{Cluster, NodeOptions};
use shoal_testnet::content;
use shoal_testnet::resources::{Usage, disk_bytes};

use super::BenchError;
use super::lab::{Lab, Medium, remove};
use super::measure::Runs;
use super::report::{Bar, Row};

/// What is published at a time, and how often.
const FILE_BYTES: u64 = 4 << 30;
const FILES: u64 = 5;
const MIB: f64 = (1 << 20) as f64;

/// Three rows.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let bytes = lab.bytes(FILE_BYTES);
    let folder = lab.folder(Medium::Disk, bytes * (FILES + 1) + bytes / 4)?;
    let source = folder.path().join("source");
    let mut cluster = lab.publisher(folder.path(), NodeOptions::default()).await?;
    for file in 0..FILES {
        content::write_file(&source, bytes, 40 + file).map_err(BenchError::file(&source))?;
        cluster.node(0).shoal().publish(&source).await?;
        remove(&source)?;
    }
    let (mut importing, mut opening, mut idle) = (Runs::default(), Runs::default(), Runs::default());
    importing.push(usage(&cluster)?.peak_resident_bytes as f64 / MIB);
    let home = cluster.node(0).home().to_owned();
    let held = disk_bytes(&home).map_err(BenchError::file(&home))? as f64 / 1e9;
    for _ in 0..lab.runs {
        cluster.kill(0).await?;
        let started = Instant::now();
        cluster.restart(0).await?;
        opening.push(started.elapsed().as_secs_f64());
        idle.push(usage(&cluster)?.peak_resident_bytes as f64 / MIB);
    }
    let what = format!("resident memory while {FILES} x {} MiB are imported one after the other", bytes >> 20);
    let importing = Row::plain(what, importing, "MiB", Bar::AtMost(150.0));
    let opening = Row::plain(
        format!("opening a home of {held:.1} GB after kill -9, until it serves"),
        opening,
        "s",
        Bar::AtMost(0.5),
    );
    let what = format!("resident memory of a node that holds {held:.1} GB, at most since its start");
    let idle = Row::plain(what, idle, "MiB", Bar::AtMost(40.0));
    Ok([importing, opening, idle].into_iter().map(|row| lab.judged(row)).collect())
}

fn usage(cluster: &Cluster) -> Result<Usage, BenchError> {
    let pid = cluster.node(0).pid().unwrap_or(0);
    Usage::of(pid).map_err(BenchError::file(format!("/proc/{pid}")))
}
