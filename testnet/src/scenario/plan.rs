//! What a seed makes of a scenario: every event with its moment, before anything starts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{ContentIndex, Fault, FaultKind, Line, Moment, NodeIndex, Scenario, Share};
use crate::size::show_rate;

/// Steps in which shares are drawn, in millionths.
const SHARE_STEP: u64 = 1_000;

/// All events of a run, in order. The same scenario and seed give the same plan on any machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// The events: those that wait for the time first, then those that wait for something else; each by moment.
    pub events: Vec<Planned>,
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its moment.
    pub when: When,
    /// What happens then.
    pub action: Action,
}

/// The moment of an event: so long after something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct When {
    /// What it waits for.
    pub trigger: Trigger,
    /// How long after that.
    pub after: Duration,
}

/// What an event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// The run has begun: every node is ready.
    Start,
    /// This share of all bytes that are to be fetched in the whole run has arrived.
    Progress(Share),
    /// Every honest node that publishes this content has done so.
    Published(ContentIndex),
    /// Every fetch of this content is done.
    Done(ContentIndex),
}

/// Something that happens at nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A content is published; at a liar: it says that it has it.
    Publish {
        /// Where.
        node: NodeIndex,
        /// What.
        content: ContentIndex,
    },
    /// A fetch begins.
    Fetch {
        /// Where.
        node: NodeIndex,
        /// What.
        content: ContentIndex,
    },
    /// SIGKILL.
    Kill(NodeIndex),
    /// A killed node is started again.
    Start(NodeIndex),
    /// SIGSTOP.
    Pause(NodeIndex),
    /// SIGCONT.
    Resume(NodeIndex),
    /// SIGTERM, and started again.
    Restart(NodeIndex),
    /// Killed, emptied, and started again.
    Wipe(NodeIndex),
    /// From now on it can write nothing.
    FillDisk(NodeIndex),
    /// From now on it can write again.
    FreeDisk(NodeIndex),
    /// Its line is like this from now on.
    SetLine(NodeIndex, Line),
    /// These reach each other and nobody else.
    Part(Vec<NodeIndex>),
    /// These reach everybody again.
    Join(Vec<NodeIndex>),
    /// Bytes of what it holds change on disk, at places that this seed names.
    Corrupt {
        /// Where.
        node: NodeIndex,
        /// How many.
        bytes: u32,
        /// Of the places and the bytes.
        seed: u64,
    },
}

impl Plan {
    /// Draws it.
    pub fn draw(scenario: &Scenario, seed: u64) -> Self {
        let mut draw = Draw { scenario, rng: ChaCha8Rng::seed_from_u64(seed), events: Vec::new() };
        for publish in &scenario.publishes {
            let when = draw.moment(publish.when);
            draw.spread(when, publish.apart, &publish.nodes, |node| Action::Publish { node, content: publish.content });
        }
        for fetch in &scenario.fetches {
            let when = draw.moment(fetch.when);
            draw.spread(when, fetch.apart, &fetch.nodes, |node| Action::Fetch { node, content: fetch.content });
        }
        scenario.faults.iter().for_each(|fault| draw.fault(fault));
        let mut events = draw.events;
        // Stable: what is written first happens first.
        events.sort_by_key(|event| event.when);
        Self { seed, events }
    }

    /// The events that are faults or undo them.
    pub fn faults(&self) -> impl Iterator<Item = &Planned> {
        self.events.iter().filter(|event| event.action.is_fault())
    }

    /// One line for each event.
    pub fn lines(&self, scenario: &Scenario) -> Vec<String> {
        let line = |event: &Planned| format!("{:>18}  {}", event.when.words(scenario), event.action.words(scenario));
        self.events.iter().map(line).collect()
    }
}

struct Draw<'a> {
    scenario: &'a Scenario,
    rng: ChaCha8Rng,
    events: Vec<Planned>,
}

impl Draw<'_> {
    fn add(&mut self, when: When, action: Action) {
        self.events.push(Planned { when, action });
    }

    fn spread(&mut self, from: When, apart: Duration, nodes: &[NodeIndex], action: impl Fn(NodeIndex) -> Action) {
        let mut when = from;
        for node in nodes {
            self.add(when, action(*node));
            when = when.later(apart);
        }
    }

    fn fault(&mut self, fault: &Fault) {
        let start = self.moment(fault.when);
        if fault.one_by_one {
            let mut when = start;
            for node in &fault.nodes {
                self.strike(fault, when, &[*node]);
                when = when.later(fault.every);
            }
            return;
        }
        // When each node that was struck is well again; those who are not yet cannot be struck another time.
        let mut well_at: BTreeMap<NodeIndex, Option<Duration>> = BTreeMap::new();
        for turn in 0..fault.times {
            let stretch = if fault.times > 1 { self.within(Duration::ZERO, fault.every) } else { Duration::ZERO };
            let when = start.later(fault.every.saturating_mul(turn)).later(stretch);
            let well = |node: &&NodeIndex| {
                well_at.get(*node).is_none_or(|until| until.is_some_and(|until| until <= when.after))
            };
            let able: Vec<NodeIndex> = fault.nodes.iter().filter(well).copied().collect();
            let struck = self.pick(able, fault.pick);
            if !struck.is_empty() {
                let until = fault.kind.is_over_at_once().then_some(when.after);
                let until = until.or(fault.lasts.map(|lasts| when.after.saturating_add(lasts)));
                well_at.extend(struck.iter().map(|node| (*node, until)));
                self.strike(fault, when, &struck);
            }
        }
    }

    fn strike(&mut self, fault: &Fault, when: When, nodes: &[NodeIndex]) {
        let end = fault.lasts.map(|lasts| when.later(lasts));
        if fault.kind == FaultKind::Partition {
            self.add(when, Action::Part(nodes.to_vec()));
            end.into_iter().for_each(|end| self.add(end, Action::Join(nodes.to_vec())));
            return;
        }
        for &node in nodes {
            let (action, undo) = self.actions(fault.kind, node);
            self.add(when, action);
            if let (Some(end), Some(undo)) = (end, undo) {
                self.add(end, undo);
            }
        }
    }

    /// What a fault is at a node, and what undoes it.
    fn actions(&mut self, kind: FaultKind, node: NodeIndex) -> (Action, Option<Action>) {
        match kind {
            FaultKind::Kill => (Action::Kill(node), Some(Action::Start(node))),
            FaultKind::Pause => (Action::Pause(node), Some(Action::Resume(node))),
            FaultKind::Restart => (Action::Restart(node), None),
            FaultKind::Wipe => (Action::Wipe(node), None),
            FaultKind::DiskFull => (Action::FillDisk(node), Some(Action::FreeDisk(node))),
            FaultKind::Line(line) => {
                let before = self.scenario.group_of(node).map_or_else(Line::default, |group| group.line);
                (Action::SetLine(node, line), Some(Action::SetLine(node, before)))
            }
            FaultKind::Partition => (Action::Part(vec![node]), Some(Action::Join(vec![node]))),
            FaultKind::Corrupt { bytes } => (Action::Corrupt { node, bytes, seed: self.rng.next_u64() }, None),
        }
    }

    /// So many of the nodes, each as likely as any other; in their own order.
    fn pick(&mut self, mut nodes: Vec<NodeIndex>, count: Option<usize>) -> Vec<NodeIndex> {
        let Some(count) = count.filter(|count| *count < nodes.len()) else { return nodes };
        for place in 0..count {
            let other = place + self.below((nodes.len() - place) as u64) as usize;
            nodes.swap(place, other);
        }
        nodes.truncate(count);
        nodes.sort_unstable();
        nodes
    }

    fn moment(&mut self, moment: Moment) -> When {
        match moment {
            Moment::Time(from, to) => When { trigger: Trigger::Start, after: self.within(from, to) },
            Moment::Published(content) => When { trigger: Trigger::Published(content), after: Duration::ZERO },
            Moment::Done(content) => When { trigger: Trigger::Done(content), after: Duration::ZERO },
            Moment::Progress(from, to) => {
                // In whole tenths of a percent, so that a plan reads as it is.
                let span = u64::from(to.millionths() - from.millionths());
                let share = u64::from(from.millionths()) + self.below(span / SHARE_STEP + 1) * SHARE_STEP;
                let share = Share::from_millionths(u32::try_from(share).unwrap_or(u32::MAX));
                When { trigger: Trigger::Progress(share), after: Duration::ZERO }
            }
        }
    }

    /// A moment of the stretch, in whole milliseconds, so that a plan reads as it is.
    fn within(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_millis();
        match u64::try_from(span) {
            Ok(0) | Err(_) => from,
            Ok(span) => from + Duration::from_millis(self.below(span)),
        }
    }

    /// A number below another; the bias is one in 2^64 divided by it.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.rng.next_u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

impl When {
    /// So long after the start of the run.
    pub const fn at(after: Duration) -> Self {
        Self { trigger: Trigger::Start, after }
    }

    /// So much later.
    fn later(self, by: Duration) -> Self {
        Self { after: self.after.saturating_add(by), ..self }
    }

    /// The moment in words.
    pub fn words(self, scenario: &Scenario) -> String {
        let after = format!("{}.{:03} s", self.after.as_secs(), self.after.subsec_millis());
        let name = |content| scenario.content(content).map_or("", |content| content.name.as_str());
        let trigger = match self.trigger {
            Trigger::Start => return after,
            Trigger::Progress(share) => share.to_string(),
            Trigger::Published(content) => format!("{} published", name(content)),
            Trigger::Done(content) => format!("{} done", name(content)),
        };
        if self.after.is_zero() { trigger } else { format!("{trigger} + {after}") }
    }
}

impl FaultKind {
    fn is_over_at_once(self) -> bool {
        matches!(self, Self::Restart | Self::Wipe | Self::Corrupt { .. })
    }
}

impl Action {
    /// Whether it is a fault or undoes one.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::Publish { .. } | Self::Fetch { .. })
    }

    /// The nodes that it happens to.
    pub fn nodes(&self) -> Vec<NodeIndex> {
        match self {
            Self::Publish { node, .. }
            | Self::Fetch { node, .. }
            | Self::Kill(node)
            | Self::Start(node)
            | Self::Pause(node)
            | Self::Resume(node)
            | Self::Restart(node)
            | Self::Wipe(node)
            | Self::FillDisk(node)
            | Self::FreeDisk(node)
            | Self::SetLine(node, _)
            | Self::Corrupt { node, .. } => vec![*node],
            Self::Part(nodes) | Self::Join(nodes) => nodes.clone(),
        }
    }

    /// What happens, in words.
    pub fn words(&self, scenario: &Scenario) -> String {
        let name = |node: &NodeIndex| scenario.node_name(*node);
        let names = |nodes: &[NodeIndex]| nodes.iter().map(name).collect::<Vec<_>>().join(", ");
        let what = |content: &ContentIndex| scenario.content(*content).map_or("", |content| &content.name);
        match self {
            Self::Publish { node, content } => format!("{} publishes {}", name(node), what(content)),
            Self::Fetch { node, content } => format!("{} fetches {}", name(node), what(content)),
            Self::Kill(node) => format!("{} is killed", name(node)),
            Self::Start(node) => format!("{} is started again", name(node)),
            Self::Pause(node) => format!("{} is paused", name(node)),
            Self::Resume(node) => format!("{} goes on", name(node)),
            Self::Restart(node) => format!("{} is restarted", name(node)),
            Self::Wipe(node) => format!("{} loses all it holds and is started again", name(node)),
            Self::FillDisk(node) => format!("the disk of {} is full", name(node)),
            Self::FreeDisk(node) => format!("the disk of {} has room again", name(node)),
            Self::SetLine(node, line) => format!("the line of {}: {line}", name(node)),
            Self::Part(nodes) => format!("cut off from all others: {}", names(nodes)),
            Self::Join(nodes) => format!("no longer cut off: {}", names(nodes)),
            Self::Corrupt { node, bytes, .. } => format!("{bytes} bytes on the disk of {} change", name(node)),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("as the machine has it");
        }
        let mut parts = Vec::new();
        parts.extend(self.up.map(|rate| format!("{} up", show_rate(rate))));
        parts.extend(self.down.map(|rate| format!("{} down", show_rate(rate))));
        parts.extend((!self.delay.is_zero()).then(|| format!("{} ms of delay", self.delay.as_millis())));
        parts.extend((self.loss > Share::NONE).then(|| format!("{} lost", self.loss)));
        f.write_str(&parts.join(", "))
    }
}
