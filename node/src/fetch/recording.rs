//! When a fetch is noted in the catalog: what it has so far is listed and kept from then on, even if it breaks off.
//!
//! A fetch that is over at once is noted once, as complete, in the commit of its last chunks. What a crash before the
//! first note costs is less than what waits to become durable anyway.

use std::time::Duration;

use super::FetchError;
use super::coordinator::Coordinator;
use super::job::Goal;
use crate::clock::unix_ms;
use crate::manifests;
use crate::store::{ContentState, ManifestRecord};

/// How long a fetch that goes on is not noted: as long as the store lets a chunk wait for others.
const DELAY: Duration = Duration::from_millis(200);

impl Coordinator<'_> {
    /// Records that the content is being fetched, once that has gone on for a while.
    pub(super) async fn record_when_due(&mut self) -> Result<(), FetchError> {
        match self.unrecorded {
            Some(since) if since.elapsed() >= DELAY => self.record().await,
            _ => Ok(()),
        }
    }

    /// Records what there is of the content, unless somebody is about to record that all of it is.
    pub(super) async fn record_at_the_end(&mut self, is_done: bool) -> Result<(), FetchError> {
        match self.job.goal {
            Goal::Everything { .. } if is_done => Ok(()),
            _ => self.record().await,
        }
    }

    /// What is to be recorded with the last chunks, of a content of which all is held then. What was recorded so before
    /// need not be again.
    pub(super) fn completion(&self) -> Option<ManifestRecord> {
        let (Goal::Everything { .. }, Some(root)) = (&self.job.goal, &self.root) else {
            return None;
        };
        let (hash, name, now) = (self.job.hash, self.job.name.clone(), unix_ms());
        match &self.job.record {
            Some(record) if record.state == ContentState::Complete => None,
            Some(record) => {
                let name = name.or_else(|| record.name.clone());
                let state = ContentState::Complete;
                Some(ManifestRecord { state, last_used_unix_ms: now, name, ..record.clone() })
            }
            None => Some(manifests::record(hash, root, ContentState::Complete, name, now)),
        }
    }

    /// The content has been recorded so; says whether there was anything to record.
    pub(super) fn completed(&mut self, completion: Option<ManifestRecord>) -> bool {
        let is_new = completion.is_some();
        self.job.record = completion.or_else(|| self.job.record.take());
        is_new
    }

    async fn record(&mut self) -> Result<(), FetchError> {
        if let (Some(_), Some(root)) = (self.unrecorded.take(), &self.root) {
            let name = self.job.name.clone();
            let record = manifests::record(self.job.hash, root, ContentState::Fetching, name, unix_ms());
            self.fetching.store.put_manifest(record.clone()).await?;
            self.job.record = Some(record);
        }
        Ok(())
    }
}
