//! The commands, one to a file.

mod cat;
mod config;
mod daemon;
mod explain;
mod fetch;
mod gc;
mod help;
mod id;
mod list;
mod ls;

mod peers;
mod pin;
mod publish;
mod rm;
mod status;
mod testnet;
mod verify;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::time::Duration;

use shoal_protocol::hash::ContentHash;

use crate::args::{Arguments, Command, NetworkArgs};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::settings::{Environment, Flags, Settings};
use crate::size::Limit;
use crate::stop::{Outcome, Stop};
use crate::target::Target;

/// Runs one command to its end.
pub(crate) async fn run(
    arguments: Arguments,
    output: &mut Output,
    interrupt: &Interrupt,
    environment: Environment<'_>,
) -> Outcome {
    let flags = flags(&arguments);
    let settings = || Settings::resolve(flags, environment);
    match arguments.command {
        Command::Publish(args) => publish::run(args, &settings()?, output, interrupt).await,
        Command::Fetch(args) => fetch::run(args, &settings()?, output, interrupt).await,
        Command::Cat(args) => cat::run(args, &settings()?, output, interrupt).await,
        Command::Ls(args) => ls::run(args, &settings()?, output, interrupt).await,
        Command::List => list::run(&settings()?, output, interrupt).await,
        Command::Pin(args) => pin::pin(args, &settings()?, output, interrupt).await,
        Command::Unpin(args) => pin::unpin(&args.target, &settings()?, output, interrupt).await,
        Command::Rm(args) => rm::run(&args.target, &settings()?, output, interrupt).await,
        Command::Gc(args) => gc::run(&args, &settings()?, output, interrupt).await,
        Command::Daemon(_) => daemon::run(&settings()?, output, interrupt).await,
        Command::Verify(args) => verify::run(args, &settings()?, output, interrupt).await,
        Command::Id => id::run(&settings()?, output, interrupt).await,
        Command::Status => status::run(&settings()?, output, interrupt).await,
        Command::Explain { target } => explain::run(&target, &settings()?, output, interrupt).await,
        Command::Peers => peers::run(&settings()?, output, interrupt).await,
        Command::Config(command) => config::run(command, &settings()?, output),
        Command::Testnet(command) => testnet::run(command, output, interrupt, environment).await,
        Command::Completions { shell } => help::completions(shell, output),
        Command::Man => help::man(output),
    }
}

/// What the flags say about settings.
fn flags(arguments: &Arguments) -> Flags {
    let (network, timeout, up, down): (NetworkArgs, Option<Duration>, Option<Limit>, Option<Limit>) =
        match &arguments.command {
            Command::Publish(args) => (args.network.clone(), None, None, None),
            // Its --limit-down is for the fetch, not for the node.
            Command::Fetch(args) => (args.network.clone(), args.timeout, None, None),
            Command::Cat(args) => (args.sources.network.clone(), args.sources.timeout, None, None),
            Command::Pin(args) => (args.sources.network.clone(), args.sources.timeout, None, None),
            Command::Verify(args) => (args.sources.network.clone(), args.sources.timeout, None, None),
            Command::Ls(args) => (args.sources.network.clone(), args.sources.timeout, None, None),
            Command::Daemon(args) => (args.network.clone(), None, args.limit_up, args.limit_down),
            _ => (NetworkArgs::default(), None, None, None),
        };
    let quota = match &arguments.command {
        Command::Daemon(args) => args.quota,
        _ => None,
    };
    Flags { home: arguments.global.home.clone(), network, timeout, limit_up: up, limit_down: down, quota }
}

/// A content as a whole, where a path in it makes no sense.
fn whole(target: &Target, command: &str) -> Outcome<ContentHash> {
    match target.path.as_str() {
        "" => Ok(target.hash),
        path => Err(Stop::usage(format!("{command} takes a whole content: leave out /{path}"))),
    }
}

/// A timeout as the node takes it.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
