//! When a fetch gives up, and what it says then.

use std::time::Duration;

use shoal_protocol::engine::Stall;

use super::FetchError;
use super::coordinator::Coordinator;
use crate::config::STALL;

/// How long a seeder may put off what it holds before it counts as not there.
const PUT_OFF: Duration = Duration::from_secs(10);

impl Coordinator<'_> {
    /// Gives up when nobody turns up for too long, or those who did bring nothing any more.
    pub(super) fn check_patience(&self) -> Result<(), FetchError> {
        let hash = self.job.hash;
        let quiet = self.last_progress.elapsed();
        let candidates = self.peers.candidates();
        let alone = self.open_sessions() == 0;
        let liars = candidates.liars();
        if liars > 0 && liars == candidates.len() && alone && quiet >= self.job.timeout.min(STALL) {
            return Err(FetchError::OnlyLiars { hash, liars });
        }
        if !self.ever_opened {
            if self.started.elapsed() < self.job.timeout {
                return Ok(());
            }
            return Err(match candidates.last_failure() {
                None if self.peers.dialling() == 0 => {
                    FetchError::NobodyHasIt { hash, after: self.job.timeout, dht_peers: self.lookup.dht_peers() }
                }
                last => FetchError::NoneAnswered {
                    hash,
                    found: candidates.len(),
                    after: self.job.timeout,
                    last: last.unwrap_or("still dialling").to_owned(),
                },
            });
        }
        // Nobody there, or nobody who has what is missing: then waiting is for newcomers, as at the beginning.
        let hopeless = alone || self.engine.stall() == Some(Stall::NobodyHasIt);
        // Who holds it may have put it off, so that it goes out to others once before it goes out twice.
        let least = if alone { Duration::ZERO } else { PUT_OFF };
        let patience = if hopeless { self.job.timeout.min(STALL).max(least) } else { STALL };
        if quiet < patience {
            return Ok(());
        }
        let progress = self.engine.progress();
        let total = self.root.as_ref().map_or(0, |root| root.bytes);
        Err(FetchError::Stalled { held: progress.held_bytes, total, after: quiet })
    }

    /// What nothing comes for, in the words of a person; `None` while something is on its way.
    pub(super) fn waits_for(&self) -> Option<String> {
        match self.engine.stall()? {
            Stall::NoSession => Some(nobody(self.ever_opened, self.peers.dialling())),
            stall => in_words(stall, self.now()).map(ToOwned::to_owned),
        }
    }
}

/// What a fetch without sessions waits for.
fn nobody(ever_opened: bool, dialling: usize) -> String {
    match (dialling, ever_opened) {
        (0, false) => "a first provider".to_owned(),
        (0, true) => "a provider, since all that were there are gone".to_owned(),
        (1, _) => "1 provider to answer".to_owned(),
        (dialling, _) => format!("{dialling} providers to answer"),
    }
}

/// What a fetch with sessions waits for; `None`: for this node itself, and not for long.
fn in_words(stall: Stall, now: Duration) -> Option<&'static str> {
    match stall {
        Stall::NobodyHasIt => Some("a peer that has what is missing"),
        Stall::AllResting { until } if until > now => Some("peers that are busy or gave nothing, to try them again"),
        Stall::Nodes => Some("the next part of the manifest"),
        Stall::AllResting { .. } | Stall::NoSession | Stall::Layout => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stall_has_its_words() {
        assert_eq!(nobody(false, 0), "a first provider");
        assert_eq!(nobody(false, 1), "1 provider to answer");
        assert_eq!(nobody(true, 3), "3 providers to answer");
        assert!(nobody(true, 0).contains("gone"));
        let at = Duration::from_secs;
        assert!(in_words(Stall::NobodyHasIt, at(1)).unwrap().contains("missing"));
        assert!(in_words(Stall::Nodes, at(1)).unwrap().contains("manifest"));
        assert!(in_words(Stall::AllResting { until: at(2) }, at(1)).unwrap().contains("busy"));
        assert_eq!(in_words(Stall::AllResting { until: at(2) }, at(2)), None);
        assert_eq!(in_words(Stall::Layout, at(1)), None);
    }
}
