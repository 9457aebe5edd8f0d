// SPDX-License-Identifier: MIT OR Apache-2.0

//! The contract between any device and the machine it is plugged into: what a device implements, what it is lent, and
//! what it tells of itself.

mod bus;
pub mod declare;
mod function;
mod names;
pub mod register;

pub use bus::*;
pub use declare::{Declaration, Declares, IdleScope, Label, Limits, Owed, Piece, Promise};
pub use function::{Function, Host, Next, Notice, STEP_BYTES, UNCLAIMED};
pub use names::{UnknownName, named};
pub use register::{lookup, register};
