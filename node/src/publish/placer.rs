//! Placing the chunks of large files where they are, instead of copying them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use shoal_protocol::hash::ChunkId;
use tokio::task::spawn_blocking;

use super::PublishError;
use super::read::Origin;
use super::scan::{Scan, Source};
use crate::store::{Added, FileNumber, Hold, InPlaceWriter, KeptChunk, NewFile, Store};

/// Chunks that are placed in one commit: 44 bytes each, and some 70 KiB of payload.
const GROUP_CHUNKS: usize = 16 * 1024;

/// Takes chunks of large files, in the order of the stream.
#[derive(Debug)]
pub(super) struct Placer {
    // Away while a group is being committed.
    writer: Option<InPlaceWriter>,
    files: Vec<Source>,
    /// The file that was taken in last: which of `files`, and its number.
    current: Option<(usize, FileNumber)>,
    waiting: Vec<(Origin, ChunkId, u32)>,
}

impl Placer {
    pub(super) fn new(store: &Store, hold: Hold, scan: &Scan) -> Self {
        let files = scan.large_files().cloned().collect();
        Self { writer: Some(store.in_place_writer_under(hold)), files, current: None, waiting: Vec::new() }
    }

    /// Places a chunk; durable after [`flush`](Self::flush).
    pub(super) async fn place(&mut self, origin: Origin, id: ChunkId, len: u32) -> Result<(), PublishError> {
        self.waiting.push((origin, id, len));
        if self.waiting.len() >= GROUP_CHUNKS { self.flush().await.map(drop) } else { Ok(()) }
    }

    /// Makes everything durable; says what was not held before.
    pub(super) async fn flush(&mut self) -> Result<Added, PublishError> {
        let mut writer = self.writer.take().ok_or(PublishError::Broken)?;
        let waiting = std::mem::take(&mut self.waiting);
        let (files, mut current) = (std::mem::take(&mut self.files), self.current);
        let done = spawn_blocking(move || -> Result<_, PublishError> {
            let mut chunks = Vec::with_capacity(waiting.len());
            for (origin, id, len) in waiting {
                let file = match current {
                    Some((file, number)) if file == origin.file => number,
                    _ => {
                        let source = files.get(origin.file).ok_or(PublishError::Broken)?;
                        make_durable(&source.path)?;
                        let file = NewFile { path: source.path.clone(), becomes: None, stamp: source.stamp };
                        let number = writer.add(file)?;
                        current = Some((origin.file, number));
                        number
                    }
                };
                chunks.push(KeptChunk { id, file, offset: origin.offset, len });
            }
            writer.keep(&chunks)?;
            Ok((writer, files, current))
        });
        let (writer, files, current) = done.await.map_err(|_| PublishError::Broken)??;
        let added = writer.added();
        (self.writer, self.files, self.current) = (Some(writer), files, current);
        Ok(added)
    }
}

/// Makes a file of the user durable, with its name: once published, its bytes are promised. Costs nothing if it lies on
/// the disk already. Blocks.
fn make_durable(path: &Path) -> Result<(), PublishError> {
    // A pipe that has taken its place meanwhile is not waited for: it has nothing of what was read.
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let synced = opened.and_then(|file| match file.metadata()?.is_file() {
        true => file.sync_all().or_else(unless_pointless),
        false => Err(io::Error::other("it is no file any more")),
    });
    if let Err(source) = synced {
        return Err(PublishError::Read { path: path.to_owned(), source });
    }
    // A folder that may not be read may still be passed through.
    if let Some(folder) = path.parent()
        && let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()).or_else(unless_pointless)
    {
        tracing::debug!(%error, folder = %folder.display(), "its names may not be durable yet");
    }
    Ok(())
}

/// Some file systems have nothing to make durable, and say so.
fn unless_pointless(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::ReadOnlyFilesystem => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_took_the_place_of_a_file_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        make_durable(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let refused = make_durable(&path).unwrap_err().to_string();
        assert!(refused.contains("no file any more") && refused.contains(path.to_str().unwrap()), "{refused}");
    }
}
