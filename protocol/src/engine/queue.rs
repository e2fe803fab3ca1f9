//! What a session has been asked for and has not sent yet, in the order of asking.

use std::collections::VecDeque;

use crate::availability::ChunkIndex;

/// A chunk in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) index: ChunkIndex,
    pub(super) len: u32,
}

/// Chunks in flight from one session. Servers answer mostly in order, so what comes is found near the front.
#[derive(Debug, Default)]
pub(super) struct Queue {
    asked: VecDeque<Asked>,
    bytes: u64,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push(&mut self, index: ChunkIndex, len: u32) {
        self.asked.push_back(Asked { index, len });
        self.bytes += u64::from(len);
    }

    /// Takes the chunk out, if it is there.
    pub(super) fn remove(&mut self, index: ChunkIndex) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.index == index)?;
        let asked = self.asked.remove(at)?;
        self.bytes -= u64::from(asked.len);
        Some(asked)
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> VecDeque<Asked> {
        self.bytes = 0;
        std::mem::take(&mut self.asked)
    }

    /// From the last asked to the first, each with the bytes that were asked before it.
    pub(super) fn from_the_back(&self) -> impl Iterator<Item = (Asked, u64)> + '_ {
        let mut before = self.bytes;
        self.asked.iter().rev().map(move |asked| {
            before -= u64::from(asked.len);
            (*asked, before)
        })
    }
}
