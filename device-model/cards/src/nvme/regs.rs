// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the NVMe controller, BAR 0, little-endian: NVM Express Base Specification 1.4, 3.1.

use landfall_device::contract::register;

register! {
    /// Capabilities, bits 31 to 0. Read-only.
    pub(crate) CAP_LOW(u32) @ 0x00 {
        /// Most time that `CSTS.ready` takes, in 500 ms.
        31:24 timeout => u8;
        /// Queues have to be contiguous.
        16:16 contiguous => bool;
        /// Most entries of an I/O queue, less one.
        15:0 entries => u16;
    }

    /// Capabilities, bits 63 to 32. Read-only.
    pub(crate) CAP_HIGH(u32) @ 0x04 {
        /// Largest page, as a power of two times 4 KiB.
        23:20 page_most => u8;
        /// Smallest page, likewise.
        19:16 page_least => u8;
        /// Command sets: bit 0, NVM.
        12:5 sets => u8;
        /// Bytes from one doorbell to the next, as a power of two times 4.
        3:0 stride => u8;
    }

    /// Version: 1.4. Read-only.
    pub(crate) VS(u32) @ 0x08 {
        31:16 major => u16;
        15:8 minor => u8;
    }

    /// Masks the vectors that are written as 1. Reads which are.
    pub(crate) INTMS(u32) @ 0x0c { 31:0 vectors => u32; }

    /// Unmasks the vectors that are written as 1. Reads which are masked.
    pub(crate) INTMC(u32) @ 0x10 { 31:0 vectors => u32; }

    /// How the controller is to be.
    pub(crate) CC(u32) @ 0x14 {
        /// Bytes of a completion, as a power of two: 4.
        23:20 completion => u8;
        /// Bytes of a command, as a power of two: 6.
        19:16 command => u8;
        /// 1: it is to shut down; 2: at once.
        15:14 shutdown => u8;
        /// How queues are arbitrated: 0, in turn.
        13:11 arbitration => u8;
        /// Bytes of a page, as a power of two times 4 KiB: 0.
        10:7 page => u8;
        /// Command set: 0, NVM.
        6:4 set => u8;
        /// It is to work.
        0:0 enable => bool;
    }

    /// How the controller is. Read-only.
    pub(crate) CSTS(u32) @ 0x1c {
        /// 2: it is shut down.
        3:2 shutdown => u8;
        /// It cannot go on, until it is switched off and on.
        1:1 fatal => bool;
        /// It works.
        0:0 ready => bool;
    }

    /// Entries of the admin queues, less one.
    pub(crate) AQA(u32) @ 0x24 {
        27:16 completions => u16;
        11:0 commands => u16;
    }

    /// Bus address of the admin submission queue, a page.
    pub(crate) ASQ_LOW(u32) @ 0x28 { 31:12 page => u32; }

    /// Its upper half.
    pub(crate) ASQ_HIGH(u32) @ 0x2c { 31:0 address => u32; }

    /// Bus address of the admin completion queue, a page.
    pub(crate) ACQ_LOW(u32) @ 0x30 { 31:12 page => u32; }

    /// Its upper half.
    pub(crate) ACQ_HIGH(u32) @ 0x34 { 31:0 address => u32; }

    /// Where the controller's own memory is: it has none. Read-only.
    pub(crate) CMBLOC(u32) @ 0x38 { 31:0 place => u32; }

    /// How much of it there is. Read-only; 0.
    pub(crate) CMBSZ(u32) @ 0x3c { 31:0 size => u32; }

    /// Submission doorbells: the entry behind the last command. Write-only; reads 0.
    pub(crate) SQTDBL(u32)[17, stride = 8] @ 0x1000 { 15:0 tail => u16; }

    /// Completion doorbells: the entry behind the last completion that was taken. Write-only; reads 0.
    pub(crate) CQHDBL(u32)[17, stride = 8] @ 0x1004 { 15:0 head => u16; }
}
