//! A map for few entries that is looked into far more often than it is changed.
//!
//! Keys lie in order in one list and what belongs to them in another, so that to find one or to go through all of them
//! touches little memory. To take one in or out moves those behind it.

/// A map from `K` to `V` in the order of its keys.
#[derive(Debug, Clone)]
pub(crate) struct SortedMap<K, V> {
    keys: Vec<K>,
    /// That of the key at the same place.
    values: Vec<V>,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Ord + Copy, V> SortedMap<K, V> {
    pub(crate) const fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.keys.binary_search(key).is_ok()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(self.keys.binary_search(key).ok()?)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(self.keys.binary_search(key).ok()?)
    }

    /// What belongs to the key; made if there is nothing yet.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let place = match self.keys.binary_search(&key) {
            Ok(place) => place,
            Err(place) => {
                self.values.insert(place, make());
                self.keys.insert(place, key);
                place
            }
        };
        &mut self.values[place]
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.keys.binary_search(key).ok()?;
        self.keys.remove(place);
        Some(self.values.remove(place))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.keys.iter().zip(&mut self.values)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0u8..20, any::<bool>()), 0..200)) {
            let (mut sorted, mut model) = (SortedMap::default(), BTreeMap::new());
            for (step, (key, is_removed)) in steps.into_iter().enumerate() {
                if is_removed {
                    prop_assert_eq!(sorted.remove(&key), model.remove(&key));
                } else {
                    *sorted.get_or_insert_with(key, || step) += 1;
                    *model.entry(key).or_insert(step) += 1;
                }
                prop_assert_eq!((sorted.len(), sorted.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!((sorted.get(&key), sorted.contains_key(&key)), (model.get(&key), model.contains_key(&key)));
                prop_assert_eq!(sorted.get_mut(&key).copied(), model.get(&key).copied());
            }
            prop_assert!(sorted.iter().eq(model.iter()) && sorted.values().eq(model.values()));
            sorted.values_mut().for_each(|value| *value += 1);
            sorted.iter_mut().for_each(|(key, value)| *value += usize::from(*key));
            prop_assert!(sorted.iter().all(|(key, value)| model.get(key) == Some(&(value - 1 - usize::from(*key)))));
        }
    }
}
