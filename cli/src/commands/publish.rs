//! `shoal publish`: store, announce, and serve if nobody else does.

use shoal_node::api::{PublishRequest, Published};
use shoal_node::control::Service;

use crate::args::PublishArgs;
use crate::count::show_count;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::paths;
use crate::session::{Reach, follow, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::{Outcome, Stop};

const GO_ON: &str = "run the same command again to go on: what was stored is not stored twice";

pub(super) async fn run(args: PublishArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    if args.paths.iter().any(|path| path.as_os_str() == "-") {
        return Err(Stop::usage("stdin cannot be published; write it to a file first (a file named - is ./-)"));
    }
    let paths = args.paths.iter().map(|path| paths::absolute(path)).collect::<Outcome<Vec<_>>>()?;
    let reach = if args.no_serve { Reach::Offline } else { Reach::Network };
    let request = PublishRequest { paths, name: args.name, import_only: args.no_serve, in_place: args.in_place };
    with_session(settings, reach, output, interrupt, async |session, output| {
        let published = follow(session.client.publish(request), output, interrupt).await;
        let published = published.map_err(|stop| stop.or_go_on(GO_ON))?;
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
    match published.announced_to {
        Some(0) => {
            output.warn("no other node keeps the record yet: only the link, whose addresses lead here, finds it")
        }
        Some(1) => output.note("1 other node keeps the record of who has it"),
        Some(nodes) => output.note(&format!("{nodes} other nodes keep the record of who has it")),
        None => {}
    }
    Ok(())
}
