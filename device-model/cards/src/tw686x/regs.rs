// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the TW686x, BAR 0, as its driver for Linux uses them. `P` and `B` are the two buffers that each channel
//! fills in turns.

use super::register;

register! {
    /// Which channels have filled a buffer since this was read. Reading clears it, and with it the interrupt.
    pub(crate) INT_STATUS(u32) @ 0x00 {
        /// No channel moved a byte for too long. This card never says so.
        17:17 timeout => bool;
        15:8 audio => u8;
        7:0 video => u8;
    }

    /// Which buffer each channel had filled when `INT_STATUS` was read: 0 is `P`. Read-only.
    pub(crate) PB_STATUS(u32) @ 0x04 {
        15:8 audio => u8;
        7:0 video => u8;
    }

    /// Switches DMA on, as a whole and by channel.
    pub(crate) DMA_CMD(u32) @ 0x08 {
        31:31 enable => bool;
        15:0 channels => u16;
    }

    /// Overflows, bad formats, and channels without a signal. Read-only; this card's cameras have none of it.
    pub(crate) VIDEO_FIFO_STATUS(u32) @ 0x0c {
        31:24 overflow => u8;
        23:16 bad => u8;
        7:0 no_signal => u8;
    }

    /// Kept.
    pub(crate) VIDEO_CHANNEL_ID(u32) @ 0x10 {
        31:0 id => u32;
    }

    /// Kept.
    pub(crate) VIDEO_PARSER_STATUS(u32) @ 0x14 {
        31:0 status => u32;
    }

    /// Write ones: resets the card. Done at once, so this reads 0.
    pub(crate) SYS_SOFT_RST(u32) @ 0x18 {
        3:0 subsystems => u8;
    }

    /// Bus address of channel 0's list for buffer `P`, and of all channels' where they share one.
    pub(crate) DMA_PAGE_TABLE0(u32) @ 0x20 {
        31:0 address => u32;
    }

    /// Likewise for buffer `B`.
    pub(crate) DMA_PAGE_TABLE1(u32) @ 0x24 {
        31:0 address => u32;
    }

    /// The channels that may move data. One runs that is set here and in `DMA_CMD`.
    pub(crate) DMA_CHANNEL_ENABLE(u32) @ 0x28 {
        15:8 audio => u8;
        7:0 video => u8;
    }

    /// Checks. Kept.
    pub(crate) DMA_CONFIG(u32) @ 0x2c {
        31:0 checks => u32;
    }

    /// Least time between two interrupts. Kept; this card does not coalesce.
    pub(crate) DMA_TIMER_INTERVAL(u32) @ 0x30 {
        31:0 interval => u32;
    }

    /// Kept.
    pub(crate) DMA_CHANNEL_TIMEOUT(u32) @ 0x34 {
        31:0 timeout => u32;
    }

    /// How a channel's pictures come into memory.
    pub(crate) VDMA_CHANNEL_CONFIG(u32)[8, stride = 4] @ 0x40 {
        /// Which camera. Kept: all see the same.
        31:30 input => u8;
        /// Half the lines, half the columns. Kept: what counts is `VDMA_WHP`.
        24:23 halves => u8;
        /// Pixel format. Kept: this card's pictures have two bytes a pixel of any.
        22:20 format => u8;
        /// Last entry of its lists.
        19:10 end => u16;
        /// First entry of its lists.
        9:0 start => u16;
    }

    /// Bus address of a channel's sound buffer `P`.
    pub(crate) ADMA_P_ADDR(u32)[8, stride = 8] @ 0x60 {
        31:0 address => u32;
    }

    /// Bus address of a channel's sound buffer `B`.
    pub(crate) ADMA_B_ADDR(u32)[8, stride = 8] @ 0x64 {
        31:0 address => u32;
    }

    /// Kept.
    pub(crate) DMA10_ADDR(u32)[2, stride = 4] @ 0xa0 {
        31:0 address => u32;
    }

    /// Kept.
    pub(crate) VIDEO_CONTROL(u32)[2, stride = 4] @ 0xa8 {
        /// In the first: which channels see 50 fields a second rather than 60.
        20:13 hz_50 => u8;
    }

    /// What the sound channels share.
    pub(crate) AUDIO_CONTROL1(u32) @ 0xb0 {
        /// Bytes of a sound buffer.
        31:19 size => u16;
        /// Sound comes from outside. Kept.
        0:0 external => bool;
    }

    /// From one sample to the next, in units of 8 ns / 65536.
    pub(crate) AUDIO_CONTROL2(u32) @ 0xb4 {
        31:0 interval => u32;
    }

    /// How each channel's DMA works.
    pub(crate) PHASE_REF(u32) @ 0xb8 {
        /// Two bits a channel: 0 list, 2 frame; this card does not know the others.
        31:16 modes => u16;
        /// Kept.
        15:0 phase => u16;
    }

    /// Kept.
    pub(crate) GPIO_REG(u32) @ 0xbc {
        31:0 pins => u32;
    }

    /// Kept.
    pub(crate) INTL_HBAR_CTRL(u32)[8, stride = 4] @ 0xc0 {
        31:0 control => u32;
    }

    /// Kept.
    pub(crate) AUDIO_CONTROL3(u32) @ 0xe0 {
        31:0 control => u32;
    }

    /// Which fields come through. Kept: this card leaves none out.
    pub(crate) VIDEO_FIELD_CTRL(u32)[8, stride = 4] @ 0xe4 {
        31:0 fields => u32;
    }

    /// Kept.
    pub(crate) HSCALER_CTRL(u32)[8, stride = 4] @ 0x108 {
        31:0 control => u32;
    }

    /// Kept.
    pub(crate) VIDEO_SIZE(u32)[16, stride = 4] @ 0x128 {
        31:0 size => u32;
    }

    /// Motion detection. Kept.
    pub(crate) MD(u32)[24, stride = 4] @ 0x180 {
        31:0 control => u32;
    }

    /// Bus address of a channel's picture buffer `P`, in frame mode.
    pub(crate) VDMA_P_ADDR(u32)[8, stride = 32] @ 0x200 {
        31:0 address => u32;
    }

    /// Size of a channel's pictures.
    pub(crate) VDMA_WHP(u32)[8, stride = 32] @ 0x204 {
        /// Lines of a field.
        31:22 height => u16;
        /// Bytes from one line to the next.
        21:11 pitch => u16;
        /// Bytes of a line.
        10:0 width => u16;
    }

    /// Bus address of a channel's picture buffer `B`, in frame mode.
    pub(crate) VDMA_B_ADDR(u32)[8, stride = 32] @ 0x208 {
        31:0 address => u32;
    }

    /// Likewise for the second field, where each field has its own buffer. Kept.
    pub(crate) VDMA_F2_P_ADDR(u32)[8, stride = 32] @ 0x210 {
        31:0 address => u32;
    }

    /// Kept.
    pub(crate) VDMA_F2_WHP(u32)[8, stride = 32] @ 0x214 {
        31:0 size => u32;
    }

    /// Kept.
    pub(crate) VDMA_F2_B_ADDR(u32)[8, stride = 32] @ 0x218 {
        31:0 address => u32;
    }

    /// Bus address of the lists of channels 1 to 7 for buffer `P`, where each has its own.
    pub(crate) DMA_PAGE_TABLES0(u32)[7, stride = 8] @ 0x340 {
        31:0 address => u32;
    }

    /// Likewise for buffer `B`.
    pub(crate) DMA_PAGE_TABLES1(u32)[7, stride = 8] @ 0x344 {
        31:0 address => u32;
    }

    /// What the decoders of channels 0 to 3 make of their cameras. Read-only.
    pub(crate) VIDSTAT(u32)[4, stride = 64] @ 0x400 {
        /// No camera.
        7:7 lost => bool;
        /// Lines are found.
        6:6 locked => bool;
    }

    /// Likewise of channels 4 to 7.
    pub(crate) VIDSTAT_HIGH(u32)[4, stride = 64] @ 0x800 {
        7:7 lost => bool;
        6:6 locked => bool;
    }

    /// Television standard of channels 0 to 3.
    pub(crate) SDT(u32)[4, stride = 64] @ 0x438 {
        /// The standard is being looked for. It is found at once.
        7:7 busy => bool;
        /// What the camera has: always 0, NTSC.
        6:4 found => u8;
        /// What the decoder is to take. Kept.
        2:0 standard => u8;
    }

    /// Likewise of channels 4 to 7.
    pub(crate) SDT_HIGH(u32)[4, stride = 64] @ 0x838 {
        7:7 busy => bool;
        6:4 found => u8;
        2:0 standard => u8;
    }

    /// All other registers of the decoders: colours, delays, gains. Kept.
    pub(crate) DECODER(u32)[512, stride = 4] @ 0x400 {
        7:0 value => u8;
    }
}

/// Bits of [`INT_STATUS`], [`PB_STATUS`], [`DMA_CMD`] and [`DMA_CHANNEL_ENABLE`] are by channel: those of sound from here on.
pub(crate) const SOUND: usize = 8;
/// A list: it is followed, wherever its pieces lie.
pub(crate) const LIST: u32 = 0;
/// A frame: both fields in one buffer, their lines in turns.
pub(crate) const FRAME: u32 = 2;
/// Bytes of an entry of a list: flags and length, then address, 32 bits each, little-endian.
pub(crate) const ENTRY: u64 = 8;
/// An entry with this flag is used; the first without it ends the list.
pub(crate) const ENTRY_USED: u32 = 1 << 30;
/// Bits of an entry that are its length.
pub(crate) const ENTRY_LENGTH: u32 = 0x1fff;
/// Bytes that the registers take.
pub(crate) const SIZE: usize = 0xc00;
