//! `shoal status`: how this node is.

use shoal_node::api::{Progress, Status};
use shoal_node::control::Service;

use crate::count::show_count;
use crate::duration::show_seconds;
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
        format!("running for {}", show_seconds(status.uptime_seconds))
    };
    let mut rows = vec![
        ("node", format!("{}, {running}, version {}", status.identity.peer_id, status.version)),
        ("home", status.home.display().to_string()),
        (
            "network",
            format!(
                "{}: {}, {} in the routing table, DHT {}",
                status.network,
                show_count(status.connections, "connection"),
                show_count(status.dht_peers, "peer"),
                status.dht_mode
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
            "{}, {} in {}, {} on disk",
            show_count(status.contents, "content"),
            show_size(status.payload_bytes),
            show_count(status.chunks, "chunk"),
            show_size(status.disk_bytes)
        ),
    ));
    rows.push((
        "traffic",
        format!(
            "{} received, {} sent, serving in {}",
            show_size(status.received_bytes),
            show_size(status.sent_bytes),
            show_count(status.serving_sessions, "session")
        ),
    ));
    for fetch in &status.fetches {
        let name = fetch.name.clone().unwrap_or_else(|| fetch.hash.to_string());
        let progress = Progress { waits_for: fetch.waits_for.clone(), ..fetch.progress.clone() };
        let text = format!("{name}: {} {}", show_phase(progress.phase), describe(&progress));
        rows.push(("fetch", text.trim_end().to_owned()));
    }
    rows.extend(status.problems.iter().map(|problem| ("problem", problem.clone())));
    rows
}
