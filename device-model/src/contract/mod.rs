// SPDX-License-Identifier: MIT OR Apache-2.0

//! The contract between any device and the machine it is plugged into: what a device implements, what it is lent, and
//! what it tells of itself.

mod access;
mod backing;
mod bus;
pub mod declare;
mod function;
mod identity;
mod names;
mod refused;
pub mod register;

pub use access::{Access, Lanes, Width, split};
pub use backing::Backing;
pub use bus::*;
pub use declare::{Declaration, Declares, IdleScope, Label, Limits, Owed, Piece, Promise};
pub use function::{Device, Function, Host, Next, Notice, Registers, STEP_BYTES, Setup, UNCLAIMED};
pub use identity::*;
pub use names::UnknownName;
pub use refused::*;
pub use register::lookup;

pub use crate::{named, register};
