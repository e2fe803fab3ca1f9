//! When a fetch gives up, and what it says then.

use shoal_protocol::engine::Stall;

use super::FetchError;
use super::coordinator::Coordinator;
use crate::config::STALL;

impl Coordinator<'_> {
    /// Gives up when nobody turns up for too long, or those who did bring nothing any more.
    pub(super) fn check_patience(&self) -> Result<(), FetchError> {
        let hash = self.job.hash;
        let quiet = self.last_progress.elapsed();
        let candidates = self.peers.candidates();
        let alone = self.peers.open() == 0;
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
        let patience = if hopeless { self.job.timeout.min(STALL) } else { STALL };
        if quiet < patience {
            return Ok(());
        }
        let progress = self.engine.progress();
        let total = self.root.as_ref().map_or(0, |root| root.bytes);
        Err(FetchError::Stalled { held: progress.held_bytes, total, after: quiet })
    }
}
