//! What comes from sessions, and what it changes.

use std::time::Duration;

use super::Engine;
use super::action::{ChunkVerdict, CloseReason, SessionId};
use super::chunks::Copies;
use super::holding::Gain;
use super::session::{Session, USELESS_AT_LEAST};
use crate::availability::{AvailabilityPart, ChunkIndex, ChunkRange, PartChunks, push_index};
use crate::hash::NodeId;

/// What a bitmap that tells nothing costs, as a part of its length: a large manifest's may come again now and then.
const BITMAP_PART: u64 = 16;

impl Gain {
    /// What it cost to look at what was no news; `reading` comes on top each time that nothing was.
    const fn cost(self, reading: u64) -> u64 {
        self.useless * (USELESS_AT_LEAST + reading) + self.idle_looks
    }
}

impl Engine {
    /// AVAILABILITY came: the peer holds these as well.
    pub fn handle_availability(&mut self, session: SessionId, part: &AvailabilityPart, now: Duration) {
        if let Some(found) = self.sessions.get_mut(&session) {
            let gain = found.holding.gain_part(part, &mut self.table);
            let bitmap = match &part.chunks {
                PartChunks::All => 0,
                PartChunks::Bitmap(bits) => bits.len() as u64,
            };
            self.gained(session, gain.cost(bitmap / BITMAP_PART), gain.offers_more, now);
        }
    }

    /// HAVE came: the peer holds these by now.
    pub fn handle_have(&mut self, session: SessionId, ranges: &[ChunkRange], now: Duration) {
        if ranges.is_empty() {
            self.useless(session, USELESS_AT_LEAST, now);
        }
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        let gain = found.holding.gain(ranges, &mut self.table);
        self.gained(session, gain.cost(0), gain.offers_more, now);
    }

    /// A session may tell of what it holds as often as it likes, as long as that is news.
    fn gained(&mut self, session: SessionId, cost: u64, offers_more: bool, now: Duration) {
        let borne = cost == 0 || self.useless(session, cost, now);
        if borne && offers_more {
            self.line_up(session);
        }
    }

    /// Bytes of a frame have arrived that is not whole yet. Worth calling for chunk frames only, and not for every
    /// read: it keeps a slow session from missing its deadline.
    pub fn handle_progress(&mut self, session: SessionId, bytes: usize, now: Duration) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.progressed(bytes as u64, now);
        }
    }

    /// A chunk has come whole and is what its id says. `bytes` is its length. Only a `New` one is to be kept.
    pub fn handle_chunk(&mut self, session: SessionId, index: ChunkIndex, bytes: usize, now: Duration) -> ChunkVerdict {
        let bytes = bytes as u64;
        if !self.sessions.contains_key(&session) {
            self.wasted_bytes += bytes;
            return ChunkVerdict::Unasked;
        }
        let Some(copies) = self.table.finish(index) else {
            return self.useless_chunk(session, index, bytes, now);
        };
        if let Some(found) = self.sessions.get_mut(&session) {
            if let Some(asked) = found.queue.remove(index) {
                self.in_flight_bytes -= u64::from(asked.len);
                // However long it stood in line, no round trip is longer than this.
                found.meter.answered(now.saturating_sub(asked.at));
            } else {
                found.taken_back = found.taken_back.saturating_sub(bytes);
            }
            self.pauses.add(found.delivered(bytes, true, now));
            found.counters.chunks += 1;
            found.counters.bytes += bytes;
            self.received_bytes += bytes;
            if found.health == super::session::Health::Probing {
                found.health = super::session::Health::Ready;
                self.nodes.changed = true;
            }
        }
        self.line_up(session);
        self.cancel_copies(copies, index, Some(session));
        self.budget_freed();
        ChunkVerdict::New
    }

    /// A chunk has come that has no use and was not verified: it never counts as held, whatever the engine knows of
    /// it. If it is missing after all, it will be asked for again.
    pub fn handle_unneeded(&mut self, session: SessionId, index: ChunkIndex, bytes: usize, now: Duration) {
        self.useless_chunk(session, index, bytes as u64, now);
    }

    /// A chunk that is not to be kept: the answer to a question, on its way when that was taken back, or unasked.
    fn useless_chunk(&mut self, session: SessionId, index: ChunkIndex, bytes: u64, now: Duration) -> ChunkVerdict {
        self.wasted_bytes += bytes;
        let Some(found) = self.sessions.get_mut(&session) else {
            return ChunkVerdict::Unasked;
        };
        found.counters.wasted_chunks += 1;
        found.counters.wasted_bytes += bytes;
        let cost = bytes.max(USELESS_AT_LEAST);
        if let Some(asked) = found.queue.remove(index) {
            self.in_flight_bytes -= u64::from(asked.len);
            found.meter.answered(now.saturating_sub(asked.at));
            if self.table.drop_copy(index, session) {
                self.line_up_all();
            }
        } else if found.taken_back >= cost {
            found.taken_back -= cost;
            // The CANCEL was too late.
            self.waste.came(bytes);
        } else {
            self.useless(session, cost, now);
            return ChunkVerdict::Unasked;
        }
        if let Some(found) = self.sessions.get_mut(&session) {
            found.delivered(bytes, false, now);
        }
        self.line_up(session);
        self.budget_freed();
        ChunkVerdict::Duplicate
    }

    /// Something of no use has come that nobody asked for: the session is ended when that is too much. It counts as
    /// no progress.
    fn useless(&mut self, session: SessionId, cost: u64, now: Duration) -> bool {
        let borne = self.sessions.get_mut(&session).is_none_or(|found| found.bears(cost, now));
        if !borne {
            self.close(session, CloseReason::Unasked, now);
        }
        borne
    }

    /// A chunk's bytes are not what its id says: the session is ended, for a ban.
    pub fn handle_bad_chunk(&mut self, session: SessionId, index: ChunkIndex, now: Duration) {
        if let Some(found) = self.sessions.get_mut(&session) {
            let bytes = found.queue.last_to_first().find(|(asked, _)| asked.index == index);
            let bytes = bytes.map_or(0, |(asked, _)| u64::from(asked.len));
            found.counters.wasted_chunks += 1;
            found.counters.wasted_bytes += bytes;
            self.wasted_bytes += bytes;
            self.close(session, CloseReason::BadChunk, now);
        }
    }

    /// NO_CHUNKS came: these will not come, and the peer does not hold them. That counts only for what it was asked.
    pub fn handle_no_chunks(&mut self, session: SessionId, ranges: &[ChunkRange], now: Duration) {
        let Some(found) = self.sessions.get(&session) else {
            return;
        };
        let mut declined: Vec<ChunkIndex> = found
            .queue
            .last_to_first()
            .map(|(asked, _)| asked.index)
            .filter(|index| ranges.iter().any(|range| range.start <= *index && index.0 < range.end()))
            .collect();
        let idle = ranges.len().saturating_sub(declined.len()).max(declined.is_empty().into()) as u64;
        if idle > 0 && !self.useless(session, USELESS_AT_LEAST * idle, now) || declined.is_empty() {
            return;
        }
        declined.sort_unstable();
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        found.counters.declined_chunks += declined.len() as u64;
        let mut runs = Vec::new();
        for index in &declined {
            push_index(&mut runs, *index);
        }
        for run in runs {
            found.holding.lose(run, &mut self.table);
        }
        for index in declined {
            self.take_back(session, index, false);
        }
        if let Some(found) = self.sessions.get_mut(&session) {
            found.delivered(0, false, now);
        }
        self.line_up_all();
        self.budget_freed();
    }

    /// BUSY came: the server has dropped all that was asked of it, and may be asked again after `retry_after`.
    pub fn handle_busy(&mut self, session: SessionId, retry_after: Duration, now: Duration) {
        let idle = self.sessions.get(&session).is_some_and(Session::is_idle);
        if !idle || self.useless(session, USELESS_AT_LEAST, now) {
            self.busy(session, retry_after, now);
        }
    }

    /// The chunk is held by other means: another fetch brought it, or it stands twice in the manifest.
    pub fn handle_held(&mut self, index: ChunkIndex, _now: Duration) {
        if let Some(copies) = self.table.finish(index) {
            self.cancel_copies(copies, index, None);
            self.budget_freed();
        }
    }

    /// A verified node has come. False if it was not wanted (any more).
    pub fn handle_node(&mut self, session: SessionId, id: &NodeId, bytes: usize, now: Duration) -> bool {
        let Some(found) = self.sessions.get_mut(&session) else {
            return false;
        };
        let bytes = bytes as u64;
        let asked = found.nodes.remove(id);
        let wanted = self.nodes.forget(id).is_some();
        if wanted {
            found.delivered(bytes, true, now);
            found.counters.nodes += 1;
            found.counters.node_bytes += bytes;
            self.node_bytes += bytes;
            if found.health == super::session::Health::Probing {
                found.health = super::session::Health::Ready;
            }
        } else if asked {
            found.delivered(bytes, false, now);
        } else if found.taken_back >= bytes.max(USELESS_AT_LEAST) {
            found.taken_back -= bytes.max(USELESS_AT_LEAST);
        } else if !self.useless(session, bytes.max(USELESS_AT_LEAST), now) {
            return false;
        }
        // An answer that is still to come from others is allowed for: it counts as asked.
        self.nodes.changed = true;
        self.line_up(session);
        wanted
    }

    /// A node's bytes are not what its id says: the session is ended, for a ban.
    pub fn handle_bad_node(&mut self, session: SessionId, _id: &NodeId, now: Duration) {
        self.close(session, CloseReason::BadNode, now);
    }

    /// NO_NODES came.
    pub fn handle_no_nodes(&mut self, session: SessionId, ids: &[NodeId], now: Duration) {
        let Some(found) = self.sessions.get_mut(&session) else {
            return;
        };
        let mut answers = false;
        for id in ids {
            if found.nodes.remove(id) {
                self.nodes.drop_asked(id, session, true, now);
                answers = true;
            }
        }
        if answers {
            found.delivered(0, false, now);
            self.line_up(session);
        } else {
            self.useless(session, USELESS_AT_LEAST * (ids.len() as u64).max(1), now);
        }
    }

    /// A chunk is held now: whoever else was asked for it is told.
    fn cancel_copies(&mut self, copies: Copies, index: ChunkIndex, from: Option<SessionId>) {
        for loser in copies.into_iter().flatten().filter(|loser| Some(*loser) != from) {
            self.take_back(loser, index, true);
            if let Some(session) = self.sessions.get_mut(&loser) {
                session.counters.stolen_chunks += 1;
            }
            self.line_up(loser);
        }
    }
}
