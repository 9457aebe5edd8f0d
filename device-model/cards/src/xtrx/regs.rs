// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the XTRX, BAR 0, as its driver and the programs that map them use them. On the bus their bytes are in
//! big-endian order; the values here are what the driver means.

use landfall_device::contract::register;

register! {
    /// Which causes interrupt; read: which had one since it was read last.
    pub(crate) INTERRUPTS(u32) @ 0x04 {
        /// Set in a write that sets the causes.
        15:15 set => bool;
        11:0 causes => u16;
    }

    /// A cycle of the bus to the power supply. Kept.
    pub(crate) POWER(u32) @ 0x0c { 31:0 cycle => u32; }

    /// The GPS receiver: read: nothing came, and nothing is waiting to be sent.
    pub(crate) UART(u32) @ 0x10 { 31:0 word => u32; }

    /// Likewise the SIM card's.
    pub(crate) SIM(u32) @ 0x14 { 31:0 word => u32; }

    /// Switches the SIM card's reader on. Kept.
    pub(crate) SIM_CTRL(u32) @ 0x18 { 31:0 word => u32; }

    /// Bytes of the next buffer to be sent, in units of 16, less one; read: buffers that were sent.
    pub(crate) TX_LENGTH(u32) @ 0x20 { 11:0 units => u16; }

    /// When that is to be sent: at once, in this card. Writing it gives the card the buffer. Read: a check (FNV-1a) of what was
    /// sent last.
    pub(crate) TX_TIME(u32) @ 0x24 { 31:0 time => u32; }

    /// Writing it gives the card the oldest of the buffers that it filled; read: buffers that it filled since it was started.
    pub(crate) RX_CONFIRM(u32) @ 0x30 { 31:0 filled => u32; }

    /// Starts and stops both directions.
    pub(crate) DMA(u32) @ 0x34 {
        /// `tx_format` counts.
        31:31 tx_valid => bool;
        /// `rx_format` counts.
        30:30 rx_valid => bool;
        /// Samples that are received: 0 stops.
        21:20 rx_format => u8;
        /// Samples that are sent: 0 stops.
        1:0 tx_format => u8;
    }

    /// What the card is: the registers' compatibility in bits 15 to 8. Read-only.
    pub(crate) HWCFG(u32) @ 0x68 { 15:8 compatibility => u8; }

    /// Buffers to receive into: a page's address, and in the lower bits units of 16 bytes, less one.
    pub(crate) RX_BUFFER(u32)[32, stride = 4] @ 0x800 {
        31:12 page => u32;
        11:0 units => u16;
    }

    /// With bit 31: bytes of all of them, in units of 16, less one, in their place.
    pub(crate) RX_LENGTH(u32) @ 0x880 {
        31:31 valid => bool;
        30:0 units => u32;
    }

    /// Buffers to send from, likewise.
    pub(crate) TX_BUFFER(u32)[32, stride = 4] @ 0xc00 {
        31:12 page => u32;
        11:0 units => u16;
    }
}
