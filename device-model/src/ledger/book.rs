// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ranges of addresses, overlapping or not, and questions about them in logarithmic time.
//!
//! A [`Book`] knows of each range only its addresses, a number, and which way it may be used; what a number
//! means is its owner's. It is a treap by first address and number: every node knows the furthest end below
//! it, for reads and for writes, so whole subtrees that end too early are left out. Priorities come from a
//! fixed sequence that no guest sees; the same calls give the same tree.

use super::Range;

const NONE: u32 = u32::MAX;

/// Which ranges are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// All of them.
    Any,
    /// Those that the card may read.
    Read,
    /// Those that the card may write.
    Write,
}

#[derive(Clone, Debug)]
struct Node {
    start: u64,
    number: u64,
    /// First address after it, by the way it may be used: any, read, write; 0: not that way.
    ends: [u64; 3],
    /// The furthest of them in this subtree.
    furthest: [u64; 3],
    priority: u64,
    left: u32,
    right: u32,
}

/// A number and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) range: Range,
}

/// Ranges by address; see the module.
#[derive(Clone, Debug)]
pub(super) struct Book {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    seed: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NONE,
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

impl Book {
    /// How many ranges there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Enters a range. Its number must be its own among those that begin at the same address.
    pub(super) fn insert(&mut self, range: Range, number: u64, read: bool, write: bool) {
        let end = range.end();
        let ends = [end, if read { end } else { 0 }, if write { end } else { 0 }];
        let node = Node {
            start: range.start,
            number,
            ends,
            furthest: ends,
            priority: self.next_priority(),
            left: NONE,
            right: NONE,
        };
        let new = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                // Far fewer than that fit into memory.
                let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
                self.nodes.push(node);
                index
            }
        };
        let (left, right) = self.split(self.root, (range.start, number));
        let left = self.join(left, new);
        self.root = self.join(left, right);
    }

    /// Takes a range out. False: it is not in there.
    pub(super) fn remove(&mut self, start: u64, number: u64) -> bool {
        let (left, rest) = self.split(self.root, (start, number));
        let next = number.checked_add(1).map(|next| (start, next));
        let next = next.or_else(|| start.checked_add(1).map(|start| (start, 0)));
        let (found, right) = match next {
            Some(key) => self.split(rest, key),
            None => (rest, NONE),
        };
        if found != NONE {
            self.free.push(found);
        }
        self.root = self.join(left, right);
        found != NONE
    }

    /// The range that holds all of `range`; of several the one that ends last.
    pub(super) fn covering(&self, range: Range, way: Way) -> Option<Found> {
        let found = self.furthest(range.start, way)?;
        (found.range.end() >= range.end()).then_some(found)
    }

    /// Of the ranges that begin at `address` or before it, the one that ends last.
    pub(super) fn furthest(&self, address: u64, way: Way) -> Option<Found> {
        let way = way as usize;
        let (mut best, mut best_end) = (NONE, 0);
        let mut inside = NONE;
        let mut at = self.root;
        while let Some(node) = self.node(at) {
            if node.start > address {
                at = node.left;
                continue;
            }
            if let Some(left) = self.node(node.left)
                && left.furthest[way] > best_end
            {
                (best_end, inside) = (left.furthest[way], node.left);
            }
            if node.ends[way] > best_end {
                (best_end, best, inside) = (node.ends[way], at, NONE);
            }
            at = node.right;
        }
        while let Some(node) = self.node(inside) {
            if node.ends[way] == best_end {
                best = inside;
                break;
            }
            let left = self.node(node.left);
            let there = left.is_some_and(|left| left.furthest[way] == best_end);
            inside = if there { node.left } else { node.right };
        }
        self.found(best)
    }

    /// Gives ranges that share a byte with `range`, by ascending first address, until `each` says false.
    /// The cost is logarithmic for each of them.
    pub(super) fn overlapping(&self, range: Range, way: Way, mut each: impl FnMut(Found) -> bool) {
        if range.length > 0 {
            self.walk(self.root, range, way as usize, &mut each);
        }
    }

    /// One that shares a byte with `range`.
    pub(super) fn touching(&self, range: Range, way: Way) -> Option<Found> {
        let mut first = None;
        self.overlapping(range, way, |found| {
            first = Some(found);
            false
        });
        first
    }

    /// The range that lies nearest to `range`.
    pub(super) fn nearest(&self, range: Range) -> Option<Found> {
        let touching = self.touching(range, Way::Any);
        if touching.is_some() {
            return touching;
        }
        let distance = |found: &Found| found.range.distance(range.start, range.length);
        let before = self.furthest(range.start, Way::Any);
        let after = self.from(range.start);
        before.into_iter().chain(after).min_by_key(distance)
    }

    /// The first range that begins at `address` or after it.
    fn from(&self, address: u64) -> Option<Found> {
        let (mut at, mut best) = (self.root, NONE);
        while let Some(node) = self.node(at) {
            if node.start >= address {
                best = at;
                at = node.left;
            } else {
                at = node.right;
            }
        }
        self.found(best)
    }

    fn walk(
        &self,
        at: u32,
        range: Range,
        way: usize,
        each: &mut impl FnMut(Found) -> bool,
    ) -> bool {
        let Some(node) = self.node(at) else {
            return true;
        };
        if node.furthest[way] <= range.start {
            return true;
        }
        if !self.walk(node.left, range, way, each) {
            return false;
        }
        if node.start >= range.end() {
            return true;
        }
        let touches = node.ends[way] > range.start && node.ends[0] > node.start;
        if touches && self.found(at).is_some_and(|found| !each(found)) {
            return false;
        }
        self.walk(node.right, range, way, each)
    }

    fn node(&self, index: u32) -> Option<&Node> {
        self.nodes.get(index as usize)
    }

    fn found(&self, index: u32) -> Option<Found> {
        let node = self.node(index)?;
        let range = Range {
            start: node.start,
            length: node.ends[0] - node.start,
        };
        let number = node.number;
        Some(Found { number, range })
    }

    fn next_priority(&mut self) -> u64 {
        // splitmix64
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Looks at a node's children again.
    fn update(&mut self, at: u32) {
        let Some(node) = self.node(at) else {
            return;
        };
        let mut furthest = node.ends;
        for child in [node.left, node.right] {
            if let Some(child) = self.node(child) {
                for (mine, its) in furthest.iter_mut().zip(child.furthest) {
                    *mine = its.max(*mine);
                }
            }
        }
        self.nodes[at as usize].furthest = furthest;
    }

    /// Splits a subtree: what lies before `key`, and the rest. The depth is logarithmic.
    fn split(&mut self, at: u32, key: (u64, u64)) -> (u32, u32) {
        let Some(node) = self.node(at) else {
            return (NONE, NONE);
        };
        let halves = if (node.start, node.number) < key {
            let (middle, right) = self.split(node.right, key);
            self.nodes[at as usize].right = middle;
            (at, right)
        } else {
            let (left, middle) = self.split(node.left, key);
            self.nodes[at as usize].left = middle;
            (left, at)
        };
        self.update(at);
        halves
    }

    /// Joins two subtrees; all of `left` lies before all of `right`.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        let (Some(a), Some(b)) = (self.node(left), self.node(right)) else {
            return if left == NONE { right } else { left };
        };
        if a.priority > b.priority {
            let joined = self.join(a.right, right);
            self.nodes[left as usize].right = joined;
            self.update(left);
            left
        } else {
            let joined = self.join(left, b.left);
            self.nodes[right as usize].left = joined;
            self.update(right);
            right
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    struct Plain {
        range: Range,
        number: u64,
        read: bool,
        write: bool,
    }

    impl Plain {
        fn is(&self, way: Way) -> bool {
            match way {
                Way::Any => true,
                Way::Read => self.read,
                Way::Write => self.write,
            }
        }
    }

    fn address() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..64, (u64::MAX - 64)..=u64::MAX, any::<u64>()]
    }

    fn range() -> impl Strategy<Value = Range> {
        let length = prop_oneof![0u64..32, any::<u64>()];
        (address(), length).prop_map(|(start, length)| Range { start, length })
    }

    proptest! {
        /// Every answer is that of a plain list, whatever was entered and taken out before.
        #[test]
        fn answers_are_those_of_a_list(
            steps in prop::collection::vec((0u8..4, range(), any::<bool>(), any::<bool>()), 0..120),
            asked in prop::collection::vec(range(), 1..40),
        ) {
            let mut book = Book::default();
            let mut list: Vec<Plain> = Vec::new();
            for (number, (what, range, read, write)) in (0..).zip(steps) {
                if what == 0 && !list.is_empty() {
                    let gone = list.swap_remove(range.start as usize % list.len());
                    prop_assert!(book.remove(gone.range.start, gone.number));
                    prop_assert!(!book.remove(gone.range.start, gone.number));
                } else {
                    list.push(Plain { range, number, read, write });
                    book.insert(range, number, read, write);
                }
                prop_assert_eq!(book.len(), list.len());
            }
            for asked in asked {
                for way in [Way::Any, Way::Read, Way::Write] {
                    let of = |plain: &&Plain| plain.is(way);
                    let furthest = list.iter().filter(of)
                        .filter(|plain| plain.range.start <= asked.start)
                        .map(|plain| plain.range.end()).max().filter(|&end| end > 0);
                    let found = book.furthest(asked.start, way).map(|found| found.range.end());
                    prop_assert_eq!(found, furthest);
                    let covers = list.iter().filter(of).any(|plain| {
                        plain.range.start <= asked.start && plain.range.end() >= asked.end().max(1)
                    });
                    if asked.end() > 0 {
                        prop_assert_eq!(book.covering(asked, way).is_some(), covers);
                    }
                    let mut touching = Vec::new();
                    book.overlapping(asked, way, |found| { touching.push(found.number); true });
                    touching.sort_unstable();
                    let mut expected: Vec<u64> = list.iter().filter(of)
                        .filter(|plain| asked.length > 0 && plain.range.length > 0)
                        .filter(|plain| plain.range.overlaps(asked.start, asked.length))
                        .map(|plain| plain.number).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(touching, expected);
                }
                let distance = |range: Range| range.distance(asked.start, asked.length);
                let nearest = list.iter().map(|plain| distance(plain.range)).min();
                if list.iter().all(|plain| plain.range.length > 0) && asked.length > 0 {
                    prop_assert_eq!(book.nearest(asked).map(|found| distance(found.range)), nearest);
                }
            }
        }
    }

    #[test]
    fn ordered_ranges_make_no_deep_tree() {
        let mut book = Book::default();
        for number in 0..100_000 {
            let start = number * 4096;
            book.insert(
                Range {
                    start,
                    length: 4096,
                },
                number,
                true,
                true,
            );
        }
        fn depth(book: &Book, at: u32) -> usize {
            book.node(at).map_or(0, |node| {
                1 + depth(book, node.left).max(depth(book, node.right))
            })
        }
        assert!(depth(&book, book.root) < 80);
    }
}
