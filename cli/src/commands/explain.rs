//! `shoal explain`: why a fetch is as fast or slow as it is.

use std::time::Duration;

use shoal_node::api::{FetchReport, FetchState, PeerShare};
use shoal_node::control::Service;

use crate::duration::show_duration;
use crate::escape::Printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::{describe, show_phase};
use crate::session::{Reach, ask, with_session};
use crate::settings::Settings;
use crate::size::{show_rate, show_size};
use crate::stop::Outcome;
use crate::table::{Side, Table};
use crate::target::Target;

pub(super) async fn run(target: &Target, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let explained = with_session(settings, Reach::Offline, output, interrupt, async |session, _| {
        ask(session.client.explain(target.hash), interrupt).await
    })
    .await?;
    if output.json() {
        return output.document(&explained);
    }
    for (number, fetch) in explained.fetches.iter().enumerate() {
        if number > 0 {
            output.line("")?;
        }
        for (key, value) in rows(fetch) {
            output.line(&format!("{key:<10} {}", Printable(&value)))?;
        }
        if !fetch.peers.is_empty() {
            output.table(&table(&fetch.peers))?;
        }
    }
    Ok(())
}

fn rows(fetch: &FetchReport) -> Vec<(&'static str, String)> {
    let took = show_duration(seconds(fetch.seconds));
    let state = match fetch.state {
        FetchState::Running => {
            format!("running for {took}: {} {}", show_phase(fetch.progress.phase), describe(&fetch.progress))
        }
        FetchState::Done => format!("done in {took}"),
        FetchState::Failed => format!("failed after {took}: {}", fetch.error.as_deref().unwrap_or("no reason known")),
        FetchState::Cancelled => format!("cancelled after {took}"),
    };
    let mut rows = vec![("fetch", format!("{}, {state}", fetch.purpose))];
    rows.extend(fetch.waits_for.iter().map(|what| ("waits for", what.clone())));
    let came = fetch.fetched_bytes + fetch.wasted_bytes;
    let share = fetch.wasted_bytes as f64 * 100.0 / (came.max(1)) as f64;
    rows.push((
        "received",
        format!(
            "{}, and {} ({share:.1} %) in vain; {} of manifest",
            show_size(fetch.fetched_bytes),
            show_size(fetch.wasted_bytes),
            show_size(fetch.manifest_bytes)
        ),
    ));
    if fetch.state == FetchState::Running {
        rows.push((
            "asked",
            format!(
                "{} in flight of {} allowed; {} chunks to be asked for yet",
                show_size(fetch.in_flight_bytes),
                show_size(fetch.budget_bytes),
                fetch.unasked_chunks
            ),
        ));
    }
    rows.extend(fetch.limit_down.map(|limit| ("limit", show_rate(limit))));
    let named: Vec<_> = fetch.candidates.iter().map(|(source, count)| format!("{count} {source}")).collect();
    let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
    rows.push((
        "providers",
        format!("{named}; {} being dialled, {} nodes to ask in the DHT", fetch.dialling, fetch.dht_peers),
    ));
    for failure in &fetch.failures {
        let again = match failure.again_in_seconds {
            Some(pause) if pause > 0.0 => format!("again in {}", show_duration(seconds(pause))),
            Some(_) => "being tried again".to_owned(),
            None => "not tried again".to_owned(),
        };
        let (peer, source, times) = (&failure.peer, &failure.source, failure.failures);
        rows.push(("no use", format!("{peer} ({source}, {times} failures): {}; {again}", failure.reason)));
    }
    rows
}

fn table(peers: &[PeerShare]) -> Table {
    let mut table = Table::new(&[
        ("PEER", Side::Left),
        ("GAVE", Side::Right),
        ("IN VAIN", Side::Right),
        ("RATE", Side::Right),
        ("ROUND TRIP", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("NOW", Side::Left),
        ("TIME SPENT", Side::Left),
        ("TROUBLE", Side::Left),
    ]);
    for peer in peers {
        let work = &peer.work;
        table.row([
            peer.peer.clone(),
            show_size(peer.bytes),
            show_size(peer.wasted_bytes),
            show_rate(work.rate),
            work.round_trip_ms.map(|millis| format!("{millis:.1} ms")).unwrap_or_default(),
            format!("{} of {}", show_size(work.in_flight_bytes), show_size(work.window_bytes)),
            work.now.clone().or_else(|| peer.ended.clone()).unwrap_or_default().replace('_', " "),
            spent(peer),
            trouble(peer),
        ]);
    }
    table
}

/// What the time with a peer went into, the most first.
fn spent(peer: &PeerShare) -> String {
    let total: f64 = peer.work.waited.values().sum();
    let mut parts: Vec<_> =
        peer.work.waited.iter().map(|(what, time)| (time * 100.0 / total.max(1e-9), what)).collect();
    parts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let shown = parts.iter().filter(|(share, _)| *share >= 1.0).take(3);
    shown.map(|(share, what)| format!("{share:.0} % {}", what.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

fn trouble(peer: &PeerShare) -> String {
    let work = &peer.work;
    let counts = [
        (u64::from(work.deadlines_missed), "deadlines missed"),
        (u64::from(work.busy), "times busy"),
        (work.withdrawn_chunks, "chunks withdrawn"),
        (work.taken_over_chunks, "taken over"),
        (work.declined_chunks, "declined"),
        (u64::from(work.sessions.saturating_sub(1)), "sessions before"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_node::api::{PeerFailure, PeerWork};

    #[test]
    fn what_it_waits_for_and_who_gives_what_is_told() {
        let failure = PeerFailure {
            peer: "12D3".into(),
            source: "dht".into(),
            failures: 3,
            reason: "refused\u{7}".into(),
            again_in_seconds: Some(4.0),
        };
        let fetch = FetchReport {
            purpose: "fetch".into(),
            seconds: 2.0,
            waits_for: Some("rain".into()),
            fetched_bytes: 3 << 20,
            wasted_bytes: 1 << 20,
            candidates: [("dht".to_owned(), 2)].into(),
            failures: vec![failure],
            ..FetchReport::default()
        };
        let text: Vec<String> = rows(&fetch).into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
        assert_eq!(text[1], "waits for: rain");
        assert_eq!(text[2], "received: 3.0 MiB, and 1.0 MiB (25.0 %) in vain; 0 B of manifest");
        assert_eq!(text[4], "providers: 2 dht; 0 being dialled, 0 nodes to ask in the DHT");
        assert!(text[5].ends_with("(dht, 3 failures): refused\u{7}; again in 4.0 s"), "{}", text[5]);
    }

    #[test]
    fn the_time_with_a_peer_is_parted() {
        let waited = [("receiving".to_owned(), 3.0), ("back_off".to_owned(), 1.0)].into();
        let work = PeerWork { waited, deadlines_missed: 2, sessions: 1, ..PeerWork::default() };
        let (peer, address) = ("p".to_owned(), String::new());
        let share = PeerShare { peer, address, bytes: 1, chunks: 1, wasted_bytes: 0, ended: None, work };
        assert_eq!(
            (spent(&share).as_str(), trouble(&share).as_str()),
            ("75 % receiving, 25 % back off", "2 deadlines missed")
        );
    }
}
