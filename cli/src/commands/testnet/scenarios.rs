//! Scenarios by name or by file.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use shoal_node::api::FailureKind;
use shoal_testnet::scenario::{Plan, Scenario, shipped, shipped_scenarios};

use crate::output::Output;
use crate::stop::{Outcome, Stop};
use crate::table::{Side, Table};

/// No scenario that a person writes is longer.
const MAX_BYTES: u64 = 1 << 20;

/// The scenario of that name, or in that file. What is wrong with it is wrong usage, with the line.
pub(super) fn load(place: &Path) -> Outcome<Scenario> {
    let name = place.to_str().unwrap_or_default();
    if let (Some(shipped), false) = (shipped(name), place.exists()) {
        return shipped.scenario().map_err(|error| Stop::new(FailureKind::Failed, format!("{name}: {error}")));
    }
    let text = read(place)?;
    Scenario::parse(&text).map_err(|error| Stop::usage(format!("{}: {error}", place.display())))
}

fn read(place: &Path) -> Outcome<String> {
    let failed = |error: std::io::Error| {
        let names = shipped_scenarios().iter().map(|shipped| shipped.name).collect::<Vec<_>>().join(", ");
        let path = place.display();
        Stop::usage(format!("cannot read the scenario {path}: {error} (these come with the program: {names})"))
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(place).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Stop::usage(format!("{} is too long for a scenario", place.display())));
    }
    String::from_utf8(bytes).map_err(|error| {
        let text = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + text.iter().filter(|byte| **byte == b'\n').count();
        Stop::usage(format!("{}: line {line}: this is no text (UTF-8 is needed)", place.display()))
    })
}

/// A scenario in the list.
#[derive(Serialize)]
struct Listed {
    name: String,
    nodes: usize,
    purpose: String,
}

/// Shows the scenarios that come with the program.
pub(super) fn list(output: &mut Output) -> Outcome {
    let mut listed = Vec::new();
    for shipped in shipped_scenarios() {
        let scenario = load(Path::new(shipped.name))?;
        let nodes = scenario.node_count();
        let purpose = scenario.purpose.split_whitespace().collect::<Vec<_>>().join(" ");
        listed.push(Listed { name: scenario.name, nodes, purpose });
    }
    if output.json() {
        return output.document(&listed);
    }
    let mut table = Table::new(&[("SCENARIO", Side::Left), ("NODES", Side::Right), ("WHAT IT IS FOR", Side::Left)]);
    for scenario in listed {
        // The first sentence; the file has the rest.
        let first = scenario.purpose.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned();
        table.row([scenario.name, scenario.nodes.to_string(), first]);
    }
    output.table(&table)
}

/// A line of a plan.
#[derive(Serialize)]
struct PlanLine {
    when: String,
    what: String,
    fault: bool,
}

/// Shows what a seed makes of a scenario.
pub(super) fn plan(scenario: &Scenario, seed: u64, output: &mut Output) -> Outcome {
    let plan = Plan::draw(scenario, seed);
    if output.json() {
        let lines = plan.events.iter().map(|event| PlanLine {
            when: event.when.words(scenario),
            what: event.action.words(scenario),
            fault: event.action.is_fault(),
        });
        return output.document(&lines.collect::<Vec<_>>());
    }
    for line in plan.lines(scenario) {
        output.line(&line)?;
    }
    Ok(())
}
