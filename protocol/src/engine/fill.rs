//! Asking a session for more: how much fits, and which chunks.

use std::time::Duration;

use super::Engine;
use super::action::{Action, SessionId, Wait};
use super::session::{Health, Session};
use crate::availability::{ChunkIndex, ChunkRange, push_index};

/// Runs in one WANT.
pub(super) const MAX_RUNS: usize = crate::wire::MAX_RANGES;
/// Chunks in flight from one session, however small they are.
const MAX_CHUNKS: usize = 4096;
/// More is asked for when half of the window is free, or so much of it.
const REFILL_BYTES: u64 = 1024 * 1024;
/// So many sessions are a crowd.
const CROWD: usize = 8;
/// Rate assumed where no session has shown any.
const ASSUMED_RATE: u64 = 4 * 1024 * 1024;

/// In a crowd, how fast all are is looked at no more often.
const PACE_EVERY: Duration = Duration::from_millis(5);

/// How fast all sessions are that are at work.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When that was looked at.
    at: Duration,
    /// The sum of the rates that are known, how many these are, and how many are not.
    rates: u64,
    known: u64,
    unknown: u64,
}

impl Pace {
    fn add(&mut self, rate: u64) {
        match rate {
            0 => self.unknown += 1,
            _ => (self.rates, self.known) = (self.rates.saturating_add(rate), self.known + 1),
        }
    }

    /// What one of these rates delivers of so many bytes while all deliver the rest.
    fn part_of(&self, bytes: u64, rate: u64) -> u64 {
        let usual = (self.rates / self.known.max(1)).max(1);
        let own = if rate == 0 { usual } else { rate };
        let all = u128::from(self.rates) + u128::from(usual) * u128::from(self.unknown);
        u64::try_from(u128::from(bytes) * u128::from(own) / all.max(1)).unwrap_or(u64::MAX)
    }
}

/// How much a session may be asked for now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    window: u64,
    budget: u64,
    chunks: usize,
}

impl Room {
    /// Whether the chunk fits; the first one in flight always fits the window.
    pub(super) const fn takes(&self, len: u32, first: bool) -> bool {
        self.chunks > 0 && self.budget >= len as u64 && (self.window >= len as u64 || first)
    }

    /// What is left when a chunk has been taken.
    pub(super) const fn less(self, len: u32) -> Self {
        Self {
            window: self.window.saturating_sub(len as u64),
            budget: self.budget.saturating_sub(len as u64),
            chunks: self.chunks.saturating_sub(1),
        }
    }
}

impl Engine {
    /// Puts a session in the line of those to be asked.
    pub(super) fn line_up(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.lined_up
        {
            session.lined_up = true;
            self.line.push_back(id);
        }
    }

    /// Something can be asked for that could not before: everybody looks.
    pub(super) fn line_up_all(&mut self) {
        for (id, session) in self.sessions.iter_mut() {
            if !session.lined_up {
                session.lined_up = true;
                self.line.push_back(*id);
            }
        }
    }

    /// The window of a session. Its share of the budget is an equal one, or what it has and half of what nobody has:
    /// so sessions that need little leave it to those that need more, and who comes late still finds some. Towards the
    /// end it is the session's part of what is missing, so that all are done at the same time and nothing has to be
    /// taken over.
    pub(super) fn window_of(&self, session: &Session) -> u64 {
        let equal = self.config.budget_bytes / (self.sessions.len() as u64).max(1);
        let free = self.config.budget_bytes.saturating_sub(self.in_flight_bytes);
        let share = equal.max(session.queue.bytes() + free / 2);
        let window = session.meter.window_bytes(&self.config, share, self.is_crowd());
        if self.is_early() {
            return window;
        }
        let (mut pace, rate) = (self.pace, session.meter.rate());
        if !session.is_in_pace {
            pace.add(rate);
        }
        window.min(pace.part_of(self.table.missing_bytes, rate).max(session.meter.pipe_bytes()))
    }

    /// Whether so much is missing that it is no matter who will deliver the end of it.
    const fn is_early(&self) -> bool {
        self.table.missing_bytes / 2 >= self.config.budget_bytes
    }

    /// Whether so many sessions are open that the pauses of one are filled by others.
    pub(super) fn is_crowd(&self) -> bool {
        self.sessions.len() >= CROWD
    }

    /// For how long what was reckoned of all sessions holds. In a crowd one more or less is no matter, and to look at
    /// all of them takes long.
    fn holds_for(&self) -> Duration {
        if self.is_crowd() { PACE_EVERY } else { Duration::ZERO }
    }

    /// Looks how fast all are that are at work, if it is time to.
    fn take_pace(&mut self, now: Duration) {
        if self.is_early() || now < self.pace.at + self.holds_for() {
            return;
        }
        self.pace = Pace { at: now, ..Pace::default() };
        for session in self.sessions.values_mut() {
            session.is_in_pace = !session.queue.is_empty();
            if session.is_in_pace {
                self.pace.add(session.meter.rate());
            }
        }
    }

    /// What a session gives of which nothing is known, as far as the others tell. Reckoned once for each moment, in
    /// a crowd now and then.
    pub(super) fn usual_rate(&mut self, now: Duration) -> u64 {
        if let Some((at, rate)) = self.usual
            && (now == at || now < at + self.holds_for())
        {
            return rate;
        }
        let rates = self.sessions.values().map(|session| session.meter.rate()).filter(|rate| *rate > 0);
        let (sum, count) = rates.fold((0u64, 0u64), |(sum, count), rate| (sum.saturating_add(rate), count + 1));
        let rate = sum.checked_div(count).unwrap_or(ASSUMED_RATE);
        self.usual = Some((now, rate));
        rate
    }

    /// How much the session may be asked for, if that is enough to bother.
    pub(super) fn room_of(&self, session: &Session) -> Option<Room> {
        let budget = self.config.budget_bytes.saturating_sub(self.in_flight_bytes);
        match session.health {
            Health::Busy { .. } | Health::BackOff { .. } => None,
            Health::Probing => session.is_idle().then_some(Room { window: 0, budget, chunks: 1 }),
            Health::Ready => {
                // The last of it is not to wait for want of a large enough hole.
                let last = self.table.missing_bytes <= self.in_flight_bytes.saturating_add(REFILL_BYTES);
                let (size, queued) = (self.window_of(session), session.queue.bytes());
                let is_small = size.saturating_sub(queued) < (size / 2).min(REFILL_BYTES);
                if is_small && !session.queue.is_empty() && !last {
                    return None;
                }
                let window = size.saturating_sub(queued);
                Some(Room { window, budget, chunks: MAX_CHUNKS.saturating_sub(session.queue.len()) })
            }
        }
    }

    fn wait_for_budget(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !std::mem::replace(&mut session.lacks_budget, true)
        {
            self.budget_line.push_back(id);
        }
    }

    /// Fewer bytes are in flight: whoever waits for the budget looks again.
    pub(super) fn budget_freed(&mut self) {
        if let Some(id) = self.budget_line.pop_front() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.lacks_budget = false;
            }
            self.line_up(id);
        }
    }

    /// Asks the next session in the line that has room and something to give.
    pub(super) fn fill_line(&mut self, now: Duration) {
        while self.actions.is_empty() {
            let Some(id) = self.line.pop_front() else {
                return;
            };
            if let Some(session) = self.sessions.get_mut(&id) {
                session.lined_up = false;
                self.fill(id, now);
            }
        }
    }

    fn fill(&mut self, id: SessionId, now: Duration) {
        self.take_pace(now);
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let mut why = Wait::NothingToAsk;
        if let Some(room) = self.room_of(session) {
            let (ranges, cut_short) = self.ask_chunks(id, room, now);
            if !ranges.is_empty() {
                self.latest = None;
                self.actions.push_back(Action::Want { session: id, ranges });
            }
            match cut_short {
                // More fits and is there, but not into this message.
                Cut::ByMessage => self.line_up(id),
                Cut::ByBudget => {
                    why = Wait::Budget;
                    self.wait_for_budget(id);
                }
                Cut::ByWindow => {}
                Cut::NothingLeft => {
                    self.take_pace(now);
                    self.steal(id, now);
                }
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.settle(why, now);
        if let Some(deadline) = session.deadline(&self.config) {
            self.arm(deadline);
        }
    }

    /// Chooses chunks and puts them in flight.
    fn ask_chunks(&mut self, id: SessionId, mut room: Room, now: Duration) -> (Vec<ChunkRange>, Cut) {
        let mut ranges = Vec::new();
        let order = self.config.order;
        let Some(session) = self.sessions.get_mut(&id) else {
            return (ranges, Cut::ByWindow);
        };
        loop {
            let goes_on = session.group.filter(|slot| self.table.goes_on(*slot, &session.holding));
            let chosen = match goes_on {
                Some(slot) if order == super::Order::RarestFirst => Some(slot),
                _ => self.table.choose(&session.holding, order, &mut self.rng),
            };
            session.group = chosen;
            let Some(slot) = chosen else {
                return (ranges, Cut::NothingLeft);
            };
            for (index, len) in self.table.take_from(slot, &session.holding, order) {
                if !room.takes(len, session.queue.is_empty()) {
                    let by_budget = room.budget < u64::from(len);
                    return (ranges, if by_budget { Cut::ByBudget } else { Cut::ByWindow });
                }
                if ranges.len() == MAX_RUNS && ranges.last().is_none_or(|run: &ChunkRange| run.end() != index.0) {
                    return (ranges, Cut::ByMessage);
                }
                if self.table.add_copy(index, id) {
                    room = room.less(len);
                    self.in_flight_bytes += u64::from(len);
                    session.will_ask(now);
                    session.queue.push(index, len, now);
                    session.counters.asked_chunks += 1;
                    push_index(&mut ranges, index);
                }
            }
        }
    }

    /// Takes a chunk back from a session: with a CANCEL if `tell`, else it is known that it will not come.
    pub(super) fn take_back(&mut self, id: SessionId, index: ChunkIndex, tell: bool) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(asked) = session.queue.remove(index) else {
            return;
        };
        self.in_flight_bytes -= u64::from(asked.len);
        self.table.drop_copy(index, id);
        if tell {
            session.taken_back += u64::from(asked.len);
            self.cancel(id, index);
        }
    }

    /// Appends to the last CANCEL if that goes to the same session.
    pub(super) fn cancel(&mut self, id: SessionId, index: ChunkIndex) {
        if let Some(Action::Cancel { session, ranges }) = self.actions.back_mut()
            && *session == id
            && ranges.len() < MAX_RUNS
        {
            push_index(ranges, index);
            return;
        }
        self.actions.push_back(Action::Cancel { session: id, ranges: vec![ChunkRange::one(index)] });
    }
}

/// Why no more was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    ByWindow,
    ByBudget,
    ByMessage,
    NothingLeft,
}
