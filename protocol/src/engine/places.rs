//! Where the group of each number lies.
//!
//! Looked at for each chunk that anybody comes to hold, so pages of numbers that follow one another are found together:
//! memory follows the groups that there are, as long as they are near each other.

use std::collections::BTreeMap;

/// Numbers in a page.
const PAGE: u64 = 64;

#[derive(Debug)]
struct Page {
    /// Which numbers have a place.
    used: u64,
    slots: [u32; PAGE as usize],
}

/// Slots of the chunk table by the numbers of their groups.
#[derive(Debug, Default)]
pub(super) struct Places {
    pages: BTreeMap<u64, Box<Page>>,
    len: usize,
}

impl Places {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, number: u64) -> Option<usize> {
        let page = self.pages.get(&(number / PAGE))?;
        let at = number % PAGE;
        (page.used >> at & 1 == 1).then(|| page.slots[at as usize] as usize)
    }

    /// The number has no place yet.
    pub(super) fn insert(&mut self, number: u64, slot: usize) {
        let empty = || Box::new(Page { used: 0, slots: [0; PAGE as usize] });
        let page = self.pages.entry(number / PAGE).or_insert_with(empty);
        let at = number % PAGE;
        self.len += usize::from(page.used >> at & 1 == 0);
        page.used |= 1 << at;
        page.slots[at as usize] = slot as u32;
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(page) = self.pages.get_mut(&(number / PAGE)) {
            let at = number % PAGE;
            self.len -= usize::from(page.used >> at & 1 == 1);
            page.used &= !(1 << at);
            if page.used == 0 {
                self.pages.remove(&(number / PAGE));
            }
        }
    }

    /// The lowest number that has a place.
    pub(super) fn first(&self) -> Option<u64> {
        let (number, page) = self.pages.first_key_value()?;
        Some(number * PAGE + u64::from(page.used.trailing_zeros()))
    }

    /// Slots and numbers from one number to another, that one as well.
    pub(super) fn between(&self, first: u64, last: u64) -> impl Iterator<Item = (usize, u64)> + '_ {
        let pages = (first <= last).then(|| self.pages.range(first / PAGE..=last / PAGE));
        let all = pages.into_iter().flatten().flat_map(|(number, page)| {
            let used = (0..PAGE).filter(|at| page.used >> at & 1 == 1);
            used.map(move |at| (page.slots[at as usize] as usize, number * PAGE + at))
        });
        all.filter(move |(_, number)| (first..=last).contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_one_by_one_and_in_ranges() {
        let mut places = Places::default();
        let numbers = [3, 63, 64, 1000, u64::MAX / 16];
        for (slot, number) in numbers.into_iter().enumerate() {
            places.insert(number, slot);
        }
        places.insert(64, 7);
        assert_eq!((places.len(), places.first(), places.get(64), places.get(65)), (5, Some(3), Some(7), None));
        let between = |first, last| places.between(first, last).map(|(_, number)| number).collect::<Vec<_>>();
        assert_eq!(between(0, u64::MAX), numbers);
        assert_eq!((between(4, 64), between(65, 999), between(9, 3)), (vec![63, 64], vec![], vec![]));
        places.remove(3);
        places.remove(3);
        assert_eq!((places.len(), places.first(), places.get(3)), (4, Some(63), None));
        places.remove(63);
        assert_eq!((places.first(), places.pages.len()), (Some(64), 3), "an empty page is none");
    }
}
