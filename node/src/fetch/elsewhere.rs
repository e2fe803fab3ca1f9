//! Chunks that other fetches of the same content bring: they are not fetched again.

use shoal_protocol::availability::ChunkRange;
use tokio::sync::broadcast::{self, error::RecvError};

use super::coordinator::Coordinator;

/// What becomes durable of a content, whoever fetches it.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Option<broadcast::Receiver<ChunkRange>>);

impl Elsewhere {
    /// Waits for the next run of chunks. For ever, if nobody tells. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Option<ChunkRange> {
        match &mut self.0 {
            None => std::future::pending().await,
            Some(news) => match news.recv().await {
                Ok(range) => Some(range),
                // What was missed is fetched twice at worst.
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => {
                    self.0 = None;
                    None
                }
            },
        }
    }
}

impl Coordinator<'_> {
    /// Begins to listen to what all fetches of the content bring.
    pub(super) fn listen_elsewhere(&mut self) {
        let news = self.fetching.contents.subscribe(&self.job.hash.discovery_key());
        self.elsewhere = Elsewhere(news.map(|subscription| subscription.news));
    }

    /// Chunks have become durable. Of those that this fetch has brought itself nothing is missing any more.
    pub(super) fn handle_elsewhere(&mut self, range: ChunkRange) {
        let now = self.now();
        for index in range.indices() {
            if !self.engine.is_missing(index) {
                continue;
            }
            let Some(placed) = self.rows.find(index) else {
                continue;
            };
            self.rows.arrived(index);
            let others = self.repeats.arrived(&placed.row.id);
            self.engine.handle_held(index, now);
            self.sink.expect(&others);
            self.last_progress = std::time::Instant::now();
        }
    }
}
