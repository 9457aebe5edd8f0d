// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card's registers. Everything that is read from them is a claim, not a fact.

use super::{
    geometry::{Geometry, Limits, RawLimits},
    landfall_pool::Mapped,
    regs,
};
use kernel::{
    io::{poll::read_poll_timeout, register::Array, Io},
    pci,
    prelude::*,
    time::Delta,
};

/// BAR 0, mapped; gone when the driver is unbound.
pub(crate) type Bar = pci::DevresBar<{ regs::BAR0_SIZE }>;

/// What every register reads when nobody answers: the card was pulled, or its server died.
const NOBODY: u32 = u32::MAX;

/// How long the card may take until it is idle after `run` was cleared.
const IDLE_DEADLINE: Delta = Delta::from_millis(2000);
/// How long it may take after a reset, and for the self-test.
const SHORT_DEADLINE: Delta = Delta::from_millis(1000);
/// How often to look.
const POLL: Delta = Delta::from_micros(200);

/// A range of bus addresses; of no bytes: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) dma: u64,
    pub(crate) length: u64,
}

impl From<&Mapped> for Extent {
    fn from(mapped: &Mapped) -> Self {
        Extent {
            dma: mapped.dma(),
            length: mapped.length(),
        }
    }
}

/// What a slot holds: a frame's buffer and, perhaps, its clip mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotTable {
    pub(crate) frame: Extent,
    pub(crate) clip: Extent,
}

/// The outcome of a slot's job, as the card tells it.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) result: u8,
    pub(crate) sequence: u32,
    pub(crate) bytes: u32,
    pub(crate) card_time_ns: u64,
}

/// The registers of one card. Every call fails with `ENODEV` once the driver is unbound.
pub(crate) struct Registers(Bar);

impl Registers {
    pub(crate) fn new(bar: Bar) -> Self {
        Registers(bar)
    }

    fn access<R>(&self, f: impl FnOnce(&pci::Bar<'_, { regs::BAR0_SIZE }>) -> R) -> Result<R> {
        self.0.try_access().map(|bar| f(&bar)).ok_or(ENODEV)
    }

    /// `EIO` if nobody answers; `ENODEV` if this is not the card that the table describes.
    pub(crate) fn identify(&self) -> Result {
        let id = self.access(|bar| bar.read(regs::ID))?;
        if id.into_raw() == NOBODY {
            return Err(EIO);
        }
        if id.magic() != regs::MAGIC || id.layout() != regs::LAYOUT {
            return Err(ENODEV);
        }
        Ok(())
    }

    /// What the card can take; `EPROTO` if it makes no sense.
    pub(crate) fn limits(&self) -> Result<Limits> {
        self.access(|bar| {
            let limits = bar.read(regs::LIMITS);
            let features = bar.read(regs::FEATURES);
            Limits::new(RawLimits {
                slots: limits.slots(),
                address_bits: limits.address_bits(),
                align_shift: limits.align_shift(),
                boundary_shift: limits.boundary_shift(),
                max_frame: bar.read(regs::MAX_FRAME).bytes(),
                formats: features.formats(),
                max_clip: if features.clip() { regs::MAX_CLIP } else { 0 },
            })
        })?
        .ok_or(EPROTO)
    }

    /// Writes every register that a capture depends on, whatever was there before: a reset may have come
    /// between. The card must be idle.
    pub(crate) fn program(&self, geometry: &Geometry, pattern: u8, interval_us: u32) -> Result {
        self.identify()?;
        self.access(|bar| {
            bar.write_reg(regs::IRQ_STATUS::from_raw(NOBODY));
            bar.write_reg(regs::DONE::from_raw(NOBODY));
            bar.write_reg(
                regs::FORMAT::zeroed()
                    .with_pattern(pattern)
                    .with_pixel(geometry.pixel),
            );
            bar.write_reg(
                regs::GEOMETRY::zeroed()
                    .with_height(geometry.height)
                    .with_width(geometry.width),
            );
            bar.write_reg(regs::STRIDE::zeroed().with_bytes(geometry.stride));
            bar.write_reg(regs::INTERVAL::zeroed().with_microseconds(interval_us));
        })
    }

    /// Enables the interrupt, `begun`: also when a frame begins.
    pub(crate) fn enable(&self, begun: bool) -> Result {
        self.access(|bar| {
            bar.write_reg(regs::IRQ_ENABLE::zeroed().with_begun(begun).with_done(true));
        })
    }

    /// Fills a slot of the table.
    pub(crate) fn program_slot(&self, slot: u8, table: &SlotTable) -> Result {
        let at = usize::from(slot);
        let base = halves(table.frame.dma);
        let size = u32::try_from(table.frame.length)?;
        let clip = halves(table.clip.dma);
        let clip_size = u32::try_from(table.clip.length)?;
        self.access(|bar| {
            macro_rules! put {
                ($($register:ident = $value:expr;)*) => {{
                    $(bar.write(
                        regs::$register::try_at(at).ok_or(EINVAL)?,
                        regs::$register::from_raw($value),
                    );)*
                }};
            }
            put! {
                SLOT_BASE_LO = base.0;
                SLOT_BASE_HI = base.1;
                SLOT_SIZE = size;
                SLOT_CLIP_LO = clip.0;
                SLOT_CLIP_HI = clip.1;
                SLOT_CLIP_SIZE = clip_size;
            }
            Ok(())
        })?
    }

    /// Hands a slot to the card.
    pub(crate) fn queue(&self, slot: u8) -> Result {
        self.access(|bar| bar.write_reg(regs::QUEUE::zeroed().with_slot(slot)))
    }

    /// The number that the next frame will carry.
    pub(crate) fn next_sequence(&self) -> Result<u32> {
        self.access(|bar| bar.read(regs::SEQUENCE).next())
    }

    /// Sets `run`.
    pub(crate) fn run(&self) -> Result {
        self.access(|bar| bar.write_reg(regs::CONTROL::zeroed().with_run(true)))
    }

    /// Reads what became of `slot`, and then takes it back from the card.
    pub(crate) fn take_back(&self, slot: u8) -> Result<Record> {
        let at = usize::from(slot);
        self.access(|bar| {
            macro_rules! get {
                ($register:ident) => {
                    bar.read(regs::$register::try_at(at).ok_or(EINVAL)?)
                        .into_raw()
                };
            }
            let status = get!(SLOT_STATUS);
            if status == NOBODY {
                return Err(EIO);
            }
            let (low, high) = (get!(SLOT_TIME_LO), get!(SLOT_TIME_HI));
            let record = Record {
                result: regs::SLOT_STATUS::from_raw(status).result(),
                sequence: get!(SLOT_SEQUENCE),
                bytes: get!(SLOT_BYTES),
                card_time_ns: u64::from(high) << 32 | u64::from(low),
            };
            bar.write_reg(regs::DONE::from_raw(
                1u32.checked_shl(slot.into()).ok_or(EINVAL)?,
            ));
            Ok(record)
        })?
    }

    /// Clears `run` and waits until the card is idle; then no byte follows. `ETIMEDOUT`: it was busy for
    /// too long and was reset. `EIO`: nobody answers, or it is busy even after the reset.
    pub(crate) fn stop(&self) -> Result {
        self.access(|bar| bar.write_reg(regs::CONTROL::zeroed()))?;
        let stopped = self.wait_idle(IDLE_DEADLINE);
        if stopped == Err(ETIMEDOUT) {
            self.access(|bar| bar.write_reg(regs::CONTROL::zeroed().with_reset(true)))?;
            self.wait_idle(SHORT_DEADLINE).map_err(|_| EIO)?;
        }
        self.access(|bar| {
            bar.write_reg(regs::IRQ_ENABLE::zeroed());
            bar.write_reg(regs::DONE::from_raw(NOBODY));
            bar.write_reg(regs::IRQ_STATUS::from_raw(NOBODY));
        })?;
        stopped
    }

    fn wait_idle(&self, deadline: Delta) -> Result {
        let read = || match self.access(|bar| bar.read(regs::STATUS))? {
            status if status.into_raw() == NOBODY => Err(EIO),
            status => Ok(status.busy()),
        };
        read_poll_timeout(read, |busy| !*busy, POLL, deadline).map(|_| ())
    }

    /// Reads the causes of the interrupt and clears them. `None`: nobody answers.
    pub(crate) fn acknowledge(&self) -> Option<regs::IRQ_STATUS> {
        self.access(|bar| {
            let causes = bar.read(regs::IRQ_STATUS);
            if causes.into_raw() != 0 && causes.into_raw() != NOBODY {
                bar.write_reg(causes);
            }
            causes
        })
        .ok()
        .filter(|causes| causes.into_raw() != NOBODY)
    }

    /// The slots that are done; none if nobody answers.
    pub(crate) fn done(&self) -> u32 {
        match self.access(|bar| bar.read(regs::DONE).into_raw()) {
            Ok(NOBODY) | Err(_) => 0,
            Ok(slots) => slots,
        }
    }

    /// Whether the card would still interrupt us. `Ok(false)`: it was reset behind our back.
    pub(crate) fn is_armed(&self) -> Result<bool> {
        match self.access(|bar| bar.read(regs::IRQ_ENABLE))? {
            enabled if enabled.into_raw() == NOBODY => Err(EIO),
            enabled => Ok(enabled.done()),
        }
    }

    /// Lets the card read the first word of `area` and write its complement into the second. `EIO` if the
    /// card could not, and `EBADMSG` if it says that it could, but the word is not there.
    pub(crate) fn self_test(&self, area: &Mapped, nonce: u64) -> Result {
        let words = area.buffer().words()?.as_ptr();
        area.to_cpu();
        // SAFETY: the area has two words, and stays as long as `area`. The card was not told of it yet.
        unsafe {
            words.write_volatile(nonce);
            words.add(1).write_volatile(nonce);
        }
        area.to_card();
        let (low, high) = halves(area.dma());
        self.access(|bar| {
            bar.write_reg(regs::SELFTEST_LO::from_raw(low));
            bar.write_reg(regs::SELFTEST_HI::from_raw(high));
            bar.write_reg(regs::SELFTEST::zeroed().with_busy(true));
        })?;
        let read = || match self.access(|bar| bar.read(regs::SELFTEST))? {
            test if test.into_raw() == NOBODY => Err(EIO),
            test => Ok(test),
        };
        let test = read_poll_timeout(read, |test| !test.busy(), POLL, SHORT_DEADLINE)?;
        area.to_cpu();
        if test.result() != regs::RESULT_OK {
            return Err(EIO);
        }
        // SAFETY: as above; the card has given the area back.
        let answer = unsafe { words.add(1).read_volatile() };
        if answer == !nonce {
            Ok(())
        } else {
            Err(EBADMSG)
        }
    }
}

/// Lower and upper half.
fn halves(address: u64) -> (u32, u32) {
    // CAST: the lower half is what is wanted.
    (address as u32, (address >> 32) as u32)
}
