//! The node that a command talks to: one that runs already, or its own.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use shoal_node::api::{Event, FailureKind};
use shoal_node::control::{Client, Events, Service};

use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::own_node::{NodeSettings, OwnNode, StartError};
use crate::progress::ProgressSink;
use crate::settings::Settings;
use crate::stop::{Outcome, Stop};
use crate::target::Target;

/// How long a node that holds the home may take until it answers.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks for it.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);

/// Whether a command needs others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A node of its own joins the network.
    Network,
    /// A node of its own stays away from the network.
    Offline,
}

/// A way to a node.
pub(crate) struct Session {
    pub(crate) client: Client,
    own: Option<OwnNode>,
}

impl Session {
    /// Finds the node of the home, or starts one.
    pub(crate) async fn open(settings: &Settings, reach: Reach, output: &mut Output) -> Outcome<Self> {
        if let Some(client) = running(settings).await? {
            return Ok(Self::of_running(client, settings, output));
        }
        match OwnNode::start(&node_settings(settings, reach)).await {
            Ok(own) => match running(settings).await? {
                Some(client) => Ok(Self { client, own: Some(own) }),
                None => Err(Stop::new(FailureKind::Failed, "the node started but does not answer")),
            },
            // Somebody else was quicker: theirs will answer in a moment.
            Err(StartError::Locked) => match wait_for_running(settings).await? {
                Some(client) => Ok(Self::of_running(client, settings, output)),
                None => Err(locked(settings)),
            },
            Err(StartError::Failure(failure)) => Err(failure.into()),
        }
    }

    fn of_running(client: Client, settings: &Settings, output: &mut Output) -> Self {
        let flags = settings.network_flags();
        if !flags.is_empty() {
            let home = settings.home.value.display();
            output.warn(&format!("{}: in vain, the node that runs in {home} has its own settings", flags.join(", ")));
        }
        Self { client, own: None }
    }

    /// Whether this process is the node.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Refuses a link of another network.
    pub(crate) async fn check_network(&self, target: &Target) -> Outcome {
        let Some(wanted) = &target.hints.network else { return Ok(()) };
        let network = self.client.status().await?.network;
        if *wanted == network {
            return Ok(());
        }
        Err(Stop::usage(format!(
            "the link is of the network {wanted:?}, this node is in {network:?}; use a home of its own with --network {wanted}"
        )))
    }

    /// Stops the own node, if there is one.
    pub(crate) async fn close(self) -> Outcome {
        match self.own {
            Some(own) => Ok(own.close().await?),
            None => Ok(()),
        }
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
    let closed = session.close().await;
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
pub(crate) async fn ask<T>(
    question: impl Future<Output = Result<T, shoal_node::api::Failure>>,
    interrupt: &Interrupt,
) -> Outcome<T> {
    Ok(interrupt.or(question).await??)
}

/// What a node of these settings needs to know.
pub(crate) fn node_settings(settings: &Settings, reach: Reach) -> NodeSettings {
    NodeSettings {
        home: settings.home.value.clone(),
        network: settings.network.value.clone(),
        listen: settings.listen.value.clone(),
        bootstrap: settings.bootstrap.value.clone(),
        mdns: settings.mdns.value,
        limit_up: settings.limit_up.value.0,
        limit_down: settings.limit_down.value.0,
        offline: reach == Reach::Offline,
    }
}

/// A client of the node that runs in the home and answers.
pub(crate) async fn running(settings: &Settings) -> Outcome<Option<Client>> {
    let home = &settings.home.value;
    let Some(client) = Client::connect(home).await? else { return Ok(None) };
    // A node that is stopped or stuck takes connections as well; better to know before an operation without end.
    match tokio::time::timeout(ANSWER_DEADLINE, client.identity()).await {
        Ok(Ok(_)) => Ok(Some(client)),
        // It ended in between.
        Ok(Err(_)) if Client::connect(home).await?.is_none() => Ok(None),
        Ok(Err(failure)) => Err(failure.into()),
        Err(_) => Err(Stop::new(
            FailureKind::Failed,
            format!("the node that runs in {} does not answer; it may be stuck: see its log", home.display()),
        )),
    }
}

async fn wait_for_running(settings: &Settings) -> Outcome<Option<Client>> {
    let look = async {
        loop {
            if let Some(client) = running(settings).await? {
                return Ok(Some(client));
            }
            tokio::time::sleep(ANSWER_PAUSE).await;
        }
    };
    tokio::time::timeout(ANSWER_DEADLINE, look).await.unwrap_or(Ok(None))
}

/// Another process holds the home.
pub(crate) fn locked(settings: &Settings) -> Stop {
    let home = settings.home.value.display();
    Stop::new(
        FailureKind::Failed,
        format!("another shoal process uses {home} and does not answer; end it, or name another folder with --home"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Manner;
    use crate::progress::Recorder;
    use crate::testing::{Shared, streams};
    use futures::stream;
    use shoal_node::api::{Phase, Progress};

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
        let failure = shoal_node::api::Failure::new(FailureKind::Denied, "full");
        let ended = check(with(Some(Event::Error(failure.clone()))), &seen, &free).await;
        assert_eq!(ended, Err(Stop::Failure(failure)));
        assert_eq!(check(with(None), &seen, &free).await.unwrap_err().exit_code(), 1);
        let pressed = Interrupt::default();
        pressed.press();
        assert_eq!(check(with(None), &[], &pressed).await, Err(Stop::interrupted()));
    }
}
