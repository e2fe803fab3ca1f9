//! `shoal completions` and `shoal man`: the command line described for shells and for people.

use clap::CommandFactory;
use shoal_node::api::FailureKind;

use crate::args::Arguments;
use crate::output::Output;
use crate::stop::{Outcome, Stop};

pub(super) fn completions(shell: clap_complete::Shell, output: &mut Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "shoal", &mut script);
    output.page(&String::from_utf8_lossy(&script), true)
}

pub(super) fn man(output: &mut Output) -> Outcome {
    let page = page().map_err(|error| Stop::new(FailureKind::Failed, format!("cannot write the page: {error}")))?;
    output.page(&String::from_utf8_lossy(&page), true)
}

/// One page: the program, then a section for each command.
fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    let whole = clap_mangen::Man::new(command.clone());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_options_section(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        section(sub, &mut page)?;
    }
    whole.render_extra_section(&mut page)?;
    Ok(page)
}

fn section(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let globals = command.get_arguments().filter(|argument| argument.is_global_set()).map(|a| a.get_id().clone());
    let globals = globals.collect::<Vec<_>>();
    // They stand at the top of the page.
    let command = globals.into_iter().fold(command.clone(), |command, id| command.mut_arg(id, |arg| arg.hide(true)));
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.extend_from_slice(format!(".SH \"{}\"\n{about}\n.PP\n", name.to_uppercase()).as_bytes());
    let subs = command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect::<Vec<_>>();
    let mut body = Vec::new();
    let man = clap_mangen::Man::new(command);
    man.render_synopsis_section(&mut body)?;
    if subs.is_empty() {
        man.render_options_section(&mut body)?;
    }
    // Sections of a command are below the command's own.
    page.extend_from_slice(String::from_utf8_lossy(&body).replace(".SH ", ".SS ").as_bytes());
    subs.iter().try_for_each(|sub| section(sub, page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_with_its_options() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for word in ["SHOAL FETCH", "SHOAL TESTNET DEMO", "\\-\\-limit\\-down", "\\-\\-no\\-serve", "Exit codes"] {
            assert!(page.contains(word), "{word} is missing:\n{page}");
        }
        assert_eq!(page.matches("When to use colours").count(), 1);
    }
}
