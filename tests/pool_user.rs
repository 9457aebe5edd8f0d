// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver in C, `landfall_pool_user`, uses the pool: rightly, wrongly, from several threads, beside our own driver.

use std::collections::BTreeMap;

use landfall::guest::{
    Booted, Guest, GuestOptions, POOL_MODULE, PoolOptions, PoolSource, PoolWanted, Running,
};
use landfall_suite::capture::{CAPTURE_MODULE, Device};
use landfall_suite::run::{CapturePlan, Session};
use landfall_tests::errno::{EINVAL, ENOMEM, EWOULDBLOCK};
use landfall_tests::{
    Result, assert_refused, boot, boot_loaded, capture_clean, kernel_log, with_capture_card,
};

const USER: &str = "landfall_pool_user";
const PAGE: u64 = 4096;

/// A guest without the pool and without a card.
fn guest() -> Result<Guest<Booted>> {
    Ok(boot(GuestOptions {
        cards: Vec::new(),
        spare_ports: 1,
        ..with_capture_card()
    })?)
}

/// Loads the user and gives what it found.
fn results<Stage: Running>(
    guest: &Guest<Stage>,
    parameters: &str,
) -> Result<BTreeMap<String, i64>> {
    guest.load_module(USER, parameters)?;
    let text = guest.read_text("/sys/kernel/debug/landfall_pool_user/results")?;
    let mut results = BTreeMap::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').ok_or("key=value")?;
        results.insert(key.to_owned(), value.parse()?);
    }
    Ok(results)
}

/// The addresses that a result of that name tells, ascending.
fn addresses(results: &BTreeMap<String, i64>, name: &str) -> Vec<u64> {
    let told = results.iter().filter(|(key, _)| key.starts_with(name));
    let mut addresses: Vec<_> = told.map(|(_, value)| value.cast_unsigned()).collect();
    addresses.sort_unstable();
    addresses
}

/// 750 pages, as often as they fit, by both calls: whole, apart, listed with owner and place, and all back at the end.
#[test]
fn a_c_driver_takes_750_pages_by_both_calls() -> Result {
    let guest = guest()?;
    guest.load_module(POOL_MODULE, "source=contig pages=3100")?;

    let found = results(&guest, "take=2 bmallocs=3 pages=750")?;

    assert_eq!((found["taken"], found["bmalloced"]), (2, 2), "four fit");
    let used = guest.used()?;
    let mut taken = addresses(&found, "taken_phys");
    taken.extend(addresses(&found, "bmalloc_phys"));
    taken.sort_unstable();
    assert_eq!(used.iter().map(|used| used.base).collect::<Vec<_>>(), taken);
    assert!(used.iter().all(|used| used.allocated == 750 * PAGE));
    assert!(
        used.windows(2)
            .all(|pair| pair[0].base + 750 * PAGE < pair[1].base)
    );
    let owners: Vec<_> = used.iter().map(|used| used.owner.as_str()).collect();
    assert_eq!(
        owners.iter().filter(|owner| **owner == "pool_user").count(),
        2,
        "{owners:?}"
    );

    assert_refused(guest.unload_module(POOL_MODULE), EWOULDBLOCK);
    guest.unload_module(USER)?;
    assert_eq!(guest.used()?, []);
    guest.unload_module(POOL_MODULE)?;
    Ok(guest.power_off()?)
}

/// Sizes are rounded up to pages, and the lowest place that fits is given.
#[test]
fn the_lowest_place_that_fits_is_given() -> Result {
    let guest = guest()?;
    guest.load_module(POOL_MODULE, "source=contig pages=1024 guard_pages=0")?;
    let base = guest.regions()?[0].base;
    let pool = guest.pool()?;
    let first = pool.allocate(&PoolWanted {
        bytes: 5 * PAGE + 1,
        ..PoolWanted::default()
    })?;
    assert_eq!((first.phys, first.allocated), (base, 6 * PAGE));

    let found = results(&guest, "take=2 pages=4")?;
    let lowest = [base + 6 * PAGE, base + 10 * PAGE];
    assert_eq!(addresses(&found, "taken_phys"), lowest);
    guest.unload_module(USER)?;
    pool.free(first.handle)?;
    let found = results(&guest, "take=1 bmallocs=1 pages=3")?;
    assert_eq!(addresses(&found, "taken_phys"), [base]);
    assert_eq!(addresses(&found, "bmalloc_phys"), [base + 3 * PAGE]);

    guest.unload_module(USER)?;
    drop(pool);
    Ok(guest.power_off()?)
}

/// Wrong frees, by both calls, are refused, told in the kernel's log, and change nothing; the right one works after
/// each of them, once.
#[test]
fn wrong_frees_are_refused_and_change_nothing() -> Result {
    let guest = guest()?;
    guest.load_module(POOL_MODULE, "source=contig pages=4096")?;
    let free = guest.regions()?[0].free_bytes;

    let found = results(&guest, "misuse=1 take=1 pages=16")?;

    for right in ["free_right", "bfree_right"] {
        assert_eq!(found[right], 0, "{right}");
    }
    let wrong = found
        .iter()
        .filter(|(key, _)| key.contains("free_") && !key.ends_with("right"));
    assert_eq!(wrong.clone().count(), 11);
    for (key, errno) in wrong {
        assert_eq!(*errno, i64::from(-EINVAL), "{key}");
    }
    for nonsense in ["allocate_nothing", "allocate_misaligned"] {
        assert_eq!(found[nonsense], i64::from(-EINVAL), "{nonsense}");
    }
    assert_eq!(found["bmalloc_nothing"], i64::from(-ENOMEM));
    let log = kernel_log(&guest)?;
    assert!(log.matches("refused to free").count() >= 11, "{log}");

    let [left] = &guest.used()?[..] else {
        panic!("only what it keeps is lent")
    };
    assert_eq!(left.allocated, 16 * PAGE);
    guest.unload_module(USER)?;
    assert_eq!(guest.regions()?[0].free_bytes, free);
    Ok(guest.power_off()?)
}

/// Four threads take, fill, check and free at once, while user space does too: nobody sees another's bytes, and in the
/// end all is free.
#[test]
fn callers_at_once_never_share_a_page() -> Result {
    let guest = guest()?;
    // Little enough that they meet, and that some requests find no place.
    guest.load_module(POOL_MODULE, "source=contig pages=120")?;

    let found = results(&guest, "threads=4 rounds=800")?;

    let sum = |name: &str| {
        let told = found.iter().filter(|(key, _)| key.starts_with(name));
        told.map(|(_, value)| *value).sum::<i64>()
    };
    assert_eq!((sum("thread_wrong_words"), sum("thread_error")), (0, 0));
    assert_eq!(sum("thread_taken") + sum("thread_refused"), 4 * 800);
    assert!(sum("thread_taken") > 800, "{found:?}");
    assert!(sum("thread_refused") > 0, "they never met: {found:?}");
    assert_eq!(guest.used()?, []);
    let [region] = &guest.regions()?[..] else {
        panic!("one region")
    };
    assert_eq!(region.free_bytes, region.pages * PAGE);
    let counters = guest.pool_counters()?;
    assert_eq!(counters["allocations"], counters["frees"]);
    Ok(guest.power_off()?)
}

/// A user that goes without giving back: the pool lists what is still lent when it goes itself, and keeps that memory
/// from the kernel, since a card may still write to it.
#[test]
fn what_is_still_lent_is_listed_and_kept_when_the_pool_goes() -> Result {
    let guest = guest()?;
    guest.load_module(POOL_MODULE, "source=contig:2048+contig:1024")?;
    let found = results(&guest, "take=2 pages=750 leak=1")?;
    let lost = addresses(&found, "taken_phys");
    guest.unload_module(USER)?;
    let used = guest.used()?;
    assert_eq!(used.len(), 2, "still lent");
    let before: Vec<_> = lost
        .iter()
        .map(|at| guest.read_phys(*at..at + 750 * PAGE))
        .collect::<std::result::Result<_, _>>()?;

    guest.unload_module(POOL_MODULE)?;

    let log = kernel_log(&guest)?;
    for used in &used {
        let line = format!("still lent: base={:#x} bytes={}", used.base, used.bytes);
        assert!(log.contains(&line), "{line}: {log}");
    }
    assert!(log.contains("buffers still lent: 2"), "{log}");
    // The kernel would write to it now, if it had it: what is free is filled up.
    let fill = "dd if=/dev/zero of=/tmp/fill bs=1M count=300; rm /tmp/fill";
    guest.run(
        &["/bin/busybox", "sh", "-c", fill],
        landfall_tests::SHORT * 6,
    )?;
    for (at, before) in lost.iter().zip(before) {
        let now = guest.read_phys(*at..at + 750 * PAGE)?;
        assert!(now == before, "{at:#x} was given to somebody else");
    }
    Ok(guest.power_off()?)
}

/// A driver in C and ours in Rust have buffers of one pool at a time; ours captures, and the other's memory stays as it
/// was.
#[test]
fn a_c_driver_and_ours_share_one_pool() -> Result {
    let guest = boot_loaded(GuestOptions {
        pool: PoolOptions {
            source: PoolSource::Contig,
            size: 16 << 20,
            ..PoolOptions::default()
        },
        ..with_capture_card()
    })?;
    let found = results(&guest, "take=1 bmallocs=1 pages=512")?;
    let theirs: Vec<_> = addresses(&found, "taken_phys")
        .into_iter()
        .chain(addresses(&found, "bmalloc_phys"))
        .collect();
    let read = |at: &u64| guest.read_phys(*at..at + 512 * PAGE);
    let before = theirs
        .iter()
        .map(read)
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let card = Device::open(&guest, 0)?;

    let mut session = Session::begin(&guest, &card)?;
    session.capture(&CapturePlan::default(), &guest, &card)?;
    assert_eq!(session.finish(&guest, &card)?, []);

    for (at, before) in theirs.iter().zip(before) {
        assert!(read(at)? == before, "{at:#x}");
    }
    assert_refused(guest.unload_module(POOL_MODULE), EWOULDBLOCK);
    card.close()?;
    guest.unload_module(CAPTURE_MODULE)?;
    assert_refused(guest.unload_module(POOL_MODULE), EWOULDBLOCK);
    guest.unload_module(USER)?;
    guest.unload_module(POOL_MODULE)?;
    Ok(guest.power_off()?)
}

/// Another driver imports a dma-buf of the pool: one piece, at the buffer's address, also behind a narrower device
/// that reaches it.
#[test]
fn an_importer_finds_one_piece_at_the_buffers_address() -> Result {
    let guest = guest()?;
    guest.load_module(POOL_MODULE, "source=contig pages=1024")?;
    let pool = guest.pool()?;
    let buffer = pool.allocate(&PoolWanted {
        bytes: 750 * PAGE,
        ..PoolWanted::default()
    })?;
    let shared = pool.export(buffer.handle)?;
    for bits in [64, 32] {
        let found = results(
            &guest,
            &format!("import_fd={} address_bits={bits}", shared.fd()),
        )?;

        assert_eq!(
            (found["import_attach"], found["import_map"]),
            (0, 0),
            "{bits} bits"
        );
        assert_eq!(found["import_pieces"], 1);
        assert_eq!(found["import_dma_0"].cast_unsigned(), buffer.phys);
        assert_eq!(found["import_length_0"].cast_unsigned(), 750 * PAGE);
        assert_eq!(found["import_size"].cast_unsigned(), 750 * PAGE);
        guest.unload_module(USER)?;
    }
    shared.close()?;
    pool.close()?;
    assert_eq!(guest.used()?, [], "the importer let go");
    Ok(guest.power_off()?)
}

/// The benchmark beside the kernel's own allocators does what it says with each of them.
#[test]
fn the_benchmark_times_the_same_requests_of_each() -> Result {
    let guest = guest()?;
    guest.load_module(POOL_MODULE, "source=contig pages=1024 guard_pages=0")?;

    let found = results(&guest, "bench=50 rounds=100")?;

    for (way, rounds) in [("pool", 100), ("genalloc", 100), ("contig", 5)] {
        let live = found[&format!("bench_{way}_live")];
        // alloc_contig_pages is not made for single pages: it finds fewer than it is asked for.
        assert!(live == 50 || way == "contig" && live > 0, "{way}: {live}");
        assert_eq!(found[&format!("bench_{way}_rounds")], rounds, "{way}");
        for operation in ["take", "give"] {
            let median = found[&format!("bench_{way}_{operation}_median_ns")];
            let p99 = found[&format!("bench_{way}_{operation}_p99_ns")];
            assert!(
                0 < median && median <= p99,
                "{way} {operation}: {median} {p99}"
            );
        }
    }
    assert_eq!(guest.used()?, []);
    Ok(guest.power_off()?)
}

/// With the clean twin of what the threads test looks for: a driver of ours after all of that captures as ever.
#[test]
fn misuse_leaves_a_pool_that_works() -> Result {
    let guest = boot_loaded(GuestOptions {
        pool: PoolOptions {
            source: PoolSource::Contig,
            size: 16 << 20,
            ..PoolOptions::default()
        },
        ..with_capture_card()
    })?;
    results(&guest, "misuse=1 threads=2 rounds=200 pages=64")?;
    guest.unload_module(USER)?;
    let card = Device::open(&guest, 0)?;

    capture_clean(&guest, &card, &CapturePlan::default())?;

    drop(card);
    Ok(guest.power_off()?)
}
