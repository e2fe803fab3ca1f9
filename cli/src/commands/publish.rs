//! `shoal publish`: store, announce, and serve if nobody else does.

use std::path::Path;

use shoal_node::api::{PublishRequest, PublishStreamRequest, Published};
use shoal_node::control::Service;

use super::millis;
use crate::args::PublishArgs;
use crate::count::show_count;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::paths;
use crate::session::{Reach, follow, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stdin;
use crate::stop::{Outcome, Stop};

const GO_ON: &str = "run the same command again to go on: what was stored is not stored twice";

pub(super) async fn run(args: PublishArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let what = What::of(&args)?;
    let reach = if args.no_serve { Reach::Offline } else { Reach::Network };
    with_session(settings, reach, output, interrupt, async |session, output| {
        let events = match what {
            What::Paths(request) => session.client.publish(request),
            What::Stdin(request) => {
                if stdin::is_terminal() {
                    output.note("reading stdin until Ctrl-D");
                }
                session.client.publish_stream(request, stdin::bytes())
            }
        };
        let published = follow(events, output, interrupt).await.map_err(|stop| stop.or_go_on(GO_ON))?;
        show(&published, output)?;
        match (args.no_serve, session.is_own()) {
            (true, _) => output.note("stored, not announced; `shoal daemon` serves it"),
            (false, true) => {
                output.note("serving it from here until Ctrl-C; `shoal daemon` would serve it in the background");
                session.serve(interrupt).await?;
                output.note("stopped serving; it stays stored, `shoal daemon` serves it again");
            }
            (false, false) => {}
        }
        Ok(())
    })
    .await
}

/// What is to be published.
enum What {
    Paths(PublishRequest),
    Stdin(PublishStreamRequest),
}

impl What {
    fn of(args: &PublishArgs) -> Outcome<Self> {
        let (name, import_only) = (args.name.clone(), args.no_serve);
        let wait_ms = args.wait.map(millis);
        if !args.paths.iter().any(|path| path == Path::new("-")) {
            let paths = args.paths.iter().map(|path| paths::absolute(path)).collect::<Outcome<Vec<_>>>()?;
            return Ok(Self::Paths(PublishRequest { paths, name, import_only, in_place: args.in_place, wait_ms }));
        }
        match args.paths.len() {
            _ if args.in_place => Err(Stop::usage("--in-place needs files, and - is stdin (a file named - is ./-)")),
            1 => Ok(Self::Stdin(PublishStreamRequest { name, import_only, wait_ms })),
            _ => Err(Stop::usage("- is stdin and can be published alone only (a file named - is ./-)")),
        }
    }
}

fn show(published: &Published, output: &mut Output) -> Outcome {
    if output.json() {
        output.document(published)?;
    } else {
        output.line(&crate::escape::printable(&published.link))?;
    }
    // At once: whoever reads it may start to fetch while this command goes on serving.
    output.flush()?;
    let new = match published.new_bytes {
        0 => "all of it held already".to_owned(),
        new if new == published.bytes => "all of it new".to_owned(),
        new => format!("{} of it new", show_size(new)),
    };
    let chunks = show_count(published.chunks, "chunk");
    output.note(&format!("published {} in {chunks}, {new}", show_size(published.bytes)));
    match (published.found_through, published.announced_to) {
        (Some(nodes), _) => {
            output.note(&format!("who looks it up finds it through {}", show_count(nodes, "other node")))
        }
        (None, Some(0)) => {
            output.warn("no other node keeps the record yet: only the link, whose addresses lead here, finds it")
        }
        (None, Some(1)) => output.note("1 other node keeps the record of who has it"),
        (None, Some(nodes)) => output.note(&format!("{nodes} other nodes keep the record of who has it")),
        (None, None) => {}
    }
    Ok(())
}
