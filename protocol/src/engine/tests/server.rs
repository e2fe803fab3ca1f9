//! The serving end of sessions in the simulated world.
//!
//! What a server has begun to read is sent, CANCEL or not: two batches at once, as in the node.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::*;
use super::peer::{Nature, Peer};
use super::world::{Event, World};
use crate::availability::ChunkRange;
use crate::token_bucket::TokenBucket;

/// The serving end of a session.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) peer: usize,
    wants: VecDeque<ChunkIndex>,
    /// What has been read and will be sent.
    committed: VecDeque<ChunkIndex>,
    committed_bytes: u64,
    serving: bool,
    busy_left: u32,
    bucket: Option<TokenBucket>,
}

impl Server {
    fn new(at: usize, peer: &Peer, now: Duration) -> Self {
        Self {
            peer: at,
            wants: VecDeque::new(),
            committed: VecDeque::new(),
            committed_bytes: 0,
            serving: false,
            busy_left: if let Nature::Busy(times) = peer.nature { times } else { 0 },
            bucket: peer.bursts.then(|| TokenBucket::new(peer.rate, now)),
        }
    }

    /// The next chunk to send, which stays there.
    fn next(&mut self, commits: u64, lens: &[u32]) -> Option<ChunkIndex> {
        while self.committed.is_empty() || self.committed_bytes < commits {
            let Some(index) = self.wants.pop_front() else { break };
            self.committed_bytes += u64::from(lens[index.0 as usize]);
            self.committed.push_back(index);
        }
        self.committed.front().copied()
    }

    fn sent(&mut self, len: u64) {
        self.committed.pop_front();
        self.committed_bytes -= len;
    }
}

impl World {
    pub(super) fn open(&mut self, at: usize) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let server = Server::new(at, &self.peers[at], self.now);
        let parts = self.peers[at].holds.parts();
        self.servers.insert(session, server);
        self.engine.handle_opened(session, self.now);
        for part in parts {
            self.engine.handle_availability(session, &part, self.now);
        }
    }

    pub(super) fn asked(&mut self, session: SessionId, action: Action) {
        let Some(server) = self.servers.get_mut(&session) else {
            return;
        };
        let peer = &self.peers[server.peer];
        let delay = peer.delay;
        match action {
            Action::Want { .. } if server.busy_left > 0 => {
                server.busy_left -= 1;
                server.wants.clear();
                self.at(self.now + delay, Event::Busy(session));
            }
            Action::Want { ranges, .. } => {
                server.wants.extend(ranges.iter().flat_map(ChunkRange::indices));
                if !server.serving {
                    server.serving = true;
                    self.at(self.now, Event::Serve(session));
                }
            }
            Action::Cancel { ranges, .. } => {
                server.wants.retain(|index| !ranges.iter().any(|run| run.indices().any(|other| other == *index)));
            }
            Action::WantNodes { ids, .. } => {
                let mute = matches!(peer.nature, Nature::Silent | Nature::Drips);
                for id in ids.into_iter().filter(|_| !mute) {
                    self.at(self.now + delay, Event::Node(session, id));
                }
            }
            Action::Close { .. } => {}
        }
    }

    /// Sends the next chunk.
    pub(super) fn serve(&mut self, session: SessionId) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(&session) else {
            return;
        };
        let peer = &self.peers[server.peer];
        let delay = peer.delay;
        match peer.nature {
            Nature::Silent => return,
            Nature::Drips => {
                self.at(now + delay, Event::Piece(session, 1));
                self.at(now + Duration::from_secs(1), Event::Serve(session));
                return;
            }
            Nature::Stalls(from, until) if from <= now && now < until => {
                self.at(until, Event::Serve(session));
                return;
            }
            _ => {}
        }
        let Some(index) = server.next(peer.commits, &self.lens) else {
            server.serving = false;
            return;
        };
        let len = u64::from(self.lens[index.0 as usize]);
        if let Some(wait) = server.bucket.as_mut().and_then(|bucket| bucket.try_take(len, now).err()) {
            self.at(now + wait, Event::Serve(session));
            return;
        }
        server.sent(len);
        if let Nature::Declines(every) = peer.nature
            && index.0 % every == 0
        {
            self.at(now + delay, Event::Decline(session, index));
            self.at(now, Event::Serve(session));
            return;
        }
        let right = peer.nature != Nature::Lies;
        // A bucket's burst passes at line rate.
        let rate = if server.bucket.is_some() { 1_000_000_000 } else { peer.rate };
        let takes = window::time_for(len, rate);
        if takes > Duration::from_millis(200) {
            let pieces = (takes.as_millis() / 100) as u32;
            for piece in 1..pieces {
                let bytes = (len / u64::from(pieces)) as usize;
                self.at(now + delay + takes * piece / pieces, Event::Piece(session, bytes));
            }
        }
        self.at(now + takes + delay, Event::Chunk(session, index, right));
        self.at(now + takes, Event::Serve(session));
    }
}
