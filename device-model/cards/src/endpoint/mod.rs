// SPDX-License-Identifier: MIT OR Apache-2.0

//! The test function of Linux's endpoint framework (`pci-epf-test`), as a host sees it: what `pci_endpoint_test` drives, and the
//! kernel's selftest of that name tries. It reads, writes and copies the host's memory, interrupts in all three ways, and shows
//! memory in five BARs. This page is its data sheet; it was written from what that driver does, which nobody here wrote.
//!
//! `1912:002d`, class `0xff0000`. BAR 0 of 16 KiB has the registers, from 0x1000 on the table of MSI-X, 64 vectors, and from
//! 0x2000 on its pending bits. BARs 1 to 5 are 4 KiB of memory each, which the machine maps. MSI with 32 vectors; the line.
//!
//! # Commands
//!
//! The driver says in the registers what is to be done, and writes `COMMAND`: `STATUS` is cleared, and what the registers said
//! is latched. When the command is over, `STATUS` says what came of it, with `interrupt` set, and the interrupt follows that
//! `IRQ_TYPE` and `IRQ_NUMBER` name by then. One that the function was not given is not sent, nor is any by the line while
//! message interrupts are on. The line is a pulse: nobody acknowledges.
//!
//! A command of no meaning, or with a kind of interrupt that there is not, comes to nothing. Until one is over, none is taken,
//! and what it is about must not be written. A transfer waits while the bus may not be mastered.
//!
//! A command is a job, and the function has one queue; one that is no transfer has no memory. What is written is made up, by the
//! number of the job. The driver reads `STATUS` when it likes: when it takes memory back, the function does not see.
//!
//! # BARs
//!
//! `subrange_setup` has the host see the lower half of a BAR's memory in its upper half, and the upper in the lower; it then
//! fills half `n`, as the host sees it, with the byte `0x50 + 8 * bar + n`.
//!
//! The doorbell is the register `DOORBELL`, where `DB_BAR` and `DB_OFFSET` say while it is enabled; what rings it is `DB_DATA`.

mod fault;
#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
mod regs;
#[cfg(test)]
mod tests;
mod transfer;

pub use self::fault::Fault;
use self::transfer::{Moved, Transfer, Way};
use crate::late::{Late, STRAY};
use landfall_device::contract::*;
use landfall_device::parts::{Bits, RegisterFile};
use regs::*;

/// Bytes of BARs 1 to 5.
const MEMORY: u64 = 0x1000;
/// What rings the doorbell.
const RING: u32 = 0x0d00_4be1;
/// Vectors of MSI, and of MSI-X.
const MSI: u8 = 32;
const MSIX: u16 = 64;

/// Bits of `STATUS`.
const INTERRUPT: u32 = 1 << 6;
const SOURCE_REFUSED: u32 = 1 << 7;
const DESTINATION_REFUSED: u32 = 1 << 8;
const RUNG: u32 = 1 << 9;
/// Of each of these the next bit says that it was not done.
const ENABLED: u32 = 1 << 10;
const DISABLED: u32 = 1 << 12;
const SWAPPED: u32 = 1 << 14;
const PUT_BACK: u32 = 1 << 16;

/// How the function is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Which of what that can strike it strikes, from 0.
    pub fault_at: u64,
}

/// A command in work.
#[derive(Debug)]
struct Command {
    job: JobId,
    /// The register write that asked for it; taken when it begins.
    asked: Option<Option<u64>>,
    what: What,
}

/// What is to be done.
#[derive(Debug)]
enum What {
    Raise,
    Transfer(Transfer),
    /// Enable the doorbell, or disable it.
    Doorbell(bool),
    /// Swap the halves of a BAR, or undo that.
    Subranges(bool, u32),
}

/// The function.
#[derive(Debug)]
pub struct Endpoint {
    options: EndpointOptions,
    file: RegisterFile,
    /// What BARs 1 to 5 show; one that the system refuses is not there.
    memory: [Option<Backing>; 5],
    /// Whose halves are swapped.
    swapped: [bool; 5],
    /// What the machine gave it, which no reset of its own takes.
    setup: Setup,
    work: Option<Command>,
    /// The line is asserted until the next step.
    pulse: bool,
    /// Number of the next job, and what a fault goes by; no reset begins them anew.
    jobs: u64,
    writes: u64,
    interrupts: u64,
    late: Late,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::new(EndpointOptions::default())
    }
}

impl Endpoint {
    /// Makes one, as after power-on.
    pub fn new(options: EndpointOptions) -> Self {
        let caps = CAPS::compose(0, true, true, true, true, true, true);
        Self {
            options,
            file: RegisterFile::new(REGISTERS)
                .with(COMMAND::OFFSET, Bits::acting(u32::MAX))
                .with(CAPS::OFFSET, Bits::fixed(caps.into_raw()))
                .with(DB_BAR::OFFSET, Bits::fixed(u32::MAX))
                .with(DB_OFFSET::OFFSET, Bits::FIXED)
                .with(DB_DATA::OFFSET, Bits::FIXED)
                .with(DOORBELL::OFFSET, Bits::acting(u32::MAX)),
            memory: std::array::from_fn(|_| Backing::new(MEMORY).ok()),
            swapped: [false; 5],
            setup: Setup::default(),
            work: None,
            pulse: false,
            jobs: 0,
            writes: 0,
            interrupts: 0,
            late: Late::Never,
        }
    }

    /// Whether a fault strikes number `at` of what it can.
    fn strikes(&self, fault: Fault, at: u64) -> bool {
        self.options.fault == Some(fault) && at == self.options.fault_at
    }

    fn address(&self, low: usize, high: usize) -> u64 {
        u64::from(self.file.get(high)) << 32 | u64::from(self.file.get(low))
    }

    /// What the command of that number is to do, with what the registers say that it is about.
    fn what(&self, number: u32) -> Option<What> {
        if self.file.get(IRQ_TYPE::OFFSET) > 2 {
            return None;
        }
        let size = self.file.get(SIZE::OFFSET);
        let way = match number {
            0x001 | 0x002 | 0x004 => return Some(What::Raise),
            0x008 => Way::Read,
            0x010 => Way::Write,
            0x020 => Way::Copy,
            0x040 | 0x080 => return Some(What::Doorbell(number == 0x040)),
            0x100 | 0x200 => return Some(What::Subranges(number == 0x100, size)),
            _ => return None,
        };
        let source = self.address(SRC_LOW::OFFSET, SRC_HIGH::OFFSET);
        let destination = self.address(DST_LOW::OFFSET, DST_HIGH::OFFSET);
        let transfer = Transfer::new(way, JobId(self.jobs), source, destination, size.into());
        Some(What::Transfer(transfer))
    }

    /// The vector of the interrupt that the registers name, if the function has it.
    fn vector(&self) -> Option<Vector> {
        let kind = match self.file.get(IRQ_TYPE::OFFSET) {
            0 => InterruptKind::Intx,
            1 => InterruptKind::Msi,
            2 => InterruptKind::Msix,
            _ => return None,
        };
        match self.setup.messages {
            None => (kind == InterruptKind::Intx && !self.setup.line_off).then_some(Vector(0)),
            Some((given, count)) => {
                let number = u16::try_from(self.file.get(IRQ_NUMBER::OFFSET)).ok()?;
                let has = kind == given && (1..=count).contains(&number);
                has.then(|| Vector(number - 1))
            }
        }
    }

    /// `STATUS` says what came of it, and the interrupt follows, of which `declare` tells before.
    fn tell(
        &mut self,
        status: u32,
        host: &mut dyn Host,
        declare: impl FnOnce(Option<Owed>) -> Option<Declaration>,
    ) {
        self.file.set(STATUS::OFFSET, status | INTERRUPT);
        let vector = self.vector();
        if let Some(what) = declare(vector.map(Owed::now)) {
            host.declare(what);
        }
        let Some(vector) = vector else { return };
        let lost = self.strikes(Fault::LostInterrupt, self.interrupts);
        self.interrupts += 1;
        if !lost {
            self.pulse = self.setup.messages.is_none();
            host.raise(vector);
        }
    }

    /// Whether the doorbell is.
    fn is_enabled(&self) -> bool {
        self.file.get(DB_BAR::OFFSET) == 0
    }

    /// Enables the doorbell, or disables it, unless it is so already; gives the bits of `STATUS`.
    fn turn_doorbell(&mut self, on: bool) -> u32 {
        let done = if on { ENABLED } else { DISABLED };
        if self.is_enabled() == on {
            return done << 1;
        }
        self.file.put(DB_BAR::OFFSET, if on { 0 } else { u32::MAX });
        if on {
            self.file.put(DB_OFFSET::OFFSET, DOORBELL::OFFSET as u32);
            self.file.put(DB_DATA::OFFSET, RING);
        }
        done
    }

    /// Swaps the halves of a BAR and marks them, or undoes that; gives the bits of `STATUS`.
    fn swap(&mut self, set_up: bool, bar: u32) -> u32 {
        let done = if set_up { SWAPPED } else { PUT_BACK };
        let index = (bar as usize).wrapping_sub(1);
        let (Some(Some(memory)), Some(swapped)) =
            (self.memory.get(index), self.swapped.get_mut(index))
        else {
            return done << 1;
        };
        let was = std::mem::replace(swapped, set_up);
        let mut bytes = [0; MEMORY as usize];
        match (set_up, was) {
            (false, false) => return done << 1,
            // Both halves are filled anyway.
            (true, _) => {
                let (low, high) = bytes.split_at_mut(MEMORY as usize / 2);
                let mark = 0x50 + 8 * bar as u8;
                low.fill(mark);
                high.fill(mark + 1);
            }
            (false, true) => {
                memory.read(0, &mut bytes);
                bytes.rotate_left(MEMORY as usize / 2);
            }
        }
        memory.write(0, &bytes);
        done
    }

    /// Does a command, of a transfer a piece; gives what came of it, bits of `STATUS`, bytes and what went wrong, if it is over.
    fn work(
        &mut self,
        what: &mut What,
        host: &mut dyn Host,
    ) -> Option<(u32, Result<u64, &'static str>)> {
        let transfer = match what {
            What::Raise => return Some((0, Ok(0))),
            What::Doorbell(on) => return Some((self.turn_doorbell(*on), Ok(0))),
            What::Subranges(set_up, bar) => return Some((self.swap(*set_up, *bar), Ok(0))),
            What::Transfer(transfer) => transfer,
        };
        let number = self.writes;
        let corrupt = transfer.writes() && self.strikes(Fault::Corrupt, number);
        let (status, came) = match transfer.go_on(corrupt, host) {
            Moved::Some => return None,
            Moved::All => (transfer.compare(&mut self.file), Ok(transfer.size)),
            Moved::SourceRefused => (
                transfer.failed() | SOURCE_REFUSED,
                Err("the source was refused"),
            ),
            Moved::DestinationRefused => (
                transfer.failed() | DESTINATION_REFUSED,
                Err("the destination was refused"),
            ),
        };
        if transfer.writes() {
            self.writes += 1;
            let (to, tag) = (transfer.destination, Tag::job(transfer.job));
            if self.strikes(Fault::Overrun, number) {
                // A byte that may not be written is not written; nothing hangs on it.
                let _ = host.dma_write(to.wrapping_add(transfer.size), &STRAY[..1], tag);
            }
            if self.strikes(Fault::AfterDone, number) {
                self.late.arm(to, tag, host);
            }
        }
        Some((status, came))
    }
}

impl Device for Endpoint {
    fn identity(&self) -> Identity {
        let place = |offset| Place { bar: 0, offset };
        let memory = (1..).zip(&self.memory);
        let memory = memory.filter_map(|(index, memory)| Some((index, memory.as_ref()?)));
        let registers = Bar::registers(0, 0x4000);
        Identity {
            vendor: 0x1912,
            device: 0x002d,
            class: 0xff_00_00,
            bars: std::iter::once(registers)
                .chain(memory.map(|(index, memory)| Bar::memory(index, memory).mapped()))
                .collect(),
            msi: MSI,
            msix: Some(Msix::new(MSIX).at(place(0x1000), place(0x2000))),
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 64,
                pieces: 2,
                ..Limits::default()
            },
            jobs: true,
            interrupts: true,
            ..Declares::default()
        }
    }

    fn notice(&mut self, notice: Notice, _host: &mut dyn Host) {
        if let Notice::Setup(setup) = notice {
            self.setup = setup;
        }
    }

    fn reset(&mut self, kind: Reset) {
        self.file.reset();
        for memory in self.memory.iter().flatten() {
            memory.clear();
        }
        (self.swapped, self.work, self.pulse) = ([false; 5], None, false);
        self.late = self.late.after(kind);
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        self.pulse = false;
        let late = self.late.strike(host);
        let Some(mut command) = self.work.take() else {
            return late;
        };
        let moves = matches!(command.what, What::Transfer(_));
        if moves && host.may_master().is_err() {
            self.work = Some(command);
            return late;
        }
        let job = command.job;
        if let Some(asked) = command.asked.take() {
            let pieces = match &command.what {
                What::Transfer(transfer) => transfer.pieces(),
                _ => Vec::new(),
            };
            host.declare_for(asked, Declaration::begun(job, pieces));
        }
        match self.work(&mut command.what, host) {
            None => self.work = Some(command),
            Some((status, came)) => self.tell(status, host, |owed| {
                Some(match came {
                    Ok(moved) => Declaration::done(job, moved, owed),
                    Err(why) => Declaration::failed(job, why, owed),
                })
            }),
        }
        Next::Again
    }

    fn line(&self) -> bool {
        self.pulse
    }
}

impl Registers for Endpoint {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        self.file.name(offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        self.file.read(offset)
    }

    fn held(&self, _bar: u8, offset: u64) -> u32 {
        self.file.held(offset)
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, host: &mut dyn Host) {
        let at = offset as usize;
        if self.work.is_some() && (COMMAND::OFFSET..=FLAGS::OFFSET).contains(&at) {
            let why = "a command is in work, and this is what it is about".into();
            host.declare(Declaration::NotNow { why });
        }
        let written = self.file.write(offset, value);
        match at {
            COMMAND::OFFSET if written.acts != 0 && self.work.is_none() => {
                self.file.put(STATUS::OFFSET, 0);
                if let Some(what) = self.what(written.acts) {
                    let job = JobId(self.jobs);
                    self.jobs += 1;
                    let asked = Some(host.register_write());
                    self.work = Some(Command { job, asked, what });
                }
            }
            DOORBELL::OFFSET if self.is_enabled() && value == RING => {
                self.tell(RUNG, host, |owed| {
                    let why = "the doorbell was rung".into();
                    owed.map(|owed| Declaration::Cause { owed, why })
                });
            }
            _ => {}
        }
    }
}
