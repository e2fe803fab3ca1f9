//! Fetching: a content comes in from all peers that have any of it, at once.
//!
//! One [`coordinator`] task per fetch owns the engine, the walk over the manifest and the peers; each [`session`] has
//! a task that verifies what comes; the [`sink`] stores and writes it. The engine decides what to ask of whom, and
//! nothing else does. A fetch that is dropped leaves in the store what it has verified, and no output.

mod advance;
mod bans;
mod base;
mod beginning;
mod believable;
mod budget;
mod candidates;
mod company;
mod coordinator;
mod elsewhere;
mod error;
mod explain;
mod export;
mod finish;
mod job;
mod keep;
mod leftover;
mod lookup;
mod manifest;
mod patience;
mod peers;
mod recording;
mod repeats;
mod replace;
mod reports;
mod room;
mod rows;
mod session;
mod sink;
mod translation;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use shoal_protocol::availability::{ChunkIndex, ChunkRange, push_index};
use tokio::sync::watch;

pub(crate) use bans::Bans;
pub(crate) use budget::Budget;
use coordinator::Coordinator;
pub(crate) use error::FetchError;
pub(crate) use job::{Goal, Job, Outcome, OutputPlan, Reader, StreamPlace, distinct_bases};

pub(crate) use reports::Reports;

use crate::api::{FailureKind, Fetched, Phase, Progress};
use crate::clock::unix_ms;
use crate::contents::{Contents, Live};
use crate::limiter::Limiter;
use crate::network::Network;
use crate::output::{Claims, Output};
use crate::store::{ContentState, ReadError, Store};
use crate::swarm::Swarms;
use crate::traffic::Traffic;

/// How often a fetch begins anew because what was held turned out damaged when it was to be written.
const MAX_ROUNDS: u32 = 3;

/// What every fetch needs.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) store: Store,
    pub(crate) network: Network,
    pub(crate) contents: Contents,
    pub(crate) swarms: Arc<Swarms>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) limit_down: Arc<Limiter>,
    pub(crate) bans: Arc<Bans>,
    pub(crate) reports: Reports,
    pub(crate) budget: Budget,
    /// Where outputs are being written.
    pub(crate) claims: Claims,
}

impl Fetching {
    /// Fetches everything, and writes it where the job says. May be dropped at any time; running it again resumes.
    pub(crate) async fn everything(&self, mut job: Job) -> Result<Fetched, FetchError> {
        let started = Instant::now();
        let plan = match &job.goal {
            Goal::Everything { output } => output.clone(),
            _ => None,
        };
        if let Some(plan) = plan.clone() {
            tokio::task::spawn_blocking(move || Output::check(&plan.path, plan.force))
                .await
                .map_err(|_| FetchError::Broken)??;
        }
        let mut total: Option<Fetched> = None;
        let mut damage: Option<ReadError> = None;
        for round in 1..=MAX_ROUNDS {
            let mut outcome = match (self.run(&mut job).await, damage.take()) {
                (Err(error), Some(damage)) if error.kind() == FailureKind::NotFound => {
                    return Err(FetchError::Damaged { hash: job.hash, damage: Some(damage) });
                }
                (outcome, _) => outcome?,
            };
            if outcome.was_whole {
                self.note_use(&job).await?;
            }
            let written = self.write_out(&job, &mut outcome).await;
            let fetched = total.get_or_insert_with(|| Fetched {
                hash: job.hash,
                path: plan.as_ref().map(|plan| plan.path.clone()),
                bytes: outcome.root.bytes,
                fetched_bytes: 0,
                reused_bytes: 0,
                wasted_bytes: 0,
                manifest_bytes: 0,
                seconds: 0.0,
                peers: Vec::new(),
            });
            fetched.fetched_bytes += outcome.fetched_bytes;
            fetched.wasted_bytes += outcome.wasted_bytes;
            fetched.manifest_bytes += outcome.manifest_bytes;
            fetched.peers.append(&mut outcome.peers);
            match written {
                Ok(()) => break,
                // The store has forgotten what was damaged, so the next round fetches just that.
                Err(FetchError::Read(error @ ReadError::Damaged { .. })) => {
                    self.incomplete(&mut job).await?;
                    if round == MAX_ROUNDS {
                        return Err(FetchError::Damaged { hash: job.hash, damage: Some(error) });
                    }
                    job.note("something that was held is damaged on this disk; fetching it again".to_owned());
                    damage = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let mut fetched = total.ok_or(FetchError::Broken)?;
        fetched.reused_bytes = fetched.bytes.saturating_sub(fetched.fetched_bytes);
        fetched.seconds = started.elapsed().as_secs_f64();
        Ok(fetched)
    }

    /// Does what the job says, as far as the network and the store are concerned.
    pub(crate) async fn run(&self, job: &mut Job) -> Result<Outcome, FetchError> {
        let (store, hash) = (self.store.clone(), job.hash);
        job.record = if store.lacks_manifest(&hash) {
            None
        } else {
            let record = tokio::task::spawn_blocking(move || store.manifest(&hash));
            record.await.map_err(|_| FetchError::Broken)??
        };
        let was_whole = job.record.as_ref().is_some_and(|record| record.state.was_whole());
        let ran = Coordinator::new(self, job, seed()).run().await;
        if let Err(FetchError::Malformed { .. }) = &ran {
            self.store.remove_manifest(job.hash).await?;
        }
        ran.map_err(|error| match error.kind() {
            // All of it was here once: what is missing now was found to be damaged.
            FailureKind::NotFound if was_whole && error.is_about_providers() => {
                FetchError::Damaged { hash: job.hash, damage: job.damage.take() }
            }
            _ => error,
        })
    }

    /// Notes the use of a content that was held before.
    async fn note_use(&self, job: &Job) -> Result<(), FetchError> {
        let Some(record) = &job.record else { return Ok(()) };
        if !self.store.touch_manifest(job.hash, unix_ms()).await? {
            // It was removed just before this fetch began.
            self.store.put_manifest(record.clone()).await?;
        }
        Ok(())
    }

    /// Records that some of it turned out not to be held.
    async fn incomplete(&self, job: &mut Job) -> Result<(), FetchError> {
        if let Some(record) = &mut job.record {
            record.state = record.state.min(ContentState::Damaged);
            self.store.incomplete_manifest(job.hash).await?;
        }
        Ok(())
    }

    async fn write_out(&self, job: &Job, outcome: &mut Outcome) -> Result<(), FetchError> {
        let Some(unfinished) = outcome.unfinished.take() else {
            return Ok(());
        };
        let progress = job.progress.clone();
        let (total, begun) = (outcome.root.bytes, outcome.fetched_bytes);
        let on_bytes = move |bytes| tell_writing(&progress, begun + bytes, total);
        on_bytes(0);
        export::export(&self.store, job.hash, outcome.root.clone(), unfinished, on_bytes).await?;
        outcome.registration = None;
        Ok(())
    }
}

fn tell_writing(progress: &watch::Sender<Progress>, done: u64, total: u64) {
    progress.send_modify(|progress| {
        progress.phase = Phase::Writing;
        progress.done_bytes = done.min(total);
        progress.total_bytes = Some(total);
    });
}

/// Tells those who are served while a fetch goes on of chunks that were held before.
fn tell_held(live: &Live, first: u64, held: &[bool]) {
    let mut ranges: Vec<ChunkRange> = Vec::new();
    for (index, _) in (first..).zip(held).filter(|(_, held)| **held) {
        push_index(&mut ranges, ChunkIndex(index));
    }
    for range in ranges {
        live.add(range);
    }
}

/// A seed for the engine's ties: different each time, so that leechers that start together do not ask alike.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now())
}
