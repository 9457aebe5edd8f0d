// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What debugfs shows, in `/sys/kernel/debug/landfall_pool/`. The formats are stable: `key=value`, separated by
//! single blanks, one thing a line, new keys at the end; and `json`, one object with all of it.
//!
//! Nothing is written while the pool is locked: entries are copied in batches. What is there all the while is
//! listed once; what comes and goes meanwhile may be listed or not.

use super::{
    allocator::Extent,
    infos, json,
    regions::{Listed, Range, RegionInfo},
    source::{gather::SEARCH, Memory},
    stats, Owner, PAGE, POOL,
};
use kernel::{
    debugfs,
    fmt::{self, Write},
    prelude::*,
};

/// Entries of a batch; they lie on the stack.
const BATCH: usize = 16;

/// The files; they are gone when this is dropped.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    regions: debugfs::File<()>,
    #[pin]
    used: debugfs::File<()>,
    #[pin]
    free: debugfs::File<()>,
    #[pin]
    holes: debugfs::File<()>,
    #[pin]
    clusters: debugfs::File<()>,
    #[pin]
    counters: debugfs::File<()>,
    #[pin]
    histogram: debugfs::File<()>,
    #[pin]
    json: debugfs::File<()>,
    directory: debugfs::Dir,
}

impl Files {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        let directory = debugfs::Dir::new(c"landfall_pool");
        try_pin_init!(Self {
            regions <- directory.read_callback_file(c"regions", (), &regions),
            used <- directory.read_callback_file(c"used", (), &used),
            free <- directory.read_callback_file(c"free", (), &free),
            holes <- directory.read_callback_file(c"holes", (), &holes),
            clusters <- directory.read_callback_file(c"clusters", (), &clusters),
            counters <- directory.read_callback_file(c"counters", (), &counters),
            histogram <- directory.read_callback_file(c"histogram", (), &histogram),
            json <- directory.read_callback_file(c"json", (), &json::all),
            directory,
        })
    }
}

/// One line for each region.
fn regions(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    infos().try_for_each(|info| f.write_fmt(fmt!("{}\n", Summary(&info))))
}

/// One line for each buffer that is lent, ascending.
fn used(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    each_used(|listed| {
        if result.is_ok() {
            result = f.write_fmt(fmt!("{}\n", Line(listed)));
        }
    });
    result
}

/// One line for each free range, those of one zone together, the highest zone first, each ascending.
fn free(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    super::regions::Zone::ALL.iter().try_for_each(|zone| {
        each_range(
            |from, into| POOL.copy_gaps(from, into),
            |range| {
                if range.zone != *zone {
                    return Ok(());
                }
                f.write_fmt(fmt!(
                    "zone={} region={} base={:#x} bytes={}\n",
                    range.zone.name(),
                    range.region,
                    range.start,
                    range.end.saturating_sub(range.start),
                ))
            },
        )
    })
}

/// One line for each hole of a scattered region, ascending.
fn holes(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    each_range(
        |from, into| POOL.copy_holes(from, into),
        |range| {
            f.write_fmt(fmt!(
                "region={} base={:#x} bytes={}\n",
                range.region,
                range.start,
                range.end.saturating_sub(range.start),
            ))
        },
    )
}

/// The last search of source=cluster, or the one that goes on: how it stands, then its clusters, ascending.
fn clusters(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &*SEARCH.lock() {
        Some(search) => {
            f.write_fmt(fmt!(
                "search={} wanted_pages={} touched_pages={}\n",
                search.state,
                search.wanted,
                search.touched,
            ))?;
            let mut runs = search.clusters.runs().iter();
            runs.try_for_each(|run| {
                f.write_fmt(fmt!("base={:#x} bytes={}\n", run.start, run.bytes()))
            })
        }
        None => Ok(()),
    }
}

/// What happened since the module was loaded, in one line.
fn counters(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counters = POOL.counters();
    f.write_fmt(fmt!(
        "allocations={} failed_allocations={} frees={} refused_frees={} lent_bytes={} peak_bytes={}\n",
        counters.allocations,
        counters.failed_allocations,
        counters.frees,
        counters.refused_frees,
        counters.lent_bytes,
        counters.peak_bytes,
    ))
}

/// How long the calls took: one line for each call and power of two that was met.
fn histogram(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    stats::all().iter().try_for_each(|histogram| {
        histogram.counts().try_for_each(|(below, count)| {
            f.write_fmt(fmt!(
                "call={} below_ns={} count={}\n",
                histogram.name,
                below,
                count,
            ))
        })
    })
}

/// Calls `each` for every buffer that is lent, ascending.
pub(crate) fn each_used(mut each: impl FnMut(&Listed<Owner>)) {
    let mut batch = [Listed::<Owner>::default(); BATCH];
    let mut from = 0;
    loop {
        let count = POOL.copy_used(from, &mut batch);
        let listed = batch.iter().take(count);
        listed.clone().for_each(&mut each);
        match listed.last() {
            Some(last) if count == BATCH => from = last.extent.base.saturating_add(1),
            _ => break,
        }
    }
}

/// Calls `each` for every range that `copy` gives, ascending.
pub(crate) fn each_range(
    copy: impl Fn(u64, &mut [Range]) -> usize,
    mut each: impl FnMut(&Range) -> fmt::Result,
) -> fmt::Result {
    let mut batch = [Range::default(); BATCH];
    let mut from = 0;
    loop {
        let count = copy(from, &mut batch);
        let ranges = batch.iter().take(count);
        ranges.clone().try_for_each(&mut each)?;
        match ranges.last() {
            Some(last) if count == BATCH => from = last.start.saturating_add(1),
            _ => break Ok(()),
        }
    }
}

/// The source of a region, and whether its memory goes back; a region that is just gone has neither.
pub(crate) fn origin(region: u32) -> (&'static str, bool) {
    POOL.view(region, |memory: &Memory| {
        (memory.source, memory.goes_back())
    })
    .unwrap_or(("gone", false))
}

/// The part of the free bytes that lies outside the largest free run, in thousandths: 0 if all is in one, or
/// nothing is free.
pub(crate) fn fragmentation(info: &RegionInfo) -> u64 {
    let guards = info.guard_pages.saturating_mul(2 * PAGE);
    let largest = match info.largest_free {
        0 => 0,
        bytes => bytes.saturating_add(guards).min(info.free_bytes),
    };
    let apart = info.free_bytes.saturating_sub(largest);
    let thousandths = apart.saturating_mul(1000);
    thousandths.checked_div(info.free_bytes).unwrap_or(0)
}

/// A region in one line.
pub(crate) struct Summary<'a>(pub(crate) &'a RegionInfo);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0;
        let (source, goes_back) = origin(info.id);
        f.write_fmt(fmt!(
            "id={} source={} zone={} base={:#x} bytes={} guard_pages={} free_bytes={} largest_free={} pages={} pieces={} buffers={} given_back={} fragmentation={}",
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
            if goes_back { "yes" } else { "no" },
            fragmentation(info),
        ))
    }
}

/// A buffer in one line.
pub(crate) struct Line<'a>(pub(crate) &'a Listed<Owner>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extent: &Extent<Owner> = &self.0.extent;
        f.write_fmt(fmt!(
            "base={:#x} bytes={} allocated={} owner={} region={}",
            extent.base,
            extent.bytes,
            extent.allocated(),
            OwnerName(&extent.tag),
            self.0.region,
        ))
    }
}

/// An owner's name.
pub(crate) struct OwnerName<'a>(pub(crate) &'a Owner);

impl fmt::Display for OwnerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.0.name;
        let length = name.iter().position(|byte| *byte == 0);
        Word(name.get(..length.unwrap_or(name.len())).unwrap_or(name)).fmt(f)
    }
}

/// A word from outside, with every byte that could break a line or a JSON string shown as `?`.
pub(crate) struct Word<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| {
            let plain = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            f.write_char(if plain { char::from(*byte) } else { '?' })
        })
    }
}
