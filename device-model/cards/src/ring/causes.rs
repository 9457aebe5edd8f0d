// SPDX-License-Identifier: MIT OR Apache-2.0

//! Causes of interrupts, what hides them, and their vectors.

use std::time::Duration;

use super::regs::*;
use super::{Port, RingOptions};
use landfall_device::contract::{Declaration, Next, Owed, UNCLAIMED, Vector};

/// Causes of all queues together.
const OF_QUEUES: u32 = (1 << QUEUES) - 1;
/// The causes of [`CAUSE`] that are no queue's, with what they are.
const OTHERS: [(u32, &str); 3] = [
    (1 << 16, "the link changed"),
    (1 << 17, "the timer ran out"),
    (1 << 18, "an error"),
];

/// The state of all interrupts.
#[derive(Debug)]
pub(super) struct Causes {
    pending: u32,
    mask: u32,
    edge: bool,
    other: u8,
    timer_us: u32,
    timer: Option<Duration>,
    /// What is to happen in the next step.
    happens: u32,
    /// The vector of each queue.
    vectors: [u8; QUEUES],
    /// Vectors, as far as anybody can tell them apart.
    count: u16,
    /// Bit n: vector n is unmasked, as it was told.
    unmasked: u32,
}

impl Causes {
    pub(super) fn new(options: &RingOptions) -> Self {
        Self {
            pending: 0,
            mask: CAUSES,
            edge: false,
            other: 0,
            timer_us: 0,
            timer: None,
            happens: 0,
            vectors: [0; QUEUES],
            count: vectors(options),
            unmasked: 0,
        }
    }

    pub(super) fn read(&self, offset: usize) -> u32 {
        match offset {
            CONTROL::OFFSET => CONTROL::compose(false, self.edge).into_raw(),
            CAUSE::OFFSET => self.pending,
            MASK::OFFSET => self.mask,
            OTHER::OFFSET => OTHER::compose(self.other).into_raw(),
            TIMER::OFFSET => self.timer_us,
            _ => UNCLAIMED,
        }
    }

    pub(super) fn write(&mut self, offset: usize, value: u32, port: &mut Port<'_>) {
        let before = self.asserted();
        match offset {
            CONTROL::OFFSET => self.edge = CONTROL::from_raw(value).edge(),
            CAUSE::OFFSET => self.pending &= !value,
            MASK::OFFSET => self.mask = value & CAUSES,
            OTHER::OFFSET => self.other = OTHER::from_raw(value).vector(),
            TIMER::OFFSET => {
                self.timer_us = value;
                let due = port.host.now() + Duration::from_micros(value.into());
                self.timer = (value != 0).then_some(due);
            }
            HAPPEN::OFFSET => self.happens |= value & 0x5_0000,
            _ => return,
        }
        if matches!(offset, MASK::OFFSET | OTHER::OFFSET) {
            self.tell_masks(port);
            self.unmasked_now(before, port);
        }
    }

    /// A queue's vector is this.
    pub(super) fn route(&mut self, queue: usize, vector: u8, port: &mut Port<'_>) {
        let Some(known) = self.vectors.get_mut(queue) else {
            return;
        };
        if std::mem::replace(known, vector) != vector {
            self.tell_masks(port);
        }
    }

    /// The number of a vector as the machine knows it; one that the card has not is the first.
    pub(super) fn vector(&self, vector: u8) -> Vector {
        let vector = u16::from(vector);
        Vector(if vector < self.count { vector } else { 0 })
    }

    /// The causes of a vector.
    fn causes_of(&self, vector: Vector) -> u32 {
        let mut causes = 0;
        for (queue, own) in self.vectors.iter().enumerate() {
            if self.vector(*own) == vector {
                causes |= 1 << queue;
            }
        }
        if self.vector(self.other) == vector {
            causes |= CAUSES & !OF_QUEUES;
        }
        causes
    }

    /// Bit n: vector n has a cause that is not masked.
    fn asserted(&self) -> u32 {
        let active = self.pending & !self.mask;
        let asserted = |vector: &u16| active & self.causes_of(Vector(*vector)) != 0;
        let vectors = (0..self.count).filter(asserted);
        vectors.fold(0, |bits, vector| bits | 1 << vector)
    }

    fn tell_masks(&mut self, port: &mut Port<'_>) {
        for number in 0..self.count {
            let vector = Vector(number);
            let unmasked = self.causes_of(vector) & !self.mask != 0;
            if unmasked != (self.unmasked >> number & 1 != 0) {
                self.unmasked ^= 1 << number;
                let (vector, masked) = (Some(vector), !unmasked);
                port.declare(Declaration::Masked { vector, masked });
            }
        }
    }

    /// Sends what waited for being unmasked.
    fn unmasked_now(&self, before: u32, port: &mut Port<'_>) {
        let new = self.asserted() & !before;
        for number in (0..self.count).filter(|number| new >> number & 1 != 0) {
            let vector = Vector(number);
            port.declare(Declaration::cause(vector, "an old cause was unmasked"));
            port.host.raise(vector);
        }
    }

    /// A queue's cause comes. What is owed, and whether it is to be sent now.
    pub(super) fn happened(&mut self, queue: usize) -> (Owed, bool) {
        let vector = self.vector(self.vectors.get(queue).copied().unwrap_or_default());
        self.set(1 << queue, vector)
    }

    /// A cause comes.
    fn set(&mut self, cause: u32, vector: Vector) -> (Owed, bool) {
        let was = self.asserted() >> vector.0 & 1 != 0;
        self.pending |= cause;
        let hidden = self.mask & cause != 0 || self.edge && was;
        match hidden {
            true => (Owed::perhaps(vector), false),
            false => (Owed::now(vector), true),
        }
    }

    /// Whether a queue's cause would be told.
    pub(super) fn is_masked(&self, queue: usize) -> bool {
        self.mask >> queue & 1 != 0
    }

    /// A cause that is no queue's.
    pub(super) fn other(&mut self, cause: u32, port: &mut Port<'_>) {
        let (owed, send) = self.set(cause, self.vector(self.other));
        if send {
            let why = OTHERS.iter().find(|(bit, _)| *bit == cause);
            let why = why.map_or("another cause", |(_, why)| why).into();
            port.declare(Declaration::Cause { owed, why });
            port.host.raise(owed.vector);
        }
    }

    pub(super) fn step(&mut self, port: &mut Port<'_>) -> Next {
        let happens = std::mem::take(&mut self.happens);
        for (cause, _) in OTHERS.into_iter().filter(|(cause, _)| happens & cause != 0) {
            self.other(cause, port);
        }
        match self.timer {
            Some(due) if due <= port.host.now() => {
                self.timer = None;
                self.other(1 << 17, port);
                Next::Idle
            }
            Some(due) => Next::At(due),
            None => Next::Idle,
        }
    }

    pub(super) fn line(&self) -> bool {
        self.pending & !self.mask != 0
    }
}

/// Vectors of a card so made.
pub(super) fn vectors(options: &RingOptions) -> u16 {
    match options.interrupt {
        landfall_device::contract::InterruptKind::Msix => options.vectors.clamp(1, 32),
        _ => 1,
    }
}
