//! Taking over from slower sessions when nothing is left that nobody has been asked for.
//!
//! So much is taken over that both are done at the same time. What the slower one has not begun to send is moved, with
//! a CANCEL at once. What it has probably read or sent already is asked for a second time only where the other copy is
//! expected much later, and only as long as that costs less than a hundredth of the fetch ([`Waste`]); beyond that,
//! only from who is late beyond doubt. No chunk is ever in flight more than twice, and the loser gets a CANCEL. Who has
//! lost something for being late takes nothing over but copies until it delivers: two of them would go on robbing each
//! other.
//!
//! [`Waste`]: super::waste::Waste

use std::time::Duration;

use super::Engine;
use super::action::{Action, SessionId};
use super::fill::Room;
use super::session::{Health, PROGRESS_BYTES, Session};
use super::window::{bytes_in, rate_of, time_for};
use crate::availability::{ChunkIndex, ChunkRange, push_index};

/// When to look again after something was taken over: nobody takes over twice at the same moment.
const RETRY_TAKEN: Duration = Duration::from_millis(1);
/// The same after there was nothing to take over.
const RETRY: Duration = Duration::from_millis(20);
/// The same while there is something that nobody has been asked for: others work on, and the tail is far.
const RETRY_EARLY: Duration = Duration::from_millis(160);
/// The same while nothing at all is in flight elsewhere.
const RETRY_IDLE: Duration = Duration::from_millis(500);
/// Who has been silent for so long does not keep a chunk that was asked for twice, and is late beyond doubt.
const SILENT: Duration = Duration::from_secs(1);
/// Beyond what copies may cost, one has to be worth this.
const LATE: Duration = Duration::from_millis(500);
/// A second copy has to be worth at least this.
const WORTH: Duration = Duration::from_millis(10);
/// What a server has read ahead, and sends whether it is taken back or not: two batches of half a MiB, …
const READ_AHEAD_BYTES: u64 = 1024 * 1024;
/// … and what waits in buffers on the way.
const BUFFERED: Duration = Duration::from_millis(20);
/// Of whom nothing has come for so long, a round trip and the time of a part of a chunk, nothing is on its way: the
/// server's turn has not come to it yet. In a crowd every server has a queue, and a chunk that lies in a long one is
/// had sooner from a short one: this is what evens them out.
const TURN: Duration = Duration::from_millis(60);
/// What a session that has shown nothing yet may take over, in copies.
const TENTATIVE_BYTES: u64 = 256 * 1024;
/// Sessions looked at for something to take over.
const VICTIMS: usize = 4;

/// What is to be taken over from one session.
#[derive(Debug, Default)]
struct Loot {
    moved: Vec<(ChunkIndex, u32)>,
    copied: Vec<(ChunkIndex, u32)>,
    /// The victim keeps a chunk from everybody.
    blocked: bool,
    /// The victim has not begun to send any of it.
    is_late: bool,
}

impl Engine {
    /// Looks for something that the session could take over.
    pub(super) fn steal(&mut self, thief: SessionId, now: Duration) {
        let Some(session) = self.sessions.get(&thief) else {
            return;
        };
        if self.sessions.len() < 2 || session.holding.is_empty() || self.table.missing_chunks == 0 {
            return;
        }
        if let Some(at) = session.next_steal.filter(|at| *at > now) {
            self.arm(at);
            return;
        }
        let Some(room) = self.room_of(session) else {
            return;
        };
        self.waste.settle(now);
        let usual = self.usual_rate(now);
        let victims = self.victims(thief, usual, now);
        let retry = match (victims.is_empty(), self.table.unassigned_chunks()) {
            (true, _) => RETRY_IDLE,
            (false, 0) => RETRY,
            (false, _) => RETRY_EARLY,
        };
        for victim in victims {
            let Some(loot) = self.loot_of(thief, victim, room, usual, now) else {
                break;
            };
            if loot.blocked {
                self.fault(victim, now);
                self.line_up(thief);
                return;
            }
            if !loot.moved.is_empty() || !loot.copied.is_empty() {
                self.take_over(thief, victim, loot, now);
                return;
            }
        }
        if let Some(session) = self.sessions.get_mut(&thief) {
            let at = next_tick(now, retry);
            session.next_steal = Some(at);
            self.arm(at);
        }
    }

    /// The sessions that will be done last, the last first, without the thief. Reckoned once for each moment, as long
    /// as nothing is taken over: it costs a look at all sessions, and those with nothing to ask for look together.
    fn victims(&mut self, thief: SessionId, usual_rate: u64, now: Duration) -> Vec<SessionId> {
        if self.latest.as_ref().is_none_or(|(at, _)| *at != now) {
            let at_work = self.sessions.iter().filter(|(_, session)| !session.queue.is_empty());
            let mut latest: Vec<_> = at_work.map(|(id, session)| (session.drain_time(usual_rate, now), *id)).collect();
            if latest.len() > VICTIMS + 1 {
                latest.select_nth_unstable_by(VICTIMS, |one, other| other.cmp(one));
                latest.truncate(VICTIMS + 1);
            }
            latest.sort_unstable_by(|one, other| other.cmp(one));
            self.latest = Some((now, latest.into_iter().map(|(_, id)| id).collect()));
        }
        let latest = self.latest.iter().flat_map(|(_, latest)| latest);
        latest.copied().filter(|id| *id != thief).take(VICTIMS).collect()
    }

    /// What the thief should take over from the victim. `None` if the victim is done about as soon, and so is
    /// everybody who is done sooner.
    fn loot_of(&self, thief: SessionId, victim: SessionId, room: Room, usual_rate: u64, now: Duration) -> Option<Loot> {
        let (taker, giver) = (self.sessions.get(&thief)?, self.sessions.get(&victim)?);
        let probing = taker.health == Health::Probing;
        let plan = self.plan_of(taker, giver, usual_rate, now);
        if !probing && plan.excess_bytes == 0 {
            return None;
        }
        let tentative = probing || !taker.is_proven() || taker.is_late;
        if tentative && (!giver.is_proven() || giver.silence(now) >= SILENT) {
            // Two of whom nothing is known must not keep a chunk from those who deliver.
            return Some(Loot::default());
        }
        let mut allowed = self.waste.left(self.received_bytes + self.table.missing_bytes);
        let loot = Loot { is_late: plan.waits_for_its_turn, ..Loot::default() };
        let (mut loot, mut room, mut taken) = (loot, room, 0u64);
        for (asked, before) in giver.queue.last_to_first() {
            let len = u64::from(asked.len);
            let enough = !probing && taken + len / 2 > plan.excess_bytes || tentative && taken >= TENTATIVE_BYTES;
            if enough || !room.takes(asked.len, taken == 0 && taker.queue.is_empty()) {
                break;
            }
            let copies = self.table.copies(asked.index);
            if !taker.holding.contains(asked.index) || copies.contains(&Some(thief)) {
                continue;
            }
            let item = (asked.index, asked.len);
            if !tentative && allowed > 0 && before >= plan.on_the_way_bytes {
                loot.moved.push(item);
                if plan.waits_for_its_turn {
                    // It may come all the same.
                    allowed = allowed.saturating_sub(len);
                }
            } else if copies.iter().all(Option::is_some) {
                loot.blocked = before == 0 && !tentative && giver.silence(now) >= SILENT && loot.moved.is_empty();
                continue;
            } else if plan.is_worth_a_copy(before + len, taken + len, allowed >= len) || probing && allowed >= len {
                loot.copied.push(item);
                allowed = allowed.saturating_sub(len);
            } else {
                continue;
            }
            taken += len;
            room = room.less(asked.len);
        }
        Some(loot)
    }

    fn take_over(&mut self, thief: SessionId, victim: SessionId, loot: Loot, now: Duration) {
        self.latest = None;
        let mut moved = loot.moved;
        moved.sort_unstable();
        for (index, _) in &moved {
            self.take_back(victim, *index, true);
        }
        if let Some(session) = self.sessions.get_mut(&victim) {
            session.counters.stolen_chunks += moved.len() as u64;
            session.is_late |= loot.is_late && !moved.is_empty();
        }
        self.line_up(victim);
        if !loot.copied.is_empty() {
            self.waste.ask(loot.copied.iter().map(|(_, len)| u64::from(*len)).sum(), now);
        }
        let mut all: Vec<_> = moved.into_iter().chain(loot.copied).collect();
        all.sort_unstable();
        let mut ranges: Vec<ChunkRange> = Vec::new();
        let Some(session) = self.sessions.get_mut(&thief) else {
            return;
        };
        session.next_steal = Some(now + RETRY_TAKEN);
        for (index, len) in all {
            if self.table.add_copy(index, thief) {
                self.in_flight_bytes += u64::from(len);
                session.will_ask(now);
                session.queue.push(index, len, now);
                session.counters.asked_chunks += 1;
                push_index(&mut ranges, index);
            }
        }
        for part in ranges.chunks(super::fill::MAX_RUNS) {
            self.actions.push_back(Action::Want { session: thief, ranges: part.to_vec() });
        }
    }

    fn plan_of(&self, taker: &Session, giver: &Session, usual_rate: u64, now: Duration) -> Plan {
        let usual_pause = self.pauses.usual().unwrap_or(SILENT / 4);
        let thief_rate = taker.reckoned_rate(usual_rate, now);
        let round_trip = |session: &Session| session.meter.round_trip().unwrap_or(Duration::ZERO);
        let start = taker.drain_time(usual_rate, now) + round_trip(taker);
        let drain = giver.drain_time(usual_rate, now);
        let victim_rate = rate_of(giver.queue.bytes(), drain).max(1);
        let ahead = drain.saturating_sub(start);
        // Drained at the same time: (V - x) / rv = start + x / rt.
        let both =
            u128::from(thief_rate) * u128::from(victim_rate) / (u128::from(thief_rate) + u128::from(victim_rate));
        let is_late = |session: &Session| {
            let part = time_for(PROGRESS_BYTES, session.reckoned_rate(usual_rate, now));
            session.silence(now) > TURN + round_trip(session) + part
        };
        let waits_for_its_turn = giver.is_proven() && is_late(giver) && giver.silence(now) < SILENT && !is_late(taker);
        let buffered = bytes_in(giver.reckoned_rate(usual_rate, now), round_trip(giver) + BUFFERED);
        Plan {
            excess_bytes: bytes_in(u64::try_from(both).unwrap_or(u64::MAX), ahead).min(giver.queue.bytes()),
            on_the_way_bytes: if waits_for_its_turn { 0 } else { buffered + READ_AHEAD_BYTES },
            waits_for_its_turn,
            start,
            thief_rate,
            victim_rate,
            victim_silence: giver.silence(now),
            usual_pause,
        }
    }
}

/// When to look again, about as long from now as `retry`: sessions look together, since to look at the clock costs a
/// look at all of them.
fn next_tick(now: Duration, retry: Duration) -> Duration {
    let ticks = (now + retry / 2).as_nanos() / retry.as_nanos() + 1;
    Duration::from_nanos(u64::try_from(ticks * retry.as_nanos()).unwrap_or(u64::MAX))
}

/// How thief and victim compare.
struct Plan {
    /// How much to take over so that both are done at the same time.
    excess_bytes: u64,
    /// What the victim has probably sent or read: the front of its queue.
    on_the_way_bytes: u64,
    waits_for_its_turn: bool,
    /// When the thief can begin.
    start: Duration,
    thief_rate: u64,
    victim_rate: u64,
    victim_silence: Duration,
    /// What sessions often pause, without being late.
    usual_pause: Duration,
}

impl Plan {
    /// Whether the thief would have the chunk in less than half the time; or, where no more copies are allowed, in a
    /// quarter of a time that is long beyond doubt.
    fn is_worth_a_copy(&self, victim_bytes: u64, thief_bytes: u64, allowed: bool) -> bool {
        let silence = if self.victim_silence > self.usual_pause { self.victim_silence } else { Duration::ZERO };
        let by_victim = time_for(victim_bytes, self.victim_rate).max(silence);
        let by_thief = self.start + time_for(thief_bytes, self.thief_rate);
        if allowed {
            by_victim > by_thief * 2 + WORTH.max(self.usual_pause.min(LATE))
        } else {
            by_victim > by_thief * 4 + LATE
        }
    }
}
