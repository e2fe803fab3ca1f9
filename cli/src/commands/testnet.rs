//! `shoal testnet`: a local network of real nodes; the work is `shoal_testnet`'s.

use crate::args::TestnetCommand;
use crate::output::Output;
use crate::stop::{Outcome, Stop};

pub(super) async fn run(command: &TestnetCommand, output: &mut Output) -> Outcome {
    let TestnetCommand::Demo(_args) = command;
    let _ = output;
    Err(Stop::usage("not joined yet"))
}
