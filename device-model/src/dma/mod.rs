// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a device reaches guest memory: the current mappings, the window onto them, and every access in order.

pub mod journal;
pub mod map;
mod window;

pub use window::WindowError;

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
