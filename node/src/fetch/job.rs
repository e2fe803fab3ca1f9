//! What one fetch is to do, and what came of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shoal_protocol::engine::{EngineConfig, Priority};
use shoal_protocol::hash::{ChunkId, ContentHash};
use shoal_protocol::manifest::{ChunkLeaf, EntryPath, PlacedEntry, Root};
use tokio::sync::{mpsc, oneshot, watch};

use super::FetchError;
use super::export::Unfinished;
use super::manifest::Extent;
use super::translation::MAX_BASE_CHUNKS;
use crate::api::{Failure, FailureKind, PeerShare, Progress};
use crate::config::MAX_BASES;
use crate::contents::{Live, Registration};
use crate::network::{Address, AddressError, PeerId};
use crate::operation::Reporter;
use crate::output::Leftovers;
use crate::store::{Hold, ManifestRecord, ReadError};

/// How far a reader's fetch runs ahead of what is held.
const READ_AHEAD_BYTES: u64 = 64 * 1024 * 1024;
/// Leaves of the chunk list that a reader may have before it.
const LEAVES: usize = 4;

/// One fetch.
#[derive(Debug)]
pub(crate) struct Job {
    /// What to fetch.
    pub(crate) hash: ContentHash,
    /// The name for the listing.
    pub(crate) name: Option<String>,
    /// What to do with it.
    pub(crate) goal: Goal,
    /// Peers to ask besides those that the DHT names.
    pub(crate) peers: Vec<(PeerId, Vec<Address>)>,
    /// How long to look for a first provider.
    pub(crate) timeout: Duration,
    /// Most chunk bytes a second.
    pub(crate) limit_down: Option<u64>,
    /// Told a few times a second.
    pub(crate) progress: watch::Sender<Progress>,
    /// Told what a person should know; what does not fit is dropped.
    pub(crate) notes: mpsc::Sender<String>,
    /// Earlier contents whose providers are asked for what they share with this one.
    pub(crate) bases: Vec<ContentHash>,
    /// How much somebody wants it, beside others.
    pub(crate) priority: Priority,
    /// Keeps what is found and fetched from the collector, and the content from eviction.
    pub(crate) hold: Hold,
    /// What the store has recorded of the content.
    pub(crate) record: Option<ManifestRecord>,
    /// What of it was found damaged first, where it was looked for.
    pub(crate) damage: Option<ReadError>,
}

impl Job {
    /// The job of somebody who waits and sets nothing else, as it comes from outside.
    ///
    /// # Errors
    /// When one of the peers is no address with a peer's id at its end.
    pub(crate) fn new(
        hash: ContentHash,
        goal: Goal,
        peers: &[String],
        timeout_ms: u64,
        reporter: Reporter,
        hold: Hold,
    ) -> Result<Self, FetchError> {
        Ok(Self {
            hash,
            name: None,
            goal,
            peers: parse_peers(peers)?,
            timeout: Duration::from_millis(timeout_ms),
            limit_down: None,
            progress: reporter.progress,
            notes: reporter.notes,
            bases: Vec::new(),
            priority: Priority::Waiting,
            hold,
            record: None,
            damage: None,
        })
    }

    /// The job that fetches the chunk list of a base: with the same peers and the same patience, unseen.
    pub(super) fn for_base(&self, hash: ContentHash) -> Self {
        let (progress, _) = watch::channel(Progress::default());
        let (notes, _) = mpsc::channel(1);
        Self {
            hash,
            name: None,
            goal: Goal::Rows { rows: Vec::new() },
            peers: self.peers.clone(),
            timeout: self.timeout,
            limit_down: self.limit_down,
            progress,
            notes,
            bases: Vec::new(),
            priority: self.priority,
            // What it finds and puts is kept as long as the fetch that it is for.
            hold: self.hold.clone(),
            record: None,
            damage: None,
        }
    }

    /// Notes what was found damaged where it was looked for; a person is told of the first.
    pub(super) fn found_damaged(&mut self, damage: ReadError) {
        if self.damage.is_none() {
            if let ReadError::Damaged { file, detail, .. } = &damage {
                self.note(format!("{} is not what it was ({detail}): what it held is fetched anew", file.display()));
            }
            self.damage = Some(damage);
        }
    }

    /// Tells a person something.
    pub(super) fn note(&self, message: String) {
        // A queue that is full, or nobody who listens, loses a note; the log has it all.
        let _ = self.notes.try_send(message);
    }
}

/// Reads addresses of peers; several of one peer are put together.
fn parse_peers(texts: &[String]) -> Result<Vec<(PeerId, Vec<Address>)>, FetchError> {
    let mut peers: BTreeMap<PeerId, Vec<Address>> = BTreeMap::new();
    for text in texts {
        let bad = |reason: String| FetchError::BadPeer { text: text.clone(), reason };
        let address: Address = text.parse().map_err(|error: AddressError| bad(error.to_string()))?;
        let peer = address.peer().ok_or_else(|| bad("it must end with /p2p/ and the peer's id".to_owned()))?;
        peers.entry(peer).or_default().push(address);
    }
    Ok(peers.into_iter().collect())
}

/// The bases of a fetch, each once and without itself.
pub(crate) fn distinct_bases(hash: ContentHash, mut bases: Vec<ContentHash>) -> Result<Vec<ContentHash>, Failure> {
    bases.sort_unstable();
    bases.dedup();
    bases.retain(|base| *base != hash);
    if bases.len() > MAX_BASES {
        return Err(Failure::new(FailureKind::Usage, format!("{} bases: {MAX_BASES} are the most", bases.len())));
    }
    Ok(bases)
}

/// Where to put what is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputPlan {
    /// The path.
    pub(crate) path: PathBuf,
    /// Whether to replace what stands there.
    pub(crate) force: bool,
    /// Whether the store keeps it as its own copy.
    pub(crate) leftovers: Leftovers,
}

/// Where the bytes that a reader wants lie, and how to learn that they are here.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    /// What is being fetched of the content.
    pub(crate) live: Arc<Live>,
    /// Which bytes of the stream.
    pub(crate) range: Range<u64>,
    /// The rows of the chunks that have them, in order. The fetch runs ahead of the reader by no more than fits here
    /// and in the engine's look-ahead.
    pub(crate) leaves: mpsc::Receiver<ChunkLeaf>,
}

/// What a fetch is for.
#[derive(Debug)]
pub(crate) enum Goal {
    /// To hold everything, and to write it out if there is a plan.
    Everything {
        /// Where to.
        output: Option<OutputPlan>,
    },
    /// To hold again what of it was held and is damaged.
    Repair,
    /// To know the chunk list, of a content that shares chunks with another.
    Rows {
        /// The chunks and their indices, as far as they are looked at.
        rows: Vec<(ChunkId, u32)>,
    },
    /// To list entries.
    Entries {
        /// Below this path, or this path itself; `None`: all.
        path: Option<EntryPath>,
        /// Who wants them, in order.
        sink: mpsc::Sender<PlacedEntry>,
    },
    /// To read one file's bytes in order.
    Bytes {
        /// Which file; `None`: the only one.
        path: Option<EntryPath>,
        /// First byte.
        start: u64,
        /// Last byte; `None`: the last there is.
        end: Option<u64>,
        /// Who reads them.
        reader: Reader,
    },
}

/// Whoever reads a file's bytes in order.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Is told where they lie, once that is known.
    place: Option<oneshot::Sender<StreamPlace>>,
    leaves: Option<mpsc::Sender<ChunkLeaf>>,
}

impl Reader {
    /// A reader that waits for its place.
    pub(crate) fn new() -> (Self, oneshot::Receiver<StreamPlace>) {
        let (place, receiver) = oneshot::channel();
        (Self { place: Some(place), leaves: None }, receiver)
    }
}

impl Goal {
    pub(super) fn extent(&self) -> Extent {
        match self {
            Self::Everything { .. } => Extent::Everything,
            Self::Repair => Extent::Held,
            Self::Rows { .. } => Extent::Chunks(MAX_BASE_CHUNKS),
            Self::Entries { path, .. } => Extent::Entries(path.clone()),
            Self::Bytes { path, start, end, .. } => Extent::Bytes(path.clone(), *start, *end),
        }
    }

    pub(super) fn engine_config(&self) -> EngineConfig {
        match self {
            Self::Bytes { .. } => EngineConfig::sequential(READ_AHEAD_BYTES),
            _ => EngineConfig::default(),
        }
    }

    pub(super) async fn give_entries(&self, entries: Vec<PlacedEntry>) {
        if let Self::Entries { sink, .. } = self {
            for entry in entries {
                // Whoever asked is gone: the rest of the manifest is fetched all the same, it is little.
                if sink.send(entry).await.is_err() {
                    return;
                }
            }
        }
    }

    pub(super) fn give_stream(&mut self, live: Arc<Live>, range: Range<u64>) {
        if let Self::Bytes { reader, .. } = self
            && let Some(place) = reader.place.take()
        {
            let (sender, leaves) = mpsc::channel(LEAVES);
            reader.leaves = Some(sender);
            // A reader that is gone ends the fetch from its own side.
            let _ = place.send(StreamPlace { live, range, leaves });
        }
    }

    /// Whether whoever reads has room for another leaf.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Bytes { reader: Reader { leaves: Some(leaves), .. }, .. } => leaves.capacity() > 0,
            _ => true,
        }
    }

    /// Whether it needs the chunks themselves, and makes them known as a content that is held.
    pub(super) fn wants_chunks(&self) -> bool {
        !matches!(self, Self::Rows { .. })
    }

    /// Whether it does without what was never held.
    pub(super) fn is_repair(&self) -> bool {
        matches!(self, Self::Repair)
    }

    /// Whether all of the content is to lie in the store in the end.
    pub(super) fn fills_store(&self) -> bool {
        match self {
            Self::Everything { output } => output.as_ref().is_none_or(|plan| plan.leftovers == Leftovers::Remove),
            Self::Repair | Self::Rows { .. } | Self::Entries { .. } | Self::Bytes { .. } => false,
        }
    }

    /// Waits until whoever reads has room for another leaf; for ever, if nobody reads any more.
    pub(super) async fn room(&self) {
        if let Self::Bytes { reader: Reader { leaves: Some(leaves), .. }, .. } = self
            && leaves.reserve().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Hands a leaf to whoever reads. There is room for it.
    pub(super) fn give_leaf(&mut self, leaf: &ChunkLeaf) {
        if let Self::Rows { rows } = self {
            let indices = (leaf.first..).map_while(|index| u32::try_from(index).ok());
            rows.extend(leaf.rows.iter().map(|row| row.id).zip(indices));
        }
        if let Self::Bytes { reader: Reader { leaves: Some(leaves), .. }, .. } = self {
            let _ = leaves.try_send(leaf.clone());
        }
    }

    /// No more leaves will come.
    pub(super) fn end_leaves(&mut self) {
        if let Self::Bytes { reader, .. } = self {
            reader.leaves = None;
        }
    }
}

/// What a fetch did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) root: Root,
    /// The output, if there is one.
    pub(super) unfinished: Option<Unfinished>,
    /// Whether there was nothing to record: all of it was recorded as held, or only a part of it was asked for.
    pub(super) was_whole: bool,
    pub(crate) fetched_bytes: u64,
    pub(crate) wasted_bytes: u64,
    pub(crate) manifest_bytes: u64,
    pub(crate) peers: Vec<PeerShare>,
    /// Keeps the content served as one that is being fetched, until its record says that it is complete.
    pub(super) registration: Option<Registration>,
}
