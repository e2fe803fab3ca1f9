//! What a session has to tell while a content is being fetched.

use shoal_protocol::availability::ChunkRange;
use tokio::sync::broadcast::{self, error::TryRecvError};

/// Chunks that become durable, as they do.
#[derive(Debug)]
pub(super) struct News(broadcast::Receiver<ChunkRange>);

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// These have become durable; maybe none.
    Gained(Vec<ChunkRange>),
    /// Too much to know from here, or the fetch is over: a new snapshot is due.
    Anew,
}

impl News {
    pub(super) fn new(receiver: broadcast::Receiver<ChunkRange>) -> Self {
        Self(receiver)
    }

    /// Everything that is there now.
    pub(super) fn take(&mut self) -> Change {
        self.gather(Vec::new())
    }

    /// Waits for something, then takes everything. May be dropped at any time without losing any.
    pub(super) async fn next(&mut self) -> Change {
        match self.0.recv().await {
            Ok(first) => self.gather(vec![first]),
            Err(_) => Change::Anew,
        }
    }

    fn gather(&mut self, mut gained: Vec<ChunkRange>) -> Change {
        loop {
            match self.0.try_recv() {
                Ok(range) => gained.push(range),
                Err(TryRecvError::Empty) => return Change::Gained(gained),
                Err(TryRecvError::Closed | TryRecvError::Lagged(_)) => return Change::Anew,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_protocol::availability::ChunkIndex;

    use super::*;

    fn one(index: u64) -> ChunkRange {
        ChunkRange::one(ChunkIndex(index))
    }

    #[tokio::test]
    async fn nothing_is_lost_without_a_new_snapshot_being_due() {
        let (sender, receiver) = broadcast::channel(2);
        let mut news = News::new(receiver);
        assert_eq!(news.take(), Change::Gained(vec![]));
        for index in [1, 2] {
            sender.send(one(index)).unwrap();
        }
        assert_eq!(news.next().await, Change::Gained(vec![one(1), one(2)]));
        for index in [3, 4, 5] {
            sender.send(one(index)).unwrap();
        }
        assert_eq!(news.next().await, Change::Anew, "it lagged");
        drop(sender);
        assert_eq!(news.next().await, Change::Anew, "the fetch is over");
    }
}
