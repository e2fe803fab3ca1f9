//! `shoal config`: the settings in force and where each comes from.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::args::ConfigCommand;
use crate::escape::printable;
use crate::output::Output;
use crate::settings::{Origin, Settings, config_path};
use crate::stop::Outcome;
use crate::table::{Side, Table};

pub(super) fn run(command: ConfigCommand, settings: &Settings, output: &mut Output) -> Outcome {
    match command {
        ConfigCommand::Show => show(settings, output),
        ConfigCommand::Path => path(settings, output),
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    value: serde_json::Value,
    origin: &'a Origin,
}

fn show(settings: &Settings, output: &mut Output) -> Outcome {
    if output.json() {
        let origins = settings.rows().map(|(key, _, origin)| (key, origin));
        let document = settings.values().into_iter().zip(origins);
        let document = document.map(|(value, (key, origin))| (key, Shown { value, origin }));
        return output.document(&document.collect::<BTreeMap<_, _>>());
    }
    let mut table = Table::new(&[("SETTING", Side::Left), ("VALUE", Side::Left), ("FROM", Side::Left)]);
    for (key, value, origin) in settings.rows() {
        table.row([key.to_owned(), value, origin.to_string()]);
    }
    output.table(&table)
}

fn path(settings: &Settings, output: &mut Output) -> Outcome {
    let path = config_path(&settings.home.value);
    match output.json() {
        true => output.document(&serde_json::json!({ "path": path, "exists": path.exists() })),
        false => output.line(&printable(&path.display().to_string())),
    }
}
