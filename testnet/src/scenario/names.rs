//! What names in a scenario refer to: groups, single nodes, `all`, contents.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Content, ContentIndex, Group, NodeIndex};

/// The names that a scenario has declared.
pub(super) struct NameTable {
    nodes: BTreeMap<String, Range<usize>>,
    contents: BTreeMap<String, usize>,
    all: usize,
}

impl NameTable {
    pub(super) fn new(groups: &[Group], contents: &[Content]) -> Self {
        let mut nodes = BTreeMap::new();
        let mut next = 0;
        for group in groups {
            nodes.insert(group.name.clone(), next..next + group.count);
            for n in 1..=group.count {
                nodes.insert(group.node_name(n), next + n - 1..next + n);
            }
            next += group.count;
        }
        let contents = contents.iter().enumerate().map(|(index, content)| (content.name.clone(), index)).collect();
        Self { nodes, contents, all: next }
    }

    /// The nodes that a name stands for; each once, in the order of the names.
    pub(super) fn nodes(&self, names: &[String]) -> Result<Vec<NodeIndex>, String> {
        if names.is_empty() {
            return Err("names no node".to_owned());
        }
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for name in names {
            let range = match name.as_str() {
                "all" => 0..self.all,
                _ => self.nodes.get(name).cloned().ok_or_else(|| self.no_node(name))?,
            };
            found.extend(range.map(NodeIndex).filter(|node| seen.insert(*node)));
        }
        Ok(found)
    }

    pub(super) fn content(&self, name: &str) -> Result<ContentIndex, String> {
        let known = || self.contents.keys().cloned().collect::<Vec<_>>().join(", ");
        let missing = || format!("there is no content {name:?}; there is {}", or_none(known()));
        self.contents.get(name).map(|index| ContentIndex(*index)).ok_or_else(missing)
    }

    fn no_node(&self, name: &str) -> String {
        // Groups only: they are what people mean, and there may be thousands of nodes.
        let groups = self.nodes.keys().filter(|known| !ends_in_number(known)).cloned().collect::<Vec<_>>();
        format!("there is no node or group {name:?}; there is {}", or_none(groups.join(", ")))
    }
}

/// Whether a name has the form that nodes of a group have, which groups may not.
pub(super) fn ends_in_number(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, end)| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
}

fn or_none(list: String) -> String {
    if list.is_empty() { "none".to_owned() } else { list }
}
