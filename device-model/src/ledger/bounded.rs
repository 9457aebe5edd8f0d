// SPDX-License-Identifier: MIT OR Apache-2.0

//! Maps that forget rather than grow beyond their bound.

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

    /// Those below a key, the nearest first.
    pub(super) fn below(&self, key: K) -> impl Iterator<Item = (K, &V)> {
        self.map
            .range(..key)
            .rev()
            .map(|(key, value)| (*key, value))
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        self.map.remove(&key)
    }
}

/// What was entered last, whatever its key: with `MOST` entries, a further one takes the place of the oldest.
#[derive(Clone, Debug)]
pub(super) struct Recent<K, V, const MOST: usize> {
    map: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K, V, const MOST: usize> Default for Recent<K, V, MOST> {
    fn default() -> Self {
        Self {
            map: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<K: Ord + Copy, V, const MOST: usize> Recent<K, V, MOST> {
    /// Enters `value` as the newest, and gives what had to go for it: what was there, or the oldest.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let stamp = self.next;
        self.next += 1;
        self.order.insert(stamp, key);
        if let Some((before, old)) = self.map.insert(key, (stamp, value)) {
            self.order.remove(&before);
            return Some((key, old));
        }
        (self.map.len() > MOST).then(|| self.pop()).flatten()
    }

    /// The oldest goes.
    pub(super) fn pop(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.pop_first()?;
        let (_, value) = self.map.remove(&key)?;
        Some((key, value))
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.map.get(&key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.map.get_mut(&key).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let (stamp, value) = self.map.remove(&key)?;
        self.order.remove(&stamp);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_it_is_full_whatever_its_key() {
        let mut map = Recent::<u64, u64, 2>::default();
        assert_eq!(map.insert(9, 90), None);
        assert_eq!(map.insert(5, 50), None);
        assert_eq!(map.insert(9, 91), Some((9, 90)), "the newest now");
        assert_eq!(map.insert(1, 10), Some((5, 50)));
        assert_eq!(map.remove(9), Some(91));
        assert_eq!(map.insert(7, 70), None);
        assert_eq!(map.insert(8, 80), Some((1, 10)));
        assert_eq!(map.pop(), Some((7, 70)));
        assert_eq!((map.get(8), map.get(7)), (Some(&80), None));
    }

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
