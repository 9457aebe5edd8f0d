// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the DT3155, BAR 0, as its driver for Linux uses them; and the byte registers behind its serial bus.

use super::register;

register! {
    /// Bus address of the even field's first line, that is, of the picture's line 0. Latched when a frame begins.
    pub(crate) EVEN_DMA_START(u32) @ 0x00 {
        31:0 address => u32;
    }

    /// Bus address of the odd field's first line, the picture's line 1. Latched when a frame begins.
    pub(crate) ODD_DMA_START(u32) @ 0x0c {
        31:0 address => u32;
    }

    /// Bytes left out after each line of the even field. Latched when a frame begins.
    pub(crate) EVEN_DMA_STRIDE(u32) @ 0x18 {
        31:0 bytes => u32;
    }

    /// Bytes left out after each line of the odd field. Latched when a frame begins.
    pub(crate) ODD_DMA_STRIDE(u32) @ 0x24 {
        31:0 bytes => u32;
    }

    /// Pixel format of the even field. Kept; the card does 8 bits of grey only.
    pub(crate) EVEN_PIXEL_FMT(u32) @ 0x30 {
        31:0 format => u32;
    }

    /// Pixel format of the odd field. Kept.
    pub(crate) ODD_PIXEL_FMT(u32) @ 0x34 {
        31:0 format => u32;
    }

    /// Level at which the FIFO is emptied. Kept.
    pub(crate) FIFO_TRIGGER(u32) @ 0x38 {
        31:0 level => u32;
    }

    /// How the card bursts. Kept.
    pub(crate) XFER_MODE(u32) @ 0x3c {
        31:0 mode => u32;
    }

    /// Control and status of the capture.
    pub(crate) CSR1(u32) @ 0x40 {
        /// Kept.
        15:14 range => u8;
        /// A transfer of the odd, the even field was refused. Write 1 to clear.
        11:10 address_errors => u8;
        /// The odd, the even field is damaged. Write 1 to clear. This card damages none.
        9:8 corrupt => u8;
        /// FIFO enabled, soft reset. Kept.
        7:6 fifo => u8;
        /// The odd, the even field is complete. Write 1 to clear.
        5:4 done => u8;
        /// Capture every odd, every even field.
        1:0 capture => u8;
    }

    /// Clocks before a refused burst is tried again. Kept.
    pub(crate) RETRY_WAIT_CNT(u32) @ 0x44 {
        31:0 clocks => u32;
    }

    /// Interrupts. The line is asserted while a cause is set that is enabled.
    pub(crate) INT_CSR(u32) @ 0x48 {
        /// Interrupt when a field starts.
        10:10 enable_start => bool;
        /// Interrupt when the odd field is complete.
        9:9 enable_odd => bool;
        /// Interrupt when the even field is complete.
        8:8 enable_even => bool;
        /// A field has started. Write 1 to clear.
        2:2 start => bool;
        /// The odd field is complete, and with it the picture. Write 1 to clear; no frame begins before.
        1:1 end_odd => bool;
        /// The even field is complete. Write 1 to clear.
        0:0 end_even => bool;
    }

    /// Kept.
    pub(crate) EVEN_FLD_MASK(u32) @ 0x4c {
        31:0 mask => u32;
    }

    /// Kept.
    pub(crate) ODD_FLD_MASK(u32) @ 0x50 {
        31:0 mask => u32;
    }

    /// Kept.
    pub(crate) MASK_LENGTH(u32) @ 0x54 {
        31:0 length => u32;
    }

    /// Kept.
    pub(crate) FIFO_FLAG_CNT(u32) @ 0x58 {
        31:0 count => u32;
    }

    /// Clock of the serial bus. Kept.
    pub(crate) IIC_CLK_DUR(u32) @ 0x5c {
        31:0 duration => u32;
    }

    /// What the serial bus gave. Read-only.
    pub(crate) IIC_CSR1(u32) @ 0x60 {
        /// The byte that was read last.
        31:24 read => u8;
        /// The last cycle failed; none does.
        9:9 aborted => bool;
    }

    /// One cycle on the serial bus, to a byte register of the card.
    pub(crate) IIC_CSR2(u32) @ 0x64 {
        /// Write 1: do it. It is done at once, so this reads 0.
        24:24 cycle => bool;
        /// Which byte register.
        23:17 index => u8;
        /// Read it, into `IIC_CSR1`, rather than write it.
        16:16 read => bool;
        /// What to write.
        7:0 data => u8;
    }
}

/// Bits of [`CSR1`] that are kept as written; the others are causes that a 1 clears.
pub(crate) const CSR1_KEPT: u32 = 0xc0c3;
/// Both fields are complete, in [`CSR1`].
pub(crate) const CSR1_DONE: u32 = 0x30;
/// Address errors of the even and the odd field, in [`CSR1`].
pub(crate) const CSR1_ERRORS: [u32; 2] = [1 << 10, 1 << 11];
/// All causes, in [`INT_CSR`].
pub(crate) const INT_CAUSES: u32 = 7;
/// Bits of [`INT_CSR`] that are kept as written.
pub(crate) const INT_KEPT: u32 = 0x700;
/// Bytes that the registers take.
pub(crate) const SIZE: usize = 0x68;

/// Byte register: what the card captures. Bits 5 and 4: acquire the odd and the even field; bit 2: 50 Hz.
pub(crate) const CSR2: u8 = 0x10;
/// Both fields, in [`CSR2`].
pub(crate) const BUSY: u8 = 0x30;
/// 50 Hz, in [`CSR2`].
pub(crate) const HZ_50: u8 = 0x04;
/// Byte register, read-only: what the card is.
pub(crate) const DT_ID: u8 = 0x1f;
/// What [`DT_ID`] reads.
pub(crate) const ID: u8 = 0x20;
