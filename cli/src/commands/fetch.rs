//! `shoal fetch`: a content from all peers that have any of it, to a path.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shoal_node::api::{FetchRequest, Fetched};
use shoal_node::control::Service;

use super::millis;
use crate::args::FetchArgs;
use crate::count::show_count;
use crate::duration::show_duration;
use crate::escape::printable;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::paths;
use crate::session::{Reach, follow, with_session};
use crate::settings::Settings;
use crate::size::{show_rate, show_size};
use crate::stop::{Outcome, Stop};
use crate::target::Target;

const GO_ON: &str = "run the same command again to go on: what was fetched is kept";

pub(super) async fn run(args: FetchArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let target = args.target;
    if !target.path.is_empty() {
        return Err(Stop::usage(format!(
            "fetch takes a whole content; for one file in it: shoal cat {}/{} > FILE",
            target.hash, target.path
        )));
    }
    let to = output_path(args.output.as_deref(), &target)?;
    let request = FetchRequest {
        hash: target.hash,
        output: Some(to),
        peers: args.peer.iter().chain(&target.hints.peers).cloned().collect(),
        name: target.hints.name.clone(),
        limit_down: args.limit_down.and_then(|limit| limit.0),
        timeout_ms: millis(settings.timeout.value),
        force: args.force,
        in_place: args.in_place,
        bases: args.base.iter().chain(&target.hints.base).copied().collect(),
        background: false,
    };
    with_session(settings, Reach::Network, output, interrupt, async |session, output| {
        session.check_network(&target)?;
        let fetched = follow(session.client.fetch(request), output, interrupt).await;
        show(&fetched.map_err(|stop| stop.or_go_on(GO_ON))?, output)
    })
    .await
}

/// Where the content goes, as an absolute path.
fn output_path(given: Option<&Path>, target: &Target) -> Outcome<PathBuf> {
    let name = || target.hints.name.clone().unwrap_or_else(|| target.hash.to_string());
    match given {
        Some(path) if path.as_os_str() == "-" => {
            Err(Stop::usage(format!("fetch writes to a path; for stdout: shoal cat {}", target.hash)))
        }
        Some(path) if path.to_str().is_some_and(|path| path.ends_with('/')) => paths::absolute(&path.join(name())),
        Some(path) => paths::absolute(path),
        None => paths::absolute(Path::new(&name())),
    }
}

fn show(fetched: &Fetched, output: &mut Output) -> Outcome {
    if output.json() {
        output.document(fetched)?;
    } else if let Some(path) = &fetched.path {
        output.line(&printable(&path.display().to_string()))?;
    }
    output.flush()?;
    output.note(&summary(fetched));
    Ok(())
}

/// What was done, in a line.
fn summary(fetched: &Fetched) -> String {
    let took = Duration::try_from_secs_f64(fetched.seconds).unwrap_or_default();
    let mut text = format!("{} in {}", show_size(fetched.bytes), show_duration(took));
    if fetched.fetched_bytes > 0 && fetched.seconds > 0.0 {
        let rate = show_rate((fetched.fetched_bytes as f64 / fetched.seconds) as u64);
        let giving = fetched.peers.iter().filter(|peer| peer.bytes > 0).count();
        let peers = show_count(giving as u64, "peer");
        text.push_str(&format!(": {} from {peers} at {rate}", show_size(fetched.fetched_bytes)));
    }
    if fetched.reused_bytes > 0 {
        text.push_str(&format!(", {} held already", show_size(fetched.reused_bytes)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Hints;
    use shoal_node::api::PeerShare;
    use shoal_protocol::hash::{ContentHash, NodeId};

    fn target(name: Option<&str>) -> Target {
        let hints = Hints { name: name.map(ToOwned::to_owned), ..Hints::default() };
        Target { hash: ContentHash::from_root(NodeId::of(b"fetch")), path: String::new(), hints }
    }

    #[test]
    fn the_output_is_what_is_said_or_the_name_or_the_hash() {
        let here = std::env::current_dir().unwrap();
        let check = |given: Option<&str>, name, expected: &str| {
            let path = output_path(given.map(Path::new), &target(name)).unwrap();
            assert_eq!(path, here.join(expected));
        };
        check(Some("a/b"), Some("n"), "a/b");
        check(Some("a/"), Some("n"), "a/n");
        check(Some("/x/y"), None, "/x/y");
        check(None, Some("n"), "n");
        check(None, None, &target(None).hash.to_string());
        assert!(output_path(Some(Path::new("-")), &target(None)).is_err());
    }

    #[test]
    fn the_summary_says_what_came_from_where() {
        let share = |bytes| PeerShare {
            peer: "p".into(),
            address: "/ip4/1.2.3.4/tcp/5".into(),
            bytes,
            chunks: 1,
            wasted_bytes: 0,
            ended: None,
            work: Default::default(),
        };
        let fetched = Fetched {
            hash: target(None).hash,
            path: None,
            bytes: 4 << 20,
            fetched_bytes: 3 << 20,
            reused_bytes: 1 << 20,
            wasted_bytes: 0,
            manifest_bytes: 100,
            seconds: 1.5,
            peers: vec![share(3 << 20), share(0)],
        };
        assert_eq!(summary(&fetched), "4.0 MiB in 1.5 s: 3.0 MiB from 1 peer at 2.0 MiB/s, 1.0 MiB held already");
        let nothing = Fetched { fetched_bytes: 0, reused_bytes: 0, bytes: 0, ..fetched };
        assert_eq!(summary(&nothing), "0 B in 1.5 s");
    }
}
