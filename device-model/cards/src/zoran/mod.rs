// SPDX-License-Identifier: MIT OR Apache-2.0

//! A Pinnacle DC10plus, a capture card with a Zoran ZR36067, as far as its driver in Linux (`zr36067`) uses it for pictures that are
//! not compressed. This page is its data sheet; it was written from what that driver does, which nobody here wrote.
//!
//! `11de:6057`, subsystem `1031:7efe`, revision 2, class `0x040000`, BAR 0 of 4 KiB, the interrupt line and no messages. It writes
//! pictures of up to 1023 pixels in 2 x 1023 lines to 32-bit addresses, two to four bytes a pixel (`VFESPFR`): the largest
//! that its driver asks for takes 1.7 MB in one piece. On the board are a decoder and an encoder (I2C), which answer and change
//! nothing, and a JPEG codec, which answers and gives no picture: of JPEG the card does nothing.
//!
//! # A picture
//!
//! A field begins every [`ZoranOptions::field`], and sets its bit in `ISR`. If then `SPGPPCR` lets the chip run, `VDCR` and `VSSFGR`
//! enable pictures and `grab` asks for one, a picture begins: addresses, stride, size and format are latched, and the top field's
//! lines go to `VDTR` and on; with the next field the bottom's to `VDBR` and on. With the field behind them `grab` is cleared. If one
//! field is enough (`VFESPFR`), the one behind it does that.
//!
//! A field whose predecessor's bit is still set in `ISR` is left out, as if it had not come, so that a slow machine sees fewer
//! pictures and not torn ones; a real card waits for nobody. Whatever ends the running condition ends the picture in the same
//! write, and so does a reset (`SPGPPCR`), after which all other registers are as after power-on. A picture begins only while the bus may be
//! mastered; one of which a line was refused is abandoned, and `grab` stays.
//!
//! With the fault `lost-interrupt` no field is told of any more until a reset: else the next would tell of the picture, too.
//!
//! A picture is a job; where its lines lie one behind the other in memory, they are one piece of it.

mod board;
mod grab;
pub mod picture;
mod regs;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::board::{Chips, Codec};
use self::grab::Grab;
pub use crate::fault::Fault;
use crate::late::{Late, STRAY};
use landfall_device::contract::*;
use landfall_device::parts::i2c::BitBang;
use landfall_device::parts::{Bits, RegisterFile};
use regs::*;

/// How the card is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoranOptions {
    /// From one field of the camera's picture to the next.
    pub field: Duration,
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Which picture since power-on that strikes, from 0.
    pub fault_frame: u32,
}

impl Default for ZoranOptions {
    fn default() -> Self {
        Self {
            field: Duration::from_millis(20),
            fault: None,
            fault_frame: 2,
        }
    }
}

/// The card.
#[derive(Debug)]
pub struct Zoran {
    options: ZoranOptions,
    file: RegisterFile,
    wires: BitBang<Chips>,
    codec: Codec,
    /// The register write that gave the top field its address.
    programmed: Option<u64>,
    /// When the next field begins; `None`: nobody waits for one.
    due: Option<Duration>,
    grab: Option<Grab>,
    /// No field is told of any more: that fault struck.
    lost: bool,
    /// Number of the next picture and job; no reset begins it anew, nor the rest.
    next: u32,
    last: Option<(u64, Tag)>,
    late: Late,
}

impl Default for Zoran {
    fn default() -> Self {
        Self::new(ZoranOptions::default())
    }
}

/// After power-on.
fn registers() -> RegisterFile {
    RegisterFile::new(REGISTERS)
        .with(ISR::OFFSET, Bits::clear_by_one(0xf << 27))
        .with(
            I2CBR::OFFSET,
            Bits {
                reset: 3,
                ..Bits::KEPT
            },
        )
        .with(
            VSSFGR::OFFSET,
            Bits {
                kept: 0xffff_0003,
                ..Bits::clear_by_one(1 << 8)
            },
        )
}

impl Zoran {
    /// Makes a card, as after power-on.
    pub fn new(options: ZoranOptions) -> Self {
        Self {
            options,
            file: registers(),
            wires: BitBang::new(Chips::default()),
            codec: Codec::new(),
            programmed: None,
            due: None,
            grab: None,
            lost: false,
            next: 0,
            last: None,
            late: Late::Never,
        }
    }

    fn icr(&self) -> ICR {
        ICR::from_raw(self.file.get(ICR::OFFSET))
    }

    fn vssfgr(&self) -> VSSFGR {
        VSSFGR::from_raw(self.file.get(VSSFGR::OFFSET))
    }

    fn interrupts(&self) -> bool {
        self.icr().pin() && self.icr().field()
    }

    /// Pictures may be stored.
    fn runs(&self) -> bool {
        SPGPPCR::from_raw(self.file.get(SPGPPCR::OFFSET)).running()
            && VDCR::from_raw(self.file.get(VDCR::OFFSET)).enabled()
            && self.vssfgr().snapshot()
    }

    /// Somebody waits for a field.
    fn waited_for(&self) -> bool {
        self.interrupts() || self.grab.is_some() || self.runs() && self.vssfgr().grab()
    }

    fn strikes(&self, fault: Fault, grab: &Grab) -> bool {
        self.options.fault == Some(fault) && grab.number == self.options.fault_frame
    }

    /// As after power-on, but for what no reset begins anew.
    fn forget(&mut self) {
        *self = Self {
            next: self.next,
            last: self.last,
            late: self.late,
            ..Self::new(self.options.clone())
        };
    }

    fn stop(&mut self, host: &mut dyn Host) {
        host.declare(Declaration::Stopping { queue: None });
        if let Some(grab) = self.grab.take() {
            host.declare(grab.done(Some("stopped"), None));
        }
        if let Some((address, tag)) = self.last
            && self.options.fault == Some(Fault::AfterStop)
        {
            self.late.arm(address, tag, host);
        }
        host.declare(Declaration::Idle { queue: None });
    }

    /// A field begins.
    fn field(&mut self, host: &mut dyn Host) {
        if ISR::from_raw(self.file.get(ISR::OFFSET)).field() {
            return;
        }
        let whole = self.grab.take_if(|grab| grab.is_whole());
        if let Some(grab) = &whole {
            self.complete(grab, host);
        } else if let Some(grab) = &mut self.grab {
            grab.field();
        } else if self.runs() && self.vssfgr().grab() && host.may_master().is_ok() {
            self.begin(host);
        }
        self.lost |= whole.is_some_and(|grab| self.strikes(Fault::LostInterrupt, &grab));
        if self.lost {
            return;
        }
        self.file.set(ISR::OFFSET, 1 << 30);
        if self.interrupts() {
            if whole.is_none() {
                host.declare(Declaration::cause(Vector(0), "a field begins"));
            }
            host.raise(Vector(0));
        }
    }

    fn begin(&mut self, host: &mut dyn Host) {
        let word = |offset| self.file.get(offset);
        let mut grab = Grab::latch(
            self.next,
            [VDTR::OFFSET, VDBR::OFFSET].map(word),
            VFESPFR::from_raw(word(VFESPFR::OFFSET)),
            self.vssfgr(),
            VDCR::from_raw(word(VDCR::OFFSET)),
        );
        host.declare_for(self.programmed, grab.begun());
        grab.field();
        self.next = self.next.wrapping_add(1);
        self.last = Some((grab.first(), grab.tag()));
        self.grab = Some(grab);
    }

    fn complete(&mut self, grab: &Grab, host: &mut dyn Host) {
        self.file.clear(VSSFGR::OFFSET, 1);
        let owed = self.interrupts().then_some(Owed::now(Vector(0)));
        host.declare(grab.done(None, owed));
    }

    /// Writes what came of a picture.
    fn advance(&mut self, mut grab: Grab, host: &mut dyn Host) {
        let corrupt = self.strikes(Fault::Corrupt, &grab);
        if grab.advance(corrupt, host).is_err() {
            self.grab = None;
            host.declare(grab.done(Some("the bus refused a line"), None));
            return;
        }
        if grab.is_whole() && self.strikes(Fault::Overrun, &grab) {
            // A byte that may not be written is not written; nothing hangs on it.
            let _ = host.dma_write(grab.end(), &STRAY[..1], grab.tag());
        }
        self.grab = Some(grab);
    }

    /// A cycle on the guest bus.
    fn post(&mut self, cycle: POR) {
        let mut data = cycle.data();
        match (cycle.guest(), cycle.writes()) {
            (0, true) => self.codec.write(cycle.register(), data),
            (0, false) => data = self.codec.read(cycle.register()),
            _ => {}
        }
        let timeout = cycle.guest() != 0;
        let done = POR::compose(
            false,
            timeout,
            cycle.writes(),
            cycle.guest(),
            cycle.register(),
            data,
        );
        self.file.write(POR::OFFSET as u64, done.into_raw());
    }

    fn talk(&mut self, lines: I2CBR) {
        let data = self.wires.drive(lines.clock(), lines.data());
        let lines = I2CBR::compose(data, lines.clock());
        self.file.write(I2CBR::OFFSET as u64, lines.into_raw());
    }
}

impl Device for Zoran {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x11de,
            device: 0x6057,
            subsystem: Some((0x1031, 0x7efe)),
            class: 0x04_00_00,
            revision: 2,
            link: Link::Pci,
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
            handover: false, // a picture takes whatever addresses stand there
            interrupts: true,
            masks: true,
            idle: IdleScope::Device,
        }
    }

    fn reset(&mut self, kind: Reset) {
        self.forget();
        self.late = self.late.after(kind);
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        if let Some(grab) = self.grab.filter(|grab| !grab.waits()) {
            self.advance(grab, host);
            return Next::Again;
        }
        let late = self.late.strike(host);
        let Some(due) = self.due else {
            return late;
        };
        if host.now() < due {
            return late.sooner(Next::At(due));
        }
        self.due = Some(host.now() + self.options.field);
        self.field(host);
        Next::Again
    }

    fn line(&self) -> bool {
        self.interrupts() && ISR::from_raw(self.file.get(ISR::OFFSET)).field()
    }
}

impl Registers for Zoran {
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
        let (ran, line, unmasked) = (self.runs(), self.line(), self.interrupts());
        match offset as usize {
            POR::OFFSET => return self.post(POR::from_raw(value)),
            I2CBR::OFFSET => return self.talk(I2CBR::from_raw(value)),
            SPGPPCR::OFFSET if !SPGPPCR::from_raw(value).running() => {
                self.forget();
                host.declare(Declaration::Reset);
            }
            VDTR::OFFSET => self.programmed = host.register_write(),
            _ => {}
        }
        self.file.write(offset, value);
        if unmasked != self.interrupts() {
            let (vector, masked) = (None, unmasked);
            host.declare(Declaration::Masked { vector, masked });
        }
        if self.line() && !line {
            host.declare(Declaration::cause(Vector(0), "a field that began before"));
            host.raise(Vector(0));
        }
        if ran && !self.runs() {
            self.stop(host);
        }
        match (self.due, self.waited_for()) {
            (None, true) => self.due = Some(host.now() + self.options.field),
            (Some(_), false) => self.due = None,
            _ => {}
        }
    }
}
