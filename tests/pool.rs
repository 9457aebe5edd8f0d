// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the pool's memory comes from and lies, and who shares it.

use landfall::guest::{GuestFailed, GuestOptions, POOL_MODULE, PoolOptions, PoolSource, What};
use landfall_cards::capture::CaptureOptions;
use landfall_suite::capture::{self, Device};
use landfall_suite::run::{CapturePlan, Session};
use landfall_tests::errno::EINVAL;
use landfall_tests::{
    Result, assert_refused, boot, boot_loaded, capture_clean, kernel_log, with_capture_card,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Boots with that much memory and that pool, captures 1080p into it, and gives the region's range.
fn captures_into(
    memory: u64,
    pool: PoolOptions,
    card: CaptureOptions,
) -> Result<std::ops::Range<u64>> {
    let guest = boot_loaded(GuestOptions {
        memory,
        pool,
        ..capture::guest(card)
    })?;
    let card = Device::open(&guest, 0)?;
    let plan = CapturePlan {
        width: 1920,
        height: 1080,
        frames: 3,
        buffers: 3,
        ..CapturePlan::default()
    };
    capture_clean(&guest, &card, &plan)?;
    let [region] = &guest.regions()?[..] else {
        panic!("one region")
    };
    let range = region.range();
    drop(card);
    guest.power_off()?;
    Ok(range)
}

/// On a 4 GiB guest the reserved pool lies above 4 GiB, and a 64-bit card captures there.
#[test]
fn a_pool_above_4_gib_is_captured_into() -> Result {
    let region = captures_into(4 * GIB, PoolOptions::default(), CaptureOptions::default())?;

    assert!(region.start >= 4 * GIB, "{region:x?}");
    Ok(())
}

/// On the same guest a 32-bit card captures into a pool below 4 GiB, taken from the running kernel.
#[test]
fn a_pool_below_4_gib_is_captured_into() -> Result {
    let pool = PoolOptions {
        source: PoolSource::Contig,
        size: 16 * MIB,
        address_bits: Some(32),
        ..PoolOptions::default()
    };
    let card = CaptureOptions {
        address_bits: 32,
        ..CaptureOptions::default()
    };
    let region = captures_into(4 * GIB, pool, card)?;

    assert!(region.end <= 4 * GIB, "{region:x?}");
    Ok(())
}

/// One block of the page allocator serves as a pool for small frames.
#[test]
fn a_buddy_block_is_captured_into() -> Result {
    let guest = boot_loaded(GuestOptions {
        pool: PoolOptions {
            source: PoolSource::Buddy,
            size: 4 * MIB,
            ..PoolOptions::default()
        },
        ..with_capture_card()
    })?;
    let card = Device::open(&guest, 0)?;

    capture_clean(&guest, &card, &CapturePlan::default())?;

    drop(card);
    Ok(guest.power_off()?)
}

/// Two cards capture at the same time, each into its own buffers of one pool.
#[test]
fn two_cards_share_one_pool() -> Result {
    let card = || capture::card(CaptureOptions::default());
    let guest = boot_loaded(GuestOptions {
        cards: vec![card(), card()],
        ..with_capture_card()
    })?;
    let (left, right) = (Device::open(&guest, 0)?, Device::open(&guest, 1)?);
    let (mut of_left, mut of_right) = (
        Session::begin(&guest, &left)?,
        Session::begin(&guest, &right)?,
    );
    let plan = CapturePlan {
        width: 1280,
        height: 720,
        ..CapturePlan::default()
    };

    for _ in 0..3 {
        of_left.capture(&plan, &guest, &left)?;
        of_right.capture(&plan, &guest, &right)?;
    }

    let lends: Vec<_> = left.lends()?.into_iter().chain(right.lends()?).collect();
    for (at, one) in lends.iter().enumerate() {
        for other in &lends[at + 1..] {
            assert!(
                one.phys + one.length <= other.phys || other.phys + other.length <= one.phys,
                "{one:x?} and {other:x?} overlap"
            );
        }
    }
    assert_eq!(of_left.finish(&guest, &left)?, []);
    assert_eq!(of_right.finish(&guest, &right)?, []);
    drop((left, right));
    Ok(guest.power_off()?)
}

/// Wrong parameters are refused in words that say what to pass, and a right one works afterwards.
#[test]
fn wrong_parameters_are_refused_in_words() -> Result {
    let guest = boot(with_capture_card())?;

    assert_refused(
        guest.load_module(POOL_MODULE, "source=contig pages=0"),
        EINVAL,
    );
    assert_refused(guest.load_module(POOL_MODULE, "source=nowhere"), EINVAL);
    let log = kernel_log(&guest)?;
    assert!(log.contains("pages"), "{log}");
    assert!(log.contains("nowhere"), "{log}");

    guest.load_module(POOL_MODULE, "source=contig pages=750")?;
    let regions = guest.read_text("/sys/kernel/debug/landfall_pool/regions")?;
    assert!(
        regions.contains("source=contig") && regions.contains("bytes=3072000"),
        "{regions}"
    );
    guest.unload_module(POOL_MODULE)?;
    Ok(guest.power_off()?)
}

/// A size that no machine has is refused by every source, and the guest goes on: numbers do not wrap around.
#[test]
fn absurd_sizes_are_refused_by_every_source() -> Result {
    let guest = boot(GuestOptions {
        append: "cma=16M".to_owned(),
        ..with_capture_card()
    })?;

    for source in PoolSource::ALL {
        for pages in [u64::MAX, 1 << 52, (1 << 52) - 1, 1 << 40] {
            let parameters = format!("source={source}:{pages} carveout_base=0x1000000");
            match guest.load_module(POOL_MODULE, &parameters) {
                Err(GuestFailed { what, .. }) if matches!(*what, What::Refused(_)) => {}
                other => panic!("{source}, {pages} pages: {other:?}"),
            }
        }
    }

    guest.load_module(POOL_MODULE, "source=contig")?;
    Ok(guest.power_off()?)
}
