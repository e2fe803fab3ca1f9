//! Peers find and dial each other.

use std::time::Duration;

use shoal_protocol::engine::Wait;

use super::channel::{Channel, ChannelState};
use super::events::{Event, nanos};
use super::meeting::{
    BUSY_RETRY, DIAL_PATIENCE, ENOUGH_SESSIONS, LONGEST_LOOK_UP_PAUSE, MAX_DIALS, MAX_SERVED, SWARM_EVERY, Source,
};
use super::peer::{Dial, Fetch, Presence};
use super::serving::provider_bytes;
use super::setup::{Meeting, Nature};
use super::world::World;

/// Round trips until a session is accepted: TCP, TLS, the choice of a protocol with OPEN; ACCEPT is on the stream.
const DIAL_DELAYS: u64 = 5;
/// What else a dial costs: the handshake's signatures.
const DIAL_COST: Duration = Duration::from_millis(2);
/// How long a session must have had nothing to give before it makes room.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the handshakes and OPEN, from the client.
const OPEN_BYTES: u64 = 2000;

impl World {
    /// Makes a peer known to the DHT, once; or anew.
    pub(super) fn announce(&mut self, number: u32, anew: bool) {
        let visible = self.now + nanos(self.setup.meeting.announce);
        if let Some(peer) = self.peers.get_mut(number as usize)
            && (!std::mem::replace(&mut peer.is_announced, true) || anew)
        {
            self.dht.announce(number, if self.now == 0 { 0 } else { visible });
        }
    }

    /// Asks the DHT, if it is time to.
    pub(super) fn look_up(&mut self, number: u32) {
        let fetch = self.peers.get_mut(number as usize).and_then(|peer| peer.fetch.as_mut());
        if let Some(fetch) = fetch.filter(|fetch| fetch.next_answer.is_none()) {
            let at = self.now + nanos(self.setup.meeting.look_up);
            fetch.next_answer = Some(at);
            self.events.add(at, number, Event::Found(number));
        }
    }

    /// The DHT has answered.
    pub(super) fn found(&mut self, number: u32) {
        let now = self.now;
        let fetch = self.peers.get_mut(number as usize).and_then(|peer| peer.fetch.as_mut());
        // Another fetch may have asked, which is over.
        let Some(fetch) = fetch.filter(|fetch| fetch.next_answer == Some(now)) else { return };
        let found = self.dht.find(now, &mut self.dice);
        if fetch.open() < ENOUGH_SESSIONS {
            for other in found {
                if other != number {
                    fetch.candidates.add(other, Source::Dht, now, &mut self.dice);
                }
            }
        }
        // The next look-up follows after a pause, which doubles.
        let pause = fetch.look_up_pause;
        fetch.look_up_pause = (pause * 2).min(LONGEST_LOOK_UP_PAUSE);
        let at = now + nanos(pause + self.setup.meeting.look_up);
        fetch.next_answer = Some(at);
        self.events.add(at, number, Event::Found(number));
        self.meet(number);
    }

    /// A peer has proven itself to another: who fetches may ask it at once.
    pub(super) fn saw(&mut self, number: u32, other: u32, has_session: bool) {
        let now = self.now;
        let is_new = self.peers.get_mut(number as usize).is_some_and(|peer| peer.swarm.saw(other, has_session, now));
        if is_new {
            self.meet(number);
        }
    }

    pub(super) fn meet_timer(&mut self, number: u32) {
        let now = self.now;
        let fetch = self.peers.get_mut(number as usize).and_then(|peer| peer.fetch.as_mut());
        if let Some(fetch) = fetch.filter(|fetch| fetch.next_meet.is_some_and(|at| at <= now)) {
            fetch.next_meet = None;
            self.make_room(number);
            self.meet(number);
        }
    }

    /// Ends a session that has been of no use for the longest, if a peer that has not been asked yet waits for its
    /// place.
    fn make_room(&mut self, number: u32) {
        let now = self.time();
        let fetch = self.peers.get(number as usize).and_then(|peer| peer.fetch.as_ref());
        let most = self.setup.meeting.own_sessions;
        let crowded = |fetch: &&Fetch| fetch.channels.len() >= most && fetch.candidates.has_untried(self.now);
        let Some(fetch) = fetch.filter(crowded) else { return };
        let idle = fetch.engine.sessions(now).into_iter().filter_map(|report| {
            let gave = report.counters.chunks > 0 || report.counters.nodes > 0;
            let idle = matches!(report.wait, Wait::NoAvailability | Wait::NothingToAsk);
            let waited = *report.waited.get(report.wait as usize)?;
            (idle && !gave && waited >= ROOM_PATIENCE).then_some((waited, report.session))
        });
        let Some((_, session)) = idle.max() else { return };
        if let Some(fetch) = self.peers.get_mut(number as usize).and_then(|peer| peer.fetch.as_mut()) {
            fetch.engine.handle_closed(session, now);
        }
        self.hang_up(number, session.0, false);
        self.fetch_on(number);
    }

    /// Takes in whom sessions have brought to light, and starts dials, as many as there is room for.
    pub(super) fn meet(&mut self, number: u32) {
        let now = self.now;
        let Meeting { own_sessions, sessions, .. } = self.setup.meeting;
        let Some(peer) = self.peers.get_mut(number as usize).filter(|peer| peer.presence == Presence::Up) else {
            return;
        };
        let Some(fetch) = &mut peer.fetch else { return };
        if std::mem::replace(&mut fetch.looked_at, peer.swarm.news) != peer.swarm.news {
            for other in peer.swarm.known(number, sessions, now) {
                fetch.candidates.add(other, Source::Swarm, now, &mut self.dice);
            }
        }
        let mut chosen = Vec::new();
        let (mut dialling, mut all) = (fetch.dialling(), fetch.channels.len());
        while dialling < MAX_DIALS
            && all < sessions
            && let Some(other) = fetch.candidates.next(now, all < own_sessions)
        {
            chosen.push(other);
            dialling += 1;
            all += 1;
        }
        let has_room = dialling < MAX_DIALS && all < sessions;
        let tick = now + nanos(SWARM_EVERY);
        let due = has_room.then(|| fetch.candidates.next_due(all < own_sessions)).flatten();
        let due = due.map_or(tick, |due| due.clamp(now + 1000, tick));
        if fetch.next_meet.is_none_or(|at| due < at) {
            fetch.next_meet = Some(due);
            self.events.add(due, number, Event::Meet(number));
        }
        for other in chosen {
            self.dial(number, other);
        }
    }

    fn dial(&mut self, client: u32, server: u32) {
        self.totals.dials += 1;
        let number = self.channels.len() as u32;
        let path = self.path(server, client);
        let channel = Channel::new(client, server, path);
        let there = self.peers.get(server as usize).map(|peer| peer.presence);
        // Until it is decided: the answer takes one way more.
        let takes = match there {
            // A dead process is known by the answer to the first packet; silence takes longer.
            Some(Presence::Down) if self.reaches(client, server) => path.delay,
            Some(Presence::Up) if self.reaches(client, server) => DIAL_DELAYS * path.delay + nanos(DIAL_COST),
            _ => nanos(DIAL_PATIENCE).saturating_sub(path.delay).max(path.delay),
        };
        self.channels.push(channel);
        if let Some(peer) = self.peers.get_mut(client as usize) {
            peer.up.debt += OPEN_BYTES;
            peer.tally.control_bytes += OPEN_BYTES;
            if let Some(fetch) = &mut peer.fetch {
                fetch.channels.insert(number, Dial::Waiting);
            }
        }
        self.totals.request_bytes += OPEN_BYTES;
        self.events.add(self.now + takes, server, Event::Dialled(number));
    }

    /// The server of a dial takes it, or does not.
    pub(super) fn dialled(&mut self, number: u32) {
        let Some(channel) = self.channels.get(number as usize) else { return };
        let (client, server) = (channel.client, channel.server);
        let wanted = self.peers.get(client as usize).and_then(|peer| peer.fetch.as_ref());
        if channel.state != ChannelState::Dialling || !wanted.is_some_and(|fetch| fetch.channels.contains_key(&number))
        {
            return;
        }
        let root = self.content.place(&self.content.root_id);
        let answer = self.peers.get(server as usize).map_or(Answer::Nobody, |peer| {
            let knows = root.is_some_and(|root| peer.store.nodes.get(root as usize).copied().unwrap_or(false));
            match peer.presence {
                Presence::Up if peer.nature == Nature::Garbage => Answer::Garbage,
                Presence::Up if peer.nature == Nature::HangsUp => Answer::NotFound,
                Presence::Up if peer.served.len() >= MAX_SERVED => Answer::Busy,
                Presence::Up if knows => Answer::Accepted,
                Presence::Up => Answer::NotFound,
                Presence::Paused | Presence::Down => Answer::Nobody,
            }
        });
        let answer = if self.reaches(client, server) { answer } else { Answer::Nobody };
        if answer == Answer::Accepted {
            if let Some(channel) = self.channels.get_mut(number as usize) {
                channel.state = ChannelState::Open;
            }
            self.greet(number);
            return;
        }
        self.refuse(number, answer);
    }

    /// A session is not taken: the client will know.
    fn refuse(&mut self, number: u32, answer: Answer) {
        let now = self.now;
        self.shut(number);
        let Some(channel) = self.channels.get(number as usize) else { return };
        let (client, server, at) = (channel.client, channel.server, now + channel.path.delay);
        let told: Vec<u32> = match answer {
            Answer::Busy => {
                self.saw(server, client, false);
                let most = shoal_protocol::wire::MAX_PROVIDERS;
                self.peers.get(server as usize).map(|peer| peer.swarm.known(client, most, now)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        if let Some(peer) = self.peers.get_mut(server as usize).filter(|_| answer != Answer::Nobody) {
            let bytes = 9 + provider_bytes(told.len());
            peer.up.debt += bytes;
            peer.tally.control_bytes += bytes;
            self.totals.control_bytes += bytes;
            self.totals.sent_bytes += bytes;
            self.totals.received_bytes += bytes;
        }
        let place = self.refusals.insert(Refusal { channel: number, answer, told }) as u32;
        self.events.add(at, client, Event::Refused(place));
    }

    /// A client learns that a session is not taken.
    pub(super) fn refused(&mut self, place: u32) {
        let now = self.now;
        let Some(Refusal { channel: number, answer, told }) = self.refusals.try_remove(place as usize) else { return };
        let Some(channel) = self.channels.get(number as usize) else { return };
        let (client, server) = (channel.client, channel.server);
        if let Some(fetch) = self.peers.get_mut(client as usize).and_then(|peer| peer.fetch.as_mut())
            && fetch.channels.remove(&number).is_some()
        {
            match answer {
                Answer::Busy => fetch.candidates.busy(server, BUSY_RETRY, now),
                Answer::Garbage => fetch.candidates.banned(server),
                _ => fetch.candidates.failed(server, Duration::ZERO, now),
            }
            for other in told {
                if other != client {
                    fetch.candidates.add(other, Source::Hearsay, now, &mut self.dice);
                }
            }
        }
        self.meet(client);
    }
}

/// What a server says to a dial that it does not take, on its way.
#[derive(Debug)]
pub(super) struct Refusal {
    channel: u32,
    answer: Answer,
    /// Peers that the server knows of.
    told: Vec<u32>,
}

/// What becomes of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted,
    Busy,
    /// The server does not know the content (yet), or ends the session.
    NotFound,
    /// What the server says is against the protocol.
    Garbage,
    Nobody,
}
