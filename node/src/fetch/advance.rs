//! How a fetch walks on in the manifest: nodes from the store or from peers, leaves to the engine.

use std::sync::Arc;
use std::time::Instant;

use shoal_protocol::availability::{Availability, ChunkIndex};
use shoal_protocol::hash::{ChunkId, NodeId};
use shoal_protocol::manifest::{ChunkLeaf, ContentKind, Root};
use tokio::task::spawn_blocking;

use super::FetchError;
use super::coordinator::Coordinator;
use super::job::Goal;
use super::manifest::ManifestStep;
use super::repeats::Looked;
use crate::output::{Output, OutputError, Shape};
use crate::store::{ContentState, Hold, ReadError, Store};

impl Coordinator<'_> {
    /// Walks on in the manifest as far as the nodes that are here allow, and as the engine has use for.
    pub(super) async fn advance(&mut self) -> Result<(), FetchError> {
        while !self.layout_done {
            if self.cursor.is_at_chunks() && !self.engine.needs_layout() {
                return Ok(());
            }
            if self.repeats.is_full() || self.sink.is_full() {
                return Ok(());
            }
            if self.cursor.is_at_chunks() && !self.job.goal.has_room() {
                // It is the reader that is slow, not the peers.
                self.last_progress = Instant::now();
                return Ok(());
            }
            match self.cursor.next()? {
                ManifestStep::Need(ids) => self.look_up(ids).await?,
                ManifestStep::Wait => return Ok(()),
                ManifestStep::Root(root) => self.begin(root).await?,
                ManifestStep::Layout(layout) => self.open_output(Shape::Folder(layout)).await?,
                ManifestStep::Entries(entries) => {
                    self.job.goal.give_entries(entries).await;
                    // It may be the reader that took its time, not the peers.
                    self.last_progress = Instant::now();
                }
                ManifestStep::Stream(range) => {
                    if let Some(registration) = &self.registration {
                        self.job.goal.give_stream(Arc::clone(&registration.live), range);
                    }
                }
                ManifestStep::Chunks(leaf) => self.add_leaf(leaf).await?,
                ManifestStep::Done => {
                    self.engine.layout_finished();
                    self.job.goal.end_leaves();
                    self.layout_done = true;
                }
            }
        }
        Ok(())
    }

    /// Takes nodes from the store; asks peers for those that are not there.
    async fn look_up(&mut self, ids: Vec<NodeId>) -> Result<(), FetchError> {
        self.cursor.asked(&ids);
        let ids = self.take_begun(ids).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let (store, hold) = (self.fetching.store.clone(), self.job.hold.clone());
        let find = move |id| (id, store.find_node(&id, &hold));
        let read = spawn_blocking(move || ids.into_iter().map(find).collect::<Vec<_>>());
        for (id, read) in read.await.map_err(|_| FetchError::Broken)? {
            match read {
                Ok(Some(bytes)) => {
                    self.cursor.supply(id, &bytes)?;
                }
                Ok(None) if self.job.goal.is_repair() && id != self.job.hash.root() => self.cursor.pass_over(id),
                Ok(None) | Err(ReadError::Damaged { .. }) => self.engine.want_node(id, self.now()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The root is known: from here on the content is listed, and can be served while it comes.
    async fn begin(&mut self, root: Root) -> Result<(), FetchError> {
        let hash = self.job.hash;
        self.engine.set_chunk_count(root.chunks, self.now());
        if !self.job.goal.wants_chunks() {
            self.root = Some(root);
            return Ok(());
        }
        if self.job.goal.fills_store() {
            self.fetching.store.check_fits(root.bytes)?;
        }
        if self.job.record.is_none() {
            self.unrecorded = Some(Instant::now());
        }
        let held = match &self.job.record {
            Some(record) if record.state == ContentState::Complete => Availability::all(root.chunks),
            _ => Availability::new(root.chunks),
        };
        self.registration = Some(self.fetching.contents.register(hash, root.clone(), held));
        self.listen_elsewhere();
        let lone = (root.kind == ContentKind::File).then_some(Shape::File { bytes: root.bytes });
        self.root = Some(root);
        match lone {
            Some(file) => self.open_output(file).await,
            None => Ok(()),
        }
    }

    async fn open_output(&mut self, shape: Shape) -> Result<(), FetchError> {
        let Goal::Everything { output: Some(plan) } = &self.job.goal else {
            return Ok(());
        };
        let (plan, hash, store) = (plan.clone(), self.job.hash, self.fetching.store.clone());
        let claims = self.fetching.claims.clone();
        let output = spawn_blocking(move || {
            let output = Output::create(&claims, &plan.path, &hash, shape, plan.force, plan.leftovers)?;
            // From now on nothing counts on what is there.
            let replacing = plan.force.then(|| store.replacing(&plan.path));
            Ok::<_, OutputError>((output, replacing))
        });
        let output = output.await.map_err(|_| FetchError::Broken)??;
        if output.1.is_some() {
            // A group that has looked before may count on it: no chunk of ours joins one.
            self.sink.ingest().flush().await?;
        }
        let chunks = self.root.as_ref().ok_or(FetchError::Broken)?.chunks;
        self.sink.set_output(&self.fetching.store, output, chunks);
        Ok(())
    }

    /// Hands a leaf of the chunk list to the engine, with what is held of it.
    async fn add_leaf(&mut self, leaf: ChunkLeaf) -> Result<(), FetchError> {
        if !self.job.goal.wants_chunks() {
            self.job.goal.give_leaf(&leaf);
            return Ok(());
        }
        let held = if self.beginning.as_ref().is_some_and(|(_, beginning)| beginning.has_all(&leaf)) {
            // What is here need not be looked for. The store writes none of it twice.
            vec![false; leaf.rows.len()]
        } else {
            let (held, damage) = find_held(self.fetching.store.clone(), self.job.hold.clone(), &leaf).await?;
            damage.into_iter().for_each(|damage| self.job.found_damaged(damage));
            held
        };
        let unwanted = if self.job.goal.is_repair() {
            let known = find_known(self.fetching.store.clone(), &leaf).await?;
            held.iter().zip(known).map(|(held, known)| *held || !known).collect()
        } else {
            held.clone()
        };
        let Looked { known, on_their_way } = self.repeats.add(&leaf, &unwanted);
        self.sink.expect(&on_their_way);
        let missing = known.iter().filter(|known| !**known).count();
        if missing > 0 {
            self.rows.insert(&leaf, missing);
        }
        let lens: Vec<u32> = leaf.rows.iter().map(|row| row.len).collect();
        let now = self.now();
        self.engine.handle_layout(ChunkIndex(leaf.first), &lens, &|at| known.get(at).copied().unwrap_or(false), now);
        self.take_begun_chunks().await?;
        self.take_leftovers(&leaf).await?;
        self.tell_bases(&leaf, &known);
        self.job.goal.give_leaf(&leaf);
        if let Some(registration) = &self.registration {
            super::tell_held(&registration.live, leaf.first, &held);
            if held.contains(&true) {
                self.announce();
            }
        }
        Ok(())
    }
}

/// Which chunks of a leaf are held, or were and are damaged.
async fn find_known(store: Store, leaf: &ChunkLeaf) -> Result<Vec<bool>, FetchError> {
    let ids: Vec<ChunkId> = leaf.rows.iter().map(|row| row.id).collect();
    Ok(spawn_blocking(move || store.knows_chunks(&ids)).await.map_err(|_| FetchError::Broken)??)
}

/// Which chunks of a leaf are held, which are kept from now on, and what of them was found damaged.
async fn find_held(store: Store, hold: Hold, leaf: &ChunkLeaf) -> Result<(Vec<bool>, Option<ReadError>), FetchError> {
    let ids: Vec<ChunkId> = leaf.rows.iter().map(|row| row.id).collect();
    let found = spawn_blocking(move || store.find_chunks(&ids, &hold)).await;
    Ok(found.map_err(|_| FetchError::Broken)??)
}
