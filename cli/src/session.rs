//! The node that a command talks to: one that runs already, or its own.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use shoal_node::api::{Event, Failure, FailureKind, Progress, Status, TransferInfo};
use shoal_node::control::{Client, Events, Items, Service};
use shoal_protocol::hash::ContentHash;

use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::own_node::{NodeSettings, OwnNode, StartError};
use crate::progress::ProgressSink;
use crate::settings::Settings;
use crate::stop::{Outcome, Stop};
use crate::target::Target;

/// How long a node that runs in the home may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long another command that holds the home for itself may take to finish.
const TURN_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two looks at a home that is held.
const TURN_PAUSE: Duration = Duration::from_millis(50);
/// How long others may use the own node after the work before that is worth a word.
const OTHERS_GRACE: Duration = Duration::from_secs(1);
/// Pause between two looks at how far a node is with an answer that has not begun.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// What the status of a node says that stays away from the network.
const OFFLINE: &str = "offline";

/// Whether a command needs others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A node of its own joins the network.
    Network,
    /// A node of its own stays away from the network.
    Offline,
}

/// The node of a home.
pub(crate) enum Found {
    /// One that ran already.
    Running(Client, Box<Status>),
    /// One that was started for this command.
    Own(OwnNode),
}

/// Finds the node of the home, or starts one.
///
/// Another command may hold the home for a moment with a node of its own that stays away from the network, or that
/// has just begun or is about to end; this waits for its turn then.
pub(crate) async fn find(settings: &Settings, reach: Reach) -> Outcome<Found> {
    let deadline = Instant::now() + TURN_DEADLINE;
    loop {
        let held_by = match running(settings).await? {
            Some((_, status)) if reach == Reach::Network && status.dht_mode == OFFLINE => {
                "another command works there without the network; run this again when it is done"
            }
            Some((client, status)) => return Ok(Found::Running(client, Box::new(status))),
            None => match OwnNode::start(&node_settings(settings, reach)).await {
                Ok(own) => return Ok(Found::Own(own)),
                Err(StartError::Locked) => "another process holds it and does not answer; end that one",
                Err(StartError::Failure(failure)) => return Err(failure.into()),
            },
        };
        if Instant::now() >= deadline {
            let home = settings.home.value.display();
            let message = format!("cannot use {home}: {held_by}, or name another folder with --home");
            return Err(Stop::new(FailureKind::Failed, message));
        }
        tokio::time::sleep(TURN_PAUSE).await;
    }
}

/// A way to a node.
pub(crate) struct Session {
    pub(crate) client: Client,
    network: String,
    own: Option<OwnNode>,
}

impl Session {
    /// Finds the node of the home, or starts one.
    pub(crate) async fn open(settings: &Settings, reach: Reach, output: &mut Output) -> Outcome<Self> {
        match find(settings, reach).await? {
            Found::Running(client, status) => {
                let flags = settings.network_flags();
                if !flags.is_empty() {
                    let (flags, home) = (flags.join(", "), settings.home.value.display());
                    output.warn(&format!("{flags}: in vain, the node that runs in {home} keeps its own settings"));
                }
                Ok(Self { client, network: status.network, own: None })
            }
            Found::Own(own) => {
                let (client, status) = answering(settings).await?;
                Ok(Self { client, network: status.network, own: Some(own) })
            }
        }
    }

    /// Whether this process is the node.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Goes on until the person wants to stop; an error if a node of its own breaks off before.
    pub(crate) async fn serve(&self, interrupt: &Interrupt) -> Outcome {
        match &self.own {
            Some(own) => interrupt.or_broken(own.broken()).await,
            None => {
                interrupt.wait().await;
                Ok(())
            }
        }
    }

    /// Refuses a link of another network.
    pub(crate) fn check_network(&self, target: &Target) -> Outcome {
        match &target.hints.network {
            Some(wanted) if *wanted != self.network => Err(Stop::usage(format!(
                "the link is of the network {wanted:?}, this node is in {:?}; use --network {wanted} with a home of its own",
                self.network
            ))),
            _ => Ok(()),
        }
    }

    /// Stops the own node, if there is one, once other commands that have found it are done or on Ctrl-C.
    async fn close(self, output: &mut Output, interrupt: &Interrupt) -> Outcome {
        let Some(own) = self.own else { return Ok(()) };
        {
            let mut unused = pin!(interrupt.or(own.unused()));
            if tokio::time::timeout(OTHERS_GRACE, &mut unused).await.is_err() {
                output.note("done, but another command still uses this node; it ends with that one, or both on Ctrl-C");
                // Either way the node ends now.
                let _ = unused.await;
            }
        }
        Ok(own.close().await?)
    }
}

/// Opens a session, does the work and closes the session whatever came of the work.
pub(crate) async fn with_session<T>(
    settings: &Settings,
    reach: Reach,
    output: &mut Output,
    interrupt: &Interrupt,
    work: impl AsyncFnOnce(&Session, &mut Output) -> Outcome<T>,
) -> Outcome<T> {
    let session = interrupt.or(Session::open(settings, reach, output)).await??;
    let worked = work(&session, output).await;
    let closed = session.close(output, interrupt).await;
    let value = worked?;
    closed.map(|()| value)
}

/// Follows a long operation to its end, or cancels it on Ctrl-C.
pub(crate) async fn follow<T>(events: Events<T>, output: &mut Output, interrupt: &Interrupt) -> Outcome<T> {
    let mut progress = output.progress();
    let ended = show(events, &mut *progress, output, interrupt).await;
    progress.finish();
    ended
}

/// Waits for the first of the items of a content, and shows meanwhile how far the node is with finding it.
pub(crate) async fn begun<T: Send + 'static>(
    items: Items<T>,
    hash: ContentHash,
    client: &Client,
    output: &mut Output,
) -> Items<T> {
    if !output.shows_progress() {
        return items;
    }
    let mut progress = output.progress();
    // Where there is none, the stream has ended and may not be asked again.
    let mut items = items.fuse();
    let first = {
        let mut first = pin!(items.next());
        loop {
            let looked = async {
                tokio::time::sleep(LOOK_PAUSE).await;
                client.status().await
            };
            tokio::select! {
                biased;
                item = &mut first => break item,
                // That the node does not say how far it is ends nothing.
                status = looked => if let Some(transfer) = status.ok().and_then(|status| transfer_of(status, hash)) {
                    progress.update(&Progress { waits_for: transfer.waits_for, ..transfer.progress }, output);
                },
            }
        }
    };
    progress.finish();
    stream::iter(first).chain(items).boxed()
}

fn transfer_of(status: Status, hash: ContentHash) -> Option<TransferInfo> {
    status.fetches.into_iter().find(|transfer| transfer.hash == hash)
}

async fn show<T>(
    mut events: Events<T>,
    progress: &mut dyn ProgressSink,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Outcome<T> {
    loop {
        match interrupt.or(events.next()).await? {
            Some(Event::Progress(now)) => progress.update(&now, output),
            Some(Event::Note { message }) => progress.note(&message, output),
            Some(Event::Done(value)) => return Ok(value),
            Some(Event::Error(failure)) => return Err(failure.into()),
            None => return Err(Stop::new(FailureKind::Failed, "the node gave up without a word; see its log")),
        }
    }
}

/// Asks a plain question unless the person wants to stop first.
pub(crate) async fn ask<T>(question: impl Future<Output = Result<T, Failure>>, interrupt: &Interrupt) -> Outcome<T> {
    Ok(interrupt.or(question).await??)
}

/// What a node of these settings needs to know.
fn node_settings(settings: &Settings, reach: Reach) -> NodeSettings {
    NodeSettings {
        home: settings.home.value.clone(),
        network: settings.network.value.clone(),
        listen: settings.listen.value.clone(),
        announce: settings.announce.value.clone(),
        bootstrap: settings.bootstrap.value.clone(),
        mdns: settings.mdns.value,
        limit_up: settings.limit_up.value.0,
        limit_up_per_peer: settings.limit_up_per_peer.value.0,
        limit_up_per_content: settings.limit_up_per_content.value.0,
        limit_down: settings.limit_down.value.0,
        quota: settings.quota.value.0,
        offline: reach == Reach::Offline,
    }
}

/// A client of the node that runs in the home, and how that node is.
async fn running(settings: &Settings) -> Outcome<Option<(Client, Status)>> {
    let home = &settings.home.value;
    let Some(client) = Client::connect(home).await? else { return Ok(None) };
    // A node that is stopped or stuck takes connections as well; better to know before an operation without end.
    match tokio::time::timeout(ANSWER_DEADLINE, client.status()).await {
        Ok(Ok(status)) => Ok(Some((client, status))),
        // It ended in between.
        Ok(Err(_)) if Client::connect(home).await?.is_none() => Ok(None),
        Ok(Err(failure)) => Err(failure.into()),
        Err(_) => Err(Stop::new(
            FailureKind::Failed,
            format!("the node that runs in {} does not answer; it may be stuck: see its log", home.display()),
        )),
    }
}

/// The node that this process has just started.
pub(crate) async fn answering(settings: &Settings) -> Outcome<(Client, Status)> {
    let message = "the node has started but does not answer on its control socket; try again with -vv";
    running(settings).await?.ok_or_else(|| Stop::new(FailureKind::Failed, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Manner;
    use crate::progress::Recorder;
    use crate::testing::{Shared, streams};
    use shoal_node::api::Phase;

    async fn check(events: Vec<Event<u8>>, seen: &[&str], interrupt: &Interrupt) -> Outcome<u8> {
        let (stdout, stderr) = streams(&Shared::default(), &Shared::default(), false);
        let mut recorder = Recorder::default();
        let mut output = Output::new(stdout, stderr, Manner::default());
        let outcome = show(stream::iter(events).boxed(), &mut recorder, &mut output, interrupt).await;
        assert_eq!(recorder.seen, seen);
        outcome
    }

    #[tokio::test]
    async fn events_are_shown_until_the_last() {
        let progress = Progress { phase: Phase::Fetching, done_bytes: 7, ..Progress::default() };
        let begin = [Event::Progress(progress), Event::Note { message: "n".into() }];
        let with = |end: Option<Event<u8>>| begin.iter().cloned().chain(end).collect::<Vec<_>>();
        let seen = ["fetching 7 B", "note n"];
        let free = Interrupt::default();
        assert_eq!(check(with(Some(Event::Done(3))), &seen, &free).await, Ok(3));
        let failure = Failure::new(FailureKind::Denied, "full");
        let ended = check(with(Some(Event::Error(failure.clone()))), &seen, &free).await;
        assert_eq!(ended, Err(Stop::Failure(failure)));
        assert_eq!(check(with(None), &seen, &free).await.unwrap_err().exit_code(), 1);
        let pressed = Interrupt::default();
        pressed.press();
        assert_eq!(check(with(None), &[], &pressed).await, Err(Stop::interrupted()));
    }
}
