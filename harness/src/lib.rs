// SPDX-License-Identifier: MIT OR Apache-2.0

//! Boots a real guest around emulated cards and proves where every byte landed.
//!
//! [`guest`] boots and steers a guest: configured, booted, loaded. [`memory`] is guest memory as the host
//! sees it. [`verify`] compares it with what a card should have written, and all of the pool with what it
//! should hold. [`run`] is the main job, which the command `landfall run` shows: capture, compare three views
//! of each transfer, and give a verdict as a [`schema::Report`].
//!
//! Nothing here prints, exits or reads the environment; that is left to the command.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod accelerator;
pub mod evidence;
pub mod frames;
pub mod guest;
pub mod map;
pub mod memory;
pub mod qemu;
pub mod run;
pub mod schema;
pub mod selftest;
pub mod verify;

pub use landfall_guest::Cancel;
