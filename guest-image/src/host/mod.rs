// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the host gives: its programs, its namespaces, its mirror; and the wish to stop.

pub(crate) mod cancel;
pub(crate) mod follow;
pub(crate) mod mirror;
pub(crate) mod namespace;
pub mod parallel;
pub(crate) mod privilege;
pub(crate) mod process;
