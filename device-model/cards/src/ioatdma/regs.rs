// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the DMA engine, BAR 0, little-endian. Those of a channel repeat every 128 bytes. A wider access is one to each
//! of them, a narrower one to part of one.

use landfall_device::contract::register;

register! {
    /// How many channels there are. Read-only.
    pub(crate) CHANCNT(u8) @ 0x00 { 4:0 channels => u8; }

    /// Most bytes of a descriptor, as a power of two. Read-only.
    pub(crate) XFERCAP(u8) @ 0x01 { 4:0 order => u8; }

    /// Interrupts of all channels.
    pub(crate) INTRCTRL(u8) @ 0x03 {
        /// Each channel has a message of its own (MSI-X), which is sent whatever `enabled` is, and the line is off.
        3:3 messages => bool;
        /// The line is asserted. Read-only.
        2:2 asserted => bool;
        /// Some channel sent an interrupt that `ATTNSTATUS` was not read for. Read-only.
        1:1 attention => bool;
        /// Interrupts that all channels share are sent: the line, or the one message.
        0:0 enabled => bool;
    }

    /// Channels that sent an interrupt, a bit each. Read-only; reading clears it.
    pub(crate) ATTNSTATUS(u32) @ 0x04 { 31:0 channels => u32; }

    /// Version of the interface: 3.2. Read-only.
    pub(crate) VERSION(u8) @ 0x08 {
        7:4 major => u8;
        3:0 minor => u8;
    }

    /// How long an interrupt is held back for others. Kept, and without effect.
    pub(crate) INTRDELAY(u16) @ 0x0c {
        /// This card could. Read-only; 0.
        15:15 supported => bool;
        /// Microseconds.
        13:0 delay => u16;
    }

    /// Status of the device. Read-only; 0.
    pub(crate) STATUS(u16) @ 0x0e { 15:0 status => u16; }

    /// What it can do besides copying: nothing. Read-only.
    pub(crate) DMA_CAP(u32) @ 0x10 { 31:0 capabilities => u32; }

    /// Where the registers of direct cache access are: nowhere. Read-only.
    pub(crate) DCA_OFFSET(u16) @ 0x14 { 15:0 offset => u16; }

    /// How a channel works.
    pub(crate) CHANCTRL(u16)[16, stride = 0x80] @ 0x80 {
        /// An error is an interrupt.
        4:4 error_interrupt => bool;
        /// An error ends everything. Kept; it always does.
        3:3 error_aborts => bool;
        /// An error writes the completion word.
        2:2 error_completes => bool;
        /// Read: an interrupt was sent, and none is until this is written as 1; one that came meanwhile then is.
        0:0 rearm => bool;
    }

    /// Which interface the channel has: 2. Read-only.
    pub(crate) COMPATIBILITY(u16)[16, stride = 0x80] @ 0x82 { 15:0 interface => u16; }

    /// What the channel is to do. Reads 0.
    pub(crate) CHANCMD(u8)[16, stride = 0x80] @ 0x84 {
        5:5 reset => bool;
        2:2 suspend => bool;
    }

    /// Descriptors that the channel was given since its chain began, modulo 65536. Writing it starts the channel.
    pub(crate) DMACOUNT(u16)[16, stride = 0x80] @ 0x86 { 15:0 descriptors => u16; }

    /// Bus address of the last descriptor that is over, in bits 63 to 6, and how the channel is. Read-only.
    pub(crate) CHANSTS_LOW(u32)[16, stride = 0x80] @ 0x88 {
        31:6 address => u32;
        /// 0: works, 1: has nothing to do, 2: suspended, 3: halted.
        2:0 state => u8;
    }

    /// Its upper half.
    pub(crate) CHANSTS_HIGH(u32)[16, stride = 0x80] @ 0x8c { 31:0 address => u32; }

    /// Bus address of the first descriptor. Writing it begins a chain: nothing of it is given to the channel yet.
    pub(crate) CHAINADDR_LOW(u32)[16, stride = 0x80] @ 0x90 { 31:0 address => u32; }

    /// Its upper half.
    pub(crate) CHAINADDR_HIGH(u32)[16, stride = 0x80] @ 0x94 { 31:0 address => u32; }

    /// Bus address of the completion word: eight bytes.
    pub(crate) CHANCMP_LOW(u32)[16, stride = 0x80] @ 0x98 { 31:0 address => u32; }

    /// Its upper half.
    pub(crate) CHANCMP_HIGH(u32)[16, stride = 0x80] @ 0x9c { 31:0 address => u32; }

    /// Why the channel halted. Write 1 to clear.
    pub(crate) CHANERR(u32)[16, stride = 0x80] @ 0xa8 {
        /// The completion word was refused.
        12:12 completion => bool;
        /// A descriptor has no bytes, or too many.
        11:11 size => bool;
        /// A descriptor asks for what this card cannot do.
        10:10 control => bool;
        /// A write of data was refused.
        9:9 write_data => bool;
        /// A read of data was refused.
        8:8 read_data => bool;
        /// A descriptor could not be read.
        2:2 descriptor => bool;
    }

    /// Which of these are told. Kept, and without effect.
    pub(crate) CHANERR_MASK(u32)[16, stride = 0x80] @ 0xac { 31:0 errors => u32; }

    /// Direct cache access. Kept, and without effect.
    pub(crate) DCACTRL(u32)[16, stride = 0x80] @ 0xb0 { 31:0 target => u32; }
}
