// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which orders are tried, and which need not be.
//!
//! Breadth first: all with one deviation before any with two. A deviation lets the card act k times before one step of the driver's,
//! k = 1, 2, … as long as it can. Of steps of the driver that follow each other and change nothing of the card's (reads, calls of the
//! DMA API) the last comes first: what the card did before it is what it would have done before each of the others, so only those of
//! them are tried that mind any of it ([`Point::minds`]). Which do is found out by looking, and needs no promise.

use std::collections::{HashSet, VecDeque};

use super::{Log, MOST_STEPS, Order, Point, What};

/// How often an order is tried that is not carried out.
const TRIES: u8 = 3;
/// Most journals that are told apart.
const MOST_JOURNALS: usize = 1 << 20;

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most deviations of one order.
    pub deviations: usize,
    /// Most register writes of one order that are held back.
    pub held_writes: usize,
    /// Most orders that wait for their turn; more are left out.
    pub waiting: usize,
    /// Whether orders are left out of which another is sure to show the same.
    pub reduce: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            deviations: 2,
            held_writes: 0,
            waiting: 1 << 17,
            reduce: true,
        }
    }
}

/// An order to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The order.
    pub order: Order,
    /// New deviations come at this step or behind it.
    from: u32,
    /// Its last deviation, if that is steps of the card's.
    last: Option<u32>,
    /// That one may be moved to this step at the earliest.
    low: u32,
    /// That one stands at the last step of its kind: others follow from it.
    leads: bool,
    /// What its parent's steps came to, before the last deviation.
    expects: Option<(u32, u64)>,
    /// How often it was tried in vain.
    failed: u8,
}

/// The orders that are yet to be tried, and what was learnt.
#[derive(Debug)]
pub struct Search {
    bounds: Bounds,
    waiting: VecDeque<Task>,
    ran: u64,
    by_deviations: Vec<u64>,
    journals: HashSet<u64>,
    cut: bool,
    failed: u64,
}

impl Search {
    /// Begins with the order without a deviation.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: VecDeque::from([Task::only(Order::default())]),
            ran: 0,
            by_deviations: Vec::new(),
            journals: HashSet::new(),
            cut: false,
            failed: 0,
        }
    }

    /// The next order; `None`: there is none any more.
    pub fn next_task(&mut self) -> Option<Task> {
        self.waiting.pop_front()
    }

    /// Learns what came of an order; `journal` stands for what its run left. An order that was not carried out is tried again at
    /// the end.
    ///
    /// # Errors
    /// Why it was not carried out, in words.
    pub fn learn(&mut self, task: &Task, log: &Log, journal: u64) -> Result<(), String> {
        let last = task.failed + 1 >= TRIES;
        if let Err(why) = Self::check(task, log, last) {
            match !last {
                true => self.waiting.push_back(Task {
                    failed: task.failed + 1,
                    ..task.clone()
                }),
                false => self.failed += 1,
            }
            return Err(why);
        }
        self.ran += 1;
        let level = task.order.deviations();
        if self.by_deviations.len() <= level {
            self.by_deviations.resize(level + 1, 0);
        }
        if let Some(count) = self.by_deviations.get_mut(level) {
            *count += 1;
        }
        if self.journals.len() < MOST_JOURNALS {
            self.journals.insert(journal);
        }
        self.go_on(task, log);
        self.deviate(task, log);
        Ok(())
    }

    fn check(task: &Task, log: &Log, last: bool) -> Result<(), String> {
        match last {
            false => log.carried_out(&task.order)?,
            true => log.came_to(&task.order)?,
        }
        match task.expects {
            Some((number, prefix)) if log.prefix(number) != prefix => Err(format!(
                "before the driver's step {number} it went another way than without this deviation"
            )),
            _ => Ok(()),
        }
    }

    /// The last deviation, with one action more, or at an earlier step: at the same price.
    fn go_on(&mut self, task: &Task, log: &Log) {
        let Some(number) = task.last.filter(|_| task.leads) else {
            return;
        };
        let mut points = log.points.iter();
        let Some(at) = points.position(|point| point.is_drivers() && point.number == number) else {
            return;
        };
        let (before, here) = log.points.split_at(at);
        let Some(here) = here.first() else {
            return;
        };
        let count = task.order.steps.get(&number).copied().unwrap_or(0);
        // The card acted right before, while the guest idled: which steps mind that, this run does not show.
        let elsewhere = here.did.len() < count as usize;
        if here.more {
            match count < MOST_STEPS {
                true => self.push(true, task.moved(number, number, count + 1, log)),
                false => self.cut = true,
            }
        }
        if !self.bounds.reduce {
            return;
        }
        for point in before.iter().rev() {
            let acted = !point.did.is_empty();
            match point.is_drivers() {
                // Behind another deviation or another action the card was not in this state.
                false if acted && !(elsewhere && point.number.checked_add(1) == Some(number)) => {
                    return;
                }
                false => continue,
                true if point.number < task.low || changes(point) || !point.available => return,
                true => {}
            }
            if elsewhere || here.did.iter().any(|did| point.minds(did)) {
                let moved = task.moved(number, point.number, count, log);
                self.push(
                    true,
                    Task {
                        leads: false,
                        ..moved
                    },
                );
            }
            if acted {
                return;
            }
        }
    }

    /// One deviation more.
    fn deviate(&mut self, task: &Task, log: &Log) {
        let full = task.order.deviations() >= self.bounds.deviations;
        let steps = log.points.iter().enumerate();
        for (index, point) in steps.filter(|(_, point)| point.is_drivers()) {
            let number = point.number;
            let holds =
                point.what == What::Write && task.order.held.len() < self.bounds.held_writes;
            let free = number >= task.from || number + 1 == task.from && task.last == Some(number);
            if holds && free {
                let mut order = task.order.clone();
                order.held.insert(number);
                self.deviation(full, task.child(order, number, false, log));
            }
            if number < task.from || !point.available || self.bounds.reduce && !leads(log, index) {
                continue;
            }
            let mut order = task.order.clone();
            order.steps.insert(number, 1);
            self.deviation(full, task.child(order, number, true, log));
        }
    }

    fn deviation(&mut self, full: bool, task: Task) {
        match full {
            true => self.cut = true,
            false => self.push(false, task),
        }
    }

    fn push(&mut self, first: bool, task: Task) {
        match (self.waiting.len() < self.bounds.waiting, first) {
            (false, _) => self.cut = true,
            (true, true) => self.waiting.push_front(task),
            (true, false) => self.waiting.push_back(task),
        }
    }

    /// Orders that were carried out.
    pub fn ran(&self) -> u64 {
        self.ran
    }

    /// Of these, how many with no deviation, with one, and so on.
    pub fn by_deviations(&self) -> &[u64] {
        &self.by_deviations
    }

    /// Journals among them that differ.
    pub fn journals(&self) -> usize {
        self.journals.len()
    }

    /// Orders that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Orders that could not be carried out, however often.
    pub fn not_carried_out(&self) -> u64 {
        self.failed
    }

    /// Whether all within the bounds were tried.
    pub fn is_exhausted(&self) -> bool {
        self.waiting.is_empty() && self.failed == 0
    }

    /// Whether all were tried that there are, with so many writes held back as the bounds say: none was left out for a bound.
    pub fn is_all(&self) -> bool {
        self.is_exhausted() && !self.cut
    }
}

impl Task {
    /// An order that somebody gave, of which no other follows.
    pub fn only(order: Order) -> Self {
        Self {
            order,
            from: 0,
            last: None,
            low: 0,
            leads: false,
            expects: None,
            failed: 0,
        }
    }

    /// With its last deviation from step `from` at step `to`.
    fn moved(&self, from: u32, to: u32, count: u32, log: &Log) -> Self {
        let mut order = self.order.clone();
        order.steps.remove(&from);
        order.steps.insert(to, count);
        Self {
            order,
            from: to.saturating_add(1),
            last: Some(to),
            expects: Some((to, log.prefix(to))),
            failed: 0,
            ..self.clone()
        }
    }

    /// With one deviation more, at step `number`.
    fn child(&self, order: Order, number: u32, steps: bool, log: &Log) -> Self {
        Self {
            order,
            from: number.saturating_add(1),
            last: steps.then_some(number),
            low: self.from,
            leads: steps,
            expects: Some((number, log.prefix(number))),
            failed: 0,
        }
    }
}

/// Whether a step changes the card.
fn changes(point: &Point) -> bool {
    point.changes || matches!(point.what, What::Write | What::Config)
}

/// Whether no step follows before which the card could do just the same.
fn leads(log: &Log, index: usize) -> bool {
    let Some((point, behind)) = log.points.get(index..).and_then(<[Point]>::split_first) else {
        return true;
    };
    if changes(point) {
        return true;
    }
    for next in behind {
        match (next.is_drivers(), next.did.is_empty()) {
            (true, _) => return !next.available,
            (false, false) => return true,
            (false, true) => {}
        }
    }
    true
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
