//! From a file as it is written to a checked scenario: looks up every name and bounds every number.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::Spanned;

use super::file::{self, File, Text};
use super::names::{NameTable, ends_in_number};
use super::reader::{MAX_DEADLINE, Outcome, Reader};
use super::{
    Checks, Content, ContentIndex, Factor, Fault, FaultKind, Fetch, Group, Lie, MAX_NODES, NodeIndex, Publish,
    Scenario, ScenarioError, Shape, lower_bound,
};
use crate::size::parse_size;

const DEFAULT_DEADLINE: Duration = Duration::from_secs(120);
const MAX_CONTENT_BYTES: u64 = 1 << 40;
const MAX_CONTENTS: usize = 64;
const MAX_FILES: i64 = 1_000_000;
const MAX_TIMES: i64 = 10_000;
const MAX_CORRUPT_BYTES: i64 = 1_000_000;

/// Reads a file and checks all of it.
pub(super) fn resolve(text: &str) -> Outcome<Scenario> {
    let file: File = toml::from_str(text).map_err(|error| {
        // Several lines are drawn for a terminal otherwise; the first says what is wrong.
        let reason = error.message().lines().collect::<Vec<_>>().join(", ");
        let reason =
            reason.replace("expected i64", "expected a whole number").replace("expected f64", "expected a number");
        error.span().map_or_else(
            || ScenarioError::whole(reason.clone()),
            |span| ScenarioError::at(text, span.start, reason.clone()),
        )
    })?;
    Reader { text, fetched: BTreeSet::new(), published: BTreeSet::new() }.scenario(file)
}

impl Reader<'_> {
    fn scenario(mut self, file: File) -> Outcome<Scenario> {
        let deadline = match &file.deadline {
            Some(text) => match self.duration(text, MAX_DEADLINE)? {
                Duration::ZERO => return Err(self.wrong(text, "nothing can be done by a deadline of no time")),
                deadline => deadline,
            },
            None => DEFAULT_DEADLINE,
        };
        let groups = self.groups(&file.nodes)?;
        let contents = self.contents(&file.content)?;
        let names = NameTable::new(&groups, &contents);
        let mut scenario = Scenario {
            name: self.name(&file.name)?,
            purpose: file.purpose.trim().to_owned(),
            seed: file.seed.as_ref().map_or(Ok(1), |seed| self.number(seed, 0, i64::MAX))? as u64,
            deadline,
            groups,
            contents,
            publishes: Vec::new(),
            fetches: Vec::new(),
            faults: Vec::new(),
            checks: Checks::default(),
        };
        for publish in &file.publish {
            self.stand_at(&names, &file, publish.content.span().start)?;
            let content = self.content(&names, &publish.content)?;
            let nodes = self.nodes(&names, &publish.nodes)?;
            let twice =
                |other: &Publish| other.content == content && other.nodes.iter().any(|node| nodes.contains(node));
            if scenario.publishes.iter().any(twice) {
                return Err(self.wrong(&publish.nodes, "a node publishes this content already"));
            }
            scenario.publishes.push(Publish {
                content,
                nodes,
                when: self.moment(&names, publish.at.as_ref(), deadline)?,
                apart: self.apart(publish.apart.as_ref())?,
            });
        }
        for fetch in &file.fetch {
            self.stand_at(&names, &file, fetch.content.span().start)?;
            let resolved = self.fetch(&names, fetch, &scenario)?;
            scenario.fetches.push(resolved);
        }
        if scenario.fetches.is_empty() {
            return Err(self.missing("nobody fetches anything: add a [[fetch]]"));
        }
        self.stand_at(&names, &file, usize::MAX)?;
        for fault in &file.fault {
            let resolved = self.fault(&names, fault, &scenario)?;
            scenario.faults.push(resolved);
        }
        if let Some(checks) = &file.checks {
            scenario.checks = self.checks(checks, &scenario)?;
        }
        Ok(scenario)
    }

    /// Notes what can be waited for at this place of the text: whoever waits for a content waits for what stands above
    /// in the file, so nobody waits for himself.
    fn stand_at(&mut self, names: &NameTable, file: &File, place: usize) -> Outcome<()> {
        self.fetched = self.all_above(names, file.fetch.iter().map(|fetch| &fetch.content), place)?;
        self.published = self.all_above(names, file.publish.iter().map(|publish| &publish.content), place)?;
        Ok(())
    }

    /// The contents that are named above a place of the text, and nowhere below.
    fn all_above<'b>(
        &self,
        names: &NameTable,
        listed: impl Iterator<Item = &'b Text>,
        place: usize,
    ) -> Outcome<BTreeSet<ContentIndex>> {
        let (mut above, mut below) = (BTreeSet::new(), BTreeSet::new());
        for text in listed {
            let set = if text.span().start < place { &mut above } else { &mut below };
            set.insert(self.content(names, text)?);
        }
        Ok(above.difference(&below).copied().collect())
    }

    fn groups(&self, listed: &[file::Nodes]) -> Outcome<Vec<Group>> {
        if listed.is_empty() {
            return Err(self.missing("there are no nodes: add a [[nodes]]"));
        }
        let (mut groups, mut seen, mut nodes) = (Vec::new(), BTreeSet::new(), 0);
        for listed in listed {
            let name = self.name(&listed.name)?;
            if name == "all" || ends_in_number(&name) {
                return Err(
                    self.wrong(&listed.name, format!("{name:?} means something else already: name it otherwise"))
                );
            }
            if !seen.insert(name.clone()) {
                return Err(self.wrong(&listed.name, format!("there is a group {name:?} already")));
            }
            if let (Some(lie), true) = (&listed.liar, groups.is_empty()) {
                return Err(self.wrong(lie, "the first group must be honest: all others join through it"));
            }
            let count = match &listed.count {
                Some(count) => self.number(count, 1, MAX_NODES as i64)? as usize,
                None => 1,
            };
            nodes += count;
            if nodes > MAX_NODES {
                return Err(self.wrong(&listed.name, format!("these are more than {MAX_NODES} nodes")));
            }
            let lie = match &listed.liar {
                Some(lie) => Some(Lie::named(lie.as_ref()).ok_or_else(|| {
                    let known = Lie::ALL.map(Lie::name).join(", ");
                    self.wrong(lie, format!("{:?} is no way to lie; there is {known}", lie.as_ref()))
                })?),
                None => None,
            };
            groups.push(Group {
                name,
                count,
                line: self.line(&listed.up, &listed.down, &listed.delay, &listed.loss)?,
                limit_up: self.rate(listed.limit_up.as_ref())?,
                limit_down: self.rate(listed.limit_down.as_ref())?,
                lie,
            });
        }
        Ok(groups)
    }

    fn contents(&self, listed: &[file::Content]) -> Outcome<Vec<Content>> {
        let mut contents: Vec<Content> = Vec::new();
        for listed in listed {
            let name = self.name(&listed.name)?;
            if contents.iter().any(|content| content.name == name) {
                return Err(self.wrong(&listed.name, format!("there is a content {name:?} already")));
            }
            if contents.len() == MAX_CONTENTS {
                return Err(self.wrong(&listed.name, format!("these are more than {MAX_CONTENTS} contents")));
            }
            let content = match &listed.version_of {
                Some(older) => self.newer(name, listed, older, &contents)?,
                None => self.first(name, listed)?,
            };
            contents.push(content);
        }
        Ok(contents)
    }

    /// A content that is made from nothing.
    fn first(&self, name: String, listed: &file::Content) -> Outcome<Content> {
        if let Some(changed) = &listed.changed {
            return Err(self.wrong(changed, "`changed` goes with `version_of`"));
        }
        let Some(size) = &listed.size else {
            return Err(self.wrong(&listed.name, format!("{name:?} has no `size` (and no `version_of`)")));
        };
        let bytes = parse_size(size.as_ref()).map_err(|reason| self.wrong(size, reason))?;
        if !(1..=MAX_CONTENT_BYTES).contains(&bytes) {
            return Err(self.wrong(size, "a content has 1 B to 1 TiB"));
        }
        let shape = match &listed.files {
            Some(files) => Shape::Folder { files: self.number(files, 1, MAX_FILES)? as u32 },
            None => Shape::File,
        };
        Ok(Content { name, bytes, shape, version_of: None })
    }

    /// A content that is another one, changed.
    fn newer(&self, name: String, listed: &file::Content, older: &Text, known: &[Content]) -> Outcome<Content> {
        let place = known.iter().position(|content| content.name == *older.as_ref());
        let Some((index, old)) = place.and_then(|index| Some((index, known.get(index)?))) else {
            return Err(self.wrong(older, format!("there is no content {:?} before this one", older.as_ref())));
        };
        if let Some(size) = &listed.size {
            return Err(self.wrong(size, "a newer version is as large as the older one: leave `size` out"));
        }
        if old.shape != Shape::File || listed.files.is_some() {
            return Err(self.wrong(older, "only a single file has newer versions here"));
        }
        let Some(changed) = &listed.changed else {
            return Err(
                self.wrong(&listed.name, format!("{name:?} does not say how much is `changed`, such as \"1%\""))
            );
        };
        let share = self.share(changed)?;
        let version_of = Some((ContentIndex(index), share));
        Ok(Content { name, bytes: old.bytes, shape: Shape::File, version_of })
    }

    fn fetch(&self, names: &NameTable, listed: &file::Fetch, scenario: &Scenario) -> Outcome<Fetch> {
        let content = self.content(names, &listed.content)?;
        let nodes = self.nodes(names, &listed.nodes)?;
        let honest = |node: &NodeIndex| scenario.group_of(*node).is_some_and(|group| group.lie.is_none());
        if let Some(liar) = nodes.iter().find(|node| !honest(node)) {
            let name = scenario.group_of(*liar).map_or("", |group| &group.name);
            return Err(self.wrong(&listed.nodes, format!("{name:?} is a liar: it fetches nothing")));
        }
        let publishes = |publish: &&Publish| publish.content == content;
        if !scenario.publishes.iter().filter(publishes).any(|publish| publish.nodes.iter().any(honest)) {
            let name = listed.content.as_ref();
            return Err(self.wrong(&listed.content, format!("no honest node publishes {name:?}")));
        }
        let twice = |fetch: &&Fetch| fetch.content == content && fetch.nodes.iter().any(|node| nodes.contains(node));
        if scenario.fetches.iter().any(|fetch| twice(&fetch)) {
            return Err(self.wrong(&listed.nodes, "a node fetches this content already"));
        }
        let when = self.moment(names, listed.at.as_ref(), scenario.deadline)?;
        Ok(Fetch { content, nodes, when, apart: self.apart(listed.apart.as_ref())? })
    }

    fn fault(&self, names: &NameTable, listed: &file::Fault, scenario: &Scenario) -> Outcome<Fault> {
        let kind = self.fault_kind(listed)?;
        let nodes = self.nodes(names, &listed.nodes)?;
        let has_liar = nodes.iter().any(|node| scenario.group_of(*node).is_some_and(|group| group.lie.is_some()));
        if has_liar && matches!(kind, FaultKind::Wipe | FaultKind::Corrupt { .. } | FaultKind::DiskFull) {
            return Err(self.wrong(&listed.nodes, "a liar has no disk that could be struck"));
        }
        if matches!(kind, FaultKind::Partition) && nodes.len() == scenario.node_count() && listed.pick.is_none() {
            return Err(self.wrong(&listed.nodes, "with all nodes on one side nothing is partitioned"));
        }
        let pick = match &listed.pick {
            Some(pick) => Some(self.number(pick, 1, nodes.len() as i64)? as usize),
            None => None,
        };
        let lasts = match &listed.lasts {
            Some(lasts) if matches!(kind, FaultKind::Restart | FaultKind::Wipe | FaultKind::Corrupt { .. }) => {
                return Err(self.wrong(lasts, format!("`{}` is over at once: leave `for` out", listed.what.as_ref())));
            }
            Some(lasts) => match self.duration(lasts, MAX_DEADLINE)? {
                Duration::ZERO => return Err(self.wrong(lasts, "what lasts no time does not happen")),
                lasts => Some(lasts),
            },
            None => None,
        };
        let times = match &listed.times {
            Some(times) => self.number(times, 1, MAX_TIMES)? as u32,
            None => 1,
        };
        let (one_by_one, every) = match (&listed.one_by_one, &listed.every) {
            (Some(text), None) if times == 1 && pick.is_none() => (true, self.duration(text, MAX_DEADLINE)?),
            (Some(text), _) => {
                return Err(
                    self.wrong(text, "`one_by_one` strikes every node once: leave `pick`, `times` and `every` out")
                );
            }
            (None, Some(every)) => (false, self.duration(every, MAX_DEADLINE)?),
            (None, None) if times > 1 => {
                return Err(self.wrong(&listed.what, "`times` needs `every`, such as every = \"2s\""));
            }
            (None, None) => (false, Duration::ZERO),
        };
        let when = self.moment(names, Some(&listed.at), scenario.deadline)?;
        Ok(Fault { kind, nodes, pick, when, times, every, one_by_one, lasts })
    }

    fn fault_kind(&self, listed: &file::Fault) -> Outcome<FaultKind> {
        let what = listed.what.as_ref().as_str();
        let of_lines = [&listed.up, &listed.down, &listed.delay, &listed.loss];
        if let (Some(extra), false) = (of_lines.into_iter().flatten().next(), what == "line") {
            return Err(self.wrong(extra, "this goes with what = \"line\" only"));
        }
        if let (Some(extra), false) = (&listed.bytes, what == "corrupt") {
            return Err(self.wrong(extra, "`bytes` goes with what = \"corrupt\" only"));
        }
        Ok(match what {
            "kill" => FaultKind::Kill,
            "pause" => FaultKind::Pause,
            "restart" => FaultKind::Restart,
            "wipe" => FaultKind::Wipe,
            "disk-full" => FaultKind::DiskFull,
            "partition" => FaultKind::Partition,
            "line" if of_lines.into_iter().all(Option::is_none) => {
                return Err(self.wrong(&listed.what, "the line changes, and nothing says to what: `up`, `down`, …"));
            }
            "line" => FaultKind::Line(self.line(&listed.up, &listed.down, &listed.delay, &listed.loss)?),
            "corrupt" => {
                let Some(bytes) = &listed.bytes else {
                    return Err(self.wrong(&listed.what, "`bytes` has to say how many bytes change"));
                };
                FaultKind::Corrupt { bytes: self.number(bytes, 1, MAX_CORRUPT_BYTES)? as u32 }
            }
            _ => {
                let known = "kill, pause, restart, wipe, disk-full, line, partition, corrupt";
                return Err(
                    self.wrong(&listed.what, format!("{what:?} is nothing that goes wrong here; there is {known}"))
                );
            }
        })
    }

    fn checks(&self, listed: &file::Checks, scenario: &Scenario) -> Outcome<Checks> {
        if let (Some(within), None) = (&listed.within, lower_bound(scenario)) {
            return Err(self.wrong(within, "`within` needs a lower bound: limit the rates of the nodes"));
        }
        let factor = |number: &Option<Spanned<f64>>| match number {
            Some(number) => Factor::from_number(*number.as_ref())
                .map(Some)
                .ok_or_else(|| self.wrong(number, format!("{} is no factor; write it like 1.25", number.as_ref()))),
            None => Ok(None),
        };
        let share = |text: &Option<Text>| text.as_ref().map(|text| self.share(text)).transpose();
        Ok(Checks {
            complete: listed.complete.unwrap_or(true),
            within: factor(&listed.within)?,
            wasted: share(&listed.wasted)?,
            seeder_copies: factor(&listed.seeder_copies)?,
            fetched: share(&listed.fetched)?,
        })
    }
}
