// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the ZR36067, BAR 0, as its driver for Linux uses them. What is marked *kept* has no effect in this model.

use super::register;

register! {
    /// Where a line's picture begins and ends. Kept.
    pub(crate) VFEHCR(u32) @ 0x000 {
        31:0 columns => u32;
    }

    /// Where a field's picture begins and ends. Kept.
    pub(crate) VFEVCR(u32) @ 0x004 {
        31:0 lines => u32;
    }

    /// Scaler and pixel format.
    pub(crate) VFESPFR(u32) @ 0x008 {
        /// Field and clock polarities, filter, decimations. Kept.
        26:8 scaler => u32;
        /// Only one field of each picture is stored.
        6:6 one_field => bool;
        /// 0: YUV 4:2:2, 1: RGB of 24 bits, 2: of 16, 3: of 15.
        4:3 format => u8;
        /// Kept.
        2:2 diffusion => bool;
        /// RGB of 24 bits takes three bytes, not four.
        1:1 packed => bool;
        /// Kept: this card's bytes have no order.
        0:0 little_endian => bool;
    }

    /// Bus address of the top field's first line. Latched when a picture begins.
    pub(crate) VDTR(u32) @ 0x00c {
        31:0 address => u32;
    }

    /// Bus address of the bottom field's first line. Latched when a picture begins.
    pub(crate) VDBR(u32) @ 0x010 {
        31:0 address => u32;
    }

    /// Stride, status and frame grab.
    pub(crate) VSSFGR(u32) @ 0x014 {
        /// Bytes left out after each line. Latched when a picture begins.
        31:16 stride => u16;
        /// The display's memory was too slow. Write 1 to clear. This card's never is.
        8:8 overflow => bool;
        /// Pictures go to memory one by one, each when `grab` asks for it.
        1:1 snapshot => bool;
        /// Write 1: store a picture. Cleared when its last byte is in memory.
        0:0 grab => bool;
    }

    /// What is stored of a field.
    pub(crate) VDCR(u32) @ 0x018 {
        /// Pictures are stored. Clearing it ends the transfer.
        31:31 enabled => bool;
        /// Kept.
        30:24 pixels => u8;
        /// Lines of a field.
        21:12 height => u16;
        /// Pixels of a line.
        9:0 width => u16;
    }

    /// Kept.
    pub(crate) MMTR(u32) @ 0x01c {
        31:0 address => u32;
    }

    /// Kept.
    pub(crate) MMBR(u32) @ 0x020 {
        31:0 address => u32;
    }

    /// Kept.
    pub(crate) OCR(u32) @ 0x024 {
        31:0 overlay => u32;
    }

    /// System, PCI and general-purpose pins.
    pub(crate) SPGPPCR(u32) @ 0x028 {
        /// 0: the chip is held in reset.
        24:24 running => bool;
        /// Directions of the pins. Kept.
        7:0 pins => u8;
    }

    /// Pins, and timing of the guest bus. Kept.
    pub(crate) GPPGCR1(u32) @ 0x02c {
        31:24 pins => u8;
        15:0 timing => u16;
    }

    /// Kept.
    pub(crate) MCSAR(u32) @ 0x030 {
        31:0 address => u32;
    }

    /// Kept.
    pub(crate) MCTCR(u32) @ 0x034 {
        31:0 transfer => u32;
    }

    /// Kept.
    pub(crate) MCMPR(u32) @ 0x038 {
        31:0 pointer => u32;
    }

    /// Causes of interrupts. Write 1 to clear.
    pub(crate) ISR(u32) @ 0x03c {
        /// A field begins, by the decoder's vertical sync. No other cause is ever set.
        30:30 field => bool;
    }

    /// Which causes interrupt.
    pub(crate) ICR(u32) @ 0x040 {
        /// A field.
        30:30 field => bool;
        /// The others, which never come. Kept.
        29:27 others => u8;
        /// The interrupt pin is driven.
        24:24 pin => bool;
    }

    /// The two wires to the decoder and the encoder: a 1 lets a line go, and what the line is reads back.
    pub(crate) I2CBR(u32) @ 0x044 {
        1:1 data => bool;
        0:0 clock => bool;
    }

    /// JPEG: mode. Kept, as all of JPEG is: the codec gives no picture.
    pub(crate) JMC(u32) @ 0x100 {
        31:0 mode => u32;
    }

    /// JPEG: process. Kept.
    pub(crate) JPC(u32) @ 0x104 {
        31:0 process => u32;
    }

    /// Kept.
    pub(crate) VSP(u32) @ 0x108 {
        31:0 sync => u32;
    }

    /// Kept.
    pub(crate) HSP(u32) @ 0x10c {
        31:0 sync => u32;
    }

    /// Kept.
    pub(crate) FHAP(u32) @ 0x110 {
        31:0 active => u32;
    }

    /// Kept.
    pub(crate) FVAP(u32) @ 0x114 {
        31:0 active => u32;
    }

    /// Kept.
    pub(crate) FPP(u32) @ 0x118 {
        31:0 field => u32;
    }

    /// JPEG: where its table of buffers is. Kept.
    pub(crate) JCBA(u32) @ 0x11c {
        31:0 address => u32;
    }

    /// Kept.
    pub(crate) JCFT(u32) @ 0x120 {
        31:0 threshold => u32;
    }

    /// Kept.
    pub(crate) JCGI(u32) @ 0x124 {
        31:0 guest => u32;
    }

    /// Kept.
    pub(crate) GCR2(u32) @ 0x12c {
        31:0 timing => u32;
    }

    /// The post office: one cycle on the guest bus, behind which is the JPEG codec, done at once.
    pub(crate) POR(u32) @ 0x200 {
        /// A cycle is under way.
        25:25 pending => bool;
        /// Nobody answered. Write 1 to clear.
        24:24 timeout => bool;
        /// The cycle writes.
        23:23 writes => bool;
        /// Who: 0 is the codec, and there is nobody else.
        22:20 guest => u8;
        /// What of it.
        18:16 register => u8;
        /// What is written, or was read.
        7:0 data => u8;
    }

    /// Kept.
    pub(crate) STR(u32) @ 0x300 {
        31:0 still => u32;
    }
}
