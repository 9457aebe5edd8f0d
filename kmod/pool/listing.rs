// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What debugfs shows. The format is stable: `key=value`, separated by single blanks, one thing a line.

use super::allocator::Extent;
use super::{Owner, Pool, POOL};
use kernel::{
    fmt::{self, Write},
    prelude::*,
};

/// `/sys/kernel/debug/landfall_pool/regions`: one line for each region.
pub(crate) fn regions(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &*POOL.lock() {
        Some(pool) => f.write_fmt(fmt!("{}\n", Summary(pool))),
        None => Ok(()),
    }
}

/// `/sys/kernel/debug/landfall_pool/used`: one line for each buffer that is lent, ascending.
pub(crate) fn used(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &*POOL.lock() {
        Some(pool) => pool
            .reserve
            .used()
            .iter()
            .try_for_each(|extent| f.write_fmt(fmt!("{}\n", Line(extent)))),
        None => Ok(()),
    }
}

/// A region in one line.
pub(crate) struct Summary<'a>(pub(crate) &'a Pool);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reserve = &self.0.reserve;
        f.write_fmt(fmt!(
            "source={} base={:#x} bytes={} guard_pages={} free_bytes={} largest_free={}",
            self.0.region.source,
            reserve.base(),
            reserve.bytes(),
            reserve.guard_pages(),
            reserve.free_bytes(),
            reserve.largest_free(),
        ))
    }
}

/// A buffer in one line.
pub(crate) struct Line<'a>(pub(crate) &'a Extent<Owner>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!(
            "base={:#x} bytes={} allocated={} owner={}",
            self.0.base,
            self.0.bytes,
            self.0.allocated(),
            OwnerName(&self.0.tag),
        ))
    }
}

/// An owner, with every byte that could break the line shown as `?`.
pub(crate) struct OwnerName<'a>(pub(crate) &'a Owner);

impl fmt::Display for OwnerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take_while(|byte| **byte != 0)
            .try_for_each(|byte| {
                let shown = if byte.is_ascii_graphic() {
                    char::from(*byte)
                } else {
                    '?'
                };
                f.write_char(shown)
            })
    }
}
