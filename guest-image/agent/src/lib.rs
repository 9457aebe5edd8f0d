// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of a Landfall guest, and the protocol it speaks with the harness.
pub mod protocol;
