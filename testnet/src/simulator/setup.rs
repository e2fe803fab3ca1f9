//! What is simulated: who is there, over which lines they talk, what they do and what happens to them.

use std::time::Duration;

use shoal_protocol::availability::ChunkRange;
use shoal_protocol::engine::EngineConfig;
use shoal_protocol::serving::ServingConfig;

use super::events::{Nanos, nanos};
use super::line::Line;
use super::store::Durability;
use crate::scenario::When;

/// A run, but for its seed.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it is called in the report.
    pub name: String,
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes of a chunk on average.
    pub chunk_bytes: u32,
    /// Everybody.
    pub peers: Vec<PeerSetup>,
    /// What goes wrong and when; what is in front happens first if both are of one moment.
    pub faults: Vec<(When, Fault)>,
    /// How peers learn of each other.
    pub meeting: Meeting,
    /// When chunks are durable.
    pub durability: Durability,
    /// The download engine's settings.
    pub engine: EngineConfig,
    /// Bytes of a turn when a peer serves; `None`: as the serving policy has it.
    pub quantum_bytes: Option<u64>,
    /// When the run is given up.
    pub limit: Duration,
}

impl Setup {
    /// How long it takes at least until one peer hears of what another does, whatever becomes of their lines.
    pub(super) fn shortest_way(&self) -> Nanos {
        let changed = self.faults.iter().filter_map(|(_, fault)| match fault {
            Fault::Line(_, line) => Some(line),
            _ => None,
        });
        let lines = self.peers.iter().map(|peer| &peer.line).chain(changed);
        let way = lines.map(|line| nanos(line.delay).saturating_mul(2)).min().unwrap_or(0);
        way.min(nanos(self.meeting.announce))
    }

    /// The serving policy's settings of a peer with this limit.
    pub(super) fn serving(&self, limit_up: Option<u64>) -> ServingConfig {
        let config = ServingConfig::new(limit_up);
        ServingConfig { quantum_bytes: self.quantum_bytes.unwrap_or(config.quantum_bytes), ..config }
    }
}

/// One peer.
#[derive(Debug, Clone)]
pub struct PeerSetup {
    /// Its line.
    pub line: Line,
    /// Its own limit on what it sends, in bytes a second: the serving policy's.
    pub limit_up: Option<u64>,
    /// How it treats others.
    pub nature: Nature,
    /// What it holds from the beginning, or from when it publishes it.
    pub holds: Holds,
    /// When it publishes what it holds; `None`: it comes with it.
    pub publishes: Option<When>,
    /// When it begins to fetch, if it does. Where somebody publishes, it waits for the first who has.
    pub fetches: Option<When>,
    /// It is not there before. It announces itself then, if it holds anything.
    pub joins: Duration,
}

impl PeerSetup {
    /// One that has everything.
    pub fn seeder() -> Self {
        Self {
            line: Line::default(),
            limit_up: None,
            nature: Nature::Honest,
            holds: Holds::All,
            publishes: None,
            fetches: None,
            joins: Duration::ZERO,
        }
    }

    /// One that has nothing and fetches from the beginning.
    pub fn leecher() -> Self {
        Self { holds: Holds::Nothing, fetches: Some(When::at(Duration::ZERO)), ..Self::seeder() }
    }
}

/// What a peer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// The whole manifest and these chunks; what lies past the end is not there.
    Chunks(Vec<ChunkRange>),
}

/// How a peer treats those who fetch from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nature {
    /// As it should.
    Honest,
    /// It takes sessions, says what it has and serves nothing.
    Silent,
    /// It takes sessions, says what it has and serves a byte a second.
    Drips,
    /// Every chunk that it sends is wrong.
    WrongChunks,
    /// Every manifest node that it sends is wrong.
    WrongNodes,
    /// Its first words show that it does not keep to the protocol.
    Garbage,
    /// It ends every session at once.
    HangsUp,
}

/// Something that happens to a peer, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is killed: others notice at once, and what was not durable is lost.
    Kill(u32),
    /// It is asked to end, and does: as killed, but what it has taken in is durable.
    Stop(u32),
    /// It is gone without a word, as when the power fails: others notice by its silence.
    Vanish(u32),
    /// It is killed and loses all it holds.
    Wipe(u32),
    /// It is there again, and goes on fetching where it was.
    Return(u32),
    /// Its process is started: it is there again half a second later, unless it is ended before that.
    Start(u32),
    /// It stands still.
    Pause(u32),
    /// It goes on.
    Resume(u32),
    /// Its line changes.
    Line(u32, Line),
    /// It is on this side from now on and reaches those who are there, too. The network is on side 0.
    Side(u32, u32),
    /// Its disk is full: what is not durable is lost, its fetch breaks off, and it serves what it has.
    Fill(u32),
    /// Its disk has room again, and it goes on fetching.
    Free(u32),
    /// Bytes of what it holds change on its disk, at places that the seed names: it finds the chunks damaged, has them
    /// no more, and fetches them again if it fetches at all.
    Corrupt {
        /// Whose.
        peer: u32,
        /// How many.
        bytes: u32,
        /// Of the places.
        seed: u64,
    },
}

impl Fault {
    /// Whom it happens to.
    pub(super) const fn peer(self) -> u32 {
        match self {
            Self::Kill(peer)
            | Self::Stop(peer)
            | Self::Vanish(peer)
            | Self::Wipe(peer)
            | Self::Return(peer)
            | Self::Start(peer)
            | Self::Pause(peer)
            | Self::Resume(peer)
            | Self::Line(peer, _)
            | Self::Side(peer, _)
            | Self::Fill(peer)
            | Self::Free(peer)
            | Self::Corrupt { peer, .. } => peer,
        }
    }

    /// Whether a peer that could not fetch may be able to by it.
    pub(super) const fn heals(self) -> bool {
        matches!(self, Self::Return(_) | Self::Start(_) | Self::Resume(_) | Self::Free(_) | Self::Side(_, 0))
    }
}

/// How peers learn of each other. What is not here is as in the node: see `meeting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meeting {
    /// How long a look-up in the DHT takes. Default 300 ms: three hops on the internet.
    pub look_up: Duration,
    /// How long an announcement takes until look-ups find it. Default 500 ms.
    pub announce: Duration,
    /// Sessions up to which a fetch asks whomever it knows of. Default 24, as the node.
    pub own_sessions: usize,
    /// Sessions up to which it asks those, too, who have begun to fetch from it. Default 40, as the node.
    pub sessions: usize,
}

impl Meeting {
    /// Of peers in one place.
    pub fn near() -> Self {
        Self { look_up: Duration::from_millis(50), announce: Duration::from_millis(100), ..Self::default() }
    }
}

impl Default for Meeting {
    fn default() -> Self {
        Self {
            look_up: Duration::from_millis(300),
            announce: Duration::from_millis(500),
            own_sessions: 24,
            sessions: 40,
        }
    }
}
