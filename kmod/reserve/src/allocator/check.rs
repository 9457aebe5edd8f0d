// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The invariants, tested on the data as it is. Slow: every entry is looked at. It ends whatever the data.

use super::slots::{Kind, Node, Slot, Slots, HEAD};
use super::tree::{ByAddress, ByGap, Links, Order, NIL};
use super::{is_page_aligned, Extent, Reserve, PAGE};
use core::ops::DerefMut;

/// What a walk over the blocks adds up.
#[derive(Default)]
struct Sums {
    blocks: u64,
    gaps: u64,
    lent: usize,
    hole_pages: u64,
    free_bytes: u64,
}

impl<T, B> Reserve<B>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<T>]>,
{
    /// Tells whether invariants 1 to 7 hold. Takes time in proportion to the storage.
    pub fn check(&self) -> bool {
        self.region_is_sound()
            && self.slots.is_tree::<ByAddress>()
            && self.slots.is_tree::<ByGap>()
            && self.blocks().is_some_and(|sums| {
                self.slots.count_by_gap() == Some(sums.gaps)
                    && self.slots.count_unused() == Some(sums.blocks)
                    && sums.lent == self.count
                    && sums.hole_pages == self.hole_pages
                    && sums.free_bytes == self.free_bytes
            })
    }

    /// Invariant 1.
    fn region_is_sound(&self) -> bool {
        let end = self
            .pages
            .checked_mul(PAGE)
            .and_then(|bytes| self.base.checked_add(bytes));
        self.pages > 0 && is_page_aligned(self.base) && end.is_some()
    }

    /// Walks by address over a tree that is sound: invariants 2 and 3. `None` if one is broken.
    fn blocks(&self) -> Option<Sums> {
        let mut sums = Sums {
            blocks: 1,
            gaps: u64::from(self.slots.head.gap > 0),
            free_bytes: self.slots.head.gap,
            ..Sums::default()
        };
        let mut at = self.slots.leftmost::<ByAddress>(self.slots.address_root);
        if at != HEAD || self.slots.head.after != self.base {
            return None;
        }
        let mut reached = self.slots.head.after.checked_add(self.slots.head.gap)?;
        while let Some(next) = self.slots.next::<ByAddress>(at) {
            let Slot { node, extent } = self.slots.slot(next)?;
            let guard = match node.kind {
                Kind::Lent => self.guard_bytes(),
                Kind::Hole => 0,
                Kind::Unused | Kind::Head => return None,
            };
            let start = extent.base.checked_sub(guard)?;
            let after = extent.end().checked_add(guard)?;
            let sound = start == reached && node.after == after && is_sound(extent);
            if !sound {
                return None;
            }
            match node.kind {
                Kind::Lent => sums.lent = sums.lent.checked_add(1)?,
                _ => sums.hole_pages = sums.hole_pages.checked_add(extent.pages)?,
            }
            sums.blocks = sums.blocks.checked_add(1)?;
            sums.gaps = sums.gaps.checked_add(u64::from(node.gap > 0))?;
            sums.free_bytes = sums.free_bytes.checked_add(node.gap)?;
            reached = after.checked_add(node.gap)?;
            at = next;
        }
        (reached == self.end()).then_some(sums)
    }
}

/// Invariant 2.
fn is_sound<T>(extent: &Extent<T>) -> bool {
    is_page_aligned(extent.base) && extent.bytes >= 1 && extent.pages == extent.bytes.div_ceil(PAGE)
}

/// From where a walk over a tree comes to an entry.
enum From {
    Above,
    Left,
    Right,
}

impl<T, B> Slots<B>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<T>]>,
{
    /// Walks over one tree, each step back along a link that was checked: invariants 4 and 5.
    fn is_tree<O: Order>(&self) -> bool {
        let mut at = O::root(self);
        if at == NIL {
            return !O::LARGEST; // there may be no gap; the head is always there
        }
        if self.links::<O>(at).parent != NIL {
            return false;
        }
        let mut from = From::Above;
        // Each entry is come to at most three times.
        let steps = u64::from(self.capacity())
            .saturating_add(1)
            .saturating_mul(3);
        for _ in 0..steps {
            let Some(node) = self.node(at) else {
                return false;
            };
            let links = *O::links(node);
            if matches!(from, From::Above) && !self.is_sound_at::<O>(at, node) {
                return false;
            }
            let down = match from {
                From::Above if links.left != NIL => Some(links.left),
                From::Above | From::Left if links.right != NIL => Some(links.right),
                _ => None,
            };
            (at, from) = match down {
                Some(child) => (child, From::Above),
                None if links.parent == NIL => return true,
                None if self.links::<O>(links.parent).left == at => (links.parent, From::Left),
                None => (links.parent, From::Right),
            };
        }
        false
    }

    /// What an entry's links and sums have to do with its children's.
    fn is_sound_at<O: Order>(&self, at: u32, node: &Node) -> bool {
        let Links {
            left,
            right,
            height,
            ..
        } = *O::links(node);
        let children = [left, right].map(|child| self.links::<O>(child));
        let linked = [left, right]
            .iter()
            .zip(children)
            .all(|(child, links)| *child == NIL || (links.parent == at && links.height > 0));
        let [below_left, below_right] = children.map(|links| links.height);
        let largest = node.gap.max(self.largest(left)).max(self.largest(right));
        linked
            && (left == NIL || left != right)
            && below_left.abs_diff(below_right) <= 1
            && height == below_left.max(below_right).saturating_add(1)
            && (!O::LARGEST || node.largest == largest)
    }

    /// How many entries are in the tree by gap, if they ascend and are all in the tree by address:
    /// invariant 6. Both trees are sound.
    fn count_by_gap(&self) -> Option<u64> {
        if self.gap_root == NIL {
            return Some(0);
        }
        let mut at = self.leftmost::<ByGap>(self.gap_root);
        let (mut count, mut key) = (0u64, None);
        loop {
            let node = self.node(at)?;
            let this = Some((node.gap, node.after));
            if node.gap == 0 || this <= key || self.last_until(node.after) != Some(at) {
                return None;
            }
            key = this;
            count = count.checked_add(1)?;
            match self.next::<ByGap>(at) {
                Some(next) => at = next,
                None => return Some(count),
            }
        }
    }

    /// How many entries are not unused, the head included, if the list of unused ones is sound: invariant 7.
    fn count_unused(&self) -> Option<u64> {
        let mut used = u64::from(self.fresh);
        if self.fresh == 0 || self.fresh > self.capacity().saturating_add(1) {
            return None;
        }
        let mut at = self.unused;
        while at != NIL {
            let node = self.node(at)?;
            used = used.checked_sub(1)?;
            if node.kind != Kind::Unused || at >= self.fresh {
                return None;
            }
            at = node.by_address.right;
        }
        Some(used)
    }
}
