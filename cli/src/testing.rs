//! Streams that tests can read back.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::output::Stream;

/// Keeps what is written to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails as a pipe does whose reader is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Both streams of a command.
pub(crate) fn streams(stdout: &Shared, stderr: &Shared, terminal: bool) -> (Stream, Stream) {
    let stream = |shared: &Shared| Stream { writer: Box::new(shared.clone()), terminal };
    (stream(stdout), stream(stderr))
}
