//! `shoal pin` and `shoal unpin`: what is kept whatever the quota says.

use shoal_node::api::{ContentRequest, PinRequest};
use shoal_node::control::Service;

use super::{millis, whole};
use crate::args::PinArgs;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, follow, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::Outcome;
use crate::target::Target;

const GO_ON: &str = "it is not pinned yet; run the same command again to go on: what was fetched is kept";

pub(super) async fn pin(args: PinArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let target = args.target;
    let request = PinRequest {
        hash: whole(&target, "pin")?,
        peers: args.sources.peer.iter().chain(&target.hints.peers).cloned().collect(),
        name: target.hints.name.clone(),
        timeout_ms: millis(settings.timeout.value),
    };
    with_session(settings, Reach::Network, output, interrupt, async |session, output| {
        session.check_network(&target)?;
        let pinned = follow(session.client.pin(request), output, interrupt).await;
        let pinned = pinned.map_err(|stop| stop.or_go_on(GO_ON))?;
        if output.json() {
            output.document(&pinned)?;
        }
        let fetched = match pinned.fetched_bytes {
            0 => "all of it was held".to_owned(),
            bytes => format!("{} fetched", show_size(bytes)),
        };
        output.note(&format!("pinned: {} are kept, {fetched}", show_size(pinned.bytes)));
        Ok(())
    })
    .await
}

pub(super) async fn unpin(target: &Target, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let request = ContentRequest { hash: whole(target, "unpin")? };
    with_session(settings, Reach::Offline, output, interrupt, async |session, output| {
        let unpinned = follow(session.client.unpin(request), output, interrupt).await?;
        if output.json() {
            output.document(&unpinned)?;
        }
        output.note("not pinned: it goes when room is needed for something else");
        Ok(())
    })
    .await
}
