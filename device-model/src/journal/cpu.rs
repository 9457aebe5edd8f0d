// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest's CPUs did with memory that was a card's.

use serde::{Deserialize, Serialize};

use crate::contract::JobId;

/// How it was settled: what became of those bytes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// They were synced for the CPU.
    ForCpu,
    /// They were synced for the card.
    ForDevice,
    /// They were lent no more.
    Ended,
    /// Their video buffer went back to its user, or to the driver.
    Done,
    /// Nobody knows: the card is gone, or the witness.
    Unknown,
}

/// Accesses of one instruction to bytes of one lend while they were the card's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuAccess {
    /// Stores; else loads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub store: bool,
    /// By user space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
    /// The lend was a video buffer that the driver had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub queued: bool,
    /// Not every byte of the range was accessed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gaps: bool,
    /// Address of the instruction, in the guest.
    pub pc: u64,
    /// Bus address of the lowest byte.
    pub address: u64,
    /// Bytes from there to the highest.
    pub length: u64,
    /// How many accesses.
    pub count: u64,
    /// The guest's CPU that was the first.
    pub cpu: u32,
    /// When the first was made: nanoseconds since the journal began.
    pub first_ns: u64,
    /// And the last.
    pub last_ns: u64,
    /// First bus address of the lend.
    pub lend: u64,
    /// Number of the witness's event that began it.
    pub lend_number: u64,
    /// The last event before the first access.
    pub after: u64,
    /// What became of those bytes, and by which event; none: nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<(Settled, u64)>,
    /// Words of the stack at the first access that may be return addresses, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<u64>,
}

/// Two accesses of one CPU that nothing puts in order. A load of what the card had written for a job, which should have come behind
/// another, by which the CPU knew that it is there; or a store to coherent memory, which should have come before a write of a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unordered {
    /// A store; else a load.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub store: bool,
    /// Of a load, the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Address of the instruction, in the guest.
    pub pc: u64,
    /// First bus address of what it accessed; its physical one, if that is lent no more.
    pub address: u64,
    /// Bytes from there.
    pub length: u64,
    /// The lend: its first bus address, and the number of the witness's event that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lend: Option<(u64, u64)>,
    /// Address of the other instruction.
    pub other_pc: u64,
    /// Physical address of what that one accessed.
    pub other: u64,
    /// That was a register of the card's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_register: bool,
    /// A barrier stood between them that is one for CPUs alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_cpus: bool,
    /// The guest's CPU.
    pub cpu: u32,
    /// When: nanoseconds since the journal began.
    pub at_ns: u64,
    /// Words of the stack that may be return addresses, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<u64>,
}
