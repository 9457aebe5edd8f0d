// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a device reaches guest memory: the current mappings, and the window onto them.

pub mod map;
mod window;

pub use map::Foretold;
pub use window::WindowError;
