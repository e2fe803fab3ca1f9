//! How quickly it could be done at best.

use std::time::Duration;

use super::{ContentIndex, NodeIndex, Scenario};

/// The least time in which all fetches of a scenario can end, from the start of the first, whatever the protocol: for
/// each content `max(F / Σu_s, F / d_min, N·F / (Σu_s + Σu_i))`, the greatest of all. `F` is what each of `N` nodes has
/// to take in, `u_s` are the rates at which the publishers send, `u_i` those of the fetchers and `d_min` the least
/// rate at which one of them takes in. `None` when no rate is limited that would matter.
pub fn lower_bound(scenario: &Scenario) -> Option<Duration> {
    (0..scenario.contents.len()).filter_map(|index| lower_bound_of(scenario, ContentIndex(index))).max()
}

/// The [`lower_bound`] of one content alone.
pub fn lower_bound_of(scenario: &Scenario, index: ContentIndex) -> Option<Duration> {
    let content = scenario.content(index)?;
    let honest = |node: &NodeIndex| scenario.group_of(*node).is_some_and(|group| group.lie.is_none());
    let publishers: Vec<NodeIndex> = scenario
        .publishes
        .iter()
        .filter(|publish| publish.content == index)
        .flat_map(|publish| publish.nodes.iter().copied().filter(honest))
        .collect();
    let fetchers: Vec<NodeIndex> = scenario
        .fetches
        .iter()
        .filter(|fetch| fetch.content == index)
        .flat_map(|fetch| fetch.nodes.iter().copied())
        .filter(|node| !publishers.contains(node))
        .collect();
    if fetchers.is_empty() {
        return None;
    }
    // At worst a newer version is new to everybody; at best it is what changed.
    let bytes = content.version_of.map_or(content.bytes, |(_, changed)| changed.of(content.bytes));
    let sends = |nodes: &[NodeIndex]| {
        let rates = nodes.iter().map(|node| scenario.group_of(*node).and_then(super::Group::sends_at_most));
        rates.sum::<Option<u64>>()
    };
    let takes = fetchers.iter().filter_map(|node| scenario.group_of(*node)?.takes_at_most()).min();
    let together = sends(&publishers).and_then(|from| Some(from + sends(&fetchers)?));
    let all = bytes.saturating_mul(fetchers.len() as u64);
    [time(bytes, sends(&publishers)), time(bytes, takes), time(all, together)].into_iter().flatten().max()
}

fn time(bytes: u64, rate: Option<u64>) -> Option<Duration> {
    let rate = rate.filter(|rate| *rate > 0)?;
    let micros = u128::from(bytes) * 1_000_000 / u128::from(rate);
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}
