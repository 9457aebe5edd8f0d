// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The storage: which entries are in use, and the walks that only look.

use super::tree::{ByAddress, ByGap, Links, Order, NIL};
use super::Extent;
use core::ops::DerefMut;

/// The block before the first byte of the region: no bytes, but the gap that follows it. It is not in the
/// storage, where entry 0 has the index 1.
pub(super) const HEAD: u32 = 0;

/// What an entry of the storage stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Unused,
    /// The start of the region.
    Head,
    /// A buffer that is lent.
    Lent,
    /// Pages that are never lent.
    Hole,
}

/// A block of taken pages, and the gap that follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Address after the block, guard pages included: where its gap begins.
    pub(super) after: u64,
    /// Bytes of the gap, up to the next block or the end of the region; may be 0.
    pub(super) gap: u64,
    /// The largest gap in the subtree of which this is the root, by address.
    pub(super) largest: u64,
    pub(super) by_address: Links,
    pub(super) by_gap: Links,
}

impl Node {
    pub(super) const fn new(kind: Kind, after: u64, gap: u64) -> Self {
        Node {
            kind,
            after,
            gap,
            largest: gap,
            by_address: Links::LEAF,
            by_gap: Links::LEAF,
        }
    }
}

/// One entry of an allocator's storage. Its contents are the allocator's own.
#[derive(Clone, Copy, Debug)]
pub struct Slot<T> {
    pub(super) node: Node,
    pub(super) extent: Extent<T>,
}

impl<T: Default> Default for Slot<T> {
    /// An entry that is not in use.
    fn default() -> Self {
        Slot {
            node: Node::new(Kind::Unused, 0, 0),
            extent: Extent::default(),
        }
    }
}

/// The storage, and the head that is not in it.
#[derive(Debug)]
pub(super) struct Slots<B> {
    pub(super) head: Node,
    pub(super) storage: B,
    pub(super) address_root: u32,
    pub(super) gap_root: u32,
    /// The first of the entries that were used and are not any more, linked by `by_address.right`.
    pub(super) unused: u32,
    /// Entries from this index on were never used.
    pub(super) fresh: u32,
}

impl<T, B> Slots<B>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<T>]>,
{
    /// Storage for a region that begins at `base` and is one gap. What `storage` holds does not matter.
    pub(super) fn new(base: u64, gap: u64, storage: B) -> Self {
        Slots {
            head: Node::new(Kind::Head, base, gap),
            storage,
            address_root: HEAD,
            gap_root: HEAD,
            unused: NIL,
            fresh: 1,
        }
    }

    /// How many entries there are; those that an index cannot name are left out.
    pub(super) fn capacity(&self) -> u32 {
        u32::try_from(self.storage.len())
            .unwrap_or(NIL)
            .min(NIL.saturating_sub(1))
    }

    pub(super) fn node(&self, index: u32) -> Option<&Node> {
        match index {
            HEAD => Some(&self.head),
            _ => Some(&self.slot(index)?.node),
        }
    }

    pub(super) fn node_mut(&mut self, index: u32) -> Option<&mut Node> {
        match index {
            HEAD => Some(&mut self.head),
            _ => Some(&mut self.slot_mut(index)?.node),
        }
    }

    pub(super) fn slot(&self, index: u32) -> Option<&Slot<T>> {
        self.storage.get(position(index)?)
    }

    pub(super) fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.storage.get_mut(position(index)?)
    }

    /// The gap that follows the block `index`: first byte and the byte after.
    pub(super) fn gap(&self, index: u32) -> (u64, u64) {
        self.node(index).map_or((0, 0), |node| {
            (node.after, node.after.saturating_add(node.gap))
        })
    }

    /// Puts `slot` into an unused entry. `None` if there is none.
    pub(super) fn enter(&mut self, slot: Slot<T>) -> Option<u32> {
        let index = if self.unused != NIL {
            let index = self.unused;
            self.unused = self.links::<ByAddress>(index).right;
            index
        } else if self.fresh <= self.capacity() {
            let index = self.fresh;
            self.fresh = index.saturating_add(1);
            index
        } else {
            return None;
        };
        *self.slot_mut(index)? = slot;
        Some(index)
    }

    /// Tells whether [`enter`](Self::enter) would find an entry.
    pub(super) fn has_unused(&self) -> bool {
        self.unused != NIL || self.fresh <= self.capacity()
    }

    /// Makes an entry that is in no tree unused.
    pub(super) fn leave(&mut self, index: u32) {
        let unused = self.unused;
        if let Some(slot) = self.slot_mut(index) {
            *slot = Slot::default();
            slot.node.by_address.right = unused;
            self.unused = index;
        }
    }

    /// The first block, by address, whose `after` is greater than `address`.
    pub(super) fn first_after(&self, address: u64) -> Option<u32> {
        let (mut at, mut found) = (self.address_root, None);
        while let Some(node) = self.node(at) {
            at = if node.after > address {
                found = Some(at);
                node.by_address.left
            } else {
                node.by_address.right
            };
        }
        found
    }

    /// The last block, by address, whose `after` is at or below `address`.
    pub(super) fn last_until(&self, address: u64) -> Option<u32> {
        let (mut at, mut found) = (self.address_root, None);
        while let Some(node) = self.node(at) {
            at = if node.after <= address {
                found = Some(at);
                node.by_address.right
            } else {
                node.by_address.left
            };
        }
        found
    }

    /// The first block, by address, with a gap of at least `need` bytes.
    pub(super) fn first_gap(&self, need: u64) -> Option<u32> {
        self.first_gap_below(self.address_root, need)
    }

    /// The next one after the block `index`.
    pub(super) fn next_gap(&self, index: u32, need: u64) -> Option<u32> {
        let mut at = index;
        let mut links = self.links::<ByAddress>(at);
        if let Some(found) = self.first_gap_below(links.right, need) {
            return Some(found);
        }
        while let Some(parent) = self.node(links.parent) {
            if parent.by_address.left == at {
                if parent.gap >= need {
                    return Some(links.parent);
                }
                if let Some(found) = self.first_gap_below(parent.by_address.right, need) {
                    return Some(found);
                }
            }
            at = links.parent;
            links = parent.by_address;
        }
        None
    }

    /// The first in the subtree of `root`: with the largest gaps known, one way down and never back.
    fn first_gap_below(&self, root: u32, need: u64) -> Option<u32> {
        let mut at = root;
        if self.largest(at) < need {
            return None;
        }
        while let Some(node) = self.node(at) {
            let left = node.by_address.left;
            if left != NIL && self.largest(left) >= need {
                at = left;
            } else if node.gap >= need {
                return Some(at);
            } else {
                at = node.by_address.right;
            }
        }
        None
    }

    /// The block with the shortest gap of at least `need` bytes, of several the first by address.
    pub(super) fn shortest_gap(&self, need: u64) -> Option<u32> {
        let (mut at, mut found) = (self.gap_root, None);
        while let Some(node) = self.node(at) {
            at = if node.gap >= need {
                found = Some(at);
                node.by_gap.left
            } else {
                node.by_gap.right
            };
        }
        found
    }

    /// The largest gap in the subtree of `index`; 0 for none.
    pub(super) fn largest(&self, index: u32) -> u64 {
        self.node(index).map_or(0, |node| node.largest)
    }

    /// Takes a block out of the tree by gap, in which it is if it has one. Returns its gap.
    pub(super) fn forget_gap(&mut self, index: u32) -> u64 {
        let gap = self.node(index).map_or(0, |node| node.gap);
        if gap > 0 {
            self.remove::<ByGap>(index);
        }
        gap
    }

    /// Gives a block that is not in the tree by gap another gap; the tree by address does not know it yet.
    pub(super) fn set_gap(&mut self, index: u32, gap: u64) {
        if let Some(node) = self.node_mut(index) {
            node.gap = gap;
        }
        if gap > 0 {
            self.insert_by_gap(index);
        }
    }

    pub(super) fn links<O: Order>(&self, index: u32) -> Links {
        self.node(index).map_or(Links::NONE, |node| *O::links(node))
    }
}

/// Where an index is in the storage; the head is not.
fn position(index: u32) -> Option<usize> {
    usize::try_from(index.checked_sub(1)?).ok()
}
