//! `shoal verify`: hashes again what is held, says what is damaged, and has it fetched anew.

use shoal_node::api::{FailureKind, Verified, VerifyRequest};
use shoal_node::control::Service;

use super::millis;
use crate::args::VerifyArgs;
use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, follow, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::{Outcome, Stop};

pub(super) async fn run(args: VerifyArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let target = args.target;
    if let Some(target) = target.as_ref().filter(|target| !target.path.is_empty()) {
        return Err(Stop::usage(format!("verify takes a whole content: shoal verify {}", target.hash)));
    }
    let hints = target.iter().flat_map(|target| target.hints.peers.iter());
    let request = VerifyRequest {
        hash: target.as_ref().map(|target| target.hash),
        repair: args.repair,
        rate: args.limit.and_then(|limit| limit.0),
        peers: args.sources.peer.iter().chain(hints).cloned().collect(),
        timeout_ms: millis(settings.timeout.value),
    };
    let reach = if args.repair { Reach::Network } else { Reach::Offline };
    let verified = with_session(settings, reach, output, interrupt, async |session, output| {
        follow(session.client.verify(request), output, interrupt).await
    })
    .await?;
    show(&verified, args.repair, output)
}

fn show(verified: &Verified, repair: bool, output: &mut Output) -> Outcome {
    let Verified { checked, checked_bytes, damaged, repaired, damage } = verified;
    if output.json() {
        output.document(verified)?;
    } else {
        for item in damage {
            let file = item.file.display().to_string();
            let place = if file.is_empty() { String::new() } else { format!(" in {file}") };
            let what = match item.count {
                0 | 1 => item.what.clone(),
                count => format!("{count} chunks or manifest nodes{place}, such as {}", item.what),
            };
            let place = if item.count > 1 { "" } else { &place };
            output.line(&printable(&format!("{what}{place}: {}", item.detail)))?;
        }
        let left = damaged.saturating_sub(damage.iter().map(|item| item.count.max(1)).sum());
        if left > 0 {
            output.line(&format!("and {left} more"))?;
        }
        output.line(&format!(
            "{checked} checked ({}), {damaged} damaged, {repaired} repaired",
            show_size(*checked_bytes)
        ))?;
    }
    output.flush()?;
    match damaged.saturating_sub(*repaired) {
        0 => Ok(()),
        left => {
            let way_out = if repair {
                "no peer gave it anew: publish it again, or try again when a provider is there"
            } else {
                "`shoal verify --repair` fetches it anew"
            };
            Err(Stop::new(
                FailureKind::Integrity,
                match left {
                    1 => format!("1 chunk or row that was held is damaged; {way_out}"),
                    _ => format!("{left} chunks or rows that were held are damaged; {way_out}"),
                },
            ))
        }
    }
}
