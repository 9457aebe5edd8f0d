// SPDX-License-Identifier: MIT OR Apache-2.0

//! The source that merges the page allocator's largest blocks ("chapters") until they are one piece, and returns the
//! rest.

use landfall::guest::{Booted, Guest, GuestOptions, POOL_MODULE};
use landfall_tests::errno::ENOMEM;
use landfall_tests::{Result, SHORT, assert_refused, boot, kernel_log, with_capture_card};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
/// Pages of a chapter.
const CHAPTER: u64 = 1024;

/// A guest whose pool has one page, so that it can be asked for more.
fn guest() -> Result<Guest<Booted>> {
    let guest = boot(GuestOptions {
        cards: Vec::new(),
        spare_ports: 1,
        ..with_capture_card()
    })?;
    guest.load_module(POOL_MODULE, "source=pages:1 guard_pages=0")?;
    Ok(guest)
}

/// A line of `/proc/meminfo`, bytes.
fn meminfo(guest: &Guest<Booted>, name: &str) -> Result<u64> {
    let text = guest.read_text("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("no such line")?.trim().parse::<u64>()? << 10)
}

/// Any size, below a chapter, one, and many: exactly so many pages in one piece, and every one of them goes back the
/// same way.
#[test]
fn every_size_is_given_exactly_and_goes_back() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    // The first search touches memory that was never free before; what it leaves is the measure.
    let warm = pool.grow("cluster", 8192, 0)?;
    pool.shrink(warm.region)?;
    let free = meminfo(&guest, "MemFree")?;
    for pages in [1, 3, 750, 1023, 1024, 1025, 2047, 2048, 3000, 8192] {
        for _ in 0..3 {
            let grown = pool.grow("cluster", pages, 0)?;

            let taken = grown.taken;
            assert_eq!((taken.pages, taken.pieces), (pages, 1), "{taken:?}");
            assert_eq!((taken.span, taken.waste), (pages * PAGE, 0), "{taken:?}");
            assert!(pool.shrink(grown.region)?.returned);
        }
    }
    let now = meminfo(&guest, "MemFree")?;
    assert!(now + 4 * MIB > free, "{free} free before, {now} after");
    drop(pool);
    Ok(guest.power_off()?)
}

/// On a fresh guest it touches at most 1.1 times the chapters that it needs, and tells of them in ascending order.
#[test]
fn a_fresh_guest_is_hardly_touched_and_the_search_is_told() -> Result {
    let guest = guest()?;
    assert_eq!(guest.clusters()?, None, "nothing was searched for yet");
    let pool = guest.pool()?;

    let usual = pool.grow("cluster", 0, 0)?;
    assert_eq!(usual.taken.pages, 16 * MIB / PAGE, "16 MiB by default");
    assert_eq!(usual.taken.touched, usual.taken.pages, "not one too many");
    pool.shrink(usual.region)?;
    let large = pool.grow("cluster", 20 * CHAPTER, 0)?.taken;

    assert!(large.touched <= 22 * CHAPTER, "{large:?}");
    let search = guest.clusters()?.ok_or("a search")?;
    assert_eq!(
        (search.search.as_str(), search.wanted_pages),
        ("found", 20 * CHAPTER)
    );
    assert_eq!(search.touched_pages, large.touched);
    let pages = search.clusters.iter().map(|(_, bytes)| bytes / PAGE);
    assert_eq!(pages.sum::<u64>(), large.touched);
    assert!(
        search
            .clusters
            .windows(2)
            .all(|pair| pair[0].0 + pair[0].1 < pair[1].0)
    );
    let found = search.clusters.iter().any(|(base, bytes)| {
        (*base..base + bytes).contains(&large.base) && *bytes >= 20 * CHAPTER * PAGE
    });
    assert!(found, "{large:x?} in {search:x?}");
    drop(pool);
    Ok(guest.power_off()?)
}

/// Under pressure, where there are chapters but none side by side, it fails in words, kills nothing, keeps nothing, and
/// leaves what others have; afterwards it finds what it did not.
#[test]
fn under_pressure_it_fails_cleanly_and_kills_nothing() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    let bait = guest.hold_pool_buffer(PAGE, false)?;
    let chapters = (0..14)
        .map(|_| pool.grow("buddy", CHAPTER, 0))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let fill = meminfo(&guest, "MemAvailable")?.saturating_sub(34 * MIB) / MIB / 2;
    for file in ["/tmp/fill", "/dev/shm/fill"] {
        let size = format!("count={fill}");
        let argv = [
            "/bin/busybox",
            "dd",
            "if=/dev/zero",
            &format!("of={file}"),
            "bs=1M",
            &size,
        ];
        assert_eq!(guest.run(&argv, SHORT * 3)?.status, 0, "{file}");
    }
    let mut by_place = chapters;
    by_place.sort_by_key(|chapter| chapter.taken.base);
    let (apart, between): (Vec<_>, Vec<_>) =
        (0..).zip(by_place).partition(|(place, _)| place % 2 == 0);
    for (_, chapter) in &apart {
        pool.shrink(chapter.region)?;
    }
    let free = meminfo(&guest, "MemFree")?;

    assert_refused(pool.grow("cluster", 6 * CHAPTER, 0), ENOMEM);

    let search = guest.clusters()?.ok_or("a search")?;
    assert_eq!(search.search, "failed");
    assert!(search.touched_pages >= CHAPTER, "it looked: {search:?}");
    let now = meminfo(&guest, "MemFree")?;
    assert!(now + 4 * MIB > free, "{free} free before, {now} after");
    let log = kernel_log(&guest)?;
    for killed in ["oom-kill", "Out of memory", "Killed process"] {
        assert!(!log.contains(killed), "{log}");
    }
    assert!(log.contains("source=cluster found no 6144 pages"), "{log}");
    assert!(guest.used()?.iter().any(|used| used.base == bait.phys));
    bait.kill()?;

    guest.run(&["/bin/busybox", "rm", "/tmp/fill", "/dev/shm/fill"], SHORT)?;
    for (_, chapter) in between {
        pool.shrink(chapter.region)?;
    }
    let grown = pool.grow("cluster", 6 * CHAPTER, 0)?;
    assert_eq!(grown.taken.pieces, 1);
    pool.shrink(grown.region)?;
    drop(pool);
    Ok(guest.power_off()?)
}
