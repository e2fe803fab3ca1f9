//! Which of the chunks that a session wants it is given: what has left less often first.

use std::time::Duration;

use super::ServingPolicy;
use super::action::{Action, SessionId};
use super::limits::Content;
use super::report::Counters;
use super::session::Session;
use crate::availability::{ChunkIndex, ChunkRange, push_index};
use crate::wire::MAX_RANGES;

/// Wanted chunks among which those that have left less often go first.
const LOOK_AT: usize = 32;
/// Every so often the oldest wants go first all the same, so that none waits for ever.
const OLDEST_EVERY: u64 = 4;

impl ServingPolicy {
    /// Takes the chunks out of a session's wants that it is given now, about `bytes` of them and at least one; puts
    /// off what others have just been given. None: everything it wanted was put off.
    pub(super) fn pick(&mut self, id: SessionId, bytes: u64, now: Duration) -> Vec<ChunkIndex> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        let Some(content) = self.contents.get_mut(&session.content) else {
            return Vec::new();
        };
        let opening = session.opening;
        let most = bytes.saturating_mul(2) / u64::from(opening.mean_chunk_bytes.max(1)) + 1;
        let most = usize::try_from(most).unwrap_or(MAX_RANGES).min(MAX_RANGES);
        let counted = self.config.max_counted_chunks;
        // Only who holds everything puts anything off, and has to know where it went.
        let remembers = content.holds_all && opening.serves && !self.config.put_off.is_zero();
        let puts_off = remembers && !opening.in_order && content.spread.distinct() < content.chunks.min(counted);
        let since = now.saturating_sub(self.config.put_off);
        content.spread.forget_before(since);
        let mut put_off: Vec<ChunkIndex> = Vec::new();
        let mut chunks;
        loop {
            chunks = session.wants.take(if content.sessions > 1 { most.max(LOOK_AT) } else { most });
            if chunks.is_empty() || !puts_off {
                break;
            }
            chunks.retain(|chunk| match content.spread.left_to(*chunk, since) {
                Some(to) if to != session.peer && session.put_off(*chunk, to) => {
                    put_off.push(*chunk);
                    false
                }
                _ => true,
            });
            if !chunks.is_empty() {
                break;
            }
        }
        session.batches += 1;
        choose(session, content, &mut chunks, most);
        let mut first_copies = 0;
        for chunk in chunks.iter().filter(|chunk| chunk.0 < counted) {
            first_copies += u64::from(content.spread.leaves(*chunk));
            if remembers {
                content.spread.remember(*chunk, session.peer, now);
            }
        }
        let first_pass_ends = first_copies > 0 && content.spread.distinct() >= content.chunks.min(counted);
        Counters::both(&mut session.counters, &mut self.counters, |counters| {
            counters.first_copies += first_copies;
            counters.put_off_chunks += put_off.len() as u64;
        });
        if let Some(peer) = self.peers.get_mut(&session.peer)
            && opening.holds_all
        {
            (0..first_copies).for_each(|_| peer.credit.got_first_copy());
        }
        let of = session.content;
        self.say_put_off(id, put_off, now);
        if first_pass_ends {
            let sessions = &self.sessions;
            let mine: std::collections::BTreeSet<SessionId> =
                sessions.iter().filter(|(_, session)| session.content == of).map(|(id, _)| *id).collect();
            self.offer_all(|session, _| mine.contains(&session), now);
        }
        chunks
    }

    fn say_put_off(&mut self, id: SessionId, mut chunks: Vec<ChunkIndex>, now: Duration) {
        let due = now + self.config.put_off;
        self.put_off.extend(chunks.iter().map(|chunk| (due, id, *chunk)));
        chunks.sort_unstable();
        let mut ranges: Vec<ChunkRange> = Vec::new();
        for chunk in chunks {
            push_index(&mut ranges, chunk);
        }
        for ranges in ranges.chunks(MAX_RANGES) {
            self.actions.push_back(Action::PutOff { session: id, ranges: ranges.to_vec() });
        }
    }
}

/// Keeps `most` of the chunks and puts the others back: those that have left less often are kept, and stay in their
/// order.
fn choose(session: &mut Session, content: &Content, chunks: &mut Vec<ChunkIndex>, most: usize) {
    if chunks.len() <= most {
        return;
    }
    if session.opening.in_order || session.batches.is_multiple_of(OLDEST_EVERY) {
        session.wants.put_back(&chunks.split_off(most));
        return;
    }
    let mut order: Vec<(u8, usize)> =
        chunks.iter().enumerate().map(|(place, chunk)| (content.spread.copies(*chunk), place)).collect();
    order.sort_unstable();
    let (mut kept, mut rest): (Vec<usize>, Vec<usize>) = (
        order.iter().take(most).map(|(_, place)| *place).collect(),
        order.iter().skip(most).map(|(_, p)| *p).collect(),
    );
    kept.sort_unstable_by_key(|place| (chunks.get(*place).map(|chunk| content.spread.copies(*chunk)), *place));
    rest.sort_unstable();
    let pick = |places: &[usize]| places.iter().filter_map(|place| chunks.get(*place).copied()).collect::<Vec<_>>();
    let (kept, rest) = (pick(&kept), pick(&rest));
    session.wants.put_back(&rest);
    *chunks = kept;
}
