//! A scenario with virtual peers: the setup that its plan makes, and what came of it in the scenario's words.

use std::collections::BTreeSet;
use std::time::Duration;

use shoal_protocol::chunker::TARGET_CHUNK_BYTES;
use shoal_protocol::engine::EngineConfig;

use super::line::Line;
use super::script::CONTENT;
use super::setup::{Fault, Holds, Meeting, Nature, PeerSetup, Setup};
use super::store::Durability;
use super::{Simulated, SimulatorError, bounded, simulate};
use crate::report::{Check, Figure, Happened, Report, judge};
use crate::scenario::{self, Action, Group, Lie, NodeIndex, Plan, Planned, Scenario, Shape};

/// What of a simulation's own figures stands beside those that all runs have.
const FIGURES: [&str; 3] = ["control", "fairness", "events"];

/// Plays a scenario with virtual peers and judges what came of it. The same scenario and seed give the same report on
/// any machine.
///
/// # Errors
/// When the scenario has what no simulation can do. What goes wrong in the run is in the report.
pub fn play(scenario: &Scenario, seed: u64) -> Result<Report, SimulatorError> {
    can_play(scenario)?;
    let plan = Plan::draw(scenario, seed);
    let stage = Stage::new(scenario, &plan);
    let actions = stage.actions;
    let Simulated { report: figures, mut run, faults } = simulate(stage.setup, seed)?;
    for ((_, name, group), node) in scenario.nodes().zip(&mut run.nodes) {
        (node.name, node.group) = (name, group.name.clone());
    }
    for (content, simulated) in scenario.contents.iter().zip(&mut run.contents) {
        simulated.name.clone_from(&content.name);
    }
    let mut told = BTreeSet::new();
    for (at, place) in faults {
        let Some(action) = actions.get(place) else { continue };
        // One that takes several steps is told of once.
        if let Some(action) = plan.events.get(*action).filter(|_| told.insert(*action)) {
            let what = action.action.words(scenario);
            run.events.push(Happened { at_us: micros(at), what, fault: true });
        }
    }
    run.figures.retain(|figure| FIGURES.contains(&figure.name.as_str()));
    run.figures.extend(Figure::of_faults(told.len(), plan.faults().count()));
    judge(scenario, &mut run);
    let struck = plan.events.iter().filter(|event| event.action.is_fault()).flat_map(|event| event.action.nodes());
    let struck = struck.map(|node| node.0).collect();
    run.figures.extend(run.standstill(&struck));
    run.checks.push(nothing_is_broken(scenario, &figures));
    Ok(run)
}

/// Whether [`play`] takes a scenario.
///
/// # Errors
/// What it has that no simulation can do.
pub fn can_play(scenario: &Scenario) -> Result<(), SimulatorError> {
    if let Some(second) = scenario.contents.get(1) {
        return Err(SimulatorError::SecondContent { name: second.name.clone() });
    }
    let Some(content) = scenario.content(CONTENT) else { return Ok(()) };
    if let Shape::Folder { .. } = content.shape {
        return Err(SimulatorError::Folder { name: content.name.clone() });
    }
    bounded(scenario.node_count() as u64, content.bytes, TARGET_CHUNK_BYTES)
}

/// Demanded of every simulation: what must hold of engine, policy and the simulator itself.
fn nothing_is_broken(scenario: &Scenario, figures: &super::Report) -> Check {
    let name = |peer: &u32| scenario.node_name(NodeIndex(*peer as usize));
    let stuck = figures.stuck.iter().map(|peer| format!("{} could go on and does not", name(peer)));
    let mut found: Vec<String> = stuck.chain(figures.broken.iter().cloned()).collect();
    let passed = found.is_empty();
    found.truncate(3);
    Check {
        what: "no fetch is stuck, and engine, policy and lines keep their rules".to_owned(),
        found: if passed { "all do".to_owned() } else { found.join("; ") },
        passed,
    }
}

/// A setup, and which event of the plan each of its faults belongs to.
struct Stage<'a> {
    scenario: &'a Scenario,
    setup: Setup,
    actions: Vec<usize>,
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario, plan: &Plan) -> Self {
        let setup = Setup {
            name: scenario.name.clone(),
            bytes: scenario.content(CONTENT).map_or(0, |content| content.bytes),
            chunk_bytes: TARGET_CHUNK_BYTES,
            peers: scenario.nodes().map(|(_, _, group)| peer(group)).collect(),
            faults: Vec::new(),
            meeting: Meeting::near(),
            durability: Durability::default(),
            engine: EngineConfig::default(),
            quantum_bytes: None,
            limit: scenario.deadline,
        };
        let mut stage = Self { scenario, setup, actions: Vec::new() };
        for (place, event) in plan.events.iter().enumerate() {
            stage.put(place, event);
        }
        stage
    }

    /// Puts an event of the plan into the setup.
    fn put(&mut self, place: usize, event: &Planned) {
        let when = event.when;
        let mut strike = |when, fault| {
            self.setup.faults.push((when, fault));
            self.actions.push(place);
        };
        match &event.action {
            Action::Publish { node, .. } => {
                // A liar says from its start that it has it.
                if let Some(peer) = self.setup.peers.get_mut(node.0) {
                    peer.holds = Holds::All;
                    peer.publishes = Some(when).filter(|_| peer.nature == Nature::Honest);
                }
            }
            Action::Fetch { node, .. } => {
                if let Some(peer) = self.setup.peers.get_mut(node.0) {
                    peer.fetches = Some(when);
                }
            }
            Action::Kill(node) => strike(when, Fault::Kill(number(*node))),
            Action::Start(node) => strike(when, Fault::Start(number(*node))),
            Action::Pause(node) => strike(when, Fault::Pause(number(*node))),
            Action::Resume(node) => strike(when, Fault::Resume(number(*node))),
            Action::Restart(node) => {
                strike(when, Fault::Stop(number(*node)));
                strike(when, Fault::Start(number(*node)));
            }
            Action::Wipe(node) => {
                strike(when, Fault::Wipe(number(*node)));
                strike(when, Fault::Start(number(*node)));
            }
            Action::FillDisk(node) => strike(when, Fault::Fill(number(*node))),
            Action::FreeDisk(node) => strike(when, Fault::Free(number(*node))),
            Action::SetLine(node, line) => {
                let limit_down = self.scenario.group_of(*node).and_then(|group| group.limit_down);
                strike(when, Fault::Line(number(*node), line_of(line, limit_down)));
            }
            // Each partition is a side of its own.
            Action::Part(nodes) => {
                let side = u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1);
                nodes.iter().for_each(|node| strike(when, Fault::Side(number(*node), side)));
            }
            Action::Join(nodes) => nodes.iter().for_each(|node| strike(when, Fault::Side(number(*node), 0))),
            Action::Corrupt { node, bytes, seed } => {
                strike(when, Fault::Corrupt { peer: number(*node), bytes: *bytes, seed: *seed });
            }
        }
    }
}

fn peer(group: &Group) -> PeerSetup {
    PeerSetup {
        line: line_of(&group.line, group.limit_down),
        limit_up: group.limit_up,
        nature: group.lie.map_or(Nature::Honest, nature),
        holds: Holds::Nothing,
        ..PeerSetup::seeder()
    }
}

/// A node's own limit on what it takes in is a narrower line here.
fn line_of(line: &scenario::Line, limit_down: Option<u64>) -> Line {
    let down = [line.down, limit_down].into_iter().flatten().min();
    Line { up: line.up, down, delay: line.delay, loss_millionths: line.loss.millionths() }
}

const fn nature(lie: Lie) -> Nature {
    match lie {
        // The engine is told of both that the chunk is a bad one.
        Lie::WrongChunks | Lie::ShortChunks => Nature::WrongChunks,
        Lie::WrongNodes => Nature::WrongNodes,
        Lie::Silent => Nature::Silent,
        Lie::Endless | Lie::Noise | Lie::NoProof => Nature::Garbage,
        Lie::HangsUp => Nature::HangsUp,
    }
}

fn number(node: NodeIndex) -> u32 {
    u32::try_from(node.0).unwrap_or(u32::MAX)
}

fn micros(at: Duration) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
}
