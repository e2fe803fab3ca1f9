//! `shoal ls`: the entries of a content, as they come.

use futures::StreamExt;
use shoal_node::api::{EntriesRequest, EntryInfo, EntryType};
use shoal_node::control::{Items, Service};

use super::millis;
use crate::args::LsArgs;
use crate::escape::Printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, begun, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::Outcome;

/// Most entries that are written before stdout is flushed, when so many are ready.
const ENTRIES_PER_FLUSH: usize = 512;

pub(super) async fn run(args: LsArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let target = args.target;
    let request = EntriesRequest {
        hash: target.hash,
        path: target.path.clone(),
        peers: args.sources.peer.iter().chain(&target.hints.peers).cloned().collect(),
        timeout_ms: millis(settings.timeout.value),
    };
    with_session(settings, Reach::Network, output, interrupt, async |session, output| {
        session.check_network(&target)?;
        let listed = async {
            let entries = begun(session.client.entries(request), target.hash, &session.client, output).await;
            show(entries, output).await
        };
        interrupt.or(listed).await?
    })
    .await
}

async fn show(entries: Items<EntryInfo>, output: &mut Output) -> Outcome {
    let mut entries = entries.ready_chunks(ENTRIES_PER_FLUSH);
    while let Some(ready) = entries.next().await {
        for entry in ready {
            let entry = entry?;
            match output.json() {
                true => output.document(&entry)?,
                false => output.line(&line(&entry))?,
            }
        }
        output.flush()?;
    }
    Ok(())
}

/// Size and path; `/` behind an empty folder, `*` behind what can be run, `->` before what a link points to.
fn line(entry: &EntryInfo) -> String {
    let path = Printable(if entry.path.is_empty() { "(the file itself)" } else { &entry.path });
    let size = show_size(entry.bytes);
    match entry.kind {
        EntryType::File => format!("{size:>10}  {path}"),
        EntryType::Executable => format!("{size:>10}  {path}*"),
        EntryType::EmptyFolder => format!("{:>10}  {path}/", "-"),
        EntryType::Symlink => {
            format!("{:>10}  {path} -> {}", "-", Printable(entry.target.as_deref().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_safe() {
        let entry = |kind, path: &str, target: Option<&str>| EntryInfo {
            path: path.to_owned(),
            kind,
            bytes: 2048,
            target: target.map(ToOwned::to_owned),
        };
        for (entry, text) in [
            (entry(EntryType::File, "a/b", None), "   2.0 KiB  a/b"),
            (entry(EntryType::File, "", None), "   2.0 KiB  (the file itself)"),
            (entry(EntryType::Executable, "run", None), "   2.0 KiB  run*"),
            (entry(EntryType::EmptyFolder, "e\n", None), "         -  e\\n/"),
            (entry(EntryType::Symlink, "l", Some("\u{1b}x")), "         -  l -> \\u{1b}x"),
        ] {
            assert_eq!(line(&entry), text);
        }
    }
}
