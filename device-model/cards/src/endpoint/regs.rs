// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the endpoint test function, BAR 0, 32 bits each, little-endian. What is not said to do anything is kept.

use landfall_device::contract::register;

register! {
    /// Nothing: the test of BAR 0 writes it.
    pub(crate) MAGIC(u32) @ 0x00 { 31:0 magic => u32; }

    /// What is to be done: one bit. Reads 0; writing it clears `STATUS`.
    pub(crate) COMMAND(u32) @ 0x04 {
        /// 1: swap the halves of the BAR that `SIZE` names, and mark them; 2: undo that.
        9:8 subranges => u8;
        /// 1: enable it; 2: disable it.
        7:6 doorbell => u8;
        /// 1: read `SIZE` bytes from `SRC`, and compare their `CHECKSUM`; 2: write `SIZE` bytes to `DST`, and tell their
        /// `CHECKSUM`; 4: copy `SIZE` bytes from `SRC` to `DST`.
        5:3 transfer => u8;
        /// Interrupt; of which kind says `IRQ_TYPE`.
        2:0 raise => u8;
    }

    /// What came of it.
    pub(crate) STATUS(u32) @ 0x08 {
        /// Subranges: 1: set up; 2: not; 4: undone; 8: not; 16: not for want of windows, which this function has.
        18:14 subranges => u8;
        /// 1: rung; 2: enabled; 4: not; 8: disabled; 16: not.
        13:9 doorbell => u8;
        /// The destination was refused.
        8:8 destination_refused => bool;
        /// The source was refused.
        7:7 source_refused => bool;
        /// This is told by an interrupt.
        6:6 interrupt => bool;
        /// 1: read; 2: not; 4: written; 8: not; 16: copied; 32: not.
        5:0 transfer => u8;
    }

    /// Bus address of the source.
    pub(crate) SRC_LOW(u32) @ 0x0c { 31:0 address => u32; }

    /// Its upper half.
    pub(crate) SRC_HIGH(u32) @ 0x10 { 31:0 address => u32; }

    /// Bus address of the destination.
    pub(crate) DST_LOW(u32) @ 0x14 { 31:0 address => u32; }

    /// Its upper half.
    pub(crate) DST_HIGH(u32) @ 0x18 { 31:0 address => u32; }

    /// Bytes; of the commands for subranges, which BAR.
    pub(crate) SIZE(u32) @ 0x1c { 31:0 bytes => u32; }

    /// CRC-32 of the bytes (polynomial 0xedb88320, reflected, from all-ones, not inverted at its end).
    pub(crate) CHECKSUM(u32) @ 0x20 { 31:0 crc => u32; }

    /// How to interrupt: 0 by the line, 1 by MSI, 2 by MSI-X.
    pub(crate) IRQ_TYPE(u32) @ 0x24 { 31:0 kind => u32; }

    /// By which vector of that kind, from 1; the line has no number.
    pub(crate) IRQ_NUMBER(u32) @ 0x28 { 31:0 number => u32; }

    /// Without effect: this function has one way to move bytes.
    pub(crate) FLAGS(u32) @ 0x2c { 0:0 by_engine => bool; }

    /// What it can do. Read-only.
    pub(crate) CAPS(u32) @ 0x30 {
        /// BARs that are not to be touched: none.
        11:6 reserved => u8;
        /// It has a doorbell.
        5:5 doorbell => bool;
        /// It maps halves of its BARs.
        4:4 subranges => bool;
        3:3 line => bool;
        2:2 msix => bool;
        1:1 msi => bool;
        /// Addresses need no alignment.
        0:0 unaligned => bool;
    }

    /// The BAR in which the doorbell is; all-ones while it is disabled. Read-only.
    pub(crate) DB_BAR(u32) @ 0x34 { 31:0 bar => u32; }

    /// Where in it. Read-only.
    pub(crate) DB_OFFSET(u32) @ 0x38 { 31:0 offset => u32; }

    /// What rings it. Read-only.
    pub(crate) DB_DATA(u32) @ 0x3c { 31:0 data => u32; }

    /// The doorbell. Reads 0.
    pub(crate) DOORBELL(u32) @ 0x40 { 31:0 data => u32; }
}
