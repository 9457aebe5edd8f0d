// SPDX-License-Identifier: MIT OR Apache-2.0

//! A Data Translation DT3155 frame grabber, as far as its driver in Linux (`dt3155`) uses it. This page is its data
//! sheet; it was written from what that driver does, which nobody here wrote.
//!
//! `8086:1223`, class `0x040000`, BAR 0 of 4 KiB, the interrupt line and no messages. It writes pictures of 8 bits of
//! grey (see [`Standard`]) to 32-bit addresses, as two interlaced fields: line 0, 2, 4… from `EVEN_DMA_START` on, line
//! 1, 3, 5… from `ODD_DMA_START`, each field with its own stride. Byte registers are reached through `IIC_CSR2`, at
//! once.
//!
//! It runs while `CSR1` captures both fields and byte register `CSR2` acquires both. A frame latches its four
//! addresses when it begins, at the standard's rate, the first [`Dt3155Options::first`] periods after the start; when
//! its last byte is in memory, `START`, `END_EVEN` and `END_ODD` are set together. The next frame waits until `END_ODD` was cleared, so that a slow machine sees fewer frames and not
//! torn ones; a real card waits for nobody. Whatever ends the running condition ends the transfer in the same write.
//!
//! A frame begins only while the bus may be mastered. One of which a line was refused is abandoned: it sets an address
//! error and interrupts nobody.
//!
//! A frame is a job; where its lines lie one behind the other in memory, they are one piece of it.

mod fault;
pub mod picture;
#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
mod regs;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

pub use self::fault::Fault;
pub use self::picture::Standard;
use landfall_device::contract::declare::joined;
use landfall_device::contract::*;
use regs::*;

/// Lines written in one step.
const LINES: u32 = 64;
/// How long after its cause a fault of the late kind strikes.
const LATE: Duration = Duration::from_millis(200);
/// How much it writes.
const LATE_BYTES: [u8; 64] = [0xdb; 64];
/// How often the fault `after-unbind` looks whether the bus may be mastered still.
const LOOK: Duration = Duration::from_millis(5);

/// How the card is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dt3155Options {
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Which frame since power-on the fault `overrun` strikes, from 0.
    pub fault_frame: u32,
    /// Frame periods from the start to the first frame: at 2 the rest of the picture that is running then, and a whole
    /// one; more if the camera's sync is to be found first.
    pub first: u32,
}

impl Default for Dt3155Options {
    fn default() -> Self {
        Self {
            fault: None,
            fault_frame: 2,
            first: 2,
        }
    }
}

/// The card.
#[derive(Debug)]
pub struct Dt3155 {
    options: Dt3155Options,
    /// What is in BAR 0, as it reads.
    words: [u32; SIZE / 4],
    /// The byte registers.
    bytes: [u8; 128],
    /// The register write that gave the even field its address.
    programmed: Option<u64>,
    /// When the next frame is due; `None`: not running.
    due: Option<Duration>,
    frame: Option<Frame>,
    /// Number of the next frame and job; no reset begins it anew.
    next: u32,
    /// Where the last frame began.
    last: Option<(u64, Tag)>,
    late: Late,
}

/// A frame in work, with what it latched.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u32,
    standard: Standard,
    /// Of the even and the odd field: first address, and bytes from line to line.
    fields: [(u64, u64); 2],
    /// The next line.
    line: u32,
}

/// A write that should not happen.
#[derive(Clone, Copy, Debug, Default)]
enum Late {
    /// None is to come.
    #[default]
    Never,
    /// Once the bus may not be mastered.
    Unbound,
    At(Duration),
    /// It came.
    Over,
}

impl Default for Dt3155 {
    fn default() -> Self {
        Self::new(Dt3155Options::default())
    }
}

impl Dt3155 {
    /// Makes a card, as after power-on.
    pub fn new(options: Dt3155Options) -> Self {
        Self {
            options,
            words: [0; SIZE / 4],
            bytes: [0; 128],
            programmed: None,
            due: None,
            frame: None,
            next: 0,
            last: None,
            late: Late::Never,
        }
    }

    fn word(&self, offset: usize) -> u32 {
        self.words.get(offset / 4).copied().unwrap_or(UNCLAIMED)
    }

    fn set(&mut self, offset: usize, value: u32) {
        if let Some(word) = self.words.get_mut(offset / 4) {
            *word = value;
        }
    }

    fn byte(&self, index: u8) -> u8 {
        match index {
            DT_ID => ID,
            _ => self.bytes.get(usize::from(index)).copied().unwrap_or(0),
        }
    }

    fn running(&self) -> bool {
        let csr1 = CSR1::from_raw(self.word(CSR1::OFFSET));
        csr1.capture() == 3 && self.byte(CSR2) & BUSY == BUSY
    }

    fn standard(&self) -> Standard {
        match self.byte(CSR2) & HZ_50 {
            0 => Standard::Hz60,
            _ => Standard::Hz50,
        }
    }

    fn interrupts(&self) -> INT_CSR {
        INT_CSR::from_raw(self.word(INT_CSR::OFFSET))
    }

    fn cycle(&mut self, cycle: IIC_CSR2) {
        let done = IIC_CSR2::compose(false, cycle.index(), cycle.read(), cycle.data());
        self.set(IIC_CSR2::OFFSET, done.into_raw());
        if !cycle.cycle() {
            return;
        }
        if cycle.read() {
            let read = IIC_CSR1::compose(self.byte(cycle.index()), false);
            self.set(IIC_CSR1::OFFSET, read.into_raw());
        } else if let Some(byte) = self.bytes.get_mut(usize::from(cycle.index())) {
            *byte = cycle.data();
        }
    }

    fn stop(&mut self, host: &mut dyn Host) {
        host.declare(Declaration::Stopping { queue: None });
        if let Some(frame) = self.frame.take() {
            let owed = None;
            host.declare(frame.done(Some("stopped"), owed));
        }
        self.due = None;
        if self.options.fault == Some(Fault::AfterStop) && self.last.is_some() {
            self.arm(Late::At(host.now() + LATE));
        }
        host.declare(Declaration::Idle { queue: None });
    }

    /// Begins a frame if it is time; tells when to look again.
    fn begin(&mut self, host: &mut dyn Host) -> Next {
        let Some(due) = self.due else {
            return Next::Idle;
        };
        if self.interrupts().end_odd() {
            return Next::Idle; // until it is cleared
        }
        let now = host.now();
        if now < due {
            return Next::At(due);
        }
        let standard = self.standard();
        let next = due + standard.period();
        let next = if next > now {
            next
        } else {
            now + standard.period()
        };
        self.due = Some(next);
        if host.may_master().is_err() {
            return Next::At(next);
        }
        let field = |start, stride| {
            let pitch = u64::from(standard.width()) + u64::from(self.word(stride));
            (u64::from(self.word(start)), pitch)
        };
        let frame = Frame {
            number: self.next,
            standard,
            fields: [
                field(EVEN_DMA_START::OFFSET, EVEN_DMA_STRIDE::OFFSET),
                field(ODD_DMA_START::OFFSET, ODD_DMA_STRIDE::OFFSET),
            ],
            line: 0,
        };
        self.next = self.next.wrapping_add(1);
        let lines = 0..standard.height();
        let line = |line| Piece::write(frame.address(line), standard.width().into());
        let begun = Declaration::Begun {
            job: frame.job(),
            queue: QueueId::default(),
            label: Label {
                slot: None,
                frame: Some(frame.number),
            },
            pieces: joined(lines.map(line).collect()),
        };
        host.declare_for(self.programmed, begun);
        self.last = Some((frame.address(0), frame.tag()));
        self.frame = Some(frame);
        Next::Again
    }

    /// Writes the next lines of the frame in work.
    fn advance(&mut self, mut frame: Frame, host: &mut dyn Host) {
        // Where each action counts, a line is one, and so is the end of a frame.
        let lines = if host.fine() { 1 } else { LINES };
        let full = frame.line == frame.standard.height();
        let end = frame.standard.height().min(frame.line + lines);
        let mut line = vec![0; frame.standard.width() as usize];
        while frame.line < end {
            picture::paint(frame.number, frame.line, &mut line);
            let at = frame.address(frame.line);
            if host.dma_write(at, &line, frame.tag()).is_err() {
                let error = CSR1_ERRORS[frame.line as usize % 2];
                self.set(CSR1::OFFSET, self.word(CSR1::OFFSET) | error);
                self.frame = None;
                host.declare(frame.done(Some("the bus refused a line"), None));
                return;
            }
            frame.line += 1;
        }
        self.frame = Some(frame);
        if frame.line == frame.standard.height() && (full || !host.fine()) {
            self.complete(&frame, host);
        }
    }

    fn complete(&mut self, frame: &Frame, host: &mut dyn Host) {
        self.frame = None;
        let struck = frame.number == self.options.fault_frame;
        if self.options.fault == Some(Fault::Overrun) && struck {
            let last = frame.address(frame.line - 1);
            let behind = last + u64::from(frame.standard.width());
            // A byte that may not be written is not written; nothing hangs on it.
            let _ = host.dma_write(behind, &LATE_BYTES[..1], frame.tag());
        }
        if self.options.fault == Some(Fault::AfterUnbind) {
            self.arm(Late::Unbound);
        }
        self.set(CSR1::OFFSET, self.word(CSR1::OFFSET) | CSR1_DONE);
        let interrupts = self.interrupts();
        self.set(INT_CSR::OFFSET, interrupts.into_raw() | INT_CAUSES);
        let owed = self.line().then_some(Owed::now(Vector(0)));
        host.declare(frame.done(None, owed));
        if self.line() {
            host.raise(Vector(0));
        }
    }

    fn arm(&mut self, late: Late) {
        if matches!(self.late, Late::Never) {
            self.late = late;
        }
    }

    /// Strikes if it is time; tells when to look again.
    fn strike(&mut self, host: &mut dyn Host) -> Option<Duration> {
        match self.late {
            Late::Never | Late::Over => None,
            Late::Unbound if host.may_master().is_ok() => Some(host.now() + LOOK),
            Late::Unbound => {
                let due = host.now() + LATE;
                self.late = Late::At(due);
                Some(due)
            }
            Late::At(due) if host.now() < due => Some(due),
            Late::At(_) => {
                self.late = Late::Over;
                if let Some((address, tag)) = self.last {
                    // It is journalled, and that is all that the fault is for.
                    let _ = host.dma_write(address, &LATE_BYTES, tag);
                }
                None
            }
        }
    }
}

impl Frame {
    /// Bus address of a line; wraps as the card's adder does, at 4 GiB.
    fn address(&self, line: u32) -> u64 {
        let [even, odd] = self.fields;
        let (start, pitch) = if line.is_multiple_of(2) { even } else { odd };
        let address = start.wrapping_add(u64::from(line / 2).wrapping_mul(pitch));
        address & u64::from(u32::MAX)
    }

    fn job(&self) -> JobId {
        JobId(self.number.into())
    }

    fn tag(&self) -> Tag {
        Tag::job(self.job())
    }

    /// It is over.
    fn done(&self, error: Option<&'static str>, owed: Option<Owed>) -> Declaration {
        Declaration::Done {
            job: self.job(),
            error: error.map(Cow::Borrowed),
            moved: u64::from(self.line) * u64::from(self.standard.width()),
            owed,
        }
    }
}

impl Device for Dt3155 {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x8086,
            device: 0x1223,
            class: 0x04_00_00,
            revision: 0,
            bars: vec![Bar::registers(0, 0x1000)],
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 32,
                ..Limits::default()
            },
            jobs: true,
            handover: false, // a frame takes whatever addresses stand there
            interrupts: true,
            masks: true,
            idle: IdleScope::Device,
        }
    }

    fn reset(&mut self, kind: Reset) {
        // Only losing power ends what a broken card is about to do.
        let late = match kind {
            Reset::Device => Late::Never,
            _ => self.late,
        };
        *self = Self {
            next: self.next,
            last: self.last,
            late,
            ..Self::new(self.options.clone())
        };
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        if let Some(frame) = self.frame {
            self.advance(frame, host);
            return Next::Again;
        }
        let late = self.strike(host);
        match (self.begin(host), late) {
            (Next::Idle, Some(due)) => Next::At(due),
            (Next::At(time), Some(due)) => Next::At(time.min(due)),
            (next, _) => next,
        }
    }

    fn wants(&self) -> Option<bool> {
        let begins = self.due.is_some() && !self.interrupts().end_odd();
        let strikes = matches!(self.late, Late::Unbound | Late::At(_));
        Some(self.frame.is_some() || begins || strikes)
    }

    fn line(&self) -> bool {
        let interrupts = self.interrupts().into_raw();
        interrupts & interrupts >> 8 & 7 != 0
    }
}

impl Registers for Dt3155 {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        landfall_device::contract::lookup(REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        self.word(offset as usize)
    }

    fn held(&self, bar: u8, offset: u64) -> u32 {
        let read = self.read(bar, offset);
        match offset as usize {
            CSR1::OFFSET => read & CSR1_KEPT,
            INT_CSR::OFFSET => read & INT_KEPT,
            _ => read,
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, host: &mut dyn Host) {
        let offset = offset as usize;
        let before = self.word(offset);
        match offset {
            CSR1::OFFSET => self.set(offset, value & CSR1_KEPT | before & !CSR1_KEPT & !value),
            INT_CSR::OFFSET => self.set(offset, value & INT_KEPT | before & !INT_KEPT & !value),
            IIC_CSR1::OFFSET => {}
            IIC_CSR2::OFFSET => self.cycle(IIC_CSR2::from_raw(value)),
            _ => self.set(offset, value),
        }
        if offset == INT_CSR::OFFSET {
            let enabled = |csr: u32| csr >> 8 & 7 != 0;
            let (was, is) = (enabled(before), enabled(self.word(offset)));
            if was != is {
                let (vector, masked) = (None, !is);
                host.declare(Declaration::Masked { vector, masked });
            }
        }
        if offset == EVEN_DMA_START::OFFSET {
            self.programmed = host.register_write();
        }
        match (self.due, self.running()) {
            (None, true) => {
                self.due =
                    Some(host.now() + self.standard().period().saturating_mul(self.options.first))
            }
            (Some(_), false) => self.stop(host),
            _ => {}
        }
    }
}
