//! An output that the store keeps as its own copy: what is written to it becomes durable in groups, and is then placed
//! where it lies.
//!
//! A thread of its own makes a group durable while the next one is written, so the disk is never waited for twice.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use shoal_protocol::hash::ChunkId;
use shoal_protocol::manifest::ChunkRow;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use super::FetchError;
use crate::output::{Keeper, KeptFile, OutputError};
use crate::store::{FileNumber, FileStamp, Hold, InPlaceWriter, KeptChunk, NewFile, Store};

/// Bytes after which a group is made durable, if the one before it is: what a crash costs a fetch that goes on, at
/// most twice.
const GROUP_BYTES: u64 = 4 << 20;
/// Bytes beyond which the writer waits for the disk.
const MOST_BYTES: u64 = 256 << 20;
/// How long something written waits for more.
pub(super) const GROUP_DELAY: Duration = Duration::from_millis(200);

/// A chunk on its way into an output that is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// How many came before it, and itself.
    pub(super) number: u64,
    pub(super) id: ChunkId,
    pub(super) len: u32,
    pub(super) file: KeptFile,
    pub(super) offset: u64,
}

/// An output as a copy of the content: its files as the store knows them.
#[derive(Debug)]
pub(super) struct Keeping {
    writer: InPlaceWriter,
    keeper: Keeper,
    files: BTreeMap<KeptFile, FileNumber>,
}

impl Keeping {
    pub(super) fn new(store: &Store, hold: Hold, keeper: Keeper) -> Self {
        Self { writer: store.in_place_writer_under(hold), keeper, files: BTreeMap::new() }
    }

    /// The number of a file that has been made. Blocks.
    fn file(&mut self, file: KeptFile) -> Result<FileNumber, FetchError> {
        if let Some(number) = self.files.get(&file) {
            return Ok(*number);
        }
        let (path, becomes) = self.keeper.paths(file).ok_or(FetchError::Broken)?;
        let meta = fs::metadata(&path).map_err(|error| OutputError::write(&path, error))?;
        let number = self.writer.add(NewFile { stamp: FileStamp::of(&meta), becomes: Some(becomes), path })?;
        self.files.insert(file, number);
        Ok(number)
    }

    /// Places chunks that are durable in their files. Blocks.
    fn place(&mut self, group: &[Kept]) -> Result<(), FetchError> {
        let mut chunks = Vec::with_capacity(group.len());
        for kept in group {
            let Kept { id, len, offset, .. } = *kept;
            chunks.push(KeptChunk { id, file: self.file(kept.file)?, offset, len });
        }
        Ok(self.writer.keep(&chunks)?)
    }

    /// Whether a chunk that the store holds lies at this place of the stream in this very output, and nowhere else, so
    /// that whoever has read it has read it there. Blocks.
    pub(super) fn lies_there(&mut self, offset: u64, id: ChunkId, len: u32) -> Result<bool, FetchError> {
        let Some((file, offset)) = self.keeper.file_of(offset, len) else {
            return Ok(false);
        };
        match self.file(file) {
            Ok(file) => {
                let there = self.writer.lie_there(&[KeptChunk { id, file, offset, len }])?;
                Ok(there.first().copied().unwrap_or(false))
            }
            // Nothing has been written to that file yet.
            Err(FetchError::Output(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where in the output a chunk is to be placed that has been written at this place of the stream, if it keeps it.
    pub(super) fn place_of(&self, offset: u64, row: &ChunkRow) -> Option<Kept> {
        let ChunkRow { id, len } = *row;
        let (file, offset) = self.keeper.file_of(offset, len)?;
        Some(Kept { number: 0, id, len, file, offset })
    }

    /// Makes chunks durable that lie in the output, and places those that lie in no segment and in no file that stays.
    /// Blocks.
    pub(super) fn take_over(&mut self, group: &[Kept]) -> Result<(), FetchError> {
        if group.is_empty() {
            return Ok(());
        }
        self.keeper.syncer()?.sync()?;
        self.place(group)
    }

    /// Notes that the output has its final name. Blocks.
    pub(super) fn finish(mut self) {
        if let Err(error) = self.writer.finish() {
            // Both names are known, so it is found all the same.
            tracing::warn!(%error, "the output's final name could not be noted in the store");
        }
    }
}

/// Groups on their way to being durable, and the thread that makes them so.
#[derive(Debug)]
pub(super) struct Groups {
    open: Vec<Kept>,
    open_bytes: u64,
    since: Option<Instant>,
    due: SyncSender<Vec<Kept>>,
    thread: JoinHandle<Result<Keeping, FetchError>>,
}

impl Groups {
    /// Starts the thread. `durable` is told the number of the last chunk that is placed.
    pub(super) fn start(keeping: Keeping, durable: watch::Sender<u64>) -> Self {
        let (due, groups) = sync_channel(0);
        let thread = spawn_blocking(move || place_groups(keeping, &groups, &durable));
        Self { open: Vec::new(), open_bytes: 0, since: None, due, thread }
    }

    /// Takes in a chunk that has been written. `false`: the thread has ended, and says why itself.
    pub(super) fn push(&mut self, kept: Kept) -> bool {
        self.since.get_or_insert_with(Instant::now);
        self.open_bytes += u64::from(kept.len);
        self.open.push(kept);
        match self.open_bytes {
            MOST_BYTES.. => self.hand_over(),
            GROUP_BYTES.. => self.offer(),
            _ => true,
        }
    }

    /// When the open group is to be handed over at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + GROUP_DELAY)
    }

    /// Hands the open group over if nothing is in the way.
    fn offer(&mut self) -> bool {
        match self.due.try_send(std::mem::take(&mut self.open)) {
            Ok(()) => {
                self.begin_anew();
                true
            }
            Err(TrySendError::Full(open)) => {
                self.open = open;
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Hands the open group over, when the one before it is durable. Blocks.
    pub(super) fn hand_over(&mut self) -> bool {
        let open = std::mem::take(&mut self.open);
        self.begin_anew();
        open.is_empty() || self.due.send(open).is_ok()
    }

    fn begin_anew(&mut self) {
        self.open_bytes = 0;
        self.since = None;
    }

    /// Makes the rest durable. Blocks.
    pub(super) fn finish(mut self) -> Result<Keeping, FetchError> {
        self.hand_over();
        drop(self.due);
        tokio::runtime::Handle::current().block_on(self.thread).map_err(|_| FetchError::Broken)?
    }
}

fn place_groups(
    mut keeping: Keeping,
    groups: &Receiver<Vec<Kept>>,
    durable: &watch::Sender<u64>,
) -> Result<Keeping, FetchError> {
    let mut syncer = None;
    while let Ok(group) = groups.recv() {
        let syncer = match &syncer {
            Some(syncer) => syncer,
            None => syncer.insert(keeping.keeper.syncer()?),
        };
        syncer.sync()?;
        keeping.place(&group)?;
        if let Some(last) = group.last() {
            durable.send_replace(last.number);
        }
    }
    Ok(keeping)
}
