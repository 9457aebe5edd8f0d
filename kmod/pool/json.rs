// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `/sys/kernel/debug/landfall_pool/json`: everything that the other files tell, as one object.
//!
//! ```text
//! {"version": 1,
//!  "regions": [{"id", "source", "zone", "base", "bytes", "guard_pages", "free_bytes", "largest_free", "pages",
//!               "pieces", "buffers", "returning", "given_back", "fragmentation"}],
//!  "used": [{"base", "bytes", "allocated", "owner", "region"}],
//!  "free": [{"zone", "region", "base", "bytes"}],
//!  "holes": [{"region", "base", "bytes"}],
//!  "counters": {"allocations", "failed_allocations", "frees", "refused_frees", "lent_bytes", "peak_bytes"},
//!  "histogram": [{"call", "below_ns", "count"}]}
//! ```
//!
//! Numbers are decimal, addresses and sizes in bytes.

use super::{
    infos,
    listing::{each_range, each_used, fragmentation, origin, OwnerName},
    stats, POOL,
};
use kernel::{fmt, prelude::*};

/// Writes the object.
pub(crate) fn all(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("{\"version\": 1,\n \"regions\": [")?;
    let mut comma = Comma::default();
    for info in infos() {
        let (source, goes_back) = origin(info.id);
        f.write_fmt(fmt!(
            "{}{{\"id\": {}, \"source\": \"{}\", \"zone\": \"{}\", \"base\": {}, \"bytes\": {}, \"guard_pages\": {}, \"free_bytes\": {}, \"largest_free\": {}, \"pages\": {}, \"pieces\": {}, \"buffers\": {}, \"returning\": {}, \"given_back\": {}, \"fragmentation\": {}}}",
            comma.next(),
            info.id,
            source,
            info.zone.name(),
            info.base,
            info.bytes,
            info.guard_pages,
            info.free_bytes,
            info.largest_free,
            info.pages,
            info.pieces,
            info.buffers,
            info.returning,
            goes_back,
            fragmentation(&info),
        ))?;
    }
    f.write_str("],\n \"used\": [")?;
    let mut comma = Comma::default();
    let mut written = Ok(());
    each_used(|listed| {
        if written.is_ok() {
            written = f.write_fmt(fmt!(
                "{}{{\"base\": {}, \"bytes\": {}, \"allocated\": {}, \"owner\": \"{}\", \"region\": {}}}",
                comma.next(),
                listed.extent.base,
                listed.extent.bytes,
                listed.extent.allocated(),
                OwnerName(&listed.extent.tag),
                listed.region,
            ));
        }
    });
    written?;
    f.write_str("],\n \"free\": [")?;
    let mut comma = Comma::default();
    each_range(
        |from, into| POOL.copy_gaps(from, into),
        |range| {
            f.write_fmt(fmt!(
                "{}{{\"zone\": \"{}\", \"region\": {}, \"base\": {}, \"bytes\": {}}}",
                comma.next(),
                range.zone.name(),
                range.region,
                range.start,
                range.end.saturating_sub(range.start),
            ))
        },
    )?;
    f.write_str("],\n \"holes\": [")?;
    let mut comma = Comma::default();
    each_range(
        |from, into| POOL.copy_holes(from, into),
        |range| {
            f.write_fmt(fmt!(
                "{}{{\"region\": {}, \"base\": {}, \"bytes\": {}}}",
                comma.next(),
                range.region,
                range.start,
                range.end.saturating_sub(range.start),
            ))
        },
    )?;
    let counters = POOL.counters();
    f.write_fmt(fmt!(
        "],\n \"counters\": {{\"allocations\": {}, \"failed_allocations\": {}, \"frees\": {}, \"refused_frees\": {}, \"lent_bytes\": {}, \"peak_bytes\": {}}},\n \"histogram\": [",
        counters.allocations,
        counters.failed_allocations,
        counters.frees,
        counters.refused_frees,
        counters.lent_bytes,
        counters.peak_bytes,
    ))?;
    let mut comma = Comma::default();
    for histogram in stats::all() {
        for (below, count) in histogram.counts() {
            f.write_fmt(fmt!(
                "{}{{\"call\": \"{}\", \"below_ns\": {}, \"count\": {}}}",
                comma.next(),
                histogram.name,
                below,
                count,
            ))?;
        }
    }
    f.write_str("]}\n")
}

/// What comes before the next entry of a list.
#[derive(Default)]
struct Comma(bool);

impl Comma {
    fn next(&mut self) -> &'static str {
        if core::mem::replace(&mut self.0, true) {
            ",\n  "
        } else {
            "\n  "
        }
    }
}
