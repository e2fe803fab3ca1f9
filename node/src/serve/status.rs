//! What there is to tell of serving: each session, and counters by name.

use std::collections::BTreeMap;

use shoal_protocol::hash::ContentHash;
use shoal_protocol::serving::{ServingWait, SessionReport};

use super::Scheduler;
use crate::api::ServingInfo;
use crate::network::PeerId;

/// Sessions that are told of one by one.
const MOST: usize = 64;

/// The sessions that are sent the most, and what has been counted over all.
pub(crate) fn tell(scheduler: &Scheduler) -> (Vec<ServingInfo>, BTreeMap<String, u64>) {
    let (report, mut sessions) = scheduler.report();
    sessions.sort_by_key(|(_, _, session)| (std::cmp::Reverse(session.counters.sent_bytes), session.session));
    let count = report.counters;
    let counters = [
        ("serving_active_peers", report.active_peers as u64),
        ("serving_wanted_chunks", report.wanted_chunks),
        ("serving_under_way_bytes", report.under_way_bytes),
        ("serving_limited_ms", millis(report.limited)),
        ("serving_busy", count.busy),
        ("serving_first_copies", count.first_copies),
        ("serving_put_off_chunks", count.put_off_chunks),
        ("serving_came_back_chunks", count.came_back_chunks),
        ("serving_cancelled_chunks", count.cancelled_chunks),
        ("serving_stuck", count.stuck),
    ];
    let counters = counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    (sessions.into_iter().take(MOST).map(info).collect(), counters)
}

fn info((peer, hash, session): (PeerId, ContentHash, SessionReport)) -> ServingInfo {
    let waited = ServingWait::ALL.iter().zip(session.waited);
    ServingInfo {
        peer: peer.to_string(),
        hash,
        waits_for: word(session.wait).to_owned(),
        waited_ms: waited.map(|(wait, time)| (word(*wait).to_owned(), millis(time))).collect(),
        sent_bytes: session.counters.sent_bytes,
        sent_chunks: session.counters.chunks,
        wanted_chunks: session.wanted_chunks,
        put_off_chunks: session.counters.put_off_chunks,
        cancelled_chunks: session.counters.cancelled_chunks,
        busy: session.counters.busy,
    }
}

const fn word(wait: ServingWait) -> &'static str {
    match wait {
        ServingWait::Nothing => "nothing",
        ServingWait::Sending => "sending",
        ServingWait::Turn => "turn",
        ServingWait::Limit => "limit",
        ServingWait::Reader => "reader",
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
