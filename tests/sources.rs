// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every way to get contiguous memory: a card captures into it, and what can go back does.

use std::time::Duration;

use landfall::guest::{
    Carveout, Deadlines, Guest, GuestOptions, Loaded, POOL_MODULE, PoolOptions, PoolSource, Region,
    Start,
};
use landfall_cards::capture::CaptureOptions;
use landfall_suite::capture::{self, CAPTURE_MODULE, Device};
use landfall_suite::run::{CapturePlan, Session};
use landfall_tests::errno::{EBUSY, EINVAL, ENODEV};
use landfall_tests::{
    NOISE, Result, assert_refused, boot, boot_loaded, capture_clean, free_bytes, kernel_log,
    with_capture_card,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const PAGE: u64 = 4096;

/// A guest with a pool of so many pages from that source. Nothing is loaded yet, so that guests whose source takes no
/// boot option share one snapshot.
fn options(source: PoolSource, pages: u64, parameters: &str) -> GuestOptions {
    GuestOptions {
        pool: PoolOptions {
            source,
            size: pages * PAGE,
            parameters: parameters.to_owned(),
            ..PoolOptions::default()
        },
        ..with_capture_card()
    }
}

/// Eight frames of one page each: more may not lie in one piece.
fn page_by_page() -> CapturePlan {
    CapturePlan {
        width: 64,
        height: 32,
        frames: 8,
        buffers: 8,
        ..CapturePlan::default()
    }
}

fn the_region(guest: &Guest<Loaded>) -> Result<Region> {
    match &guest.regions()?[..] {
        [region] => Ok(region.clone()),
        other => panic!("one region: {other:#?}"),
    }
}

/// Makes the pool, captures into it, and unloads all: the kernel has its memory again.
fn captures_and_gives_back(options: GuestOptions, plan: &CapturePlan) -> Result<Region> {
    let (source, pages) = (options.pool.source, options.pool.size / PAGE);
    let guest = boot(options)?;
    // The kernel's own modules, which the driver needs, stay.
    guest.load_module("videobuf2_v4l2", "")?;
    let before = free_bytes(&guest)?;
    let guest = guest.load()?;
    let region = the_region(&guest)?;
    assert_eq!(
        (region.source.as_str(), region.pages),
        (source.name(), pages)
    );
    assert!(region.given_back);
    let taken = free_bytes(&guest)?;
    assert!(
        taken + pages * PAGE < before + NOISE,
        "{before} before, {taken} with the pool"
    );

    capture_clean(&guest, &Device::open(&guest, 0)?, plan)?;

    guest.unload_module(CAPTURE_MODULE)?;
    guest.unload_module(POOL_MODULE)?;
    let after = free_bytes(&guest)?;
    assert!(after + NOISE > before, "{before} before, {after} after");
    guest.power_off()?;
    Ok(region)
}

fn in_one_piece(source: PoolSource, pages: u64) -> Result {
    let plan = CapturePlan::default();
    let region = captures_and_gives_back(options(source, pages, ""), &plan)?;
    assert_eq!((region.pieces, region.bytes), (1, pages * PAGE));
    Ok(())
}

fn scattered(source: PoolSource, parameters: &str) -> Result {
    let region = captures_and_gives_back(options(source, 1024, parameters), &page_by_page())?;
    assert_eq!(region.guard_pages, 0);
    assert!(
        region.pieces >= 1 && region.bytes >= region.pages * PAGE,
        "{region:#?}"
    );
    Ok(())
}

/// `reserve_mem=`: what was kept at boot, all of it, and the kernel never gets it.
#[test]
fn reserve_is_captured_into() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let region = the_region(&guest)?;

    assert_eq!(region.source, "reserve");
    assert_eq!(region.bytes, PoolOptions::default().size);
    assert!(!region.given_back);
    capture_clean(&guest, &Device::open(&guest, 0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}

/// `cma=`: any page count of the area, which goes back to it.
#[test]
fn cma_is_captured_into_and_given_back() -> Result {
    in_one_piece(PoolSource::Cma, 1500)
}

/// `alloc_contig_pages`: any page count.
#[test]
fn contig_is_captured_into_and_given_back() -> Result {
    in_one_piece(PoolSource::Contig, 1500)
}

/// Largest blocks, merged to a run that no single one could be; the rest is returned.
#[test]
fn cluster_is_captured_into_and_given_back() -> Result {
    in_one_piece(PoolSource::Cluster, 1500)
}

/// Single pages, a run of which a bitmap finds.
#[test]
fn bitmap_is_captured_into_and_given_back() -> Result {
    in_one_piece(PoolSource::Bitmap, 1500)
}

/// A block of the page allocator whose tail is returned: 1000 pages without waste.
#[test]
fn exact_is_captured_into_and_given_back() -> Result {
    in_one_piece(PoolSource::Exact, 1000)
}

/// A block of the page allocator.
#[test]
fn buddy_is_captured_into_and_given_back() -> Result {
    in_one_piece(PoolSource::Buddy, 1024)
}

/// `kmalloc`.
#[test]
fn kmalloc_is_captured_into_and_given_back() -> Result {
    in_one_piece(PoolSource::Kmalloc, 1024)
}

/// Single pages, wherever they lie: captured into page by page.
#[test]
fn pages_are_captured_into_one_by_one_and_given_back() -> Result {
    scattered(PoolSource::Pages, "")
}

/// Blocks of an order that is chosen when the module is loaded.
#[test]
fn blocks_of_an_order_are_captured_into_and_given_back() -> Result {
    scattered(PoolSource::Order, "order=2")
}

/// Objects of a slab cache.
#[test]
fn slab_objects_are_captured_into_one_by_one_and_given_back() -> Result {
    scattered(PoolSource::Slab, "")
}

/// Quanta of `vmalloc`.
#[test]
fn vmalloc_is_captured_into_page_by_page_and_given_back() -> Result {
    scattered(PoolSource::Vmalloc, "")
}

/// With a list of sources the first that can is taken, and those that cannot say why.
#[test]
fn sources_are_tried_in_the_order_given() -> Result {
    let list = "source=reserve,buddy:2000,exact:500,contig";
    let guest = boot(options(PoolSource::Contig, 1024, list))?.load()?;
    let region = the_region(&guest)?;

    assert_eq!((region.source.as_str(), region.pages), ("exact", 500));
    let log = kernel_log(&guest)?;
    assert!(log.contains("no memory was reserved at boot"), "{log}");
    assert!(log.contains("at most 1024 pages"), "{log}");
    capture_clean(&guest, &Device::open(&guest, 0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}

/// Several regions make one pool: a 24-bit card gets memory of the one that it reaches, a wide one of the highest zone
/// first.
#[test]
fn several_regions_make_one_pool() -> Result {
    let mut wanted = options(
        PoolSource::Contig,
        1024,
        "source=buddy:256:24+contig:750+exact:300:32",
    );
    let narrow = CaptureOptions {
        address_bits: 24,
        ..CaptureOptions::default()
    };
    wanted.cards = vec![
        capture::card(CaptureOptions::default()),
        capture::card(narrow),
    ];
    let guest = boot(wanted)?.load()?;
    let regions = guest.regions()?;

    let pages: Vec<_> = regions.iter().map(|region| region.pages).collect();
    assert_eq!(pages, [256, 750, 300], "in the order given");
    for (index, limit) in [(0, u64::MAX), (1, 16 * MIB)] {
        let card = Device::open(&guest, index)?;
        let mut session = Session::begin(&guest, &card)?;
        let captured = session.capture(&CapturePlan::default(), &guest, &card)?;
        for buffer in captured.buffers() {
            assert!(buffer.phys + buffer.length <= limit, "{buffer:x?}");
        }
        assert_eq!(session.finish(&guest, &card)?, []);
    }
    Ok(guest.power_off()?)
}

/// As the distribution boots, without any option for memory, the module gets 16 MiB in one piece right after boot.
#[test]
fn on_a_stock_boot_without_options_16_mib_are_had() -> Result {
    let guest = boot_loaded(GuestOptions {
        start: Start::Stock,
        ..options(PoolSource::Contig, 4096, "")
    })?;

    assert_eq!(guest.read_text("/proc/cmdline")?.trim(), "console=ttyS0");
    assert_eq!(the_region(&guest)?.bytes, 16 * MIB);
    capture_clean(&guest, &Device::open(&guest, 0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}

/// A boot option that is missing, or a range that is the kernel's, is refused in words that say what to pass; the
/// pool never takes another range instead.
#[test]
fn wrong_or_missing_boot_options_are_refused_in_words() -> Result {
    let guest = boot(options(PoolSource::Contig, 1024, ""))?;
    let before = free_bytes(&guest)?;

    for (parameters, errno, said) in [
        (
            "source=reserve",
            ENODEV,
            "boot with reserve_mem=<size>:4096:landfall",
        ),
        ("source=cma", ENODEV, "boot with cma=<size>"),
        (
            "source=carveout",
            EINVAL,
            "needs carveout_base=<address> and pages=",
        ),
        (
            "source=carveout carveout_base=0x1000000 pages=512",
            EBUSY,
            "is the kernel's own RAM, wholly or in part: boot with memmap=0x200000$0x1000000",
        ),
        (
            "source=carveout carveout_base=0xfff0000 pages=512",
            EBUSY,
            "belongs to a device or to another driver",
        ),
        (
            "source=carveout carveout_base=0x1000800 pages=1",
            EINVAL,
            "no range of whole pages",
        ),
    ] {
        assert_refused(guest.load_module(POOL_MODULE, parameters), errno);
        let log = kernel_log(&guest)?;
        assert!(log.contains(said), "{parameters}: {log}");
    }

    let after = free_bytes(&guest)?;
    assert!(after + NOISE > before, "{before} before, {after} after");
    Ok(guest.power_off()?)
}

/// A carve-out that reaches past what was kept is the kernel's in part, and refused.
#[test]
fn a_carve_out_of_another_size_than_was_kept_is_refused() -> Result {
    let guest = boot(GuestOptions {
        pool: PoolOptions::carved_out(2 * MIB, Carveout::Hole(14 * MIB)),
        ..with_capture_card()
    })?;

    for parameters in [
        "source=carveout carveout_base=0xe00000 pages=513",
        "source=carveout carveout_base=0xdff000 pages=512",
    ] {
        assert_refused(guest.load_module(POOL_MODULE, parameters), EBUSY);
    }
    guest.load_module(
        POOL_MODULE,
        "source=carveout carveout_base=0xe00000 pages=512",
    )?;
    Ok(guest.power_off()?)
}

/// 2 GiB in one piece, of a guest with 4 GiB: every byte of it is written by the card and compared.
#[test]
fn cluster_gives_2_gib_in_one_piece_of_4() -> Result {
    let guest = boot_loaded(GuestOptions {
        memory: 4 * GIB,
        // The longest run of RAM has to be longer than that.
        low_memory: Some(GIB),
        // Two CPUs would initialise this much memory at once, and what comes last stays with the kernel: the last 60 MiB that are
        // free above 4 GiB are its own. Where they lie would be chance; if in the middle, no 2 GiB are beside each other.
        cpus: 1,
        pool: PoolOptions {
            source: PoolSource::Cluster,
            size: 2 * GIB,
            parameters: "guard_pages=0".to_owned(),
            ..PoolOptions::default()
        },
        // A snapshot of it would be as large, and drive out twenty others.
        start: Start::Cold,
        deadlines: Deadlines {
            request: Duration::from_secs(300),
            ..Deadlines::default()
        },
        ..with_capture_card()
    })?;
    let region = the_region(&guest)?;
    assert_eq!((region.bytes, region.pieces), (2 * GIB, 1));
    let card = Device::open(&guest, 0)?;
    let mut session = Session::begin(&guest, &card)?;

    // 32 frames of 16,380 pages. With the self-test's page, 127 are left; one more frame takes those.
    let most = CapturePlan {
        width: 8192,
        height: 4095,
        frames: 32,
        buffers: 32,
        ..CapturePlan::default()
    };
    let rest = CapturePlan {
        width: 512,
        height: 508,
        frames: 1,
        buffers: 1,
        at: region.base + region.bytes - 127 * PAGE,
        ..CapturePlan::default()
    };
    let selftest = card.info()?.selftest_phys;
    let mut written: Vec<_> = std::iter::once(selftest..selftest + PAGE).collect();
    for plan in [most, rest] {
        let captured = session.capture(&plan, &guest, &card)?;
        let buffers = captured.buffers().iter();
        written.extend(buffers.map(|buffer| buffer.phys..buffer.phys + buffer.length));
    }

    assert_eq!(session.finish(&guest, &card)?, []);
    written.sort_by_key(|range| range.start);
    let mut at = region.base;
    for range in &written {
        assert_eq!(range.start, at, "no page is left out: {written:x?}");
        at = range.end;
    }
    assert_eq!(at, region.base + region.bytes);
    drop(card);
    Ok(guest.power_off()?)
}
