// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the template device, BAR 0.

use super::register;

register! {
    /// Identity. Read-only; always `0x7e3a_0001`.
    pub(crate) ID(u32) @ 0x00 {
        31:16 magic => u16;
        7:0 layout => u8;
    }

    /// Four bytes that the driver keeps here.
    pub(crate) SCRATCH(u32) @ 0x04 {
        31:0 value => u32;
    }

    /// Bus address, below 4 GiB, that `GO` writes to: a multiple of four, whose two lowest bits read 0.
    pub(crate) ADDRESS(u32) @ 0x08 {
        31:2 doubleword => u32;
    }

    /// Write 1: writes `SCRATCH` to memory at `ADDRESS`, then interrupts.
    pub(crate) GO(u32) @ 0x0c {
        /// The last write was refused. Read-only.
        1:1 failed => bool;
        /// Write 1: start. Reads 1 until it is over.
        0:0 busy => bool;
    }

    /// The interrupt is asserted. Write 1 to clear.
    pub(crate) PENDING(u32) @ 0x10 {
        0:0 pending => bool;
    }
}
