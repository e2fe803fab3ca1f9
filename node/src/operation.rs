//! Long operations as streams: work in a task of its own, progress and result for whoever follows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::api::{Event, Failure, FailureKind, Progress, TransferInfo};
use crate::control::{Events, Items};

/// How often progress goes out.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Notes that may wait.
const NOTES: usize = 64;
/// Items that may wait.
const ITEMS: usize = 64;

/// What an operation tells while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    /// How far it is.
    pub(crate) progress: watch::Sender<Progress>,
    /// What a person should know.
    pub(crate) notes: mpsc::Sender<String>,
}

impl Reporter {
    /// One whose notes nobody follows.
    pub(crate) fn without_notes(progress: watch::Sender<Progress>) -> Self {
        Self { progress, notes: mpsc::channel(1).0 }
    }
}

/// The operations that run now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operations {
    /// A std mutex: each section is a few moves.
    running: Arc<Mutex<Vec<Running>>>,
}

#[derive(Debug)]
struct Running {
    task: AbortHandle,
    transfer: Option<(TransferInfo, watch::Receiver<Progress>)>,
}

impl Operations {
    /// Runs `work` in a task. Dropping the stream cancels it.
    pub(crate) fn events<T, F>(&self, transfer: Option<TransferInfo>, work: impl FnOnce(Reporter) -> F) -> Events<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let begin = transfer.as_ref().map(|transfer| transfer.progress.clone()).unwrap_or_default();
        let (progress, watched) = watch::channel(begin);
        let (notes, noted) = mpsc::channel(NOTES);
        // Kept to the end, so that whoever follows is woken once, and not for the end of the notes before.
        let until_done = notes.clone();
        let work = work(Reporter { progress, notes });
        let task = tokio::spawn(async move {
            let done = work.await;
            drop(until_done);
            done
        });
        self.add(task.abort_handle(), transfer.map(|transfer| (transfer, watched.clone())));
        // Not at once: many an operation is over before, and waking who follows would hold it up.
        let mut ticks = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = Following { task: AbortOnDrop(task), progress: watched, notes: noted, ticks, over: false };
        stream::unfold(state, Following::next).boxed()
    }

    /// Runs `work`, which sends items, in a task; its progress is told by [`Self::transfers`] alone. Dropping the
    /// stream cancels it.
    pub(crate) fn items<T, F>(
        &self,
        transfer: TransferInfo,
        work: impl FnOnce(mpsc::Sender<T>, watch::Sender<Progress>) -> F,
    ) -> Items<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (sink, items) = mpsc::channel(ITEMS);
        let (progress, watched) = watch::channel(transfer.progress.clone());
        let task = tokio::spawn(work(sink, progress));
        self.add(task.abort_handle(), Some((transfer, watched)));
        let state = Some((items, AbortOnDrop(task)));
        stream::unfold(state, |state| async {
            let (mut items, mut task) = state?;
            if let Some(item) = items.recv().await {
                return Some((Ok(item), Some((items, task))));
            }
            match task.result().await {
                Ok(()) => None,
                Err(failure) => Some((Err(failure), None)),
            }
        })
        .boxed()
    }

    /// Cancels everything that runs.
    pub(crate) fn cancel_all(&self) {
        for running in self.running.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            running.task.abort();
        }
    }

    /// The transfers that run now.
    pub(crate) fn transfers(&self) -> Vec<TransferInfo> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|running| !running.task.is_finished());
        let transfers = running.iter().filter_map(|running| running.transfer.as_ref());
        let now = |(info, progress): &(TransferInfo, watch::Receiver<Progress>)| {
            let mut progress = progress.borrow().clone();
            TransferInfo { waits_for: progress.waits_for.take(), progress, ..info.clone() }
        };
        transfers.map(now).collect()
    }

    fn add(&self, task: AbortHandle, transfer: Option<(TransferInfo, watch::Receiver<Progress>)>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Finished ones go whenever one comes, so there are never more than ran at the same time.
        running.retain(|running| !running.task.is_finished());
        running.push(Running { task, transfer });
    }
}

/// A task that is cancelled when nobody follows it any more.
struct AbortOnDrop<T>(JoinHandle<Result<T, Failure>>);

impl<T> AbortOnDrop<T> {
    async fn result(&mut self) -> Result<T, Failure> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(Failure::new(FailureKind::Interrupted, "the node is stopping")),
            Err(_) => {
                Err(Failure::new(FailureKind::Failed, "the operation broke off inside the node; its log says why"))
            }
        }
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Following<T> {
    task: AbortOnDrop<T>,
    progress: watch::Receiver<Progress>,
    notes: mpsc::Receiver<String>,
    ticks: Interval,
    over: bool,
}

impl<T> Following<T> {
    async fn next(mut self) -> Option<(Event<T>, Self)> {
        if self.over {
            return None;
        }
        loop {
            tokio::select! {
                biased;
                Some(message) = self.notes.recv() => return Some((Event::Note { message }, self)),
                result = self.task.result() => {
                    self.over = true;
                    return Some((result.map_or_else(Event::Error, Event::Done), self));
                }
                _ = self.ticks.tick() => {
                    if self.progress.has_changed().unwrap_or(false) {
                        let progress = self.progress.borrow_and_update().clone();
                        return Some((Event::Progress(progress), self));
                    }
                }
            }
        }
    }
}
