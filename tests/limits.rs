// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card cannot do is told by its registers, and the driver keeps to it.

use landfall::Cancel;
use landfall::guest::{GuestOptions, PoolOptions, PoolSource};
use landfall::report::schema::Verdict;
use landfall_cards::capture::CaptureOptions;
use landfall_suite::capture::Configure;
use landfall_suite::capture::{self, Device};
use landfall_suite::run::{self, CapturePlan, Session, Wishes};
use landfall_tests::errno::{EINVAL, ENOMEM};
use landfall_tests::{
    Result, assert_refused, boot, boot_loaded, capture_clean, kernel_log, prepared, tcg,
};

/// Frames that must not cross a 64 KiB boundary, and must begin on 16 KiB, do neither.
#[test]
fn alignment_and_boundary_are_kept() -> Result {
    let guest = boot_loaded(capture::guest(CaptureOptions {
        align_shift: 14,
        boundary_shift: 16,
        ..CaptureOptions::default()
    }))?;
    let card = Device::open(&guest, 0)?;
    let mut session = Session::begin(&guest, &card)?;

    // 40,000 bytes each: packed tightly, every second one would cross.
    let plan = CapturePlan {
        width: 200,
        height: 100,
        frames: 8,
        buffers: 8,
        ..CapturePlan::default()
    };
    let buffers = session.capture(&plan, &guest, &card)?.buffers().to_vec();

    assert_eq!(session.finish(&guest, &card)?, []);
    assert_eq!(buffers.len(), 8);
    for buffer in &buffers {
        assert_eq!(buffer.dma % (16 << 10), 0, "aligned: {buffer:x?}");
        assert_eq!(
            buffer.dma >> 16,
            (buffer.dma + buffer.length - 1) >> 16,
            "crosses: {buffer:x?}"
        );
    }
    drop(card);
    Ok(guest.power_off()?)
}

/// A card with 24 address bits captures into memory below 16 MiB.
#[test]
fn a_24_bit_card_captures_below_16_mib() -> Result {
    let pool = PoolOptions {
        source: PoolSource::Buddy,
        size: 1 << 20,
        address_bits: Some(24),
        ..PoolOptions::default()
    };
    let guest = boot_loaded(GuestOptions {
        pool,
        ..capture::guest(CaptureOptions {
            address_bits: 24,
            ..CaptureOptions::default()
        })
    })?;

    let [region] = &guest.regions()?[..] else {
        panic!("one region")
    };
    assert!(region.base + region.bytes <= 16 << 20, "{region:x?}");
    let card = Device::open(&guest, 0)?;
    capture_clean(&guest, &card, &CapturePlan::default())?;

    drop(card);
    Ok(guest.power_off()?)
}

/// A pool that a card cannot reach is refused when the driver binds, in words, and nothing is lent.
#[test]
fn a_pool_out_of_reach_is_refused() -> Result {
    let guest = boot(capture::guest(CaptureOptions {
        address_bits: 24,
        ..CaptureOptions::default()
    }))?;
    guest.load_module("landfall_pool", "source=reserve")?;
    guest.load_module("landfall_capture", "")?;

    assert!(
        !guest.list("/dev")?.contains(&"video0".to_owned()),
        "not bound"
    );
    let log = kernel_log(&guest)?;
    assert!(
        log.contains("no memory for a card with 24 address bits"),
        "{log}"
    );
    Ok(guest.power_off()?)
}

/// A frame larger than the card takes, or than the pool has, is refused before the card hears of it, and the
/// next capture is as if nothing had been.
#[test]
fn frames_too_large_are_refused() -> Result {
    let guest = boot_loaded(capture::guest(CaptureOptions {
        max_frame: 4 << 20,
        ..CaptureOptions::default()
    }))?;
    let card = Device::open(&guest, 0)?;

    let two_mib = Configure {
        width: 1024,
        height: 1024,
        buffers: 32,
        ..Configure::default()
    };
    assert_refused(card.configure(&two_mib), ENOMEM);
    let five_mib = Configure {
        height: 2560,
        buffers: 1,
        ..two_mib
    };
    assert_refused(card.configure(&five_mib), EINVAL);

    capture_clean(&guest, &card, &CapturePlan::default())?;
    drop(card);
    Ok(guest.power_off()?)
}

/// What a journal that is full does not know is neither wrong nor clean.
#[test]
fn a_full_journal_is_not_judged() -> Result {
    let mut plan = Wishes::default().plan()?;
    plan.guest.journal = 300;
    let outcome = run::run(
        &plan,
        prepared(),
        &tcg(),
        Vec::new(),
        &Cancel::default(),
        &mut |_| (),
    )?;

    let report = outcome.report;
    assert_eq!(report.verdict, Verdict::NotJudged, "{report:?}");
    assert_eq!(report.violations, []);
    assert!(report.summary.contains("journal"), "{}", report.summary);
    Ok(())
}
