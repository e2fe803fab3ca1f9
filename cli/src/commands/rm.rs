//! `shoal rm`: drops a content.

use shoal_node::api::ContentRequest;
use shoal_node::control::Service;

use super::whole;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, follow, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::Outcome;
use crate::target::Target;

pub(super) async fn run(target: &Target, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let request = ContentRequest { hash: whole(target, "rm")? };
    with_session(settings, Reach::Offline, output, interrupt, async |session, output| {
        let removed = follow(session.client.remove(request), output, interrupt).await?;
        if output.json() {
            output.document(&removed)?;
        }
        let size = show_size(removed.reclaimed_bytes);
        output.note(&format!("removed; {size} of the disk came back (`shoal gc` looks for more)"));
        Ok(())
    })
    .await
}
