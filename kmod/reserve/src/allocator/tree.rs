// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two balanced (AVL) trees over the same entries: all by address, those with a gap by its length.
//!
//! Links are indices. Nothing recurses; a path is at most 1.45 log2(n + 2) long. The tree by address also
//! keeps, at each entry, the largest gap of its subtree.

use super::slots::{Node, Slot, Slots};
use core::ops::DerefMut;

/// The index of no entry.
pub(super) const NIL: u32 = u32::MAX;

/// An entry's place in one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) parent: u32,
    /// Of the subtree; 1 for a leaf, 0 for none.
    pub(super) height: u32,
}

impl Links {
    /// Of an entry without neighbours.
    pub(super) const LEAF: Self = Links {
        left: NIL,
        right: NIL,
        parent: NIL,
        height: 1,
    };
    /// Of no entry.
    pub(super) const NONE: Self = Links {
        height: 0,
        ..Self::LEAF
    };

    fn child(&self, side: Side) -> u32 {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// What an entry's parent depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Subtree {
    height: u32,
    /// The largest gap; 0 in the tree that does not keep it.
    largest: u64,
}

impl Subtree {
    const NONE: Self = Subtree {
        height: 0,
        largest: 0,
    };

    /// What `root` knows.
    fn of<O: Order>(root: &Node) -> Self {
        Subtree {
            height: O::links(root).height,
            largest: if O::LARGEST { root.largest } else { 0 },
        }
    }

    /// What an entry with that `gap` above two subtrees is to know.
    fn above<O: Order>(left: Self, gap: u64, right: Self) -> Self {
        let gap = if O::LARGEST { gap } else { 0 };
        Subtree {
            height: left.height.max(right.height).saturating_add(1),
            largest: left.largest.max(gap).max(right.largest),
        }
    }
}

/// Which of the two trees.
pub(super) trait Order {
    /// Whether [`Node::largest`] belongs to it.
    const LARGEST: bool;
    fn links(node: &Node) -> &Links;
    fn links_mut(node: &mut Node) -> &mut Links;
    fn root<B>(slots: &Slots<B>) -> u32;
    fn set_root<B>(slots: &mut Slots<B>, root: u32);
}

/// Ascending by address.
pub(super) enum ByAddress {}

impl Order for ByAddress {
    const LARGEST: bool = true;

    fn links(node: &Node) -> &Links {
        &node.by_address
    }

    fn links_mut(node: &mut Node) -> &mut Links {
        &mut node.by_address
    }

    fn root<B>(slots: &Slots<B>) -> u32 {
        slots.address_root
    }

    fn set_root<B>(slots: &mut Slots<B>, root: u32) {
        slots.address_root = root;
    }
}

/// Ascending by length of the gap, then by address.
pub(super) enum ByGap {}

impl Order for ByGap {
    const LARGEST: bool = false;

    fn links(node: &Node) -> &Links {
        &node.by_gap
    }

    fn links_mut(node: &mut Node) -> &mut Links {
        &mut node.by_gap
    }

    fn root<B>(slots: &Slots<B>) -> u32 {
        slots.gap_root
    }

    fn set_root<B>(slots: &mut Slots<B>, root: u32) {
        slots.gap_root = root;
    }
}

impl<T, B> Slots<B>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<T>]>,
{
    /// Puts `new`, which is in no tree, right after `before` in the order of addresses. `before` may have a
    /// gap that the tree does not know yet.
    pub(super) fn insert_after(&mut self, before: u32, new: u32) {
        let right = self.links::<ByAddress>(before).right;
        let (parent, side) = if right == NIL {
            (before, Side::Right)
        } else {
            (self.leftmost::<ByAddress>(right), Side::Left)
        };
        self.insert::<ByAddress>(parent, side, new);
        self.refresh::<ByAddress>(new);
        self.retrace::<ByAddress>(parent, before);
    }

    /// Puts `new` into the order of gaps.
    pub(super) fn insert_by_gap(&mut self, new: u32) {
        let key = |slots: &Self, index| slots.node(index).map(|node| (node.gap, node.after));
        let wanted = key(self, new);
        let (mut parent, mut side, mut at) = (NIL, Side::Left, self.gap_root);
        while at != NIL {
            parent = at;
            side = if wanted < key(self, at) {
                Side::Left
            } else {
                Side::Right
            };
            at = self.links::<ByGap>(at).child(side);
        }
        self.insert::<ByGap>(parent, side, new);
        self.retrace::<ByGap>(parent, NIL);
    }

    /// Takes an entry out of one tree.
    pub(super) fn remove<O: Order>(&mut self, old: u32) {
        let links = self.links::<O>(old);
        let (from, through) = if links.left == NIL || links.right == NIL {
            let child = if links.left == NIL {
                links.right
            } else {
                links.left
            };
            self.replace::<O>(links.parent, old, child);
            (links.parent, NIL)
        } else {
            // The next entry has no left child. It takes the place of `old`, and first all that its new
            // place was known for, so that `retrace` sees what changes.
            let next = self.leftmost::<O>(links.right);
            let next_links = self.links::<O>(next);
            let from = if next == links.right {
                next
            } else {
                self.replace::<O>(next_links.parent, next, next_links.right);
                self.set_child::<O>(next, Side::Right, links.right);
                next_links.parent
            };
            self.set_child::<O>(next, Side::Left, links.left);
            self.replace::<O>(links.parent, old, next);
            self.set_subtree::<O>(next, self.subtree::<O>(old));
            (from, next)
        };
        if let Some(node) = self.node_mut(old) {
            *O::links_mut(node) = Links::LEAF;
        }
        self.retrace::<O>(from, through);
    }

    /// Restores height, largest gap and balance from `from` upwards, as far as they change, and in any case
    /// up to `through` (`NIL`: no such entry), one of its ancestors or itself.
    pub(super) fn retrace<O: Order>(&mut self, from: u32, through: u32) {
        let (mut at, mut passed) = (from, through == NIL);
        while let Some(node) = self.node(at) {
            let (links, gap, before) = (*O::links(node), node.gap, Subtree::of::<O>(node));
            let (left, right) = (
                self.subtree::<O>(links.left),
                self.subtree::<O>(links.right),
            );
            let now = if left.height > right.height.saturating_add(1) {
                let top = self.balance::<O>(at, links.left, Side::Left);
                self.subtree::<O>(top)
            } else if right.height > left.height.saturating_add(1) {
                let top = self.balance::<O>(at, links.right, Side::Right);
                self.subtree::<O>(top)
            } else {
                let now = Subtree::above::<O>(left, gap, right);
                if now != before {
                    self.set_subtree::<O>(at, now);
                }
                now
            };
            passed |= at == through;
            if passed && now == before {
                return;
            }
            at = links.parent;
        }
    }

    /// The entry that follows `index`.
    pub(super) fn next<O: Order>(&self, index: u32) -> Option<u32> {
        let mut links = self.links::<O>(index);
        if links.right != NIL {
            return Some(self.leftmost::<O>(links.right));
        }
        let mut at = index;
        while links.parent != NIL {
            let parent = links.parent;
            links = self.links::<O>(parent);
            if links.left == at {
                return Some(parent);
            }
            at = parent;
        }
        None
    }

    /// The entry that `index` follows.
    pub(super) fn previous<O: Order>(&self, index: u32) -> Option<u32> {
        let mut links = self.links::<O>(index);
        if links.left != NIL {
            let mut at = links.left;
            loop {
                match self.links::<O>(at).right {
                    NIL => return Some(at),
                    right => at = right,
                }
            }
        }
        let mut at = index;
        while links.parent != NIL {
            let parent = links.parent;
            links = self.links::<O>(parent);
            if links.right == at {
                return Some(parent);
            }
            at = parent;
        }
        None
    }

    /// The first entry of the subtree of `root`.
    pub(super) fn leftmost<O: Order>(&self, root: u32) -> u32 {
        let mut at = root;
        loop {
            match self.links::<O>(at).left {
                NIL => return at,
                left => at = left,
            }
        }
    }

    fn insert<O: Order>(&mut self, parent: u32, side: Side, new: u32) {
        if let Some(node) = self.node_mut(new) {
            *O::links_mut(node) = Links::LEAF;
        }
        if parent == NIL {
            O::set_root(self, new);
        } else {
            self.set_child::<O>(parent, side, new);
        }
    }

    /// Makes the subtree of `at` balanced, which is too high by one below `child`, on the side `heavy`.
    /// Returns its root.
    fn balance<O: Order>(&mut self, at: u32, child: u32, heavy: Side) -> u32 {
        let links = self.links::<O>(child);
        let inner = self.links::<O>(links.child(heavy.other())).height;
        if inner > self.links::<O>(links.child(heavy)).height {
            self.rotate::<O>(child, heavy);
        }
        self.rotate::<O>(at, heavy.other())
    }

    /// Moves `down` to the given side, below its child of the other side. Returns that child.
    fn rotate<O: Order>(&mut self, down: u32, side: Side) -> u32 {
        let links = self.links::<O>(down);
        let up = links.child(side.other());
        let inner = self.links::<O>(up).child(side);
        self.set_child::<O>(down, side.other(), inner);
        self.replace::<O>(links.parent, down, up);
        self.set_child::<O>(up, side, down);
        self.refresh::<O>(down);
        self.refresh::<O>(up);
        up
    }

    /// Makes `new` (may be `NIL`) the child of `parent` (`NIL`: the root) that `old` was.
    fn replace<O: Order>(&mut self, parent: u32, old: u32, new: u32) {
        if parent == NIL {
            O::set_root(self, new);
            self.edit::<O>(new, |links| links.parent = NIL);
        } else if self.links::<O>(parent).left == old {
            self.set_child::<O>(parent, Side::Left, new);
        } else {
            self.set_child::<O>(parent, Side::Right, new);
        }
    }

    fn set_child<O: Order>(&mut self, parent: u32, side: Side, child: u32) {
        self.edit::<O>(parent, |links| match side {
            Side::Left => links.left = child,
            Side::Right => links.right = child,
        });
        self.edit::<O>(child, |links| links.parent = parent);
    }

    /// Computes what `index` knows of its subtree from its children.
    fn refresh<O: Order>(&mut self, index: u32) {
        if let Some(node) = self.node(index) {
            let (links, gap) = (*O::links(node), node.gap);
            let (left, right) = (
                self.subtree::<O>(links.left),
                self.subtree::<O>(links.right),
            );
            self.set_subtree::<O>(index, Subtree::above::<O>(left, gap, right));
        }
    }

    fn subtree<O: Order>(&self, root: u32) -> Subtree {
        self.node(root).map_or(Subtree::NONE, Subtree::of::<O>)
    }

    fn set_subtree<O: Order>(&mut self, root: u32, subtree: Subtree) {
        if let Some(node) = self.node_mut(root) {
            O::links_mut(node).height = subtree.height;
            if O::LARGEST {
                node.largest = subtree.largest;
            }
        }
    }

    fn edit<O: Order>(&mut self, index: u32, change: impl FnOnce(&mut Links)) {
        if let Some(node) = self.node_mut(index) {
            change(O::links_mut(node));
        }
    }
}
