//! What came of a run, in integers, so that it is the same everywhere.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::bound::lower_bound;
use super::dice::MILLION;
use super::setup::{Holds, Nature};
use super::world::World;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was simulated.
    pub name: String,
    /// With which seed.
    pub seed: u64,
    /// How many peers there were.
    pub peers: u64,
    /// How many of them fetched.
    pub fetches: u64,
    /// How many of these are done.
    pub done: u64,
    /// Bytes of the content.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: u64,
    /// From the start of the first fetch to the end of each.
    pub times: Option<Times>,
    /// The least time that it takes, whatever the protocol, where rates limit it.
    pub lower_bound_us: Option<u64>,
    /// The time of the 99th of 100 over the lower bound, in thousandths.
    pub p99_of_bound_permille: Option<u64>,
    /// The time of the last over the lower bound, in thousandths.
    pub last_of_bound_permille: Option<u64>,
    /// Chunk bytes that left a peer and were kept by nobody.
    pub wasted_bytes: u64,
    /// The same in parts of a million of all that left.
    pub wasted_ppm: u64,
    /// Of these: wrong bytes.
    pub wrong_bytes: u64,
    /// What seeders sent, in thousandths of the content.
    pub seeder_copies_permille: u64,
    /// Jain's index over what each fetch got a second, in thousandths: 1000 is all the same.
    pub fair_rates_permille: u64,
    /// Jain's index over what each that fetched has sent.
    pub fair_uploads_permille: u64,
    /// Everything on the wire that is no chunk: requests, news, manifest nodes, headers, handshakes.
    pub control_bytes: u64,
    /// The same in parts of a million of the chunk bytes that left.
    pub control_ppm: u64,
    /// Bytes on the wire: sent, and of these received, and lost.
    pub wire: Wire,
    /// Sessions that were dialled.
    pub dials: u64,
    /// Events of the simulator.
    pub events: u64,
    /// The virtual time at the end.
    pub ended_us: u64,
    /// Peers whose fetch could have gone on and did not.
    pub stuck: Vec<u32>,
    /// What should never be.
    pub broken: Vec<String>,
}

/// Times in microseconds: half of all fetches are done by `p50`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Times {
    /// The median.
    pub p50_us: u64,
    /// Nine of ten.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// All.
    pub last_us: u64,
}

/// Bytes on the wire from servers to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Wire {
    /// What has left.
    pub sent_bytes: u64,
    /// What has come.
    pub received_bytes: u64,
    /// What was lost: packets, and what was on its way when a session ended.
    pub lost_bytes: u64,
    /// What was on its way at the end of the run.
    pub on_the_way_bytes: u64,
}

impl World {
    pub(super) fn report(&self) -> Report {
        let fetching = || self.peers.iter().zip(&self.setup.peers).filter(|(_, setup)| setup.fetches.is_some());
        let start = fetching().filter_map(|(peer, _)| peer.began).min().unwrap_or(0);
        let mut ends: Vec<u64> = fetching().filter_map(|(peer, _)| peer.done.map(|done| done - start)).collect();
        ends.sort_unstable();
        let times = times(&ends);
        let bound = lower_bound(&self.setup, self.content.bytes);
        let of_bound = |time: u64| {
            let bound = u64::try_from(bound?.as_micros()).ok().filter(|bound| *bound > 0)?;
            Some(time * 1000 / bound)
        };
        let kept: u64 = self.peers.iter().map(|peer| peer.tally.kept_bytes).sum();
        let wasted = self.totals.payload_bytes.saturating_sub(kept);
        let control = self.totals.control_bytes + self.totals.request_bytes;
        let parts = |bytes: u64| share(bytes, self.totals.payload_bytes, MILLION);
        let seeders = self.peers.iter().zip(&self.setup.peers).filter(|(peer, setup)| {
            setup.holds == Holds::All && setup.fetches.is_none() && peer.nature == Nature::Honest
        });
        let seeded: u64 = seeders.map(|(peer, _)| peer.tally.sent_bytes).sum();
        let rates = fetching().filter_map(|(peer, _)| {
            let took = peer.done?.checked_sub(peer.began?)?.max(1);
            Some(share(self.content.bytes, took, 1_000_000_000))
        });
        Report {
            name: self.setup.name.clone(),
            seed: self.seed,
            peers: self.peers.len() as u64,
            fetches: fetching().count() as u64,
            done: ends.len() as u64,
            bytes: self.content.bytes,
            chunks: self.content.chunks(),
            times,
            lower_bound_us: bound.and_then(|bound| u64::try_from(bound.as_micros()).ok()),
            p99_of_bound_permille: times.and_then(|times| of_bound(times.p99_us)),
            last_of_bound_permille: times.and_then(|times| of_bound(times.last_us)),
            wasted_bytes: wasted,
            wasted_ppm: parts(wasted),
            wrong_bytes: self.peers.iter().map(|peer| peer.tally.wrong_bytes).sum(),
            seeder_copies_permille: share(seeded, self.content.bytes, 1000),
            fair_rates_permille: jain(rates),
            fair_uploads_permille: jain(fetching().map(|(peer, _)| peer.tally.sent_bytes)),
            control_bytes: control,
            control_ppm: parts(control),
            wire: Wire {
                sent_bytes: self.totals.sent_bytes,
                received_bytes: self.totals.received_bytes,
                lost_bytes: self.totals.lost_bytes,
                on_the_way_bytes: self.on_the_way(),
            },
            dials: self.totals.dials,
            events: self.events.handled(),
            ended_us: self.now / 1000,
            stuck: self.stuck(),
            broken: self.broken.clone(),
        }
    }
}

/// `part` of `whole`, in so many parts.
fn share(part: u64, whole: u64, parts: u64) -> u64 {
    u64::try_from(u128::from(part) * u128::from(parts) / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

/// The percentiles of times in nanoseconds that are in order.
fn times(ends: &[u64]) -> Option<Times> {
    let at = |percent: usize| {
        let place = (ends.len() * percent).div_ceil(100).saturating_sub(1);
        ends.get(place).map(|nanos| nanos / 1000)
    };
    Some(Times { p50_us: at(50)?, p90_us: at(90)?, p99_us: at(99)?, last_us: at(100)? })
}

/// Jain's fairness index, (Σx)² / (n·Σx²), in thousandths; 1000 of nothing.
fn jain(values: impl Iterator<Item = u64>) -> u64 {
    let (mut count, mut sum, mut squares) = (0u128, 0u128, 0u128);
    for value in values {
        // Kilobytes do, and leave room for the squares.
        let value = u128::from(value / 1000);
        count += 1;
        sum += value;
        squares += value * value;
    }
    if squares == 0 {
        return 1000;
    }
    u64::try_from(sum * sum * 1000 / (count * squares)).unwrap_or(1000)
}

impl Report {
    /// Whether everybody has got everything and nothing was as it must not be.
    pub fn is_good(&self) -> bool {
        self.done == self.fetches && self.stuck.is_empty() && self.broken.is_empty()
    }
}

/// The report for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: u64| Duration::from_micros(us).as_millis();
        let time = |us: u64| {
            let millis = seconds(us);
            format!("{}.{:03} s", millis / 1000, millis % 1000)
        };
        let thousandths = |value: u64| format!("{}.{:03}", value / 1000, value % 1000);
        let percent = |ppm: u64| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
        let megabytes = |bytes: u64| format!("{}.{:01} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        writeln!(f, "{}, seed {}", self.name, self.seed)?;
        let mut line = |name: &str, value: String| writeln!(f, "  {name:<16} {value}");
        line("peers", format!("{}, of which {} fetch", self.peers, self.fetches))?;
        line("content", format!("{} in {} chunks", megabytes(self.bytes), self.chunks))?;
        line("done", format!("{} of {}", self.done, self.fetches))?;
        if let Some(times) = self.times {
            let Times { p50_us, p90_us, p99_us, last_us } = times;
            for (name, us) in [("p50", p50_us), ("p90", p90_us), ("p99", p99_us), ("last", last_us)] {
                let of_bound = match self.lower_bound_us.filter(|bound| *bound > 0) {
                    Some(bound) => format!(" = {} x the lower bound", thousandths(us * 1000 / bound)),
                    None => String::new(),
                };
                line(name, format!("{}{of_bound}", time(us)))?;
            }
        }
        if let Some(bound) = self.lower_bound_us {
            line("lower bound", time(bound))?;
        }
        line("seeders sent", format!("{} copies", thousandths(self.seeder_copies_permille)))?;
        line("wasted", format!("{} ({})", megabytes(self.wasted_bytes), percent(self.wasted_ppm)))?;
        line("control", format!("{} ({})", megabytes(self.control_bytes), percent(self.control_ppm)))?;
        line(
            "fairness",
            format!(
                "{} of rates, {} of uploads (Jain)",
                thousandths(self.fair_rates_permille),
                thousandths(self.fair_uploads_permille)
            ),
        )?;
        line("events", self.events.to_string())?;
        for number in &self.stuck {
            line("STUCK", format!("peer {number}"))?;
        }
        for what in &self.broken {
            line("BROKEN", what.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_tells_the_fair_from_the_unfair() {
        assert_eq!(jain([5_000, 5_000, 5_000].into_iter()), 1000);
        assert_eq!(jain([9_000_000, 0, 0].into_iter()), 333);
        assert_eq!(jain(std::iter::empty()), 1000);
    }

    #[test]
    fn percentiles_are_of_those_who_are_done() {
        let ends: Vec<u64> = (1..=200).map(|at| at * 1000).collect();
        assert_eq!(times(&ends), Some(Times { p50_us: 100, p90_us: 180, p99_us: 198, last_us: 200 }));
        assert_eq!(times(&[7000]).map(|times| (times.p50_us, times.last_us)), Some((7, 7)));
        assert_eq!(times(&[]), None);
    }
}
