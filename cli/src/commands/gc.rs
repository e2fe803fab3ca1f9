//! `shoal gc`: gives back room that no content needs.

use shoal_node::api::{CollectRequest, Collected, FailureKind};
use shoal_node::control::Service;

use crate::args::GcArgs;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, follow, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::{Outcome, Stop};

pub(super) async fn run(args: &GcArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let request = CollectRequest { dry_run: args.dry_run };
    with_session(settings, Reach::Offline, output, interrupt, async |session, output| {
        let collected = follow(session.client.collect(request), output, interrupt).await?;
        if output.json() {
            output.document(&collected)?
        } else {
            output.line(&summary(&collected))?
        }
        output.flush()?;
        match collected.blocked_bytes {
            0 => Ok(()),
            bytes => Err(Stop::new(FailureKind::Denied, blocked(bytes))),
        }
    })
    .await
}

fn summary(collected: &Collected) -> String {
    let Collected { dry_run, reclaimed_bytes, live_bytes, garbage_bytes, .. } = *collected;
    let did = if dry_run { "would come back" } else { "came back" };
    let (back, live, left) = (show_size(reclaimed_bytes), show_size(live_bytes), show_size(garbage_bytes));
    format!("{back} of the disk {did}; {live} are needed, {left} of garbage stay as not worth the copying")
}

fn blocked(bytes: u64) -> String {
    format!(
        "{} of garbage stay, for there is no room to copy what is needed of the segments in which they lie: free some \
         on the disk, or raise the quota, or remove contents with `shoal rm`, and run this again",
        show_size(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_would() {
        let collected = Collected { reclaimed_bytes: 2048, live_bytes: 1024, ..Collected::default() };
        let text = "2.0 KiB of the disk came back; 1.0 KiB are needed, 0 B of garbage stay as not worth the copying";
        assert_eq!(summary(&collected), text);
        assert!(summary(&Collected { dry_run: true, ..collected }).contains("would come back"));
    }
}
