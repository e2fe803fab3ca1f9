//! Goes through the plan: does what is due, looks at everything meanwhile, and knows when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shoal_node::api::{Published, Status};
use shoal_protocol::hash::ContentHash;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::RunError;
use super::board::Meter;
use super::fetching::{Errand, Fetching};
use super::outcome::honest_publishers;
use super::publishing::publish;
use super::stage::Stage;
use crate::narrator::Narrator;
use crate::report::{Happened, Sample, SentBy};
use crate::resources::Usage;
use crate::scenario::{Action, ContentIndex, NodeIndex, Plan, Planned, Scenario, Trigger};
use crate::standing::Asked;

/// How often the plan is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often everything is written down.
const SAMPLE: Duration = Duration::from_millis(250);
/// How often each node is asked how it is, for every so many of them.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_NODES: usize = 25;

/// A run under way.
pub(super) struct Conductor<'a, 'b> {
    pub(super) scenario: &'a Scenario,
    pub(super) plan: &'a Plan,
    pub(super) stage: Stage,
    pub(super) fetches: Vec<Arc<Fetching>>,
    pub(super) events: Vec<Happened>,
    pub(super) samples: Vec<Sample>,
    pub(super) seen: Vec<Seen>,
    pub(super) hashes: Vec<watch::Sender<Option<ContentHash>>>,
    pub(super) began: Instant,
    narrator: &'a mut Narrator<'b>,
    /// Events that have not happened yet, in order.
    ahead: Vec<Planned>,
    /// Nodes that something was done to.
    pub(super) struck: BTreeSet<NodeIndex>,
    /// When each trigger came.
    triggered: BTreeMap<Trigger, Instant>,
    pub(super) meter: Meter,
    publishing: JoinSet<(NodeIndex, ContentIndex, Result<Published, String>)>,
    /// How often each content has been published.
    published: BTreeMap<ContentIndex, usize>,
    fetching: JoinSet<usize>,
    /// Fetches of which it was told that they are over.
    told: usize,
    looks: Vec<watch::Receiver<Option<Status>>>,
    _looking: JoinSet<()>,
}

/// What was seen of a node so far, over all its processes.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) peer_id: String,
    pub(super) sent: Counted,
    pub(super) received: Counted,
    pub(super) peak_memory_bytes: u64,
}

/// A counter that begins anew with each process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    before: u64,
    now: u64,
}

impl Counted {
    fn note(&mut self, value: u64) {
        if value < self.now {
            self.before += self.now;
        }
        self.now = value;
    }

    pub(super) fn total(self) -> u64 {
        self.before + self.now
    }
}

impl<'a, 'b> Conductor<'a, 'b> {
    pub(super) fn new(scenario: &'a Scenario, plan: &'a Plan, stage: Stage, narrator: &'a mut Narrator<'b>) -> Self {
        let mut looking = JoinSet::new();
        let turns = u32::try_from(scenario.node_count().div_ceil(LOOK_NODES)).unwrap_or(1);
        let looks = stage.cluster.nodes().iter().map(|node| {
            let (put, look) = watch::channel(None);
            let asked = Asked::new(node.home());
            looking.spawn(async move {
                loop {
                    put.send_replace(asked.status().await);
                    sleep(LOOK * turns).await;
                }
            });
            look
        });
        let looks = looks.collect();
        let peer_id = |node: &crate::node::Node| Seen { peer_id: node.peer_id().to_owned(), ..Seen::default() };
        Self {
            fetches: plan.events.iter().filter_map(fetch_of).collect(),
            events: Vec::new(),
            samples: Vec::new(),
            seen: stage.cluster.nodes().iter().map(peer_id).collect(),
            hashes: scenario.contents.iter().map(|_| watch::Sender::new(None)).collect(),
            began: Instant::now(),
            narrator,
            ahead: plan.events.clone(),
            struck: BTreeSet::new(),
            triggered: BTreeMap::from([(Trigger::Start, Instant::now())]),
            meter: Meter::default(),
            publishing: JoinSet::new(),
            published: BTreeMap::new(),
            fetching: JoinSet::new(),
            told: 0,
            looks,
            _looking: looking,
            scenario,
            plan,
            stage,
        }
    }

    /// Plays until every fetch is over that can be, or the scenario's deadline has come.
    pub(super) async fn play(&mut self) -> Result<(), RunError> {
        let mut ticks = interval(TICK);
        let mut sampled = None;
        while self.began.elapsed() < self.scenario.deadline {
            tokio::select! {
                Some(Ok((node, content, published))) = self.publishing.join_next() => match published {
                    Ok(published) => self.published(node, content, &published)?,
                    // It cannot, and is asked again once it can.
                    Err(_) if self.excuse(node).is_some() => self.start_publish(node, content),
                    Err(why) => {
                        let (node, content) = (self.scenario.node_name(node), self.content_name(content));
                        return Err(RunError::Publish { node, content, why });
                    }
                },
                Some(Ok(place)) = self.fetching.join_next() => self.fetched(place)?,
                _ = ticks.tick() => {}
            }
            for node in self.stage.settle()? {
                let words = format!("{} has ended although nobody asked it to", self.scenario.node_name(node));
                self.tell(words, true)?;
            }
            self.trigger();
            self.act()?;
            if sampled.is_none_or(|last: Instant| last.elapsed() >= SAMPLE) {
                sampled = Some(Instant::now());
                self.sample()?;
            }
            if self.is_over() {
                break;
            }
        }
        // One may be over of which nobody has heard yet.
        while self.told < self.fetches.iter().filter(|fetch| fetch.is_over()).count() {
            match self.fetching.join_next().await {
                Some(Ok(place)) => self.fetched(place)?,
                Some(Err(_)) | None => break,
            }
        }
        self.sample()
    }

    /// Notes which triggers have come.
    fn trigger(&mut self) {
        let done: u64 = self.fetches.iter().map(|fetch| fetch.done_bytes()).sum();
        let all: u64 = self.fetches.iter().map(|fetch| self.bytes(fetch.content)).sum();
        let waited_for: Vec<Trigger> = self.ahead.iter().map(|event| event.when.trigger).collect();
        for trigger in waited_for {
            let came = match trigger {
                Trigger::Start => true,
                Trigger::Progress(share) => done >= share.of(all),
                Trigger::Published(content) => {
                    let done = self.published.get(&content).copied().unwrap_or(0);
                    done > 0 && done >= honest_publishers(self.scenario, content).len()
                }
                Trigger::Done(content) => {
                    self.fetches.iter().filter(|fetch| fetch.content == content).all(|fetch| fetch.is_over())
                }
            };
            if came {
                self.triggered.entry(trigger).or_insert_with(Instant::now);
            }
        }
    }

    /// Does what is due.
    fn act(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        let triggered = self.triggered.clone();
        let due = |event: &Planned| triggered.get(&event.when.trigger).is_some_and(|at| *at + event.when.after <= now);
        let (due, ahead) = std::mem::take(&mut self.ahead).into_iter().partition(due);
        self.ahead = ahead;
        let mut due: Vec<Planned> = due;
        due.sort_by_key(|event| triggered.get(&event.when.trigger).map(|at| *at + event.when.after));
        for event in due {
            match event.action {
                Action::Publish { node, content } => self.start_publish(node, content),
                Action::Fetch { node, content } => self.start_fetch(node, content),
                ref fault => {
                    self.struck.extend(fault.nodes());
                    self.stage.strike(fault)?;
                }
            }
            let is_fault = event.action.is_fault();
            let words = event.action.words(self.scenario);
            self.tell(words, is_fault)?;
        }
        Ok(())
    }

    fn start_publish(&mut self, node: NodeIndex, content: ContentIndex) {
        let honest = self.scenario.group_of(node).is_some_and(|group| group.lie.is_none());
        let home = self.stage.home(node).map(ToOwned::to_owned);
        let original = self.stage.originals.get(content.0).cloned();
        // A liar says from its start that it has it.
        if let (true, Some(home), Some(original)) = (honest, home, original) {
            self.publishing.spawn(async move { (node, content, publish(home, original).await) });
        }
    }

    fn start_fetch(&mut self, node: NodeIndex, content: ContentIndex) {
        let place = self.fetches.iter().position(|fetch| fetch.node == node && fetch.content == content);
        let (Some(place), Some(home)) = (place, self.stage.home(node)) else { return };
        let (Some(fetch), Some(hash)) = (self.fetches.get(place).cloned(), self.hashes.get(content.0)) else { return };
        let errand = Errand {
            home: home.to_owned(),
            original: self.stage.originals.get(content.0).cloned().unwrap_or_default(),
            output: self.stage.output(node, content),
            hash: hash.subscribe(),
        };
        self.fetching.spawn(async move {
            fetch.run(errand).await;
            place
        });
    }

    fn published(&mut self, node: NodeIndex, content: ContentIndex, made: &Published) -> Result<(), RunError> {
        if let Some(hash) = self.hashes.get(content.0) {
            hash.send_replace(Some(made.hash));
        }
        *self.published.entry(content).or_default() += 1;
        let (node, name) = (self.scenario.node_name(node), self.content_name(content));
        self.tell(format!("{node} has published {name}; the others are told nothing but {}", made.hash), false)
    }

    fn fetched(&mut self, place: usize) -> Result<(), RunError> {
        self.told += 1;
        let Some(fetch) = self.fetches.get(place).cloned() else { return Ok(()) };
        let state = fetch.state();
        let took = state.ended.zip(state.began).map(|(end, start)| end.duration_since(start)).unwrap_or_default();
        let name = self.content_name(fetch.content);
        let words = format!("{} has {name} after {:.1} s", self.scenario.node_name(fetch.node), took.as_secs_f64());
        self.tell(words, false)
    }

    /// Writes down how far everything is.
    fn sample(&mut self) -> Result<(), RunError> {
        for (seen, look) in self.seen.iter_mut().zip(&self.looks) {
            if let Some(status) = look.borrow().as_ref() {
                seen.sent.note(status.sent_bytes);
                seen.received.note(status.received_bytes);
            }
        }
        for index in 0..self.seen.len() {
            let look = self.looks.get(index).and_then(|look| look.borrow().clone());
            if let Some(status) = look {
                self.stage.cluster.note_addresses(index, status.identity.addresses);
            }
            let pid = self.stage.cluster.nodes().get(index).and_then(crate::node::Node::pid);
            let memory = pid.and_then(|pid| Usage::of(pid).ok()).map_or(0, |usage| usage.peak_resident_bytes);
            if let Some(seen) = self.seen.get_mut(index) {
                seen.peak_memory_bytes = seen.peak_memory_bytes.max(memory);
            }
        }
        let mut sent = SentBy::default();
        for (index, seen) in self.seen.iter().enumerate() {
            let publishes = self.scenario.publishes.iter().any(|publish| publish.nodes.contains(&NodeIndex(index)));
            let part = if publishes { &mut sent.publishers } else { &mut sent.others };
            *part += seen.sent.total();
        }
        self.meter.note(Instant::now(), self.counts());
        let at_us = self.at_us(Instant::now());
        let done_bytes = self.fetches.iter().map(|fetch| fetch.done_bytes()).collect();
        self.samples.push(Sample { at_us, done_bytes, sent });
        let summary = self.summary();
        let rows = self.narrator.board_rows().map_or_else(Vec::new, |most| self.rows(most));
        Ok(self.narrator.progress(&summary, rows)?)
    }

    fn excuse(&self, node: NodeIndex) -> Option<&'static str> {
        self.stage.conditions.get(node.0).and_then(super::stage::Condition::excuse)
    }

    /// Whether nothing more can come: every fetch is over, or its node is in no state to and stays so.
    fn is_over(&self) -> bool {
        self.fetches.iter().all(|fetch| fetch.is_over() || self.is_hopeless(fetch.node))
    }

    fn is_hopeless(&self, node: NodeIndex) -> bool {
        let condition = self.stage.conditions.get(node.0).copied().unwrap_or_default();
        let healed = self.ahead.iter().any(|event| match &event.action {
            Action::Start(n) | Action::Resume(n) | Action::FreeDisk(n) | Action::Restart(n) | Action::Wipe(n) => {
                *n == node
            }
            Action::Join(nodes) => nodes.contains(&node),
            _ => false,
        });
        (condition.excuse().is_some() || condition.fell) && !healed
    }

    fn tell(&mut self, what: String, fault: bool) -> Result<(), RunError> {
        self.narrator.say(&what)?;
        self.events.push(Happened { at_us: self.at_us(Instant::now()), what, fault });
        Ok(())
    }

    pub(super) fn at_us(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn bytes(&self, content: ContentIndex) -> u64 {
        self.scenario.content(content).map_or(0, |content| content.bytes)
    }

    fn content_name(&self, content: ContentIndex) -> String {
        self.scenario.content(content).map_or(String::new(), |content| content.name.clone())
    }

    /// Events of the plan that never came, because all was over before.
    pub(super) fn left_undone(&self) -> usize {
        self.ahead.iter().filter(|event| event.action.is_fault()).count()
    }

    /// Ends what goes on at nodes, so that the report is of one moment.
    pub(super) fn stop(&mut self) {
        self.fetching.abort_all();
        self.publishing.abort_all();
    }
}

fn fetch_of(event: &Planned) -> Option<Arc<Fetching>> {
    match event.action {
        Action::Fetch { node, content } => Some(Fetching::new(node, content)),
        _ => None,
    }
}
