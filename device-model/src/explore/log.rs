// SPDX-License-Identifier: MIT OR Apache-2.0

//! What happened when an order was carried out.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Order;

/// Most points of one run; of one that has more nothing is concluded.
pub const MOST_POINTS: usize = 1 << 16;

/// What a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A register is read.
    Read,
    /// A register is written.
    Write,
    /// Configuration space is written.
    Config,
    /// The driver called the DMA API, or its life goes on.
    Call,
    /// The guest has nothing to do.
    Idle,
    /// The driver reads the same register again and does nothing else: the card acts as when the guest has nothing to do.
    Poll,
}

/// One action of the card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// What it was, without addresses.
    pub label: String,
    /// Memory that it accessed, or told that it will: first bus address and bytes.
    pub touched: Vec<(u64, u64)>,
    /// Registers whose value changed: BAR and offset.
    pub changed: Vec<(u8, u64)>,
    /// Not all registers can be compared: any may have changed.
    pub opaque: bool,
    /// An interrupt was sent on its way to the driver.
    pub interrupt: bool,
}

/// A place between two steps of the driver, at which the card may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// What comes next.
    pub what: What,
    /// Number of the driver's step; where it makes none, of the one before.
    pub number: u32,
    /// The step in words, without addresses.
    pub label: String,
    /// The register: BAR and offset.
    pub register: Option<(u8, u64)>,
    /// The memory that it is about: first bus address and bytes.
    pub memory: Option<(u64, u64)>,
    /// What the card did before it.
    pub did: Vec<Did>,
    /// The card could have acted.
    pub available: bool,
    /// After that it could have acted once more.
    pub more: bool,
    /// The step changes the card, as far as can be seen.
    pub changes: bool,
    /// It is a write that was held back.
    pub held: bool,
}

impl Point {
    /// Whether it is a step of the driver's.
    pub fn is_drivers(&self) -> bool {
        !matches!(self.what, What::Idle | What::Poll)
    }

    /// Whether it matters if the card acts so before this step or after it.
    pub fn minds(&self, did: &Did) -> bool {
        if did.interrupt {
            return true;
        }
        match self.what {
            What::Read if self.changes => true,
            What::Read => {
                did.opaque
                    || self
                        .register
                        .is_none_or(|register| did.changed.contains(&register))
            }
            What::Call => self.memory.is_none_or(|(address, length)| {
                let apart = |&(at, bytes): &(u64, u64)| {
                    at.saturating_add(bytes) <= address || address.saturating_add(length) <= at
                };
                !did.touched.iter().all(apart)
            }),
            // What the card does next may depend on any of its registers.
            What::Write | What::Config | What::Idle | What::Poll => true,
        }
    }
}

/// All points of one run, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The points.
    pub points: Vec<Point>,
    /// There were more than [`MOST_POINTS`], or the card went away: it is not all.
    pub cut: bool,
}

impl Log {
    /// The driver's step of that number.
    pub fn step(&self, number: u32) -> Option<&Point> {
        let mut steps = self.points.iter().filter(|point| point.is_drivers());
        steps.find(|point| point.number == number)
    }

    /// Steps of the driver.
    pub fn steps(&self) -> usize {
        self.points
            .iter()
            .filter(|point| point.is_drivers())
            .count()
    }

    /// Actions of the card.
    pub fn actions(&self) -> usize {
        self.points.iter().map(|point| point.did.len()).sum()
    }

    /// Stands for the driver's steps before the one of that number.
    pub fn prefix(&self, number: u32) -> u64 {
        let mut hasher = DefaultHasher::new();
        let steps = self.points.iter().filter(|point| point.is_drivers());
        for point in steps.take_while(|point| point.number < number) {
            (point.what, &point.label).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What the card did right before a step of the driver's, while the guest had nothing to do or polled.
    fn idled(&self, number: u32) -> usize {
        let idle = self.points.iter().filter(|point| !point.is_drivers());
        let before = idle.filter(|point| point.number.checked_add(1) == Some(number));
        before.map(|point| point.did.len()).sum()
    }

    /// Whether an order was carried out.
    ///
    /// # Errors
    /// What was not, in words.
    pub fn carried_out(&self, order: &Order) -> Result<(), String> {
        self.carried_out_as(order, false)
    }

    /// Whether it was, or came to the same: where the card was to act and had nothing left to do, it had done so right before, since
    /// the guest got to idle. Whether a driver that sleeps between two looks does is up to the kernel's timers.
    ///
    /// # Errors
    /// What was not, in words.
    pub fn came_to(&self, order: &Order) -> Result<(), String> {
        self.carried_out_as(order, true)
    }

    fn carried_out_as(&self, order: &Order, or_idle: bool) -> Result<(), String> {
        if self.cut {
            return Err("it was not followed to its end".to_owned());
        }
        for (number, count) in &order.steps {
            let step = self.step(*number);
            let did = step.map_or(0, |point| point.did.len());
            let nothing_left = or_idle && step.is_some_and(|point| !point.more);
            let before = if nothing_left { self.idled(*number) } else { 0 };
            let wanted = *count as usize;
            if did != wanted && did + before < wanted {
                return Err(format!(
                    "before the driver's step {number} the card was to act {count} times, and did {did} times"
                ));
            }
        }
        for number in &order.held {
            if !self.step(*number).is_some_and(|point| point.held) {
                return Err(format!(
                    "the driver's step {number} was to be a register write that is held back, and is none"
                ));
            }
        }
        Ok(())
    }
}
