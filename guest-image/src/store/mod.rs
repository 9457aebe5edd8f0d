// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where it all is kept: entries by what went into them, locked while in use.

pub(crate) mod cache;
pub(crate) mod hash;
pub(crate) mod lock;
pub(crate) mod snapshots;
