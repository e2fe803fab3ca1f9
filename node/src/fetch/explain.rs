//! What a fetch tells of itself: who gives what, and what it waits for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shoal_protocol::engine::{SessionReport, Wait};

use super::coordinator::{Coordinator, TELL_EVERY};
use super::job::Goal;
use crate::api::{FetchReport, PeerShare, PeerWork, Phase, Progress};

impl Goal {
    /// What it is called in reports.
    pub(super) fn purpose(&self) -> &'static str {
        match self {
            Self::Everything { .. } => "fetch",
            Self::Repair => "repair",
            Self::Rows { .. } => "base",
            Self::Bytes { .. } => "read",
            Self::Entries { .. } => "list",
        }
    }
}

impl Coordinator<'_> {
    /// Tells whoever follows how far it is, unless it did so just before.
    pub(super) fn tell_progress(&mut self, now: bool) {
        if !now && self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let progress = self.engine.progress();
        let phase = match (&self.root, self.ever_opened) {
            (None, false) => Phase::Searching,
            (None, true) => Phase::Manifest,
            (Some(_), _) => Phase::Fetching,
        };
        self.job.progress.send_replace(Progress {
            phase,
            done_bytes: progress.held_bytes,
            total_bytes: self.root.as_ref().map(|root| root.bytes),
            rate: self.rate.per_second(Instant::now()),
            peers: count(self.open_sessions()),
            seeders: count(self.engine.seeders()),
            waits_for: self.waits_for(),
        });
        self.telling.tell(self.report());
    }

    /// How it is now.
    pub(super) fn report(&self) -> FetchReport {
        let progress = self.engine.progress();
        let candidates = self.peers.candidates();
        FetchReport {
            purpose: self.job.goal.purpose().to_owned(),
            started_ms: self.started_ms,
            seconds: self.started.elapsed().as_secs_f64(),
            progress: self.job.progress.borrow().clone(),
            waits_for: self.waits_for(),
            fetched_bytes: progress.received_bytes,
            wasted_bytes: progress.wasted_bytes,
            manifest_bytes: progress.node_bytes,
            in_flight_bytes: progress.in_flight_bytes,
            budget_bytes: self.engine.budget_bytes(),
            limit_down: self.job.limit_down,
            unasked_chunks: progress.unassigned_chunks,
            candidates: candidates.by_source(),
            dialling: count(self.peers.dialling()),
            dht_peers: count(self.lookup.dht_peers()),
            failures: candidates.failures(Instant::now()),
            peers: self.shares(),
            ..FetchReport::default()
        }
    }

    /// What each peer has given, and how its sessions went.
    pub(super) fn shares(&self) -> Vec<PeerShare> {
        let mut shares = self.peers.shares();
        for (peer, share) in self.bases.iter().flat_map(|base| base.peers.shares()) {
            match shares.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, known)) => {
                    known.bytes += share.bytes;
                    known.chunks += share.chunks;
                    known.wasted_bytes += share.wasted_bytes;
                }
                None => shares.push((peer, share)),
            }
        }
        let open = self.engine.sessions(self.now());
        let ended = self.engine.ended_sessions().map(|(report, _)| (report, false));
        for (report, is_open) in ended.chain(open.iter().map(|report| (report, true))) {
            let mut all = std::iter::once(&self.peers).chain(self.bases.iter().map(|base| &base.peers));
            let Some(peer) = all.find_map(|peers| peers.was(report.session)) else {
                continue;
            };
            if let Some((_, share)) = shares.iter_mut().find(|(known, _)| *known == peer) {
                add(&mut share.work, report, is_open);
            }
        }
        shares.into_iter().map(|(_, share)| share).collect()
    }
}

fn add(work: &mut PeerWork, report: &SessionReport, is_open: bool) {
    let counters = &report.counters;
    work.sessions += 1;
    work.nodes += counters.nodes;
    work.asked_chunks += counters.asked_chunks;
    work.withdrawn_chunks += counters.reassigned_chunks;
    work.taken_over_chunks += counters.stolen_chunks;
    work.declined_chunks += counters.declined_chunks;
    work.deadlines_missed += u32::try_from(counters.deadlines_missed).unwrap_or(u32::MAX);
    work.busy += u32::try_from(counters.busy).unwrap_or(u32::MAX);
    if report.rate > 0 {
        work.rate = report.rate;
    }
    if let Some(round_trip) = report.round_trip {
        let millis = round_trip.as_secs_f64() * 1000.0;
        work.round_trip_ms = Some(work.round_trip_ms.map_or(millis, |known| known.min(millis)));
    }
    if is_open {
        work.now = Some(report.wait.name().to_owned());
        work.window_bytes = report.window_bytes;
        work.in_flight_bytes = report.in_flight_bytes;
    }
    add_waits(&mut work.waited, report);
}

fn add_waits(waited: &mut BTreeMap<String, f64>, report: &SessionReport) {
    for (wait, time) in Wait::ALL.iter().zip(&report.waited).filter(|(_, time)| **time > Duration::ZERO) {
        *waited.entry(wait.name().to_owned()).or_default() += time.as_secs_f64();
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
