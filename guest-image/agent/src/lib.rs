// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of a Landfall guest, and the protocol it speaks with the harness.
//!
//! The library is the protocol alone, for both sides; the program is in `main.rs` and runs in the guest only.

pub mod protocol;
