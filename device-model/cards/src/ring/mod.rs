// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card that works off rings of descriptors in memory, as network cards and copy engines do. This page is its data
//! sheet. With it the drivers of the gallery are run (`kmod/gallery`), which are small, legal, and as different as
//! drivers are.
//!
//! `1b36:4c52`, class `0xff0000`, BAR 0 of 4 KiB; MSI-X by default, with a vector for each queue and one for the rest.
//!
//! # Queues
//!
//! There are four, which know nothing of each other. Each has a ring of 32-byte descriptors, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 7 | bus address, of a copy: of its source |
//! | 8 to 11 | bytes; with bit 27: entries of the list at that address |
//! | 12 to 15 | bit 31: valid; 28: the job goes on in the next descriptor; 27: a list; 25 to 24: receive (0: the card writes), transmit (1: it reads), copy (2) |
//! | 16 to 23 | of a copy: bus address of its destination |
//! | 24 to 31 | the driver's own |
//!
//! An entry of a list has 16 bytes: bus address, bytes, four that are not looked at. A piece has at most 64 KiB, a list 64
//! entries, a job 16 descriptors and 64 pieces.
//!
//! When a descriptor is over, its first 16 bytes are written back: the job's number, a check of what was read (FNV-1a),
//! bytes moved, and then the word with the bits, in which 30 says that it is over, 29 that it came to nothing. **Nothing is
//! left of the address that stood there.** A status block, if there is one, then gets eight bytes: descriptors that were
//! written back since the queue began to run, and the job's number.
//!
//! A descriptor is the card's if its bit 31 is set, and it clears that when it is over (`MODE_OWN`); or if bit 31 is that
//! of the round (`MODE_PHASE`), or up to the doorbell (`MODE_TAIL`). It looks at the doorbell, and then on for as long as it
//! finds something, or by itself every 100 microseconds (`RUN.poll`). `PACE` is the time from the fetch to the first byte.
//!
//! The queue stops when `RUN.run` is cleared: the job in work is dropped, nothing is written back, and the queue is idle
//! when `STATE.busy` reads 0. `RING`, `SHAPE` and `BLOCK` are not written while it is busy.
//!
//! What is received: the little-endian 64-bit word n of job `number` on queue `q` is `0xc0 + q` << 56 | `number` << 32 | n.
//!
//! # Interrupts
//!
//! A job that is over is a cause of its queue's vector, at once, every so many, or some time later (`COALESCE`). An error, a
//! timer, the link are causes of another. A cause that comes while it is masked waits until it is unmasked. With
//! `CONTROL.edge` a vector interrupts only when it had no cause. The line is asserted while there is an unmasked cause.

mod causes;
mod descriptor;
mod fault;
mod queue;
#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
mod regs;
#[cfg(test)]
mod tests;
mod work;

use std::time::Duration;

use self::causes::Causes;
pub use self::fault::Fault;
use self::queue::Queue;
use self::regs::*;
use landfall_device::contract::*;

/// How often a queue looks into its ring by itself.
const LOOK: Duration = Duration::from_micros(100);

/// How the card is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// How it interrupts.
    pub interrupt: InterruptKind,
    /// Vectors of its MSI-X table.
    pub vectors: u16,
    /// Address bits that it drives.
    pub address_bits: u8,
    /// It tells of its own work; if not, it is judged on its accesses alone.
    pub declares: bool,
    /// What it does wrong.
    pub fault: Option<Fault>,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            interrupt: InterruptKind::Msix,
            vectors: QUEUES as u16 + 1,
            address_bits: 64,
            declares: true,
            fault: None,
        }
    }
}

/// The card.
#[derive(Debug)]
pub struct Ring {
    options: RingOptions,
    causes: Causes,
    queues: [Queue; QUEUES],
    /// Number of the next job; no reset begins it anew.
    next: u64,
    /// The queue that is looked at first in the next step.
    turn: usize,
    fault: fault::State,
}

/// What a queue needs of the rest of the card.
struct Rest<'a> {
    options: &'a RingOptions,
    causes: &'a mut Causes,
    next: &'a mut u64,
    fault: &'a mut fault::State,
}

impl Default for Ring {
    fn default() -> Self {
        Self::new(RingOptions::default())
    }
}

impl Ring {
    /// Makes a card, as after power-on.
    pub fn new(options: RingOptions) -> Self {
        Self {
            causes: Causes::new(&options),
            queues: std::array::from_fn(Queue::new),
            next: 0,
            turn: 0,
            fault: fault::State::default(),
            options,
        }
    }

    fn parts(&mut self) -> (&mut [Queue; QUEUES], Rest<'_>) {
        let rest = Rest {
            options: &self.options,
            causes: &mut self.causes,
            next: &mut self.next,
            fault: &mut self.fault,
        };
        (&mut self.queues, rest)
    }

    fn power_on(&mut self) {
        *self = Self {
            next: self.next,
            fault: self.fault,
            ..Self::new(self.options.clone())
        };
    }
}

/// The queue and the offset of its first element that a register of it belongs to.
fn of_queue(offset: usize) -> Option<(usize, usize)> {
    let inside = offset.checked_sub(RING_LO::OFFSET)?;
    let queue = inside / 0x40;
    (queue < QUEUES).then_some((queue, RING_LO::OFFSET + inside % 0x40))
}

impl Device for Ring {
    fn identity(&self) -> Identity {
        Identity {
            vendor: VENDOR,
            device: DEVICE,
            class: 0xff_00_00,
            revision: 1,
            bars: vec![Bar::registers(0, BAR0_SIZE as u64)],
            ..Identity::default()
        }
        .interrupting(self.options.interrupt, causes::vectors(&self.options))
    }

    fn declares(&self) -> Declares {
        if !self.options.declares {
            return Declares::default();
        }
        Declares {
            limits: Limits {
                address_bits: self.options.address_bits,
                longest: LONGEST.into(),
                pieces: 2 * MOST_ENTRIES as u32,
                ..Limits::default()
            },
            jobs: true,
            handover: true,
            interrupts: true,
            masks: true,
            idle: IdleScope::Queue,
        }
    }

    fn reset(&mut self, _kind: Reset) {
        self.power_on();
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        let mut port = Port::new(host, self.options.declares);
        let mut next = self.causes.step(&mut port);
        let first = self.turn;
        self.turn = (first + 1) % QUEUES;
        let (queues, mut rest) = self.parts();
        for offset in 0..QUEUES {
            if let Some(queue) = queues.get_mut((first + offset) % QUEUES) {
                next = next.sooner(queue.step(&mut rest, &mut port));
            }
        }
        next
    }

    fn line(&self) -> bool {
        self.causes.line()
    }
}

impl Registers for Ring {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        landfall_device::contract::lookup(REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        let offset = offset as usize;
        match offset {
            ID::OFFSET => ID::compose(MAGIC, LAYOUT).into_raw(),
            LIMITS::OFFSET => {
                let vectors = self.options.vectors.min(255) as u8;
                LIMITS::compose(self.options.address_bits, vectors, QUEUES as u8).into_raw()
            }
            HAPPEN::OFFSET => 0,
            _ => match of_queue(offset) {
                Some((queue, register)) => self
                    .queues
                    .get(queue)
                    .map_or(UNCLAIMED, |queue| queue.read(register)),
                None => self.causes.read(offset),
            },
        }
    }

    fn held(&self, bar: u8, offset: u64) -> u32 {
        match of_queue(offset as usize) {
            None if offset as usize == CAUSE::OFFSET => 0, // ones act
            _ => self.read(bar, offset),
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, host: &mut dyn Host) {
        let offset = offset as usize;
        let mut port = Port::new(host, self.options.declares);
        if offset == CONTROL::OFFSET && CONTROL::from_raw(value).reset() {
            self.power_on();
            port.declare(Declaration::Reset);
            return;
        }
        match of_queue(offset) {
            Some((index, register)) => {
                let (queues, mut rest) = self.parts();
                if let Some(queue) = queues.get_mut(index) {
                    queue.write(register, value, &mut rest, &mut port);
                    let vector = queue.vector();
                    self.causes.route(index, vector, &mut port);
                }
            }
            None => self.causes.write(offset, value, &mut port),
        }
    }
}

/// The machine, and whether it is to be told of anything.
struct Port<'a> {
    host: &'a mut dyn Host,
    declares: bool,
}

impl<'a> Port<'a> {
    fn new(host: &'a mut dyn Host, declares: bool) -> Self {
        Self { host, declares }
    }

    fn declare(&mut self, what: Declaration) {
        if self.declares {
            self.host.declare(what);
        }
    }
}
