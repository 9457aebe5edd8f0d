// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the capture card, BAR 0.
//!
//! Compiled twice: by the device model and, unchanged, by `kmod/capture`. The parent module supplies
//! `register!`: the kernel's macro there, our own of the same grammar here. Every register is 32 bits
//! wide; a 64-bit value is a `_LO` and a `_HI` register, and takes effect when it is used, not when it
//! is written. The data sheet, in prose, is in `mod.rs` beside this file.

use super::register;

/// Bytes of BAR 0 that are decoded.
pub(crate) const BAR0_SIZE: usize = 0x1000;
/// PCI vendor of the card (Red Hat, Inc., as QEMU's own devices).
pub(crate) const VENDOR: u16 = 0x1b36;
/// PCI device of the card: ASCII `LF`.
pub(crate) const DEVICE: u16 = 0x4c46;
/// What [`ID`] holds in `magic`: ASCII `LF`.
pub(crate) const MAGIC: u16 = 0x4c46;
/// What [`ID`] holds in `layout`.
pub(crate) const LAYOUT: u8 = 1;
/// Slots in the table.
pub(crate) const SLOTS: usize = 32;
/// Largest clip mask the card reads, bytes.
pub(crate) const MAX_CLIP: u32 = 128 * 1024;

register! {
    /// Identity. A driver binds only if `magic` reads `0x4c46` and it knows `layout`.
    pub(crate) ID(u32) @ 0x000 {
        /// The ASCII bytes `LF`.
        31:16 magic => u16;
        /// Version of this register layout.
        7:0 layout => u8;
    }

    /// What the card can address. Read-only.
    pub(crate) LIMITS(u32) @ 0x004 {
        /// Frames must not cross a multiple of two to this power; 0: no such boundary.
        31:24 boundary_shift => u8;
        /// A frame's base must be a multiple of two to this power, bytes.
        23:16 align_shift => u8;
        /// Address bits the card drives: 24, 32, 36, 40 or 64.
        15:8 address_bits => u8;
        /// Slots in the table: 1 to 32.
        7:0 slots => u8;
    }

    /// Largest frame the card takes, bytes. Read-only.
    pub(crate) MAX_FRAME(u32) @ 0x008 {
        31:0 bytes => u32;
    }

    /// What the card offers. Read-only.
    pub(crate) FEATURES(u32) @ 0x00c {
        /// Reads clip masks.
        16:16 clip => bool;
        /// Bit n: pixel format n of [`FORMAT`] is supported.
        15:0 formats => u16;
    }

    /// Starts, stops and resets.
    pub(crate) CONTROL(u32) @ 0x010 {
        /// Write 1: device reset, as after power-on. Reads 0.
        8:8 reset => bool;
        /// 1: serve queued slots. Clearing it aborts the frame in hand and returns all queued slots;
        /// the card may still write until [`STATUS`] `busy` reads 0.
        0:0 run => bool;
    }

    /// What the card does now. Read-only.
    pub(crate) STATUS(u32) @ 0x014 {
        /// Slots queued and not yet begun.
        15:8 queued => u8;
        /// The card may access memory. Once it reads 0 no byte follows.
        0:0 busy => bool;
    }

    /// Causes of the interrupt. Write 1 to clear.
    pub(crate) IRQ_STATUS(u32) @ 0x018 {
        /// A frame has begun: number [`SEQUENCE`] `next` - 1. Set only while it is enabled.
        2:2 begun => bool;
        /// The engine became idle after `run` was cleared.
        1:1 idle => bool;
        /// A slot was completed, well or not: see [`DONE`].
        0:0 done => bool;
    }

    /// Which causes raise the interrupt (one vector, vector 0).
    pub(crate) IRQ_ENABLE(u32) @ 0x01c {
        /// See [`IRQ_STATUS`].
        2:2 begun => bool;
        /// See [`IRQ_STATUS`].
        1:1 idle => bool;
        /// See [`IRQ_STATUS`].
        0:0 done => bool;
    }

    /// What is captured. Latched when a frame begins.
    pub(crate) FORMAT(u32) @ 0x020 {
        /// Picture: 0 test pattern, 1 SMPTE bars with a counter, 2 ramp, 3 checkerboard.
        15:8 pattern => u8;
        /// Pixel format: 0 YUYV (2 bytes a pixel), 1 GREY (1), 2 RGB24 (3).
        7:0 pixel => u8;
    }

    /// Frame size in pixels. Latched when a frame begins.
    pub(crate) GEOMETRY(u32) @ 0x024 {
        31:16 height => u16;
        15:0 width => u16;
    }

    /// Bytes from the start of one line to the start of the next; at least a line's bytes. The bytes
    /// between lines are not written. Latched when a frame begins.
    pub(crate) STRIDE(u32) @ 0x028 {
        31:0 bytes => u32;
    }

    /// Time from one frame's start to the next, microseconds; 0: as fast as the card can. With a
    /// non-zero interval a frame time that finds no queued slot is dropped and its sequence number
    /// skipped.
    pub(crate) INTERVAL(u32) @ 0x02c {
        31:0 microseconds => u32;
    }

    /// Write-only. Hands a slot to the card; it is served after those queued before it.
    pub(crate) QUEUE(u32) @ 0x030 {
        7:0 slot => u8;
    }

    /// Bit n: slot n was completed and its record in `SLOT_*` is valid. Write 1 to clear, which also
    /// takes the slot back from the card.
    pub(crate) DONE(u32) @ 0x034 {
        31:0 slots => u32;
    }

    /// Sequence number that the next frame will carry. Read-only; 0 after reset.
    pub(crate) SEQUENCE(u32) @ 0x038 {
        31:0 next => u32;
    }

    /// Bus address of the 16-byte self-test area, 8-byte aligned.
    pub(crate) SELFTEST_LO(u32) @ 0x040 {
        31:0 address => u32;
    }

    /// Upper half of the above.
    pub(crate) SELFTEST_HI(u32) @ 0x044 {
        31:0 address => u32;
    }

    /// Self-test: reads 8 bytes at the area's start and writes their complement to the 8 bytes after.
    /// Proves that card and driver share memory, in both directions.
    pub(crate) SELFTEST(u32) @ 0x048 {
        /// Result of the last self-test, as `SLOT_STATUS` `result`; valid when `busy` reads 0.
        15:8 result => u8;
        /// Write 1: start. Reads 1 until it is over.
        0:0 busy => bool;
    }

    /// Bus address of the slot's frame, lower half.
    pub(crate) SLOT_BASE_LO(u32)[32, stride = 0x40] @ 0x400 {
        31:0 address => u32;
    }

    /// Bus address of the slot's frame, upper half.
    pub(crate) SLOT_BASE_HI(u32)[32, stride = 0x40] @ 0x404 {
        31:0 address => u32;
    }

    /// Bytes at that address that the driver lends.
    pub(crate) SLOT_SIZE(u32)[32, stride = 0x40] @ 0x408 {
        31:0 bytes => u32;
    }

    /// Bus address of the slot's clip mask, lower half.
    pub(crate) SLOT_CLIP_LO(u32)[32, stride = 0x40] @ 0x40c {
        31:0 address => u32;
    }

    /// Bus address of the slot's clip mask, upper half.
    pub(crate) SLOT_CLIP_HI(u32)[32, stride = 0x40] @ 0x410 {
        31:0 address => u32;
    }

    /// Bytes of the clip mask; 0: no mask, every pixel is written. A mask has one bit a pixel, 1: the
    /// pixel is written; the leftmost pixel of eight is bit 0; every line begins at a whole byte. So it
    /// takes `(width + 7) / 8 * height` bytes; fewer lent, or more than [`MAX_CLIP`], make no frame.
    pub(crate) SLOT_CLIP_SIZE(u32)[32, stride = 0x40] @ 0x414 {
        31:0 bytes => u32;
    }

    /// Outcome of the slot's last job. Read-only; valid while its bit in [`DONE`] is set.
    pub(crate) SLOT_STATUS(u32)[32, stride = 0x40] @ 0x418 {
        /// 0 ok; else why not: see the `RESULT_*` constants.
        7:0 result => u8;
    }

    /// Sequence number of that frame. Read-only.
    pub(crate) SLOT_SEQUENCE(u32)[32, stride = 0x40] @ 0x41c {
        31:0 number => u32;
    }

    /// Bytes that the card wrote for it. Read-only.
    pub(crate) SLOT_BYTES(u32)[32, stride = 0x40] @ 0x420 {
        31:0 written => u32;
    }

    /// When its last byte was written: nanoseconds since the card was powered, lower half. Read-only.
    pub(crate) SLOT_TIME_LO(u32)[32, stride = 0x40] @ 0x424 {
        31:0 nanoseconds => u32;
    }

    /// Upper half of the above. Read-only.
    pub(crate) SLOT_TIME_HI(u32)[32, stride = 0x40] @ 0x428 {
        31:0 nanoseconds => u32;
    }
}

/// The frame is in memory.
pub(crate) const RESULT_OK: u8 = 0;
/// The frame is larger than `SLOT_SIZE`.
pub(crate) const RESULT_TOO_SMALL: u8 = 1;
/// Some byte of the frame or mask lies above what `LIMITS.address_bits` can reach.
pub(crate) const RESULT_ADDRESS: u8 = 2;
/// The frame's base is not aligned as `LIMITS.align_shift` asks.
pub(crate) const RESULT_ALIGNMENT: u8 = 3;
/// The frame crosses a boundary of `LIMITS.boundary_shift`.
pub(crate) const RESULT_BOUNDARY: u8 = 4;
/// The frame is larger than `MAX_FRAME`.
pub(crate) const RESULT_TOO_LARGE: u8 = 5;
/// Format, geometry, stride or clip size make no frame.
pub(crate) const RESULT_GEOMETRY: u8 = 6;
/// The bus refused an access: address not mapped, or not in this direction.
pub(crate) const RESULT_BUS: u8 = 7;
/// Bus mastering was off, or the function was not in D0.
pub(crate) const RESULT_NO_MASTER: u8 = 8;
/// `run` was cleared before the frame was complete.
pub(crate) const RESULT_ABORTED: u8 = 9;
