// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two cards of somebody else's.

pub mod copier;
pub mod window;
