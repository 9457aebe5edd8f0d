// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that is fragmented to order: what is left, who notices, and that all of it comes back.

use std::time::Instant;

use landfall::guest::{
    FRAGMENT_AGAIN, FRAGMENT_MODULE, Guest, GuestOptions, POOL_MODULE, PoolOptions, PoolSource,
    Running,
};
use landfall_suite::capture::Device;
use landfall_suite::run::CapturePlan;
use landfall_tests::errno::{EINVAL, ENOMEM};
use landfall_tests::{
    NOISE, Result, SHORT, assert_refused, boot, boot_loaded, capture_clean, free_bytes, kernel_log,
    processes, with_capture_card,
};

const MIB: u64 = 1 << 20;
/// Bytes of an answer that the kernel would hand over in one piece.
const LONG: u32 = 60 << 10;
/// Orders that `/proc/buddyinfo` counts: 0 to 10.
const ORDERS: usize = 11;

/// Free blocks by order, over all zones.
fn free_blocks<Stage: Running>(guest: &Guest<Stage>) -> Result<[u64; ORDERS]> {
    let mut sum = [0; ORDERS];
    for line in guest.read_text("/proc/buddyinfo")?.lines() {
        let (_, counts) = line.split_once("zone").expect("a line is of a zone");
        let counts: Vec<u64> = counts
            .split_whitespace()
            .skip(1)
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()?;
        assert_eq!(counts.len(), ORDERS, "{line}");
        sum.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    Ok(sum)
}

/// Free blocks of more than `2^order` pages.
fn above<Stage: Running>(guest: &Guest<Stage>, order: usize) -> Result<u64> {
    Ok(free_blocks(guest)?[order + 1..].iter().sum())
}

/// The value of `key` in a line of `key=value`.
fn word<'a>(line: &'a str, key: &str) -> &'a str {
    let mut words = line.split_whitespace();
    words
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .expect("the key is there")
}

/// Has the fragmenter look until it finds nothing: what the guest frees of its own, such as a stack of a process that
/// ended, may merge at any time.
fn settle<Stage: Running>(guest: &Guest<Stage>, order: usize) -> Result {
    let deadline = Instant::now() + SHORT;
    loop {
        guest.write_file(FRAGMENT_AGAIN, "1")?;
        let blocks = free_blocks(guest)?;
        if blocks[order + 1..].iter().all(|count| *count == 0) {
            return Ok(());
        }
        assert!(
            Instant::now() < deadline,
            "order {order}: {blocks:?} are left"
        );
    }
}

/// At every order, from half of all memory gone to one page of 4 MiB: no larger block is free, though there were
/// some before, and unloading gives back what was taken.
#[test]
fn no_block_above_the_order_is_free_until_it_is_unloaded() -> Result {
    let guest = boot(with_capture_card())?;
    // The first module that is loaded takes room for the code of more to come.
    guest.load_module(FRAGMENT_MODULE, "order=9")?;
    guest.unload_module(FRAGMENT_MODULE)?;
    let before = free_bytes(&guest)?;
    assert!(free_blocks(&guest)?[ORDERS - 1] > 10, "blocks of 4 MiB");

    for order in [0, 3, 9] {
        assert!(above(&guest, order)? > 10, "there are larger ones");
        guest.load_module(FRAGMENT_MODULE, &format!("order={order}"))?;
        settle(&guest, order)?;

        let state = guest.read_text("/sys/kernel/debug/landfall_fragment/state")?;
        assert!(state.starts_with(&format!("order={order} ")), "{state}");
        let kept: u64 = word(&state, "kept_pages").parse()?;
        let pages = |bytes: u64| bytes / 4096 / (2 << order);
        let (some, all) = (pages(before) / 2, pages(before + NOISE));
        assert!(
            some < kept && kept <= all,
            "order {order}: {kept} pages, not more than {some} and up to {all}"
        );
        let left = free_bytes(&guest)?;
        assert!(
            left < before + MIB - kept * 4096,
            "order {order}: {before} before, {left} left"
        );

        guest.unload_module(FRAGMENT_MODULE)?;
        let after = free_bytes(&guest)?;
        assert!(
            after + NOISE > before,
            "order {order}: {before} before, {after} after"
        );
    }
    assert!(
        free_blocks(&guest)?[ORDERS - 1] > 10,
        "and they have merged"
    );
    Ok(guest.power_off()?)
}

/// Where no two pages lie side by side, the guest answers at any length, and starts as many programs as ever: for what
/// has to be in one piece, such as a kernel stack, some of the memory comes back before anybody is killed for it.
#[test]
fn where_only_single_pages_are_free_the_guest_answers_and_nobody_is_killed() -> Result {
    const ANSWERS: usize = 20;
    const PROGRAMS: usize = 100;
    let guest = boot(with_capture_card())?;
    guest.load_module(FRAGMENT_MODULE, "order=0")?;
    let relieved = || -> Result<u64> {
        let state = guest.read_text("/sys/kernel/debug/landfall_fragment/state")?;
        Ok(word(&state, "relieved_pages").parse()?)
    };

    for _ in 0..ANSWERS {
        settle(&guest, 0)?;
        assert_eq!(guest.read_file_at("/init", 0, LONG)?.len(), LONG as usize);
    }
    let before = relieved()?;
    let many =
        format!("for i in $(seq {PROGRAMS}); do /bin/busybox sleep 1000 >/dev/null 2>&1 & done");
    guest.run(&["/bin/busybox", "sh", "-c", &many], SHORT * 3)?;

    let sleep = ["/bin/busybox", "sleep", "1000"];
    assert_eq!(processes(&guest, &sleep)?, PROGRAMS, "all of them run");
    assert!(relieved()? > before, "their stacks came from somewhere");
    let log = kernel_log(&guest)?;
    for killed in ["oom-kill", "Out of memory", "Killed process"] {
        assert!(!log.contains(killed), "{log}");
    }
    settle(&guest, 0)?;
    Ok(guest.power_off()?)
}

/// In fragmented memory a large piece cannot be had: that is said, nobody is killed, and no memory is lost.
#[test]
fn in_fragmented_memory_a_large_piece_is_refused_in_words() -> Result {
    let guest = boot(with_capture_card())?;
    guest.load_module(POOL_MODULE, "source=contig pages=4096")?;
    guest.unload_module(POOL_MODULE)?;
    guest.load_module(FRAGMENT_MODULE, "order=3")?;
    let before = free_bytes(&guest)?;

    assert_refused(
        guest.load_module(POOL_MODULE, "source=contig pages=4096"),
        ENOMEM,
    );

    let log = kernel_log(&guest)?;
    assert!(log.contains("found no 4096 pages in one piece"), "{log}");
    assert!(!log.contains("Out of memory"), "{log}");
    let after = free_bytes(&guest)?;
    assert!(after + NOISE > before, "{before} before, {after} after");
    guest.load_module(POOL_MODULE, "source=buddy pages=8")?;
    Ok(guest.power_off()?)
}

/// A guest that was fragmented before its pool was made captures into memory that was reserved at boot.
#[test]
fn a_reserved_pool_does_not_mind_fragmentation() -> Result {
    let guest = boot_loaded(GuestOptions {
        fragment: Some(0),
        ..with_capture_card()
    })?;
    settle(&guest, 0)?;

    capture_clean(&guest, &Device::open(&guest, 0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}

/// Without the option the same pool is made, with it not: the guest does not come, and the kernel's words say why.
#[test]
fn a_pool_that_fragmentation_forbids_fails_the_start_in_words() -> Result {
    let options = |fragment| GuestOptions {
        fragment,
        pool: PoolOptions {
            source: PoolSource::Contig,
            size: 16 * MIB,
            ..PoolOptions::default()
        },
        ..with_capture_card()
    };
    boot_loaded(options(None))?.power_off()?;

    let mut failed = boot_loaded(options(Some(3))).expect_err("no 16 MiB are in one piece");

    assert_eq!(failed.errno(), Some(ENOMEM));
    let line = failed.kernel_line.take().unwrap_or_default();
    assert!(
        line.contains("source=contig") || line.contains("pages"),
        "{line}"
    );
    failed.forget_evidence();
    Ok(())
}

/// An order that makes no sense, or none, is refused in words.
#[test]
fn wrong_orders_are_refused_in_words() -> Result {
    let guest = boot(with_capture_card())?;

    for parameters in ["", "order=10", "order=-2"] {
        assert_refused(guest.load_module(FRAGMENT_MODULE, parameters), EINVAL);
    }

    let log = kernel_log(&guest)?;
    assert!(
        log.contains("order=10 is not 0 to 9: pass the order"),
        "{log}"
    );
    Ok(guest.power_off()?)
}
