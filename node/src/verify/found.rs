//! What was found damaged, put together so that it can be read: a line for each file, however much of it is damaged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::api::DamageInfo;

/// Files, and parts of tables, that are named; what lies in others is only counted.
const MAX_NAMED: usize = 1000;

/// What was found, in the order in which it was.
#[derive(Debug, Default)]
pub(super) struct Found {
    named: Vec<DamageInfo>,
    /// Where the damage of a file is among them. What lies in no file any more goes by what is said of it, which names
    /// the content, and so does each part of a table.
    places: BTreeMap<(PathBuf, String), usize>,
}

impl Found {
    /// Adds one thing: an object, or a part of a table.
    pub(super) fn add(&mut self, damage: DamageInfo, is_object: bool) {
        let goes_by_file = is_object && !damage.file.as_os_str().is_empty();
        let said = if goes_by_file { String::new() } else { damage.detail.clone() };
        let place = (damage.file.clone(), said);
        let known = self.places.get(&place).and_then(|at| self.named.get_mut(*at));
        if let Some(known) = known {
            known.count += damage.count;
        } else if self.named.len() < MAX_NAMED {
            self.places.insert(place, self.named.len());
            self.named.push(damage);
        }
    }

    /// What was found.
    pub(super) fn into_list(self) -> Vec<DamageInfo> {
        self.named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(what: usize, file: &str, detail: &str) -> DamageInfo {
        DamageInfo { what: format!("chunk {what}"), file: file.into(), detail: detail.into(), count: 1 }
    }

    #[test]
    fn much_damage_in_one_file_hides_no_other() {
        let mut found = Found::default();
        for what in 0..5000 {
            found.add(damage(what, "/a", &format!("cut short at {what}")), true);
        }
        found.add(damage(7, "/b", "it is gone"), true);
        for what in 0..3 {
            found.add(damage(what, "", "it belongs to x and is not there"), true);
        }
        found.add(damage(0, "", "it belongs to y and is not there"), true);
        for hash in ["x", "y"] {
            found.add(damage(0, "/catalog", &format!("the record of {hash} is damaged")), false);
        }
        let list = found.into_list();
        let seen: Vec<_> =
            list.iter().map(|item| (item.what.as_str(), item.file.to_str().unwrap(), item.count)).collect();
        let objects = [("chunk 0", "/a", 5000), ("chunk 7", "/b", 1), ("chunk 0", "", 3), ("chunk 0", "", 1)];
        assert_eq!(seen[..4], objects);
        assert_eq!(seen[4..], [("chunk 0", "/catalog", 1); 2]);
    }

    #[test]
    fn there_is_a_bound() {
        let mut found = Found::default();
        (0..2000).for_each(|file| found.add(damage(0, &format!("/{file}"), ""), true));
        assert_eq!(found.into_list().len(), MAX_NAMED);
    }
}
