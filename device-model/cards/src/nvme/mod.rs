// SPDX-License-Identifier: MIT OR Apache-2.0

//! An NVM Express controller, as far as the kernel's own driver (`nvme`) uses one: a disk with one namespace. This page is its data
//! sheet; numbers in brackets are sections of the NVM Express Base Specification 1.4.
//!
//! `1b36:4c4e`, class `0x010802`, BAR 0 of 16 KiB, 64-bit, with registers and doorbells; MSI-X with 17 vectors, its table at 0x2000
//! and the pending bits at 0x3000, or the line.
//!
//! - Up to 16 pairs of I/O queues of up to 1,024 entries besides the admin queues, in turn, a command at a time. A command is over
//!   before the next is taken from any queue, so an abort comes too late always.
//! - Data lies in pages of 4 KiB (PRP entries and lists, 4.3), 128 KiB a command at most. No scatter-gather lists, no metadata, no memory
//!   of the controller's own.
//! - Admin: create and delete queues, identify, get log page (errors, health, firmware: nothing to tell), features, asynchronous events
//!   (none ever comes), abort, format (blocks of 512 bytes or of 4 KiB; all becomes 0).
//! - I/O: read, write, flush.
//!
//! A completion is an entry of 16 bytes, then an interrupt, unless the driver polls that queue. A controller that may not master the bus
//! waits; one that could not fetch a command or write a completion stops (`CSTS.fatal`). `CC.enable` off, a shutdown and the deletion
//! of a queue act in the write, or the command, itself: no byte follows. What is stored stays, whatever is reset.
//!
//! Each command is a job but a request for an event; each submission queue is a queue. When the driver takes memory back the card does
//! not see: it reads the completion.

mod admin;
mod command;
mod disk;
mod io;
mod queue;
#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
mod regs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

pub use self::disk::Disk;
use self::queue::{Completions, Submissions};
pub use crate::fault::Fault;
use crate::late::Late;
use landfall_device::contract::*;
use regs::*;

/// Pairs of I/O queues.
pub const QUEUES: u16 = 16;
/// Most entries of a queue, and of an admin queue by its register.
const MOST_ENTRIES: u16 = 1024;
/// The namespace.
const NSID: u32 = 1;
/// Bytes of a block, as a power of two, of each format.
const BLOCKS: [u8; 2] = [9, 12];
/// Most requests for events that wait.
const EVENTS_MOST: usize = 4;

/// How the controller is made.
#[derive(Clone, Debug)]
pub struct NvmeOptions {
    /// What is stored.
    pub disk: Disk,
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Which read since power-on that strikes, from 0.
    pub fault_read: u64,
}

impl Default for NvmeOptions {
    fn default() -> Self {
        Self {
            disk: Disk::memory(64),
            fault: None,
            fault_read: 0,
        }
    }
}

/// The controller.
#[derive(Debug)]
pub struct Nvme {
    /// Its serial number: of no two that are made it is the same.
    serial: u32,
    disk: Disk,
    /// Which of [`BLOCKS`].
    format: u8,
    fault: Option<Fault>,
    fault_read: u64,
    control: CC,
    status: CSTS,
    admin: AQA,
    asq: u64,
    acq: u64,
    masked: u32,
    submissions: BTreeMap<u16, Submissions>,
    completions: BTreeMap<u16, Completions>,
    features: BTreeMap<u8, u32>,
    /// Requests for events.
    events: Vec<u16>,
    /// The queue that was served last.
    turn: u16,
    /// Number of the next job; no reset begins it anew, nor the reads.
    jobs: u64,
    reads: u64,
    /// Where the last read went.
    landed: Option<(u64, Tag)>,
    late: Late,
}

impl Default for Nvme {
    fn default() -> Self {
        Self::new(NvmeOptions::default())
    }
}

impl Nvme {
    /// Makes a controller, as after power-on.
    pub fn new(options: NvmeOptions) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        Self {
            serial: MADE.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            disk: options.disk,
            format: 0,
            fault: options.fault,
            fault_read: options.fault_read,
            control: CC::default(),
            status: CSTS::default(),
            admin: AQA::default(),
            asq: 0,
            acq: 0,
            masked: 0,
            submissions: BTreeMap::new(),
            completions: BTreeMap::new(),
            features: BTreeMap::new(),
            events: Vec::new(),
            turn: 0,
            jobs: 0,
            reads: 0,
            landed: None,
            late: Late::Never,
        }
    }

    fn block_order(&self) -> u8 {
        BLOCKS.get(usize::from(self.format)).copied().unwrap_or(9)
    }

    fn works(&self) -> bool {
        self.status.ready() && !self.status.fatal() && self.status.shutdown() == 0
    }

    /// It cannot go on.
    fn fail(&mut self) {
        self.status = CSTS::compose(self.status.shutdown(), true, self.status.ready());
    }

    fn set_control(&mut self, to: CC, host: &mut dyn Host) {
        let was = std::mem::replace(&mut self.control, to);
        if to.enable() && !was.enable() {
            self.enable();
        } else if was.enable() && !to.enable() {
            self.stop(host);
            self.status = CSTS::default();
            self.features.clear();
            self.masked = 0;
        }
        if to.shutdown() != 0 && was.shutdown() == 0 {
            self.stop(host);
            self.status = CSTS::compose(2, self.status.fatal(), self.status.ready());
        }
    }

    fn enable(&mut self) {
        let (commands, completions) = (self.admin.commands(), self.admin.completions());
        let fits = |most: u16| (1..MOST_ENTRIES).contains(&most);
        let (control, fits) = (self.control, fits(commands) && fits(completions));
        let known = control.set() == 0 && control.page() == 0 && control.arbitration() == 0;
        if !fits || !known {
            return self.fail();
        }
        self.submissions
            .insert(0, Submissions::new(self.asq, commands + 1, 0));
        self.completions
            .insert(0, Completions::new(self.acq, completions + 1, Some(0)));
        self.status = CSTS::compose(0, false, true);
    }

    /// No byte follows.
    fn stop(&mut self, host: &mut dyn Host) {
        host.declare(Declaration::Stopping { queue: None });
        self.submissions.clear();
        self.completions.clear();
        self.events.clear();
        if let Some((address, tag)) = self.landed.take()
            && self.fault == Some(Fault::AfterStop)
            && self.reads > self.fault_read
        {
            self.late.arm(address, tag, host);
        }
        host.declare(Declaration::Idle { queue: None });
    }

    /// The queue that is next: of those with commands whose answers have a place.
    fn next(&self) -> Option<u16> {
        let waits = |(_, queue): &(&u16, &Submissions)| {
            let to = self.completions.get(&queue.to);
            !queue.is_empty() && to.is_some_and(|to| !to.is_full())
        };
        let after = self.submissions.range(self.turn.saturating_add(1)..);
        let mut turns = after.chain(self.submissions.range(..=self.turn));
        turns.find(waits).map(|(id, _)| *id)
    }
}

impl Nvme {
    /// The interrupt of a vector, which a completion is the cause of.
    fn owed(&self, vector: u16, host: &dyn Host) -> Owed {
        let there = Vector(if vector < host.vectors() { vector } else { 0 });
        match self.is_masked(vector) {
            true => Owed::perhaps(there),
            false => Owed::now(there),
        }
    }

    fn is_masked(&self, vector: u16) -> bool {
        let bit = 1_u32.checked_shl(vector.into());
        bit.is_some_and(|bit| self.masked & bit != 0)
    }

    /// Unmasks vectors: what waits there is told.
    fn unmask(&mut self, vectors: u32, host: &mut dyn Host) {
        let was = self.masked;
        self.masked &= !vectors;
        for queue in self.completions.values().filter(|queue| !queue.is_empty()) {
            let Some(vector) = queue.vector else {
                continue;
            };
            let bit = 1_u32.checked_shl(vector.into()).unwrap_or(0);
            if was & vectors & bit != 0 {
                let owed = self.owed(vector, host);
                let why = "completions that were masked".into();
                host.declare(Declaration::Cause { owed, why });
                host.raise(owed.vector);
            }
        }
    }
}

/// A page's address, one half of it written.
const fn half(held: u64, value: u32, high: bool) -> u64 {
    let value = value as u64;
    match high {
        true => held & 0xffff_ffff | value << 32,
        false => held >> 32 << 32 | value & !0xfff,
    }
}

impl Device for Nvme {
    fn identity(&self) -> Identity {
        let place = |offset| Place { bar: 0, offset };
        Identity {
            vendor: 0x1b36,
            device: 0x4c4e,
            class: 0x01_08_02,
            revision: 1,
            bars: vec![Bar::registers(0, 0x4000).wide()],
            msix: Some(Msix::new(QUEUES + 1).at(place(0x2000), place(0x3000))),
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 64,
                alignment: 4,
                ..Limits::default()
            },
            jobs: true,
            handover: false, // the driver reads the completion, which the card does not see
            interrupts: true,
            masks: false,
            idle: IdleScope::Queue,
        }
    }

    fn reset(&mut self, kind: Reset) {
        let options = NvmeOptions {
            disk: std::mem::replace(&mut self.disk, Disk::memory(0)),
            fault: self.fault,
            fault_read: self.fault_read,
        };
        let old = std::mem::replace(self, Self::new(options));
        (self.serial, self.format) = (old.serial, old.format);
        (self.jobs, self.reads) = (old.jobs, old.reads);
        self.late = old.late.after(kind);
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        let late = self.late.strike(host);
        if !self.works() || host.may_master().is_err() {
            return late;
        }
        match self.next() {
            Some(id) => {
                self.turn = id;
                self.serve(id, host);
                Next::Again
            }
            None => late,
        }
    }

    fn line(&self) -> bool {
        let mut queues = self.completions.values();
        queues.any(|queue| {
            let vector = queue.vector.filter(|vector| !self.is_masked(*vector));
            vector.is_some() && !queue.is_empty()
        })
    }
}

impl Registers for Nvme {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        landfall_device::contract::lookup(REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        match offset as usize {
            CAP_LOW::OFFSET => CAP_LOW::compose(10, true, MOST_ENTRIES - 1).into_raw(),
            CAP_HIGH::OFFSET => CAP_HIGH::compose(0, 0, 1, 0).into_raw(),
            VS::OFFSET => VS::compose(1, 4).into_raw(),
            INTMS::OFFSET | INTMC::OFFSET => self.masked,
            CC::OFFSET => self.control.into_raw(),
            CSTS::OFFSET => self.status.into_raw(),
            AQA::OFFSET => self.admin.into_raw(),
            ASQ_LOW::OFFSET => self.asq as u32,
            ASQ_HIGH::OFFSET => (self.asq >> 32) as u32,
            ACQ_LOW::OFFSET => self.acq as u32,
            ACQ_HIGH::OFFSET => (self.acq >> 32) as u32,
            _ => 0,
        }
    }

    fn held(&self, bar: u8, offset: u64) -> u32 {
        match offset as usize {
            INTMS::OFFSET | INTMC::OFFSET => 0, // ones act
            _ => self.read(bar, offset),
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, host: &mut dyn Host) {
        match offset as usize {
            INTMS::OFFSET => self.masked |= value,
            INTMC::OFFSET => self.unmask(value, host),
            CC::OFFSET => self.set_control(CC::from_raw(value & 0x00ff_fff1), host),
            AQA::OFFSET => self.admin = AQA::from_raw(value & 0x0fff_0fff),
            ASQ_LOW::OFFSET => self.asq = half(self.asq, value, false),
            ASQ_HIGH::OFFSET => self.asq = half(self.asq, value, true),
            ACQ_LOW::OFFSET => self.acq = half(self.acq, value, false),
            ACQ_HIGH::OFFSET => self.acq = half(self.acq, value, true),
            doorbell if doorbell >= SQTDBL::OFFSET => {
                let distance = doorbell - SQTDBL::OFFSET;
                let (id, to) = ((distance / 8) as u16, value as u16);
                match distance % 8 {
                    0 => {
                        let write = host.register_write();
                        if let Some(queue) = self.submissions.get_mut(&id) {
                            queue.ring(to, write);
                        }
                    }
                    _ => {
                        if let Some(queue) = self.completions.get_mut(&id) {
                            queue.ring(to);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}
