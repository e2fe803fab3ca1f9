//! `shoal id`: who this node is.

use shoal_node::control::Service;

use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, ask, with_session};
use crate::settings::Settings;
use crate::stop::Outcome;

pub(super) async fn run(settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let (identity, own) = with_session(settings, Reach::Offline, output, interrupt, async |session, _| {
        Ok((ask(session.client.identity(), interrupt).await?, session.is_own()))
    })
    .await?;
    if output.json() {
        return output.document(&identity);
    }
    output.line(&printable(&identity.peer_id))?;
    for address in &identity.addresses {
        output.line(&printable(address))?;
    }
    if own {
        output.flush()?;
        output.note("no node runs here: nobody can connect; `shoal daemon` runs one");
    }
    Ok(())
}
