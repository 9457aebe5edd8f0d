// SPDX-License-Identifier: MIT OR Apache-2.0

//! A map that forgets its smallest keys rather than grow beyond its bound.

use std::collections::BTreeMap;

/// What was told last, by number: with `MOST` entries, a further one takes the place of the smallest.
#[derive(Clone, Debug)]
pub(super) struct Bounded<K, V, const MOST: usize> {
    map: BTreeMap<K, V>,
}

impl<K, V, const MOST: usize> Default for Bounded<K, V, MOST> {
    fn default() -> Self {
        Self {
            map: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy, V, const MOST: usize> Bounded<K, V, MOST> {
    /// Enters `value`, and gives what had to go for it: what was there, or the smallest.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        if let Some(old) = self.map.insert(key, value) {
            return Some((key, old));
        }
        (self.map.len() > MOST)
            .then(|| self.map.pop_first())
            .flatten()
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.map.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.map.get_mut(&key)
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        self.map.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_goes_when_it_is_full() {
        let mut map = Bounded::<u64, u64, 2>::default();
        assert_eq!(map.insert(5, 50), None);
        assert_eq!(map.insert(7, 70), None);
        assert_eq!(map.insert(7, 71), Some((7, 70)));
        assert_eq!(map.insert(9, 90), Some((5, 50)));
        assert_eq!((map.get(5), map.get(7)), (None, Some(&71)));
    }
}
