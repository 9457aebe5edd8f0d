// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers and descriptors of the ring card, BAR 0. The data sheet, in prose, is in `mod.rs` beside this file.

use super::register;

/// Bytes of BAR 0 that are decoded.
pub(crate) const BAR0_SIZE: usize = 0x1000;
/// PCI vendor of the card (Red Hat, Inc., as QEMU's own devices).
pub(crate) const VENDOR: u16 = 0x1b36;
/// PCI device of the card: ASCII `LR`.
pub(crate) const DEVICE: u16 = 0x4c52;
/// What [`ID`] holds in `magic`: ASCII `LR`.
pub(crate) const MAGIC: u16 = 0x4c52;
/// What [`ID`] holds in `layout`.
pub(crate) const LAYOUT: u8 = 1;
/// Queues.
pub(crate) const QUEUES: usize = 4;
/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR: usize = 32;
/// Bytes of an entry of a list.
pub(crate) const ENTRY: usize = 16;
/// Most entries of a list.
pub(crate) const MOST_ENTRIES: usize = 64;
/// Most descriptors of a job.
pub(crate) const MOST_LINKS: usize = 16;
/// Most bytes of a piece.
pub(crate) const LONGEST: u32 = 65536;

/// [`SHAPE`], `mode`: bit 31 of a descriptor says that it is the card's.
pub(crate) const MODE_OWN: u8 = 0;
/// [`SHAPE`], `mode`: bit 31 is 1 in the first round of the ring, 0 in the second, and so on.
pub(crate) const MODE_PHASE: u8 = 1;
/// [`SHAPE`], `mode`: descriptors are the card's up to [`DOORBELL`].
pub(crate) const MODE_TAIL: u8 = 2;

/// A descriptor, `operation`: the card writes memory.
pub(crate) const OP_RECEIVE: u8 = 0;
/// A descriptor, `operation`: the card reads memory.
pub(crate) const OP_TRANSMIT: u8 = 1;
/// A descriptor, `operation`: the card copies memory.
pub(crate) const OP_COPY: u8 = 2;

register! {
    /// Identity. Read-only.
    pub(crate) ID(u32) @ 0x000 {
        /// The ASCII bytes `LR`.
        31:16 magic => u16;
        /// Version of this register layout.
        7:0 layout => u8;
    }

    /// What the card can. Read-only.
    pub(crate) LIMITS(u32) @ 0x004 {
        /// Address bits that it drives.
        23:16 address_bits => u8;
        /// Vectors of its MSI-X table.
        15:8 vectors => u8;
        /// Queues.
        7:0 queues => u8;
    }

    /// The card as a whole.
    pub(crate) CONTROL(u32) @ 0x008 {
        /// Write 1: as after power-on.
        8:8 reset => bool;
        /// A message is sent only if no cause of its vector is pending and unmasked.
        0:0 edge => bool;
    }

    /// Causes of interrupts. Write 1 to clear.
    pub(crate) CAUSE(u32) @ 0x00c {
        /// A descriptor could not be fetched, or as asked for.
        18:18 error => bool;
        /// `TIMER` ran out.
        17:17 timer => bool;
        /// The link changed.
        16:16 link => bool;
        /// Bit n: a job of queue n is over.
        3:0 queues => u8;
    }

    /// Causes that do not interrupt, by the bits of `CAUSE`. After a reset: all.
    pub(crate) MASK(u32) @ 0x010 {
        31:0 causes => u32;
    }

    /// The vector of all causes but the queues'.
    pub(crate) OTHER(u32) @ 0x014 {
        4:0 vector => u8;
    }

    /// Microseconds from now until its cause; 0: never.
    pub(crate) TIMER(u32) @ 0x018 {
        31:0 microseconds => u32;
    }

    /// Write: makes what happens by itself on a busy card happen, by the bits of `CAUSE`.
    pub(crate) HAPPEN(u32) @ 0x01c {
        /// An error.
        18:18 error => bool;
        /// The link changes.
        16:16 link => bool;
    }

    /// Bus address of the ring, lower half.
    pub(crate) RING_LO(u32)[4, stride = 0x40] @ 0x100 {
        31:0 address => u32;
    }

    /// Bus address of the ring, upper half.
    pub(crate) RING_HI(u32)[4, stride = 0x40] @ 0x104 {
        31:0 address => u32;
    }

    /// What the ring is like.
    pub(crate) SHAPE(u32)[4, stride = 0x40] @ 0x108 {
        /// How a descriptor becomes the card's.
        25:24 mode => u8;
        /// Descriptors, 1 to 65535.
        15:0 count => u16;
    }

    /// Whether the queue works.
    pub(crate) RUN(u32)[4, stride = 0x40] @ 0x10c {
        /// It looks into the ring by itself, every 100 microseconds.
        1:1 poll => bool;
        /// It works. From 0 to 1: from the first descriptor on.
        0:0 run => bool;
    }

    /// How the queue stands. Read-only.
    pub(crate) STATE(u32)[4, stride = 0x40] @ 0x110 {
        /// The descriptor that is next.
        31:16 head => u16;
        /// It may access memory.
        0:0 busy => bool;
    }

    /// Write: look into the ring; with [`MODE_TAIL`], up to here.
    pub(crate) DOORBELL(u32)[4, stride = 0x40] @ 0x114 {
        /// First descriptor that is not the card's.
        15:0 tail => u16;
    }

    /// Write: how far the driver has taken back what was over.
    pub(crate) TAKEN(u32)[4, stride = 0x40] @ 0x118 {
        /// First descriptor that it has not.
        15:0 index => u16;
    }

    /// Bus address of the status block, lower half; 0 in both: none.
    pub(crate) BLOCK_LO(u32)[4, stride = 0x40] @ 0x11c {
        31:0 address => u32;
    }

    /// Bus address of the status block, upper half.
    pub(crate) BLOCK_HI(u32)[4, stride = 0x40] @ 0x120 {
        31:0 address => u32;
    }

    /// When completions interrupt.
    pub(crate) COALESCE(u32)[4, stride = 0x40] @ 0x124 {
        /// After that many microseconds at the latest; 0: no limit.
        31:8 microseconds => u32;
        /// Every that many; 0 and 1: each.
        7:0 count => u8;
    }

    /// The queue's vector. Completions that wait for their interrupt are told by the one that it had.
    pub(crate) VECTOR(u32)[4, stride = 0x40] @ 0x128 {
        4:0 vector => u8;
    }

    /// Microseconds from a descriptor's fetch to its first byte.
    pub(crate) PACE(u32)[4, stride = 0x40] @ 0x12c {
        31:0 microseconds => u32;
    }
}

/// Bits of [`CAUSE`] that are there.
pub(crate) const CAUSES: u32 = 0x7000f;
