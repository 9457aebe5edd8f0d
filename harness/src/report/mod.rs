// SPDX-License-Identifier: MIT OR Apache-2.0

//! The words and pictures of a verdict.

pub mod chapter;
pub mod drawing;
pub mod map;
pub mod schema;
pub mod symbol;
pub mod words;
