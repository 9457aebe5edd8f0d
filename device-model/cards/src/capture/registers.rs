// SPDX-License-Identifier: MIT OR Apache-2.0

//! What reading and writing the card's registers does.

use super::engine::{CaptureCard, Registers, VECTOR};
use super::job::Slot;
use super::pattern::Pixel;
use super::regs::{
    self, CONTROL, DONE, FEATURES, FORMAT, GEOMETRY, ID, INTERVAL, IRQ_ENABLE, IRQ_STATUS, LIMITS,
    MAX_FRAME, QUEUE, SELFTEST, SELFTEST_HI, SELFTEST_LO, SEQUENCE, SLOT_BASE_HI, SLOT_BASE_LO,
    SLOT_BYTES, SLOT_CLIP_HI, SLOT_CLIP_LO, SLOT_CLIP_SIZE, SLOT_SEQUENCE, SLOT_SIZE, SLOT_STATUS,
    SLOT_TIME_HI, SLOT_TIME_LO, STATUS, STRIDE,
};
use landfall_device::contract::{
    self, Bar, Declaration, Declares, Device, Host, Identity, IdleScope, JobId, Label, Limits,
    Next, Notice, Piece, QueueId, RegisterName, Reset, UNCLAIMED,
};

/// Bytes from one slot's registers to the next's.
const SLOT_STRIDE: usize = 0x40;

impl Device for CaptureCard {
    fn identity(&self) -> Identity {
        Identity {
            vendor: regs::VENDOR,
            device: regs::DEVICE,
            class: 0x04_00_00,
            revision: 1,
            bars: vec![Bar::registers(0, regs::BAR0_SIZE as u64)],
            ..Identity::default()
        }
        .interrupting(self.options.interrupt, 1)
    }

    fn declares(&self) -> Declares {
        let options = &self.options;
        let power = |shift: u8| 1_u64.checked_shl(shift.into()).unwrap_or(0);
        Declares {
            limits: Limits {
                address_bits: options.address_bits,
                alignment: power(options.align_shift),
                boundary: match options.boundary_shift {
                    0 => 0,
                    shift => power(shift),
                },
                longest: options.max_frame.into(),
                fetch_boundary: options.fetch_boundary.into(),
                ..Limits::default()
            },
            jobs: true,
            handover: true,
            interrupts: true,
            masks: true,
            idle: IdleScope::Device,
        }
    }

    fn notice(&mut self, notice: Notice, host: &mut dyn Host) {
        match notice {
            Notice::Read { offset, .. } => {
                self.flush(host);
                self.strike_at_read(usize::try_from(offset).unwrap_or(usize::MAX), host);
            }
            Notice::BusMaster => self.strike_early(host),
            Notice::Setup(_) => {}
        }
    }

    fn reset(&mut self, kind: Reset) {
        self.drop_posted();
        self.clear(kind == Reset::Device);
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        self.work(host)
    }

    fn wants(&self) -> Option<bool> {
        let goes_on = self.busy() || self.has_afterlife() || self.has_posted();
        Some(goes_on && !self.severed)
    }

    fn line(&self) -> bool {
        self.registers.irq_status.into_raw() & self.registers.irq_enable.into_raw() != 0
    }
}

impl contract::Registers for CaptureCard {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        landfall_device::contract::lookup(regs::REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        let r = &self.registers;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        match offset {
            ID::OFFSET => ID::compose(regs::MAGIC, regs::LAYOUT).into_raw(),
            LIMITS::OFFSET => self.limits().into_raw(),
            MAX_FRAME::OFFSET => self.options.max_frame,
            FEATURES::OFFSET => {
                let formats = (1u16 << Pixel::ALL.len()) - 1;
                FEATURES::compose(true, formats).into_raw()
            }
            CONTROL::OFFSET => r.control.into_raw(),
            STATUS::OFFSET => STATUS::compose(r.queue.len() as u8, self.busy()).into_raw(),
            IRQ_STATUS::OFFSET => r.irq_status.into_raw(),
            IRQ_ENABLE::OFFSET => r.irq_enable.into_raw(),
            FORMAT::OFFSET => r.picture.format.into_raw(),
            GEOMETRY::OFFSET => r.picture.geometry.into_raw(),
            STRIDE::OFFSET => r.picture.stride,
            INTERVAL::OFFSET => r.interval_us,
            QUEUE::OFFSET => UNCLAIMED, // write-only
            DONE::OFFSET => r.done,
            SEQUENCE::OFFSET => r.sequence,
            SELFTEST_LO::OFFSET => low(r.selftest_address),
            SELFTEST_HI::OFFSET => high(r.selftest_address),
            SELFTEST::OFFSET => SELFTEST::compose(r.selftest_result, r.selftest_busy).into_raw(),
            _ => match slot_register(offset).and_then(|(n, at)| Some((r.slots.get(n)?, at))) {
                Some((slot, at)) => slot.read(at),
                None => UNCLAIMED,
            },
        }
    }

    fn held(&self, bar: u8, offset: u64) -> u32 {
        match usize::try_from(offset) {
            Ok(IRQ_STATUS::OFFSET | DONE::OFFSET | QUEUE::OFFSET | SELFTEST::OFFSET) => 0,
            _ => self.read(bar, offset),
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, host: &mut dyn Host) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.strike_at_write(offset, host);
        self.post(offset, value, host);
    }
}

impl CaptureCard {
    /// A register write has its effect; `register_write`: its number in the journal.
    pub(super) fn apply(
        &mut self,
        offset: usize,
        value: u32,
        register_write: Option<u64>,
        host: &mut dyn Host,
    ) {
        self.note_illegal(offset, register_write, host);
        let r = &mut self.registers;
        match offset {
            CONTROL::OFFSET => self.control(CONTROL::from_raw(value), register_write, host),
            IRQ_STATUS::OFFSET => {
                r.irq_status = IRQ_STATUS::from_raw(r.irq_status.into_raw() & !value);
            }
            IRQ_ENABLE::OFFSET => self.enable(IRQ_ENABLE::from_raw(value), host),
            FORMAT::OFFSET => r.picture.format = FORMAT::from_raw(value & 0xffff),
            GEOMETRY::OFFSET => r.picture.geometry = GEOMETRY::from_raw(value),
            STRIDE::OFFSET => r.picture.stride = value,
            INTERVAL::OFFSET => r.interval_us = value,
            QUEUE::OFFSET => self.queue(QUEUE::from_raw(value).slot(), register_write, host),
            DONE::OFFSET => {
                let slots = r.done & value;
                r.done &= !value;
                r.take_back(slots);
                let taken = (0..).zip(&r.slots);
                for (_, slot) in taken.filter(|(number, _)| slots >> number & 1 != 0) {
                    host.declare_for(register_write, Declaration::Released { job: slot.job });
                }
            }
            SELFTEST_LO::OFFSET => set_low(&mut r.selftest_address, value),
            SELFTEST_HI::OFFSET => set_high(&mut r.selftest_address, value),
            SELFTEST::OFFSET => r.selftest_busy |= SELFTEST::from_raw(value).busy(),
            _ => {
                let slot =
                    slot_register(offset).and_then(|(n, at)| Some((r.slots.get_mut(n)?, at)));
                if let Some((slot, at)) = slot {
                    slot.write(at, value);
                }
            }
        }
    }

    fn limits(&self) -> LIMITS {
        let o = &self.options;
        LIMITS::compose(
            o.boundary_shift,
            o.align_shift,
            o.address_bits,
            regs::SLOTS as u8,
        )
    }

    fn control(&mut self, value: CONTROL, register_write: Option<u64>, host: &mut dyn Host) {
        if value.reset() {
            self.clear(false);
            host.declare_for(register_write, Declaration::Reset);
            return;
        }
        if value.run() {
            self.end_stop(host);
        }
        let r = &mut self.registers;
        let ran = r.control.run();
        r.control = CONTROL::compose(false, value.run());
        match (ran, value.run()) {
            (false, true) => {
                r.run_frames = 0;
                r.next_frame = None;
            }
            (true, false) => {
                r.queue.clear();
                r.stopping = Some(register_write);
                let queue = None;
                host.declare_for(register_write, Declaration::Stopping { queue });
            }
            _ => {}
        }
    }

    fn enable(&mut self, value: IRQ_ENABLE, host: &mut dyn Host) {
        let r = &mut self.registers;
        let before = r.irq_enable.into_raw();
        r.irq_enable = IRQ_ENABLE::compose(value.begun(), value.idle(), value.done());
        let now = r.irq_enable.into_raw();
        if (before == 0) != (now == 0) {
            let (vector, masked) = (None, now == 0);
            host.declare(Declaration::Masked { vector, masked });
        }
        if now & !before & r.irq_status.into_raw() != 0 {
            host.declare(Declaration::cause(VECTOR, "an old cause was enabled"));
            host.raise(VECTOR);
        }
    }

    /// What is asked for from here on is none of what it stops.
    fn end_stop(&mut self, host: &mut dyn Host) {
        if let Some(stop) = self.registers.stopping {
            self.stop(stop, host);
        }
    }

    fn queue(&mut self, number: u8, register_write: Option<u64>, host: &mut dyn Host) {
        self.end_stop(host);
        let r = &mut self.registers;
        let job = r.job.as_ref();
        let serving = job.is_some_and(|job| job.slot == number && !job.completed);
        if serving || r.queue.contains(&number) {
            return;
        }
        let Some(slot) = r.slots.get_mut(usize::from(number)) else {
            return;
        };
        if r.done >> number & 1 != 0 {
            host.declare_for(register_write, Declaration::Released { job: slot.job });
        }
        slot.job = JobId(self.jobs);
        self.jobs += 1;
        slot.queued_by = register_write;
        r.done &= !(1 << number);
        r.queue.push_back(number);
        let accepted = Declaration::Accepted {
            job: slot.job,
            queue: QueueId::default(),
            label: Label::slot(number.into()),
            pieces: vec![Piece::write(slot.base, slot.size.into())],
        };
        host.declare_for(register_write, accepted);
        self.fetch_at_doorbell(number, host);
    }
}

impl Registers {
    /// Remembers where the frames went whose slots the driver takes back.
    fn take_back(&mut self, slots: u32) {
        for (number, written) in self.of_slot.iter_mut().enumerate() {
            if slots >> number & 1 != 0 {
                self.taken = written.take().or(self.taken);
            }
        }
    }
}

impl Slot {
    fn read(&self, register: usize) -> u32 {
        match register {
            SLOT_BASE_LO::OFFSET => low(self.base),
            SLOT_BASE_HI::OFFSET => high(self.base),
            SLOT_SIZE::OFFSET => self.size,
            SLOT_CLIP_LO::OFFSET => low(self.clip),
            SLOT_CLIP_HI::OFFSET => high(self.clip),
            SLOT_CLIP_SIZE::OFFSET => self.clip_size,
            SLOT_STATUS::OFFSET => SLOT_STATUS::compose(self.result).into_raw(),
            SLOT_SEQUENCE::OFFSET => self.sequence,
            SLOT_BYTES::OFFSET => self.bytes,
            SLOT_TIME_LO::OFFSET => low(self.time_ns),
            SLOT_TIME_HI::OFFSET => high(self.time_ns),
            _ => UNCLAIMED,
        }
    }

    fn write(&mut self, register: usize, value: u32) {
        match register {
            SLOT_BASE_LO::OFFSET => set_low(&mut self.base, value),
            SLOT_BASE_HI::OFFSET => set_high(&mut self.base, value),
            SLOT_SIZE::OFFSET => self.size = value,
            SLOT_CLIP_LO::OFFSET => set_low(&mut self.clip, value),
            SLOT_CLIP_HI::OFFSET => set_high(&mut self.clip, value),
            SLOT_CLIP_SIZE::OFFSET => self.clip_size = value,
            _ => {} // the record is read-only
        }
    }
}

/// Splits the offset of a slot's register: slot, and offset of the same register of slot 0.
pub(super) fn slot_register(offset: usize) -> Option<(usize, usize)> {
    let inside = offset.checked_sub(SLOT_BASE_LO::OFFSET)?;
    let register = SLOT_BASE_LO::OFFSET + inside % SLOT_STRIDE;
    Some((inside / SLOT_STRIDE, register))
}

fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn set_low(value: &mut u64, half: u32) {
    *value = *value >> 32 << 32 | u64::from(half);
}

fn set_high(value: &mut u64, half: u32) {
    *value = u64::from(half) << 32 | (*value & 0xffff_ffff);
}
