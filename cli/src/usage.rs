//! Wrong usage on one line.

use std::ffi::OsString;

use clap::CommandFactory;

use crate::args::Arguments;

/// What the parser has to say about these arguments, without its paragraphs.
pub(crate) fn one_line(error: &clap::Error, arguments: &[OsString]) -> String {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    let tip = paragraphs.find_map(|paragraph| {
        let tips = paragraph.strip_prefix("tip: ")?;
        Some(format!(" ({})", tips.split(" tip: ").next().unwrap_or(tips)))
    });
    format!("{message}{}; see `{} --help`", tip.unwrap_or_default(), command(arguments))
}

/// The command that the arguments name, as far as they name one.
fn command(arguments: &[OsString]) -> String {
    let mut name = "shoal".to_owned();
    let mut command = Arguments::command();
    for argument in arguments.iter().skip(1) {
        let Some(sub) = command.find_subcommand(argument).cloned() else { continue };
        name.extend([" ", sub.get_name()]);
        command = sub;
    }
    name
}
