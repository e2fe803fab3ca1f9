//! Flushing a file while more of it is being written, so that the disk works meanwhile and little is left for the end.
//!
//! An error of the disk is told once for each opened file, to whoever asks first: what the thread is told is kept and
//! comes out of the next call here. Nothing counts as durable because of this; the end of an output flushes it all.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

/// Bytes that are written before a flush is begun, if the one before it is done. Less would make the file system's
/// journal work for little; what is left for the end is at most twice this where the disk is as fast as the writer.
const GROUP_BYTES: u64 = 32 << 20;

/// Flushes files on a thread of its own, which there is only once so much has been written. When it is dropped, the
/// thread ends after the flush it is at.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    waiting_bytes: u64,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    due: SyncSender<File>,
    ended: JoinHandle<io::Result<()>>,
}

impl Flusher {
    /// Notes that so many bytes have been written to a file, and has it flushed if it is time. Waits for no flush.
    ///
    /// # Errors
    /// What an earlier flush came to.
    pub(super) fn wrote(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        self.waiting_bytes += bytes as u64;
        if self.waiting_bytes < GROUP_BYTES {
            return Ok(());
        }
        if self.thread.is_none() {
            self.thread = Thread::start().ok();
        }
        // Without a thread or a descriptor to spare, all is flushed at the end.
        let (Some(thread), Ok(file)) = (&self.thread, file.try_clone()) else {
            return Ok(());
        };
        match thread.due.try_send(file) {
            Ok(()) => self.waiting_bytes = 0,
            // The one before it is not done: it goes with what comes meanwhile.
            Err(TrySendError::Full(_)) => self.waiting_bytes -= GROUP_BYTES / 8,
            Err(TrySendError::Disconnected(_)) => return self.finish(),
        }
        Ok(())
    }

    /// Waits for the flush that is under way.
    ///
    /// # Errors
    /// What a flush came to.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.waiting_bytes = 0;
        let Some(Thread { due, ended }) = self.thread.take() else {
            return Ok(());
        };
        drop(due);
        ended.join().unwrap_or_else(|_| Err(io::Error::other("the thread that flushes broke off")))
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let (due, files) = sync_channel(0);
        let ended = thread::Builder::new().name("flush".to_owned()).spawn(move || flush_all(&files))?;
        Ok(Self { due, ended })
    }
}

fn flush_all(files: &Receiver<File>) -> io::Result<()> {
    while let Ok(file) = files.recv() {
        file.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: usize = GROUP_BYTES as usize;

    #[test]
    fn little_needs_no_thread() {
        let file = tempfile::tempfile().unwrap();
        let mut flusher = Flusher::default();
        flusher.wrote(&file, GROUP - 1).unwrap();
        assert!(flusher.thread.is_none());
        flusher.wrote(&file, 1).unwrap();
        assert!(flusher.thread.is_some());
        flusher.finish().unwrap();
        assert!(flusher.thread.is_none());
        // And it can begin anew.
        flusher.wrote(&file, GROUP).unwrap();
        flusher.finish().unwrap();
    }

    /// A pipe cannot be flushed, as a file cannot whose disk fails.
    #[test]
    fn what_a_flush_came_to_is_told() {
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut flusher = Flusher::default();
        // The thread may not be waiting yet: then it is asked again.
        while flusher.waiting_bytes > 0 || flusher.thread.is_none() {
            if flusher.wrote(&file, GROUP).is_err() {
                return;
            }
        }
        assert!(flusher.finish().is_err());
    }

    #[test]
    fn an_earlier_error_ends_the_writing() {
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut flusher = Flusher::default();
        while flusher.wrote(&file, GROUP).is_ok() {
            thread::yield_now();
        }
        // It was told.
        flusher.finish().unwrap();
    }
}
