// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Negative controls for [`Reserve::check`]: whatever single fact is changed, it tells.

extern crate std;

use super::slots::{Kind, Node, HEAD};
use super::tree::{Links, NIL};
use super::{Extent, Request, Reserve, Slot, PAGE};
use std::{format, vec, vec::Vec};

type Pool = Reserve<Vec<Slot<u32>>>;

/// A name, and what it does to a sound one.
type Change<T> = (&'static str, fn(&mut T));

const BASE: u64 = 0x10_0000;

/// Buffers, holes, gaps of several lengths, and entries that were used before.
fn pool() -> Pool {
    let mut pool = Reserve::new(BASE, 64 * PAGE, 1, vec![Slot::default(); 16]).expect("good");
    for page in [0, 20, 63] {
        pool.exclude(BASE + page * PAGE, PAGE).expect("free");
    }
    let lent: Vec<_> = (1..9)
        .map(|tag| pool.allocate(Request::anywhere(u64::from(tag % 3 + 1) * PAGE), tag))
        .map(|lent| lent.expect("room"))
        .collect();
    for extent in [lent[1], lent[4], lent[6]] {
        pool.free(extent.base, extent.bytes).expect("lent");
    }
    pool
}

/// The indices of all blocks, the head's first.
fn blocks(pool: &Pool) -> Vec<u32> {
    let is_block = |index: &u32| {
        let node = pool.slots.node(*index).expect("it is there");
        node.kind != Kind::Unused
    };
    (HEAD..=16).filter(is_block).collect()
}

/// Whether a block has a gap; some have, some have none.
fn has_gap(index: u32) -> bool {
    pool().slots.node(index).expect("a block").gap > 0
}

/// Applies one change to a sound pool and tells whether `check` notices.
fn is_noticed(change: impl FnOnce(&mut Pool)) -> bool {
    let mut pool = pool();
    assert!(pool.check(), "sound before the change");
    let before = format!("{pool:?}");
    change(&mut pool);
    assert_ne!(format!("{pool:?}"), before, "the change changed something");
    !pool.check()
}

#[test]
fn check_notices_a_change_to_any_block() {
    let changes: [Change<Node>; 10] = [
        ("kind", |node| {
            node.kind = match node.kind {
                Kind::Lent => Kind::Hole,
                Kind::Hole => Kind::Lent,
                Kind::Head | Kind::Unused => Kind::Unused,
            }
        }),
        ("forgotten", |node| node.kind = Kind::Unused),
        ("after up", |node| node.after += PAGE),
        ("after down", |node| node.after -= PAGE),
        ("gap", |node| node.gap += PAGE),
        ("largest", |node| node.largest += PAGE),
        ("height by address", |node| node.by_address.height += 1),
        ("height by gap", |node| node.by_gap.height += 1),
        ("parent by address", |node| node.by_address.parent ^= 1),
        ("parent by gap", |node| node.by_gap.parent ^= 1),
    ];
    let missed: Vec<_> = blocks(&pool())
        .into_iter()
        .flat_map(|index| changes.map(|(name, change)| (index, name, change)))
        .filter(|(index, name, change)| {
            // The kind of the head is not looked at: its index tells. A block without a gap is not in the
            // tree by gap, and its place there means nothing.
            let means_nothing = (*index == HEAD && ["kind", "forgotten"].contains(name))
                || (!has_gap(*index) && name.ends_with("by gap"));
            !means_nothing
                && !is_noticed(|pool| change(pool.slots.node_mut(*index).expect("a block")))
        })
        .map(|(index, name, _)| (index, name))
        .collect();

    assert_eq!(missed, []);
}

#[test]
fn check_notices_any_child_that_is_another() {
    let links: [fn(&mut Node) -> &mut Links; 2] =
        [|node| &mut node.by_address, |node| &mut node.by_gap];
    let sides: [fn(&mut Links) -> &mut u32; 2] =
        [|links| &mut links.left, |links| &mut links.right];
    for index in blocks(&pool()) {
        let trees = if has_gap(index) { 2 } else { 1 };
        for (order, links) in links.into_iter().enumerate().take(trees) {
            for (side, child) in sides.into_iter().enumerate() {
                for other in (HEAD..18).chain([NIL]) {
                    let mut pool = pool();
                    let place = child(links(pool.slots.node_mut(index).expect("a block")));
                    if std::mem::replace(place, other) != other {
                        assert!(
                            !pool.check(),
                            "block {index}, tree {order}, side {side}: {other}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn check_notices_a_change_to_any_extent() {
    let changes: [fn(&mut Extent<u32>); 5] = [
        |extent| extent.base += PAGE,
        |extent| extent.base += 1,
        |extent| extent.bytes += PAGE,
        |extent| extent.bytes = 0,
        |extent| extent.pages += 1,
    ];
    for index in blocks(&pool()).into_iter().filter(|index| *index != HEAD) {
        for (n, change) in changes.into_iter().enumerate() {
            let noticed = is_noticed(|pool| {
                change(&mut pool.slots.slot_mut(index).expect("a block").extent);
            });
            assert!(noticed, "block {index}, change {n}");
        }
    }
}

#[test]
fn check_notices_a_change_to_what_is_kept_beside_the_blocks() {
    let changes: [Change<Pool>; 14] = [
        ("base", |pool| pool.base += PAGE),
        ("base unaligned", |pool| pool.base += 1),
        ("pages", |pool| pool.pages += 1),
        ("no pages", |pool| pool.pages = 0),
        ("beyond 64 bits", |pool| pool.pages = u64::MAX / PAGE),
        ("guards", |pool| pool.guard_pages += 1),
        ("count", |pool| pool.count += 1),
        ("hole pages", |pool| pool.hole_pages += 1),
        ("free bytes", |pool| pool.free_bytes += PAGE),
        ("address root", |pool| pool.slots.address_root += 1),
        ("gap root", |pool| pool.slots.gap_root = NIL),
        ("unused", |pool| pool.slots.unused = NIL),
        ("fresh", |pool| pool.slots.fresh += 1),
        ("fresh beyond the storage", |pool| pool.slots.fresh = 99),
    ];
    for (name, change) in changes {
        assert!(is_noticed(change), "{name}");
    }
}

#[test]
fn check_ends_on_a_list_that_runs_in_a_circle() {
    assert!(is_noticed(|pool| {
        let first = pool.slots.unused;
        let node = pool.slots.node_mut(first).expect("one is unused");
        node.by_address.right = first;
    }));
}
