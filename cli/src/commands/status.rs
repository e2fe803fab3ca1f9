//! `shoal status`: how this node is.

use std::time::Duration;

use shoal_node::api::Status;
use shoal_node::control::Service;

use crate::duration::show_duration;
use crate::escape::Printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::{describe, show_phase};
use crate::session::{Reach, ask, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::Outcome;

pub(super) async fn run(settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let (status, own) = with_session(settings, Reach::Offline, output, interrupt, async |session, _| {
        Ok((ask(session.client.status(), interrupt).await?, session.is_own()))
    })
    .await?;
    if output.json() {
        return output.document(&status);
    }
    for (key, value) in rows(&status, own) {
        output.line(&format!("{key:<10} {}", Printable(&value)))?;
    }
    Ok(())
}

fn rows(status: &Status, own: bool) -> Vec<(&'static str, String)> {
    let running = if own {
        "not running; `shoal daemon` runs it".to_owned()
    } else {
        format!("running for {}", show_duration(Duration::from_secs(status.uptime_seconds)))
    };
    let mut rows = vec![
        ("node", format!("{}, {running}, version {}", status.identity.peer_id, status.version)),
        ("home", status.home.display().to_string()),
        (
            "network",
            format!(
                "{}: {} connections, {} peers in the routing table, DHT {}",
                status.network, status.connections, status.dht_peers, status.dht_mode
            ),
        ),
    ];
    rows.extend(status.identity.addresses.iter().map(|address| ("listens", address.clone())));
    rows.push((
        "records",
        format!("{} of its own announced, {} kept for others", status.announced_keys, status.foreign_records),
    ));
    rows.push((
        "store",
        format!(
            "{} contents, {} in {} chunks, {} on disk",
            status.contents,
            show_size(status.payload_bytes),
            status.chunks,
            show_size(status.disk_bytes)
        ),
    ));
    rows.push((
        "traffic",
        format!(
            "{} received, {} sent, serving in {} sessions",
            show_size(status.received_bytes),
            show_size(status.sent_bytes),
            status.serving_sessions
        ),
    ));
    for fetch in &status.fetches {
        let name = fetch.name.clone().unwrap_or_else(|| fetch.hash.to_string());
        let waits = fetch.waits_for.as_ref().map(|what| format!(", waits for {what}")).unwrap_or_default();
        let progress = describe(&fetch.progress);
        rows.push(("fetch", format!("{name}: {} {progress}{waits}", show_phase(fetch.progress.phase))));
    }
    rows.extend(status.problems.iter().map(|problem| ("problem", problem.clone())));
    rows
}
