// SPDX-License-Identifier: MIT OR Apache-2.0

//! The contract between any device and the machine it is plugged into.
//!
//! What is plugged in is a [`Function`]: a [`Device`], with accesses of 1, 2, 4 and 8 bytes to its BARs. Most devices have
//! nothing but registers of 32 bits; they implement [`Registers`], which knows no other width, and are functions by that.
//!
//! | | says | for |
//! |---|---|---|
//! | [`Device`] | what it is and what it does by itself | every device |
//! | [`Registers`] | what its 32-bit registers read as and do | most devices |
//! | [`Function`] | what each access does, of any width | registers of other widths, byte lanes that matter |
//!
//! It does its work in [`Device::step`], one bounded piece at a time. The machine is lent to it call by call as a [`Host`];
//! nothing of it is stored. So a device knows no address of its own, no lock, no thread and no socket, and a unit test lends
//! it a host of its own ([`crate::testing::FakeHost`]).
//!
//! The caller holds one lock over a function: no two of its calls ever overlap. Between two steps the lock is handed to
//! whoever waits for it, so a register access waits for one piece of work at most, and whatever it changes (stop, reset, bus
//! mastering) holds before the next byte moves.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::access::{Access, Width};
use super::bus::{DmaError, InterruptKind, RegisterName, Reset, Tag, Vector};
use super::declare::{Declaration, Declares};
use super::identity::Identity;

/// What an access to a register that does not exist reads as.
pub const UNCLAIMED: u32 = u32::MAX;

/// Most bytes that one [`Device::step`] should move, so that no register access waits long.
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

impl Next {
    /// What two parts of a device want, each by itself.
    pub fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Again, _) | (_, Self::Again) => Self::Again,
            (Self::At(one), Self::At(other)) => Self::At(one.min(other)),
            (Self::Idle, next) | (next, Self::Idle) => next,
        }
    }
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
    /// Software set the function up otherwise; also what a reset of the machine's makes of it.
    Setup(Setup),
}

/// What software set up in configuration space, which is the machine's and not the function's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// The function decodes its BARs.
    pub memory: bool,
    /// It may master the bus.
    pub master: bool,
    /// The line (INTx) is switched off.
    pub line_off: bool,
    /// The power state: 0 is D0, 3 is D3hot.
    pub power: u8,
    /// Vectors of message interrupts that it was given, and of which kind; `None`: it has the line.
    pub messages: Option<(InterruptKind, u16)>,
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

    /// Sends a message interrupt for a new cause (see also [`Host::vectors`]); for INTx only records it, the line follows
    /// [`Device::line`]. Held back, and sent later, while the function may not master the bus.
    fn raise(&mut self, vector: Vector);

    /// Vectors that the machine gave the function: of MSI perhaps fewer than it asked for, and then several of its own come
    /// as one; 1 while it has the line.
    fn vectors(&self) -> u16 {
        1
    }

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

    /// Whether a step is to do one visible thing alone: one access, or one change of registers with what follows from it at once
    /// (a record, its bit, its interrupt). So where the orders of its actions are enumerated; see [`Device::wants`].
    fn fine(&self) -> bool {
        false
    }

    /// Cuts the connection to the machine, as the sudden end of the function does, once this call is over. The
    /// machine sees all-ones from then on; the function is reset, as by loss of power.
    fn sever(&mut self) {}
}

/// What every device is, and what it does by itself.
pub trait Device: Send {
    /// What it is. Must not change while it is plugged in. What cannot be had is refused when it is plugged in
    /// ([`super::IdentityError`]).
    fn identity(&self) -> Identity;

    /// What it will tell of its own work, and what it cannot do. Must not change while it is plugged in. By default
    /// nothing: it is then judged on where and when it accesses memory, and on nothing else.
    fn declares(&self) -> Declares {
        Declares::default()
    }

    /// Hears of something that changes nothing by the data sheet. May access memory and raise interrupts; at most
    /// about [`STEP_BYTES`] moved.
    fn notice(&mut self, _notice: Notice, _host: &mut dyn Host) {}

    /// Returns to the state after power-on. No access to memory follows from what was before.
    fn reset(&mut self, kind: Reset);

    /// What comes to it from outside of the machine, a simulator's answer for one: a descriptor, the same as long as it is
    /// plugged in. Whenever it is readable a step follows, which is to read what is there. By default nothing does.
    fn outside(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Does one bounded piece of work: at most about [`STEP_BYTES`] moved.
    fn step(&mut self, host: &mut dyn Host) -> Next;

    /// Whether a step would do anything, now or when the time comes for it, without a register being written before: an access, an
    /// interrupt, a declaration, a change of a register that is not time's alone. One that answers promises what it takes to
    /// enumerate the orders of its actions: that, a step of one visible thing where [`Host::fine`] says so, no time but
    /// [`Host::now`] and [`Next::At`], and nothing from outside. [`crate::testing::conforms`] checks it. By default it promises
    /// nothing.
    fn wants(&self) -> Option<bool> {
        None
    }

    /// Whether it asserts its interrupt line (INTx), that is, has an enabled cause pending.
    fn line(&self) -> bool;
}

/// A device with registers of 32 bits, each at a multiple of 4, and no other. It sees whole registers: what is narrower is
/// merged with [`Registers::held`], what is wider is two of them, the lower first.
pub trait Registers: Device {
    /// Names the register at a 4-aligned offset of a BAR; `None`: nothing is there, and none of the calls below
    /// is made for it.
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName>;

    /// What a register reads as. Has no effect; see [`Registers::after_read`].
    fn read(&self, bar: u8, offset: u64) -> u32;

    /// What the bytes that a 1- or 2-byte write leaves out are taken from. Registers whose ones act when
    /// written (write 1 to clear, doorbells) answer 0.
    fn held(&self, bar: u8, offset: u64) -> u32 {
        self.read(bar, offset)
    }

    /// Writes a register.
    fn write(&mut self, bar: u8, offset: u64, value: u32, host: &mut dyn Host);

    /// A register was read, or some byte of it: what that does by the data sheet (read to clear, the next word of a
    /// FIFO). By default nothing.
    fn after_read(&mut self, _bar: u8, _offset: u64, _host: &mut dyn Host) {}
}

/// A PCI function: what is plugged into a machine. Every device of [`Registers`] is one.
///
/// A register of 64 bits at 0 that counts its reads, and can be written in part:
///
/// ```
/// use landfall_device::contract::*;
///
/// #[derive(Default)]
/// struct Wide { value: u64, reads: u64 }
///
/// impl Device for Wide {
///     fn identity(&self) -> Identity {
///         Identity {
///             vendor: 0x1b36,
///             device: 0x4c50,
///             bars: vec![Bar::registers(0, 0x1000).wide()],
///             ..Identity::default()
///         }
///     }
///     fn reset(&mut self, _kind: Reset) { *self = Self::default(); }
///     fn step(&mut self, _host: &mut dyn Host) -> Next { Next::Idle }
///     fn line(&self) -> bool { false }
/// }
///
/// impl Function for Wide {
///     fn name(&self, access: Access) -> Option<RegisterName> {
///         (access.offset < 8).then(|| RegisterName::plain("WIDE"))
///     }
///     fn load(&mut self, access: Access, _host: &mut dyn Host) -> u64 {
///         self.reads += 1;
///         access.lanes(0).extract(self.value)
///     }
///     fn store(&mut self, access: Access, value: u64, _host: &mut dyn Host) {
///         self.value = access.lanes(0).insert(self.value, value);
///     }
/// }
/// ```
pub trait Function: Device {
    /// The widest access that a BAR takes; a wider one comes as several, in ascending order.
    fn widest(&self, _bar: u8) -> Width {
        Width::Eight
    }

    /// Names what an access touches; `None`: nothing is there. It then reads as all-ones, is listed as unknown, and
    /// neither `load` nor `store` is called.
    fn name(&self, access: Access) -> Option<RegisterName>;

    /// What [`Function::load`] would read, without the effect that it may have; `None`: that cannot be said.
    fn peek(&self, _access: Access) -> Option<u64> {
        None
    }

    /// Reads: the bytes in the low bits, the first byte lowest. What is above the access's width is dropped.
    fn load(&mut self, access: Access, host: &mut dyn Host) -> u64;

    /// Writes: the bytes in the low bits, the first byte lowest; above the access's width `value` is 0.
    fn store(&mut self, access: Access, value: u64, host: &mut dyn Host);
}

impl<T: Registers> Function for T {
    fn widest(&self, _bar: u8) -> Width {
        Width::Four
    }

    fn name(&self, access: Access) -> Option<RegisterName> {
        self.register(access.bar, access.register(Width::Four))
    }

    fn peek(&self, access: Access) -> Option<u64> {
        let read = words(access).map(|offset| {
            let read = u64::from(self.read(access.bar, offset));
            access.lanes(offset).extract(read)
        });
        Some(read.fold(0, |value, part| value | part))
    }

    fn load(&mut self, access: Access, host: &mut dyn Host) -> u64 {
        let mut value = 0;
        for offset in words(access) {
            let read = u64::from(self.read(access.bar, offset));
            self.after_read(access.bar, offset, host);
            value |= access.lanes(offset).extract(read);
        }
        value
    }

    fn store(&mut self, access: Access, value: u64, host: &mut dyn Host) {
        for offset in words(access) {
            let held = match access.width {
                Width::One | Width::Two => self.held(access.bar, offset),
                Width::Four | Width::Eight => 0,
            };
            let value = access.lanes(offset).insert(held.into(), value);
            self.write(access.bar, offset, value as u32, host);
        }
    }
}

/// The 32-bit registers that an access touches.
fn words(access: Access) -> impl Iterator<Item = u64> {
    let first = access.register(Width::Four);
    let second = (access.width == Width::Eight).then(|| first.saturating_add(4));
    std::iter::once(first).chain(second)
}
