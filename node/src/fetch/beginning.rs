//! The beginning of a content, which a peer may send with its ACCEPT before it is asked: nodes of the manifest, and the
//! chunks of a small content. It counts like any answer once the walk comes to need it; what does not come so is asked
//! for.

use bytes::Bytes;
use shoal_protocol::availability::ChunkIndex;
use shoal_protocol::engine::SessionId;
use shoal_protocol::hash::NodeId;
use shoal_protocol::manifest::ChunkLeaf;
use shoal_protocol::wire::ServerMessage;

use super::FetchError;
use super::coordinator::Coordinator;
use super::session::verify;

/// Frames that are taken so; a peer sends few.
const MOST_FRAMES: usize = 64;

/// What one peer has sent. Nothing of it has been looked at.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    nodes: Vec<(NodeId, Bytes)>,
    chunks: Vec<(ChunkIndex, u8, Bytes)>,
}

impl Beginning {
    /// Whether it takes nothing more.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len() + self.chunks.len() >= MOST_FRAMES
    }

    /// Takes in what came behind the ACCEPT.
    pub(super) fn add(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Node { id, bytes } => self.nodes.push((id, bytes)),
            ServerMessage::Chunk { index, codec, bytes } => self.chunks.push((index, codec, bytes)),
            _ => {}
        }
    }

    /// Whether all chunks of a leaf have come.
    pub(super) fn has_all(&self, leaf: &ChunkLeaf) -> bool {
        let has = |index| self.chunks.iter().any(|(other, ..)| *other == ChunkIndex(index));
        leaf.rows.len() <= self.chunks.len() && (leaf.first..).take(leaf.rows.len()).all(has)
    }

    fn take_node(&mut self, id: &NodeId) -> Option<Bytes> {
        let at = self.nodes.iter().position(|(other, _)| other == id)?;
        Some(self.nodes.swap_remove(at).1)
    }
}

impl Coordinator<'_> {
    /// A session has begun with this. The first that comes is enough.
    pub(super) async fn begin_with(&mut self, session: SessionId, beginning: Beginning) -> Result<(), FetchError> {
        if self.root.is_some() || self.beginning.is_some() {
            return Ok(());
        }
        self.beginning = Some((session, beginning));
        let root = self.job.hash.root();
        if !self.cursor.has_asked(&root) {
            // The walk is about to begin, and takes it from here.
            return Ok(());
        }
        // It has been asked for already, of nobody.
        match self.take_node(&root) {
            Some((session, bytes)) => self.handle_node(session, root, bytes).await,
            None => Ok(()),
        }
    }

    /// Takes those of the nodes that have come so, as if the peer had been asked for them; gives back the others.
    pub(super) async fn take_begun(&mut self, ids: Vec<NodeId>) -> Result<Vec<NodeId>, FetchError> {
        let mut others = Vec::with_capacity(ids.len());
        for id in ids {
            match self.take_node(&id) {
                Some((session, bytes)) => {
                    self.engine.want_node(id, self.now());
                    self.handle_node(session, id, bytes).await?;
                }
                None => others.push(id),
            }
        }
        Ok(others)
    }

    fn take_node(&mut self, id: &NodeId) -> Option<(SessionId, Bytes)> {
        let (session, beginning) = self.beginning.as_mut()?;
        Some((*session, beginning.take_node(id)?))
    }

    /// The first rows are here: takes the chunks that have come so, and lets go of the rest.
    pub(super) async fn take_begun_chunks(&mut self) -> Result<(), FetchError> {
        let Some((session, beginning)) = self.beginning.take() else {
            return Ok(());
        };
        for (index, codec, bytes) in beginning.chunks {
            if self.engine.is_missing(index) {
                let event = verify(&self.peers.context(), index, codec, bytes).await;
                self.handle(session, event).await?;
            }
        }
        Ok(())
    }
}
