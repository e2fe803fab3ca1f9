//! How a fetch ends that has got everything: what has come becomes durable, others hear of it, and the peers may go.

use std::sync::Arc;

use super::FetchError;
use super::coordinator::Coordinator;
use super::job::{Goal, Outcome};
use super::sink::Sink;

impl Coordinator<'_> {
    /// Makes all of it durable and known. Everything that was asked for has come.
    pub(super) async fn finish(mut self) -> Result<Outcome, FetchError> {
        let sink = std::mem::replace(&mut self.sink, Sink::new(&self.fetching.store, self.job.hold.clone()));
        let live = self.registration.as_ref().map(|registration| Arc::clone(&registration.live));
        let completion = self.completion();
        let stored = sink.finish(live.as_ref(), completion.clone());
        // While the disk is waited for: all that there is to tell, and to let go of.
        let told = async {
            self.tell_progress(true);
            let told = (self.engine.progress(), self.shares());
            self.peers.let_go();
            told
        };
        let (unfinished, (progress, peers)) = tokio::join!(stored, told);
        let unfinished = unfinished?;
        if !matches!(self.job.goal, Goal::Entries { .. } | Goal::Rows { .. }) {
            self.announce();
        }
        Ok(Outcome {
            root: self.root.take().ok_or(FetchError::Broken)?,
            unfinished,
            was_whole: !self.completed(completion),
            fetched_bytes: progress.received_bytes,
            wasted_bytes: progress.wasted_bytes,
            manifest_bytes: progress.node_bytes,
            peers,
            registration: self.registration.take(),
        })
    }
}
