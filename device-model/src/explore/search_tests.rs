// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card and a driver that are a few lines each, of which it is known how many orders there are.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::explore::Did;

/// A step of the driver's.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It writes the register.
    Write,
    /// It reads register `n`: how often the card has changed that.
    Read(u64),
    /// It takes page `n` back: what the card touches of it later is seen.
    Unmap(u64),
    /// It waits until the card has done so much in all.
    Wait(usize),
}

/// What the card does, one after the other: the register that it changes, and the page that it touches.
type Card = &'static [(u64, Option<u64>)];

/// Carries an order out; gives the log, and all that the driver or anybody could have seen.
fn carry_out(driver: &[Step], card: Card, order: &Order) -> (Log, Vec<String>) {
    let (mut log, mut seen) = (Log::default(), Vec::new());
    let (mut done, mut on_way) = (0, 0);
    let mut registers: BTreeMap<u64, u32> = BTreeMap::new();
    let mut gone: BTreeSet<u64> = BTreeSet::new();
    let act = |done: &mut usize,
               registers: &mut BTreeMap<u64, u32>,
               gone: &BTreeSet<u64>,
               seen: &mut Vec<String>| {
        let (register, page) = *card.get(*done)?;
        *done += 1;
        *registers.entry(register).or_default() += 1;
        if page.is_some_and(|page| gone.contains(&page)) {
            seen.push(format!("action {done} touches what was taken back"));
        }
        Some(Did {
            label: format!("action {done}"),
            touched: page.map(|page| (page, 1)).into_iter().collect(),
            changed: vec![(0, register)],
            ..Did::default()
        })
    };
    for (number, step) in (0..).zip(driver) {
        let mut point = Point {
            what: match step {
                Step::Write => What::Write,
                Step::Read(_) => What::Read,
                Step::Unmap(_) => What::Call,
                Step::Wait(_) => What::Idle,
            },
            number,
            label: format!("{step:?}"),
            register: match step {
                Step::Read(register) => Some((0, *register)),
                _ => None,
            },
            memory: match step {
                Step::Unmap(page) => Some((*page, 1)),
                _ => None,
            },
            did: Vec::new(),
            available: done < card.len(),
            more: false,
            changes: false,
            held: false,
        };
        let wanted = match step {
            Step::Wait(until) => until.saturating_sub(done),
            _ => order.steps.get(&number).copied().unwrap_or(0) as usize,
        };
        for _ in 0..wanted {
            point
                .did
                .extend(act(&mut done, &mut registers, &gone, &mut seen));
        }
        point.more = done < card.len();
        match step {
            Step::Write if order.held.contains(&number) => {
                point.held = true;
                on_way += 1;
            }
            Step::Write => seen.push(format!("write {number} after {done}")),
            Step::Read(register) => {
                let value = registers.get(register).copied().unwrap_or(0);
                seen.push(format!("read {number}: {value}"));
            }
            Step::Unmap(page) => {
                gone.insert(*page);
            }
            Step::Wait(_) => {}
        }
        log.points.push(point);
    }
    while act(&mut done, &mut registers, &gone, &mut seen).is_some() {}
    seen.push(format!("{on_way} late"));
    // What is independent of each other comes in any order; writes tell what was before them.
    seen.sort();
    (log, seen)
}

fn digest(seen: &[String]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    hasher.finish()
}

/// Tries all; gives the search, the orders in their turn, and all outcomes that differ.
fn all(driver: &[Step], card: Card, bounds: Bounds) -> (Search, Vec<Order>, BTreeSet<Vec<String>>) {
    let mut search = Search::new(bounds);
    let (mut orders, mut outcomes) = (Vec::new(), BTreeSet::new());
    while let Some(task) = search.next_task() {
        let (log, seen) = carry_out(driver, card, &task.order);
        search.learn(&task, &log, digest(&seen)).unwrap();
        orders.push(task.order);
        outcomes.insert(seen);
        assert!(orders.len() < 100_000, "it never ends");
    }
    (search, orders, outcomes)
}

const EVERY: Bounds = Bounds {
    deviations: 16,
    held_writes: 0,
    waiting: 1 << 16,
    reduce: true,
};
const PLAIN: Card = &[(1, None), (2, None), (3, None)];

#[test]
fn every_order_is_tried_once_and_there_are_as_many_as_there_are() {
    // Three actions among four writes, and behind them: 7 over 3.
    let (search, orders, outcomes) = all(&[Step::Write; 4], PLAIN, EVERY);

    assert!(search.is_all());
    assert_eq!((orders.len(), outcomes.len()), (35, 35));
    assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), 35);
    assert_eq!(search.journals(), 35);
    assert_eq!(search.by_deviations(), [1, 12, 18, 4]);
}

#[test]
fn fewer_deviations_come_first_and_a_bound_is_no_whole() {
    let bounds = Bounds {
        deviations: 1,
        ..EVERY
    };
    let (search, orders, _) = all(&[Step::Write; 4], PLAIN, bounds);
    assert_eq!(orders.len(), 13);
    assert!(search.is_exhausted() && !search.is_all());

    let (_, orders, _) = all(&[Step::Write; 4], PLAIN, EVERY);
    let prices: Vec<_> = orders.iter().map(Order::deviations).collect();
    assert!(prices.is_sorted(), "{prices:?}");
}

#[test]
fn what_is_left_out_shows_nothing_new() {
    use Step::{Read, Unmap, Wait, Write};
    const CARD: Card = &[(1, Some(1)), (2, None), (1, Some(2)), (3, Some(1))];
    for driver in [
        vec![Read(1), Read(2), Read(4), Write],
        vec![Write, Read(3), Unmap(1), Unmap(9), Read(1), Write, Read(2)],
        vec![Read(2), Wait(2), Read(1), Unmap(2), Read(1), Write],
        vec![
            Unmap(2),
            Unmap(1),
            Wait(1),
            Read(9),
            Write,
            Read(9),
            Wait(3),
            Unmap(1),
        ],
    ] {
        let whole = Bounds {
            reduce: false,
            ..EVERY
        };
        let (full, every, wanted) = all(&driver, CARD, whole);
        let (less, fewer, got) = all(&driver, CARD, EVERY);
        assert!(full.is_all() && less.is_all());
        assert_eq!(got, wanted, "{driver:?}");
        assert!(fewer.len() < every.len(), "{driver:?}");
        assert_eq!(fewer.iter().collect::<BTreeSet<_>>().len(), fewer.len());
    }
}

#[test]
fn reads_of_what_the_card_never_changes_cost_nothing() {
    let (search, orders, _) = all(&[Step::Read(9); 20], PLAIN, EVERY);
    // Behind the last, once, twice and three times.
    assert!(search.is_all());
    assert_eq!(orders.len(), 4);
}

#[test]
fn a_write_is_held_back_if_that_is_wanted_and_costs_a_deviation() {
    let bounds = Bounds {
        deviations: 1,
        held_writes: 1,
        ..EVERY
    };
    let (_, orders, outcomes) = all(&[Step::Write; 4], &[], bounds);
    assert_eq!((orders.len(), outcomes.len()), (5, 5));
}

#[test]
fn an_order_that_was_not_carried_out_is_tried_again_and_at_last_there_is_no_all() {
    let mut search = Search::new(EVERY);
    let first = search.next_task().unwrap();
    let (log, _) = carry_out(&[Step::Write; 2], &[(1, None)], &first.order);
    search.learn(&first, &log, 0).unwrap();
    let second = search.next_task().unwrap();
    assert_eq!(second.order.to_string(), "0:1");

    assert!(search.learn(&second, &log, 0).is_err());
    let mut orders = Vec::new();
    while let Some(task) = search.next_task() {
        assert!(search.learn(&task, &log, 0).is_err());
        orders.push(task.order.to_string());
    }
    assert_eq!(orders, ["1:1", "0:1", "1:1", "0:1", "1:1"]);
    assert_eq!(search.not_carried_out(), 2);
    assert!(!search.is_exhausted());
}

#[test]
fn what_the_card_did_right_before_while_the_guest_idled_is_the_same_at_last() {
    let mut search = Search::new(EVERY);
    let first = search.next_task().unwrap();
    let driver = [Step::Read(9), Step::Write];
    let (log, _) = carry_out(&driver, &[(1, None)], &first.order);
    search.learn(&first, &log, 0).unwrap();
    // Each time the guest gets to idle before the write, and the card acts there.
    let idles = [Step::Read(9), Step::Wait(1), Step::Write];
    let (mut log, _) = carry_out(&idles, &[(1, None)], &Order::default());
    (log.points[1].number, log.points[2].number) = (0, 1);

    let mut orders = Vec::new();
    while let Some(task) = search.next_task() {
        let learnt = search.learn(&task, &log, 0).is_ok();
        orders.push((task.order.to_string(), learnt));
    }

    // At last it counts, and the earlier step, which may mind, is tried; there the card did nothing right before.
    let told: Vec<_> = orders
        .iter()
        .map(|(order, learnt)| (&**order, *learnt))
        .collect();
    let (late, early) = ("1:1", "0:1");
    assert_eq!(
        told,
        [
            (late, false),
            (late, false),
            (late, true),
            (early, false),
            (early, false),
            (early, false)
        ]
    );
    assert_eq!(search.not_carried_out(), 1);
}

#[test]
fn a_driver_that_goes_another_way_before_the_deviation_is_not_that_driver() {
    let mut search = Search::new(EVERY);
    let first = search.next_task().unwrap();
    let driver = [Step::Write, Step::Write];
    let (log, _) = carry_out(&driver, &[(1, None)], &first.order);
    search.learn(&first, &log, 0).unwrap();
    search.next_task().unwrap();
    let second = search.next_task().unwrap();
    assert_eq!(second.order.to_string(), "1:1");

    let other = [Step::Read(1), Step::Write];
    let (log, _) = carry_out(&other, &[(1, None)], &second.order);
    let why = search.learn(&second, &log, 0).unwrap_err();
    assert!(why.contains("another way"), "{why}");
}

#[test]
fn what_waits_is_bounded_and_then_there_is_no_all() {
    let bounds = Bounds {
        waiting: 2,
        ..EVERY
    };
    let (search, orders, _) = all(&[Step::Write; 4], PLAIN, bounds);
    assert!(orders.len() < 35 && search.is_exhausted() && !search.is_all());
}
