// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What debugfs shows, in `/sys/kernel/debug/landfall_pool/`. The formats are stable: `key=value`, separated by
//! single blanks, one thing a line, new keys at the end; and `json`, one object with all of it.
//!
//! Nothing is written while the pool is locked: entries are copied in batches, so that a list is true of each
//! entry, but may mix moments.

use super::{source::gather::SEARCH, stats, Owner, Pool, POOL};
use kernel::{
    fmt::{self, Write},
    prelude::*,
};

