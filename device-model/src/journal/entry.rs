// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a journal is made of.

use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use super::cpu::{CpuAccess, Unordered};
use super::driver::{DriverCall, DriverState, LendDirection};
use crate::contract::{
    Declaration, Declares, Direction, DmaError, JobId, RegisterName, Reset, Role,
};

/// What came of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All bytes moved.
    Ok,
    /// No byte moved.
    Refused(DmaError),
}

impl Outcome {
    /// Whether the bytes moved.
    pub fn is_ok(self) -> bool {
        self == Self::Ok
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// One access to memory.
    Access {
        /// Read or write.
        direction: Direction,
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
        /// Job it was for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<JobId>,
        /// Slot it was for, if it was for one that has no job yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
        /// What the memory is to the function.
        #[serde(default, skip_serializing_if = "is_payload")]
        role: Role,
        /// Whether it took place.
        outcome: Outcome,
        /// The bytes, of an access of up to [`MOST_BYTES`] that took place.
        #[serde(default, skip_serializing_if = "Bytes::is_empty")]
        bytes: Bytes,
    },
    /// A register was read for the first time since the machine connected: a driver has found the card.
    FirstRead {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
    },
    /// The driver wrote a register.
    Register {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
        /// Its name.
        name: RegisterName,
        /// The bits as they were written; where the access is narrower than the register, these alone.
        value: u64,
        /// Bytes of the access.
        #[serde(default = "four", skip_serializing_if = "is_four")]
        width: u8,
    },
    /// The driver wrote or read where there is no register, or while none is decoded. While they are decoded, of many to
    /// one place not all are told.
    Unclaimed {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
        /// Whether it was a write.
        write: bool,
        /// Bytes of the access.
        #[serde(default = "four", skip_serializing_if = "is_four")]
        width: u8,
        /// How many such there were of this place, this one included; 0: not counted, since nothing was decoded.
        #[serde(default, skip_serializing_if = "is_none")]
        count: u64,
    },
    /// The guest does nothing but read one register, which never changes; told once while it lasts.
    Spinning {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
        /// Its name; none: there is no register.
        name: Option<RegisterName>,
        /// What it reads as.
        value: u64,
        /// How often it was read.
        reads: u64,
        /// For how long, nanoseconds of the host's clock.
        lasted_ns: u64,
    },
    /// What the function will tell of its own work: the first entry of every journal.
    Declares(Declares),
    /// The function tells of its own work.
    Declared {
        /// The register write that led to it.
        register_write: Option<u64>,
        /// What it tells.
        what: Declaration,
    },
    /// An interrupt was raised: its message sent or, for INTx, its cause added to the line.
    Interrupt {
        /// Which vector.
        vector: u16,
    },
    /// A message interrupt is held until the function may master the bus again.
    InterruptHeld {
        /// Which vector.
        vector: u16,
    },
    /// The function was reset: no byte may follow.
    Reset {
        /// Whence.
        reset: Reset,
    },
    /// Bus mastering was switched.
    BusMaster {
        /// On or off.
        on: bool,
    },
    /// The power state changed.
    PowerState {
        /// 0 is D0, 3 is D3hot.
        state: u8,
    },
    /// The machine connected to the card.
    Connected,
    /// The machine's connection ended; its mappings are gone.
    Disconnected,
    /// The machine asked for something that was refused.
    Refused {
        /// What, and why.
        what: String,
    },
    /// The witness in the guest tells of a call that the driver made to lend memory or to take it back.
    Call(DriverCall),
    /// The witness begins: what follows is all that the driver lends.
    Attached {
        /// Bus addresses of the kernel's text and read-only data: first byte.
        text_start: u64,
        /// First byte after them.
        text_end: u64,
        /// Syncs are heard of all memory, not only of bounce buffers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        syncs: bool,
    },
    /// Events of the witness were lost: what is lent is not known any more.
    WitnessGap {
        /// Number that the next event should have had.
        expected: u64,
        /// Number that it had.
        got: u64,
    },
    /// A call was made that lends or takes back, and that the witness does not hear: a blind spot.
    Unheard {
        /// Which, and what it means.
        what: String,
        /// It concerns only what other devices were lent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        others: bool,
    },
    /// What another device of the guest has lent to it, or had; told when somebody asks.
    Elsewhere {
        /// The device, as the kernel calls it.
        device: String,
        /// Its driver; empty: none.
        driver: String,
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
        /// Which way.
        direction: LendDirection,
        /// It came back already.
        ended: bool,
        /// The guest's monotonic clock when it was lent, nanoseconds.
        begun_ns: u64,
        /// And when it came back; 0: it did not.
        ended_ns: u64,
    },
    /// What a caller's address in the guest's kernel is called; told once, before the first call that has it.
    Symbol {
        /// The address.
        address: u64,
        /// `function+0x12/0x34 [module]`.
        name: String,
    },
    /// The driver's life with this device goes on, as the witness saw it.
    Driver {
        /// The driver's name; empty if the guest did not say.
        driver: String,
        /// Where it is now.
        state: DriverState,
    },
    /// The guest's kernel goes down, for a restart or another kernel: all drivers have shut their devices down.
    KernelDown,
    /// What the guest's CPUs do with memory that is the card's is told from here on.
    CpuWatched,
    /// They did something with it. Told when those bytes have changed hands, so after what it is about.
    Cpu(CpuAccess),
    /// Two of their accesses are in no order, and should be.
    Unordered(Unordered),
    /// Not all of that was told.
    CpuLost {
        /// How many findings, or lends, found no room.
        count: u64,
    },
    /// The machine mapped bus addresses for the card. Behind an IOMMU this is what the guest's IOMMU lets it reach.
    BusMapped {
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
        /// The card may read.
        readable: bool,
        /// The card may write.
        writable: bool,
    },
    /// The machine took bus addresses away from the card.
    BusUnmapped {
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Memory decoding, `COMMAND` bit 1, was switched.
    Decoding {
        /// On or off.
        on: bool,
    },
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 0 without gaps.
    pub sequence: u64,
    /// Nanoseconds since the journal began.
    pub time_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_payload(role: &Role) -> bool {
    *role == Role::Payload
}

const fn four() -> u8 {
    4
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_four(width: &u8) -> bool {
    *width == 4
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Kind {
    /// What a function told of its own work, and the register write that led to it.
    pub fn declaration(&self) -> Option<(&Declaration, Option<u64>)> {
        match self {
            Self::Declared {
                register_write,
                what,
            } => Some((what, *register_write)),
            _ => None,
        }
    }
}
