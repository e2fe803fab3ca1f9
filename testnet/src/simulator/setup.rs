//! What is simulated: who is there, over which lines they talk, what they do and what happens to them.

use std::time::Duration;

use shoal_protocol::availability::ChunkRange;
use shoal_protocol::engine::EngineConfig;
use shoal_protocol::serving::ServingConfig;

use super::line::Line;
use super::store::Durability;

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
    /// What goes wrong and when, in order of time.
    pub faults: Vec<(Duration, Fault)>,
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
    /// What it holds at the beginning.
    pub holds: Holds,
    /// When it begins to fetch, if it does.
    pub fetches: Option<Duration>,
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
            fetches: None,
            joins: Duration::ZERO,
        }
    }

    /// One that has nothing and fetches from the beginning.
    pub fn leecher() -> Self {
        Self { holds: Holds::Nothing, fetches: Some(Duration::ZERO), ..Self::seeder() }
    }
}

/// What a peer holds at the beginning.
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
}

/// Something that happens to a peer, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is killed: others notice at once, and what was not durable is lost.
    Kill(u32),
    /// It is gone without a word, as when the power fails: others notice by its silence.
    Vanish(u32),
    /// It is killed and loses all it holds.
    Wipe(u32),
    /// It is there again, and goes on fetching where it was.
    Return(u32),
    /// It stands still.
    Pause(u32),
    /// It goes on.
    Resume(u32),
    /// Its line changes.
    Line(u32, Line),
    /// Peers with this mark and those without cannot reach each other while somebody has it.
    Part(u32),
    /// It can be reached by all again.
    Heal(u32),
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
