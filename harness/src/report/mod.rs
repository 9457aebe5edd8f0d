// SPDX-License-Identifier: MIT OR Apache-2.0

//! The words and pictures of a verdict.

pub mod drawing;
pub mod map;
pub mod schema;
