//! What is shown of a run while it goes on: a row for each node, and how far all are in one line.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::conductor::Conductor;
use super::stage::Wanted;
use crate::scenario::NodeIndex;
use crate::size::show_rate;

const BAR_CELLS: u64 = 20;
/// Looks that rates are taken over.
const LOOKS: usize = 5;

/// What the nodes counted at the last looks.
#[derive(Debug, Default)]
pub(super) struct Meter(VecDeque<(Instant, Vec<Count>)>);

/// What a node had counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Bytes that its fetches had.
    pub(super) done: u64,
}

impl Meter {
    pub(super) fn note(&mut self, at: Instant, counts: Vec<Count>) {
        if self.0.len() == LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((at, counts));
    }

    /// Bytes a second that something of the nodes has grown by, lately.
    fn rate(&self, of: impl Fn(&[Count]) -> u64) -> u64 {
        let (Some((then, before)), Some((now, after))) = (self.0.front(), self.0.back()) else { return 0 };
        let millis = now.duration_since(*then).as_millis().max(1);
        let bytes = of(after).saturating_sub(of(before));
        u64::try_from(u128::from(bytes) * 1_000 / millis).unwrap_or(u64::MAX)
    }

    fn rate_of(&self, node: NodeIndex, of: fn(&Count) -> u64) -> u64 {
        self.rate(|counts| counts.get(node.0).map_or(0, of))
    }
}

impl Conductor<'_, '_> {
    /// What the nodes have counted by now.
    pub(super) fn counts(&self) -> Vec<Count> {
        let each = self.seen.iter().enumerate().map(|(index, seen)| Count {
            sent: seen.sent.total(),
            received: seen.received.total(),
            done: self.fetches.iter().filter(|f| f.node == NodeIndex(index)).map(|f| f.done_bytes()).sum(),
        });
        each.collect()
    }

    /// How far all are.
    pub(super) fn summary(&self) -> String {
        let done: u64 = self.fetches.iter().map(|fetch| fetch.done_bytes()).sum();
        let all: u64 = self.fetches.iter().map(|fetch| self.bytes(fetch.content)).sum();
        let over = self.fetches.iter().filter(|fetch| fetch.is_over()).count();
        let percent = u128::from(done) * 100 / u128::from(all.max(1));
        let well = self.stage.conditions.iter().filter(|condition| condition.excuse().is_none()).count();
        let (fetches, nodes) = (self.fetches.len(), self.stage.conditions.len());
        let rate = show_rate(self.meter.rate(|counts| counts.iter().map(|count| count.done).sum()));
        format!("{percent:>3} %, {over} of {fetches} fetches done, {well} of {nodes} nodes well, {rate}")
    }

    /// A row for each node, and a word for those that are too many.
    pub(super) fn rows(&self, most: usize) -> Vec<String> {
        let names: Vec<String> = self.scenario.nodes().map(|(_, name, _)| name).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let shown = if names.len() > most { most.saturating_sub(1) } else { names.len() };
        let row = |(index, name): (usize, &String)| format!("{name:<width$}  {}", self.row(NodeIndex(index)));
        let mut rows: Vec<String> = names.iter().enumerate().take(shown).map(row).collect();
        if names.len() > shown {
            rows.push(format!("and {} more", names.len() - shown));
        }
        rows
    }

    fn row(&self, node: NodeIndex) -> String {
        let fetches = || self.fetches.iter().filter(move |fetch| fetch.node == node);
        let (done, all) = fetches()
            .map(|fetch| (fetch.done_bytes(), self.bytes(fetch.content)))
            .fold((0, 0), |(done, all), (d, a)| (done + d, all + a));
        let full = done.saturating_mul(BAR_CELLS).checked_div(all);
        let bar = full.map_or_else(
            || " ".repeat(BAR_CELLS as usize + 6),
            |full| {
                let cells: String = (0..BAR_CELLS).map(|cell| if cell < full { '█' } else { '░' }).collect();
                format!("{cells} {:>3} %", done.saturating_mul(100) / all.max(1))
            },
        );
        let (up, down) =
            (self.meter.rate_of(node, |count| count.sent), self.meter.rate_of(node, |count| count.received));
        let rates = format!("{:>11} in  {:>11} out", show_rate(down), show_rate(up));
        format!("{bar}  {rates}  {}", self.state(node))
    }

    fn state(&self, node: NodeIndex) -> &'static str {
        let condition = self.stage.conditions.get(node.0).copied().unwrap_or_default();
        let liar = self.scenario.group_of(node).is_some_and(|group| group.lie.is_some());
        let mut fetches = self.fetches.iter().filter(|fetch| fetch.node == node);
        match condition.excuse() {
            _ if condition.fell => "has ended by itself",
            Some(excuse) => excuse.trim_start_matches("the node is ").trim_start_matches("the node's "),
            None if condition.wanted == Wanted::Again => "starts again",
            None if liar => "lies",
            None if fetches.any(|fetch| !fetch.is_over() && fetch.state().began.is_some()) => "fetches",
            None => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_looks() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(meter.rate(|_| 7), 0);
        for look in 0..9 {
            // Nothing for a while, then 100 bytes a second.
            let sent = if look < 4 { 0 } else { (look - 4) * 100 };
            let at = start + std::time::Duration::from_secs(look);
            meter.note(at, vec![Count::default(), Count { sent, ..Count::default() }]);
        }
        assert_eq!(meter.rate_of(NodeIndex(1), |count| count.sent), 100);
        assert_eq!(meter.rate_of(NodeIndex(0), |count| count.sent), 0);
        assert_eq!(meter.rate_of(NodeIndex(9), |count| count.sent), 0);
    }
}
