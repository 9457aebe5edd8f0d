// SPDX-License-Identifier: MIT OR Apache-2.0

//! The capture card. This is its data sheet.
//!
//! # What it is
//!
//! A frame grabber without a scatter-gather engine: each frame goes to **one contiguous range** of bus
//! addresses, as with cards of the zoran kind. PCI Express endpoint `1b36:4c46`, class `0x040000`
//! (multimedia, video). BAR 0: 4 KiB of registers, 32-bit, not prefetchable; the table is `regs.rs`. One
//! interrupt vector: INTx (pin A), and MSI or MSI-X if made so; the MSI-X table is in BAR 2. Power states
//! D0 and D3hot. Function-level reset.
//!
//! Registers are 32 bits wide. An 8-byte access is two, low half first; of a narrower write the other
//! bytes keep what they hold, or count as 0 where ones act (`IRQ_STATUS`, `DONE`, `QUEUE`). What is not in
//! the table reads all-ones.
//!
//! # Limits
//!
//! `LIMITS` and `MAX_FRAME` say what a frame's address and size must keep to. A job that breaks one is
//! refused when its turn comes: its record says which (`RESULT_*`), its bit in `DONE` is set, the
//! interrupt comes, and nothing else happens: no access, no sequence number used. Checked in this order:
//! `GEOMETRY`, `TOO_LARGE`, `TOO_SMALL`, `ALIGNMENT`, `ADDRESS`, `BOUNDARY`, `NO_MASTER`.
//!
//! # To capture
//!
//! 1. Read `ID`, `LIMITS`, `MAX_FRAME`, `FEATURES`. Switch on bus mastering.
//! 2. Write `FORMAT`, `GEOMETRY`, `STRIDE`, `INTERVAL`; they are latched as each frame begins.
//! 3. For each slot: write `SLOT_BASE_*`, `SLOT_SIZE`, and `SLOT_CLIP_*` or 0 to its size; then its number
//!    to `QUEUE`. The slot's registers are latched as its frame begins. Slots are served in the order
//!    queued. Queueing a slot that is queued or being served already, or one that does not exist, does
//!    nothing; queueing one whose bit in `DONE` is set clears that bit.
//! 4. Enable interrupts in `IRQ_ENABLE`, set `CONTROL.run`. Slots may be queued before and after.
//! 5. At each interrupt: read `IRQ_STATUS`, write it back, then read `DONE`; for each bit read the slot's
//!    record, and write the bit to `DONE`: the slot is the driver's again. In this order no completion is
//!    missed.
//!
//! Each frame is written from its first byte to its last, in ascending pieces. All of it is in memory
//! before its record is valid, that before its bit in `DONE`, and that before the interrupt. If the bus
//! refuses a piece the job ends with `RESULT_BUS`: the pieces before it are in memory, `SLOT_BYTES` tells how
//! many bytes, and of the refused piece no byte is.
//!
//! **Clip mask.** If `SLOT_CLIP_SIZE` is not 0, the card first reads the mask: one bit a pixel, 1 writes
//! the pixel; the leftmost of eight pixels is bit 0; each line begins at a whole byte. Exactly
//! `(width + 7) / 8 * height` bytes are read, at most 128 KiB.
//!
//! **Interval.** With `INTERVAL` 0 a queued slot is served at once. Otherwise frame times are that far
//! apart, from when `run` was set. A frame time that finds no queued slot, or the last frame still being
//! written, is dropped and its sequence number skipped.
//!
//! **Not now.** `FORMAT`, `GEOMETRY` and `STRIDE` must not be written while a frame is being written, nor a slot's
//! registers while it is queued or being served: the card takes them all the same, and its journal tells.
//!
//! # To stop
//!
//! Clear `CONTROL.run`. Queued slots are returned at once, without a record. The frame in hand is given up
//! after its current piece and completed with `RESULT_ABORTED`. Then `STATUS.busy` reads 0 and
//! `IRQ_STATUS.idle` is set: **no byte follows**. Until then the buffers must stay. If it is set
//! again or a slot is queued before that, the card is idle first, at once.
//!
//! `CONTROL.reset`, a function-level reset and a reset of the bus stop it at once: after the write that
//! asked for it no byte follows, and all registers are as after power-on. With bus mastering off or outside
//! D0 it begins no access: the frame in hand and those queued end with `RESULT_NO_MASTER`. The pictures'
//! sequence numbers go on over a stop and begin at 0 after a reset.
//!
//! # Interrupt
//!
//! Every event of a cause sets its bit in `IRQ_STATUS`, except that a frame's beginning does so only while that is enabled. INTx is asserted while `IRQ_STATUS & IRQ_ENABLE`
//! is not 0. A message is sent at every event of an enabled cause, also if its bit was still set, and when
//! `IRQ_ENABLE` enables a cause that is set; a driver may so find nothing to do. Messages wait while bus
//! mastering is off.
//!
//! # Self-test
//!
//! Write the bus address of 16 bytes to `SELFTEST_*`, and 1 to `SELFTEST`. The card reads the first 8
//! bytes, writes their complement to the other 8 and clears `busy`; `result` says how it went. No interrupt.

mod engine;
mod fault;
mod fetch;
mod illegal;
mod job;
mod misbehave;
pub mod pattern;
mod picture;
mod planted;
mod posted;
mod registers;
#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
pub(crate) mod regs;

pub use engine::CaptureCard;
pub use fault::Fault;
pub(crate) use landfall_device::contract::register;
pub use planted::{ALWAYS, MILLION, NthWrite, Planted, Strikes, When, fault_names};

use std::time::Duration;

use landfall_device::contract::InterruptKind;

/// How a card is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Address bits that the card drives: 24, 32, 36, 40 or 64.
    pub address_bits: u8,
    /// A frame's base must be a multiple of two to this power, bytes.
    pub align_shift: u8,
    /// A frame must not cross a multiple of two to this power, bytes; 0: no such boundary.
    pub boundary_shift: u8,
    /// Largest frame, bytes.
    pub max_frame: u32,
    /// How it interrupts.
    pub interrupt: InterruptKind,
    /// A clip mask must not cross a multiple of this, bytes; 0: no such boundary. The card does not check it,
    /// and fetches all the same.
    pub fetch_boundary: u32,
    /// How long it rests before each piece of a frame, of at most 256 KiB: a frame is in work for long then, whatever the
    /// host is busy with.
    pub rest: Duration,
    /// How it misbehaves.
    pub faults: Vec<Planted>,
    /// From which the faults' probabilities are drawn: the same seed and the same driver give the same run.
    pub seed: u64,
    /// Where it counts how often each of them has struck.
    pub strikes: Strikes,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            address_bits: 64,
            align_shift: 6,
            boundary_shift: 0,
            max_frame: 64 << 20,
            interrupt: InterruptKind::Msi,
            fetch_boundary: 0,
            rest: Duration::ZERO,
            faults: Vec::new(),
            seed: 0,
            strikes: Strikes::default(),
        }
    }
}

/// Says what a `RESULT_*` number means.
pub fn result_name(result: u8) -> &'static str {
    match result {
        regs::RESULT_OK => "ok",
        regs::RESULT_TOO_SMALL => "slot smaller than the frame",
        regs::RESULT_ADDRESS => "address beyond the card's width",
        regs::RESULT_ALIGNMENT => "base not aligned",
        regs::RESULT_BOUNDARY => "frame crosses a boundary",
        regs::RESULT_TOO_LARGE => "frame larger than the card takes",
        regs::RESULT_GEOMETRY => "parameters make no frame",
        regs::RESULT_BUS => "bus refused an access",
        regs::RESULT_NO_MASTER => "bus mastering off",
        regs::RESULT_ABORTED => "stopped",
        _ => "unknown result",
    }
}

#[cfg(test)]
mod tests;
