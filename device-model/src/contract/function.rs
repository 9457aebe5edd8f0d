// SPDX-License-Identifier: MIT OR Apache-2.0

//! The contract between any device and the machine it is plugged into.
//!
//! A device implements [`Function`]. It sees only whole 32-bit registers at offsets of its BARs, and does
//! its work in [`Function::step`], one bounded piece at a time. The machine is lent to it call by call as a
//! [`Host`]; nothing of it is stored. So a device knows no address of its own, no lock, no thread and no
//! socket, and a unit test lends it a host of its own.
//!
//! The caller holds one lock over a function: `read`, `write`, `reset` and `step` never overlap. Between
//! two steps the lock is handed to whoever waits for it, so a register access waits for one piece of work at
//! most, and whatever it changes (stop, reset, bus mastering) holds before the next byte moves.

use std::time::Duration;

use super::bus::{DmaError, Identity, RegisterName, Reset, Tag, Vector};
use super::declare::{Declaration, Declares};

/// What an access to a register that does not exist reads as.
pub const UNCLAIMED: u32 = u32::MAX;

/// Most bytes that one [`Function::step`] should move, so that no register access waits long.
pub const STEP_BYTES: usize = 256 * 1024;

/// What a function wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until a register is written or it is reset.
    Idle,
    /// Another step as soon as possible.
    Again,
    /// Another step when [`Host::now`] reaches this, or earlier.
    At(Duration),
}

/// What a well-behaved function has no use for, and one that misbehaves on purpose has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A register is about to be read; whatever this call changes, the read shows.
    Read {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
    },
    /// Bus mastering was switched on.
    BusMaster,
}

/// The machine, as lent to a function for one call.
pub trait Host {
    /// Reads memory at a bus address. All or nothing: on an error `into` is unspecified and no byte
    /// counts as read. Journalled either way.
    ///
    /// # Errors
    /// See [`DmaError`].
    fn dma_read(&mut self, address: u64, into: &mut [u8], tag: Tag) -> Result<(), DmaError>;

    /// Writes memory at a bus address. All or nothing: on an error no byte was written. Journalled
    /// either way. When it returns, the bytes are in memory before any later write or interrupt.
    ///
    /// # Errors
    /// See [`DmaError`].
    fn dma_write(&mut self, address: u64, from: &[u8], tag: Tag) -> Result<(), DmaError>;

    /// Writes `length` bytes of memory at a bus address, made on the way: `make` is called for one piece
    /// after the other, from the first byte to the last, with the piece's offset from `address`, and fills
    /// it. One access, however many pieces: all or nothing, and journalled, as [`Host::dma_write`]; on an
    /// error `make` was not called. For bytes that are not in a buffer yet: a piece goes to memory while
    /// the processor's cache has it.
    ///
    /// # Errors
    /// See [`DmaError`].
    fn dma_fill(
        &mut self,
        address: u64,
        length: usize,
        make: &mut dyn FnMut(usize, &mut [u8]),
        tag: Tag,
    ) -> Result<(), DmaError>;

    /// Tells whether the function may master the bus now: bus mastering on and power state D0. A
    /// well-behaved function asks before it begins a transfer; a transfer begun without is refused.
    fn may_master(&self) -> Result<(), DmaError>;

    /// Sends a message interrupt for a new cause; for INTx only records it, the line follows
    /// [`Function::line`]. Held back, and sent later, while the function may not master the bus.
    fn raise(&mut self, vector: Vector);

    /// Time since the function was powered.
    fn now(&self) -> Duration;

    /// Tells of the function's own work; see [`super::declare`]. What led to it is the register write in hand, if one is.
    fn declare(&mut self, what: Declaration) {
        let write = self.register_write();
        self.declare_for(write, what);
    }

    /// As [`Host::declare`], where another register write led to it, or none: what was asked for in one call and is
    /// done in a later one.
    fn declare_for(&mut self, register_write: Option<u64>, what: Declaration);

    /// Number of the register write being served, to be handed to [`Host::declare_for`] later; `None` in a step.
    fn register_write(&self) -> Option<u64>;

    /// Cuts the connection to the machine, as the sudden end of the function does, once this call is over. The
    /// machine sees all-ones from then on; the function is reset, as by loss of power.
    fn sever(&mut self) {}
}

/// A PCI function: registers, and work that it does by itself.
pub trait Function: Send {
    /// What it is. Must not change while it is plugged in.
    fn identity(&self) -> Identity;

    /// What it will tell of its own work, and what it cannot do. Must not change while it is plugged in. By default
    /// nothing: it is then judged on where and when it accesses memory, and on nothing else.
    fn declares(&self) -> Declares {
        Declares::default()
    }

    /// Names the register at a 4-aligned offset of a BAR; `None`: nothing is there, and neither `read`
    /// nor `write` is called for it.
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName>;

    /// Reads a register. Reading has no effect that a driver could see.
    fn read(&self, bar: u8, offset: u64) -> u32;

    /// What the bytes that a 1- or 2-byte write leaves out are taken from. Registers whose ones act when
    /// written (write 1 to clear, doorbells) answer 0.
    fn held(&self, bar: u8, offset: u64) -> u32 {
        self.read(bar, offset)
    }

    /// Writes a register.
    fn write(&mut self, bar: u8, offset: u64, value: u32, host: &mut dyn Host);

    /// Hears of something that changes nothing by the data sheet. May access memory and raise interrupts; at most
    /// about [`STEP_BYTES`] moved.
    fn notice(&mut self, _notice: Notice, _host: &mut dyn Host) {}

    /// Returns to the state after power-on. No access to memory follows from what was before.
    fn reset(&mut self, kind: Reset);

    /// Does one bounded piece of work: at most about [`STEP_BYTES`] moved.
    fn step(&mut self, host: &mut dyn Host) -> Next;

    /// Whether the function asserts its interrupt line (INTx), that is, has an enabled cause pending.
    fn line(&self) -> bool;
}
