// SPDX-License-Identifier: MIT OR Apache-2.0

//! One QEMU: its command line, its process, and the monitor that steers it.

pub mod command;
pub mod process;
pub mod qmp;
pub mod tuning;
