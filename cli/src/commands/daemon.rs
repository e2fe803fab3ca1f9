//! `shoal daemon`: the node in the foreground.

use serde::Serialize;
use shoal_node::api::{FailureKind, Identity};
use shoal_node::control::Service;

use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::own_node::OwnNode;
use crate::session::{Found, Reach, answering, find};
use crate::settings::Settings;
use crate::stop::{Outcome, Stop};

/// A line on stdout with `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum DaemonEvent<'a> {
    /// It listens and answers; the addresses are for others to connect to.
    Listening(&'a Identity),
    /// Something a person should know.
    Warning { message: &'a str },
    /// It is part of its network, or knows that it cannot be yet.
    Ready(&'a Identity),
    /// It was told to stop and ends what is under way.
    Stopping {},
    /// All is written; the process ends.
    Stopped {},
}

pub(super) async fn run(settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let node = match interrupt.or(find(settings, Reach::Network)).await?? {
        Found::Running(_, status) => return Err(already(settings, &status.identity)),
        Found::Own(node) => node,
    };
    let served = serve(&node, settings, output, interrupt).await;
    // Whoever reads the events may be gone; the node is to end well all the same.
    let told = tell(&DaemonEvent::Stopping {}, output);
    let closed = node.close().await;
    served?;
    closed?;
    told?;
    tell(&DaemonEvent::Stopped {}, output)
}

async fn serve(node: &OwnNode, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let (client, status) = answering(settings).await?;
    let identity = status.identity;
    if output.json() {
        tell(&DaemonEvent::Listening(&identity), output)?;
    } else {
        for address in &identity.addresses {
            output.line(&printable(address))?;
        }
        output.flush()?;
    }
    match interrupt.or(node.ready()).await {
        Err(_) => return Ok(()),
        Ok(Ok(())) => output.note("ready; Ctrl-C stops the node"),
        Ok(Err(failure)) => {
            tell(&DaemonEvent::Warning { message: &failure.message }, output)?;
            output.warn(&failure.message);
        }
    }
    tell(&DaemonEvent::Ready(&client.identity().await?), output)?;
    interrupt.or_broken(node.broken()).await?;
    output.note("stopping; Ctrl-C again ends it at once");
    Ok(())
}

/// Writes an event if events are wanted.
fn tell(event: &DaemonEvent<'_>, output: &mut Output) -> Outcome {
    if output.json() {
        output.document(event)?;
        output.flush()?;
    }
    Ok(())
}

fn already(settings: &Settings, identity: &Identity) -> Stop {
    let home = settings.home.value.display();
    Stop::new(
        FailureKind::Failed,
        format!(
            "a node is running in {home} already ({}); end it, or name another folder with --home",
            identity.peer_id
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_those_of_the_contract() {
        let identity = Identity { peer_id: "p".into(), addresses: vec!["/ip4/1.2.3.4/tcp/5/p2p/p".into()] };
        let text = serde_json::to_string(&DaemonEvent::Listening(&identity)).unwrap();
        assert_eq!(text, r#"{"event":"listening","peer_id":"p","addresses":["/ip4/1.2.3.4/tcp/5/p2p/p"]}"#);
        let text = serde_json::to_string(&DaemonEvent::Stopped {}).unwrap();
        assert_eq!(text, r#"{"event":"stopped"}"#);
    }
}
