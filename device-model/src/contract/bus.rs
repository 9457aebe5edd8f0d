// SPDX-License-Identifier: MIT OR Apache-2.0

//! Words that devices, journal and ledger share.

use std::borrow::Cow;

/// How a function asks for attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InterruptKind {
    /// The legacy line, pin A. Every function has it; of this kind, it has nothing else.
    Intx,
    /// Message signalled; up to 32 vectors.
    #[default]
    Msi,
    /// Message signalled through a table in a BAR; up to 2048 vectors.
    Msix,
}

impl InterruptKind {
    /// All kinds, for those who try each.
    pub const ALL: [Self; 3] = [Self::Intx, Self::Msi, Self::Msix];
}

crate::named! {
    InterruptKind, "interrupt kind" {
        Intx => "intx",
        Msi => "msi",
        Msix => "msix",
    }
}

/// A register as the data sheet names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegisterName {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Which element, if it is an array.
    pub index: Option<usize>,
}

impl RegisterName {
    /// A register that is no element of an array.
    pub const fn plain(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            index: None,
        }
    }
}

impl std::fmt::Display for RegisterName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}[{index}]", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl serde::Serialize for RegisterName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes what it serializes to: `NAME` or `NAME[3]`.
impl<'de> serde::Deserialize<'de> for RegisterName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let element = text
            .strip_suffix(']')
            .and_then(|rest| rest.rsplit_once('['))
            .and_then(|(name, index)| Some((name.to_owned(), index.parse().ok()?)));
        let (name, index) = match element {
            Some((name, index)) => (name, Some(index)),
            None => (text, None),
        };
        let name = Cow::Owned(name);
        Ok(Self { name, index })
    }
}

/// An interrupt vector of the function, from 0.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Vector(pub u16);

/// A queue of the function's, from 0; a function that takes one job after the other has one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct QueueId(pub u16);

/// A job's number: unique over all queues since the function was made, whatever reset it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What memory is to a function.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The data that a job is about.
    #[default]
    Payload,
    /// A ring of descriptors, a scatter list, a command: what the function fetches to know what to do, and what it
    /// writes back into it.
    Descriptor,
    /// A status block, a head pointer, a completion record: what the function writes to say how far it is.
    Status,
    /// Other memory of a job: a mask, a palette, a key.
    Side,
}

impl Role {
    /// Whether it is no data: control memory.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Descriptor | Self::Status)
    }
}

/// Direction of an access, from the card's view of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The card writes memory.
    Write,
    /// The card reads memory.
    Read,
}

/// On whose behalf a function touches memory; goes into the journal with the access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The job, if it is for one.
    pub job: Option<JobId>,
    /// The slot, if it is for one that has no job yet.
    pub slot: Option<u32>,
    /// What the memory is to the function.
    pub role: Role,
}

impl Tag {
    /// For a job's data.
    pub const fn job(job: JobId) -> Self {
        Self {
            job: Some(job),
            slot: None,
            role: Role::Payload,
        }
    }

    /// The same for memory of another role.
    pub const fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }
}

/// Where a reset came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// The machine reset the whole device (power-on, bus reset, system reset).
    Device,
    /// Function-level reset, by the PCI Express capability.
    FunctionLevel,
    /// The function's own reset register.
    Register,
}

/// Why an access to memory was refused. Nothing was read or written.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum DmaError {
    /// Some byte of it is in no mapping.
    #[error("address is not mapped")]
    Unmapped,
    /// Some byte of it is in a mapping that came without a file.
    #[error("mapping has no memory behind it")]
    Unbacked,
    /// The memory behind a mapping is not there any more: whose it is, no function.
    #[error("the memory behind the mapping is gone")]
    Lost,
    /// Some byte of it is in a mapping that does not allow this direction.
    #[error("mapping does not allow this direction")]
    Direction,
    /// The range passes the end of the address space.
    #[error("address range wraps")]
    Wraps,
    /// Bus mastering is off.
    #[error("bus mastering is off")]
    NotMaster,
    /// The function is not in power state D0.
    #[error("function is not in D0")]
    NotPowered,
}
