//! Which session gives way when there is no room for a peer that has not been asked yet.

use std::time::Duration;

use shoal_protocol::engine::{SessionId, SessionReport, Wait};

/// How long a session must have had nothing to give.
const PATIENCE: Duration = Duration::from_secs(5);

/// The session that has been of no use for the longest, if there is one.
pub(super) fn least_useful(sessions: &[SessionReport]) -> Option<SessionId> {
    let idle = sessions.iter().filter_map(|report| {
        let gave = report.counters.chunks > 0 || report.counters.nodes > 0;
        let idle = matches!(report.wait, Wait::NoAvailability | Wait::NothingToAsk);
        let at = Wait::ALL.iter().position(|wait| *wait == report.wait)?;
        let waited = *report.waited.get(at)?;
        (idle && !gave && waited >= PATIENCE).then_some((waited, report.session))
    });
    idle.max().map(|(_, session)| session)
}

#[cfg(test)]
mod tests {
    use shoal_protocol::engine::Counters;

    use super::*;

    fn report(number: u32, wait: Wait, seconds: u64, chunks: u64) -> SessionReport {
        let mut waited = [Duration::ZERO; Wait::ALL.len()];
        waited[Wait::ALL.iter().position(|one| *one == wait).unwrap()] = Duration::from_secs(seconds);
        SessionReport {
            session: SessionId(number),
            wait,
            waited,
            counters: Counters { chunks, ..Counters::default() },
            in_flight_bytes: 0,
            in_flight_chunks: 0,
            in_flight_nodes: 0,
            window_bytes: 0,
            rate: 0,
            round_trip: None,
            faults: 0,
        }
    }

    #[test]
    fn only_who_gives_nothing_and_has_nothing_gives_way() {
        let useful = [
            report(1, Wait::Receiving, 60, 0),
            report(2, Wait::NothingToAsk, 60, 1),
            report(3, Wait::NoAvailability, 4, 0),
            report(4, Wait::Busy, 60, 0),
        ];
        assert_eq!(least_useful(&useful), None);
        let idle = [report(5, Wait::NothingToAsk, 6, 0), report(6, Wait::NoAvailability, 7, 0)];
        let all = useful.into_iter().chain(idle).collect::<Vec<_>>();
        assert_eq!(least_useful(&all), Some(SessionId(6)));
    }
}
