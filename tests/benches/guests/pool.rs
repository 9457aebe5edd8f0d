// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lending and taking back, beside the kernel's own allocators in the same guest and run.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall::guest::{GuestOptions, POOL_MODULE};
use landfall_tests::{Result, boot, with_capture_card};

use super::table::{Table, ratio, time};

/// A module that stands for other people's drivers, and measures (`kmod/pool_user/bench.c`).
const USER: &str = "landfall_pool_user";
const RESULTS: &str = "/sys/kernel/debug/landfall_pool_user/results";
/// Buffers that are lent meanwhile.
const LIVE: [u64; 4] = [10, 100, 1000, 10_000];
/// Pages of the buffer that is timed.
const TIMED: u64 = 2;

pub(crate) fn measure() -> Result<Table> {
    let guest = boot(GuestOptions {
        memory: 512 << 20,
        cards: Vec::new(),
        ..with_capture_card()
    })?;
    let mut table = Table::new(
        "Lending in the guest",
        "Two pages, while so many buffers of one page are held with a page free between any two: what first fit finds \
         hardest. Medians of 2000 (alloc_contig_pages: 100), in one guest and run. The pool's free fills the pages with \
         the canary, the others write nothing. alloc_contig_pages cannot hold as many: a page that it gave keeps a \
         whole page block from its next calls.",
        &[
            "buffers held",
            "pool",
            "p99",
            "genalloc",
            "pool / genalloc",
            "alloc_contig_pages",
            "pool / contig",
            "pool, free",
            "genalloc, free",
            "contig, free",
        ],
    );
    for live in LIVE {
        let pages = 2 * live + TIMED;
        guest.load_module(
            POOL_MODULE,
            &format!("source=contig pages={pages} guard_pages=0 buffers={pages}"),
        )?;
        guest.load_module(USER, &format!("bench={live} rounds=2000"))?;
        let text = guest.read_text(RESULTS)?;
        let found: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let of = |key: &str| -> Result<Duration> {
            let text = found.get(key).ok_or_else(|| format!("no {key}"))?;
            Ok(Duration::from_nanos(text.parse()?))
        };
        let pool = of("bench_pool_take_median_ns")?;
        let genalloc = of("bench_genalloc_take_median_ns")?;
        let contig = of("bench_contig_take_median_ns")?;
        table.row([
            live.to_string(),
            time(pool),
            time(of("bench_pool_take_p99_ns")?),
            time(genalloc),
            ratio(pool, genalloc),
            time(contig),
            ratio(pool, contig),
            time(of("bench_pool_give_median_ns")?),
            time(of("bench_genalloc_give_median_ns")?),
            time(of("bench_contig_give_median_ns")?),
        ]);
        guest.unload_module(USER)?;
        guest.unload_module(POOL_MODULE)?;
    }
    guest.power_off()?;
    Ok(table)
}
