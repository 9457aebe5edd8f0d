// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that is watched from boot, and buffers that are placed to order.

use landfall::guest::{Carveout, Guest, GuestOptions, Iommu, Loaded, PoolOptions, What};
use landfall::report::schema::{Report, Verdict, View};
use landfall_cards::capture::{CaptureOptions, Fault};
use landfall_suite::capture::Configure;
use landfall_suite::capture::{self, Device};
use landfall_suite::run::{CapturePlan, Place, Session, Wishes};
use landfall_tests::errno::{EBUSY, EINVAL, ENOMEM, EOPNOTSUPP};
use landfall_tests::{
    Result, assert_refused, boot_loaded, capture_clean, reported, with_capture_card,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Two frames of 640x480: 1.2 MiB.
fn two_frames() -> CapturePlan {
    CapturePlan {
        width: 640,
        height: 480,
        frames: 2,
        buffers: 2,
        ..CapturePlan::default()
    }
}

/// Boots with that carve-out, all of which must have been left alone, and captures into it.
fn captures_untouched(pool: PoolOptions) -> Result {
    let options = GuestOptions {
        pool,
        ..with_capture_card()
    };
    let range = options.pool.carved(&options.ram()).expect("a carve-out");
    let guest = boot_loaded(options)?;

    assert_eq!(guest.watched(), Some(range.end - range.start));
    let [region] = &guest.regions()?[..] else {
        panic!("one region")
    };
    assert_eq!(region.range(), range);
    assert!(!region.given_back, "the kernel never had it");
    capture_clean(&guest, &Device::open(&guest, 0)?, &two_frames())?;
    Ok(guest.power_off()?)
}

/// A hole at 14 to 16 MiB, kept by `memmap=`: from before the guest's first instruction until the pool is loaded nobody
/// writes there.
#[test]
fn a_hole_of_memmap_is_untouched_from_boot() -> Result {
    let pool = PoolOptions::carved_out(2 * MIB, Carveout::Hole(14 * MIB));
    captures_untouched(pool)
}

/// Likewise the top of RAM, kept by `mem=`.
#[test]
fn the_top_of_ram_kept_by_mem_is_untouched_from_boot() -> Result {
    let pool = PoolOptions::carved_out(4 * MIB, Carveout::Top);
    captures_untouched(pool)
}

/// From before the guest's first instruction until the pool is loaded, nobody writes to memory of `reserve_mem=`.
#[test]
fn reserved_memory_is_untouched_from_boot() -> Result {
    let guest = boot_loaded(GuestOptions {
        watch_from_boot: true,
        ..with_capture_card()
    })?;

    assert_eq!(guest.watched(), Some(PoolOptions::default().size));
    capture_clean(&guest, &Device::open(&guest, 0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}

/// Watched memory that is ordinary RAM, because no boot option keeps it, is seen to be written to: the watch sees.
#[test]
fn memory_that_is_not_kept_is_seen_to_be_touched() -> Result {
    let ordinary = 68 * MIB..192 * MIB;
    let mut options = with_capture_card();
    options.watch.push(ordinary.clone());

    let mut failed = boot_loaded(options).expect_err("the kernel writes to its memory");

    match &*failed.what {
        What::Touched(touched) => {
            assert!(ordinary.contains(&touched.address), "{touched:?}");
            assert!(touched.pages > 10, "{touched:?}");
            let said = failed.to_string();
            assert!(said.contains("wrote into memory that is kept"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    failed.forget_evidence();
    Ok(())
}

/// The guest and plan for a place, with that card.
fn placed(place: Place, card: CaptureOptions) -> Result<(Guest<Loaded>, CapturePlan)> {
    let (width, height) = match place {
        Place::Across64K => (160, 120),
        _ => (640, 480),
    };
    let plan = CapturePlan {
        width,
        height,
        frames: 2,
        buffers: 2,
        ..CapturePlan::default()
    };
    let memory = place.memory();
    let arranged = place.arrange(Default::default(), memory, &plan)?;
    let guest = boot_loaded(GuestOptions {
        memory,
        low_memory: place.low_memory(Default::default(), memory),
        pool: arranged.pool,
        ..capture::guest(card)
    })?;
    assert!(guest.watched().is_some(), "every place is watched");
    Ok((
        guest,
        CapturePlan {
            at: arranged.at,
            ..plan
        },
    ))
}

/// Captures at a place, which must be clean, and gives where the buffers lay.
fn buffers_at(place: Place, card: CaptureOptions) -> Result<Vec<std::ops::Range<u64>>> {
    let (guest, plan) = placed(place, card)?;
    let card = Device::open(&guest, 0)?;
    let mut session = Session::begin(&guest, &card)?;
    let captured = session.capture(&plan, &guest, &card)?;
    let range =
        |buffer: &landfall_suite::capture::BufferInfo| buffer.phys..buffer.phys + buffer.length;
    let buffers: Vec<_> = captured.buffers().iter().map(range).collect();
    if plan.at != 0 {
        assert_eq!(buffers[0].start, plan.at);
    }
    assert_eq!(session.finish(&guest, &card)?, []);
    drop(card);
    guest.power_off()?;
    Ok(buffers)
}

/// A card with 24 address bits captures below 16 MiB.
#[test]
fn below_16_mib() -> Result {
    let card = CaptureOptions {
        address_bits: 24,
        ..CaptureOptions::default()
    };
    for buffer in buffers_at(Place::Below16M, card)? {
        assert!(buffer.end <= 16 * MIB, "{buffer:x?}");
    }
    Ok(())
}

/// A card with 32 address bits captures below 4 GiB, in a guest that has memory above it.
#[test]
fn below_4_gib() -> Result {
    let card = CaptureOptions {
        address_bits: 32,
        ..CaptureOptions::default()
    };
    for buffer in buffers_at(Place::Below4G, card)? {
        assert!(buffer.end <= 4 * GIB, "{buffer:x?}");
    }
    Ok(())
}

/// A card captures above 4 GiB, in a guest of half a GiB.
#[test]
fn above_4_gib() -> Result {
    for buffer in buffers_at(Place::Above4G, CaptureOptions::default())? {
        assert!(buffer.start >= 4 * GIB, "{buffer:x?}");
    }
    Ok(())
}

/// The first buffer's last byte is the last byte of RAM.
#[test]
fn at_the_last_page() -> Result {
    let buffers = buffers_at(Place::LastPage, CaptureOptions::default())?;
    assert_eq!(buffers[0].end, 4 * GIB + 256 * MIB);
    Ok(())
}

/// A buffer of less than 64 KiB lies across a multiple of that; a card that cannot count past one is refused it.
#[test]
fn across_64_kib() -> Result {
    let buffers = buffers_at(Place::Across64K, CaptureOptions::default())?;
    let first = &buffers[0];
    assert!(first.end - first.start < 64 << 10, "{first:x?}");
    assert_ne!(first.start >> 16, (first.end - 1) >> 16, "{first:x?}");

    let narrow = CaptureOptions {
        boundary_shift: 16,
        ..CaptureOptions::default()
    };
    let (guest, plan) = placed(Place::Across64K, narrow)?;
    let card = Device::open(&guest, 0)?;
    let wanted = Configure {
        width: plan.width,
        height: plan.height,
        buffers: 1,
        at: plan.at,
        ..Configure::default()
    };
    assert_refused(card.configure(&wanted), EINVAL);
    card.configure(&Configure { at: 0, ..wanted })?;
    drop(card);
    Ok(guest.power_off()?)
}

/// A place that is not page aligned, not the pool's, or taken, is refused, and never another one given.
#[test]
fn a_place_that_cannot_be_had_is_refused() -> Result {
    let (guest, plan) = placed(Place::Across64K, CaptureOptions::default())?;
    let card = Device::open(&guest, 0)?;
    let at = |at| Configure {
        width: plan.width,
        height: plan.height,
        buffers: 1,
        at,
        ..Configure::default()
    };

    assert_refused(card.configure(&at(plan.at + 1)), EINVAL);
    assert_refused(card.configure(&at(16 * MIB)), ENOMEM);
    let self_test = card.info()?.selftest_phys;
    assert_refused(card.configure(&at(self_test)), ENOMEM);

    drop(card);
    Ok(guest.power_off()?)
}

/// `landfall run --place`, with a fault.
fn report(place: Place, fault: Option<Fault>) -> Result<Report> {
    reported(Wishes {
        place: Some(place),
        fault: fault.map(|fault| (fault, Some(0))),
        frames: Some(2),
        ..Wishes::default()
    })
}

/// One byte past a buffer that ends where RAM ends: it goes nowhere, and the journal names it.
#[test]
fn an_overrun_at_the_last_page_leaves_ram() -> Result {
    let report = report(Place::LastPage, Some(Fault::Overrun))?;

    assert_eq!(report.verdict, Verdict::Violations);
    let [first] = &report.violations[..] else {
        panic!("{:#?}", report.violations)
    };
    assert_eq!(first.class, Some(1), "{first:#?}");
    assert_eq!((first.address, first.length), (4 * GIB + 256 * MIB, 1));
    assert!(first.text.contains("address is not mapped"), "{first:#?}");
    assert!(first.views.contains(&View::Driver), "{first:#?}");
    Ok(())
}

/// One byte past a buffer that another card's begins behind: whose it is is told. The clean twin is silent.
#[test]
fn an_overrun_into_anothers_buffer_names_the_owner() -> Result {
    let clean = report(Place::BesideOther, None)?;
    assert_eq!(clean.violations, []);
    assert!(clean.checked.watched_bytes.is_some());

    let report = report(Place::BesideOther, Some(Fault::Overrun))?;

    let first = &report.violations[0];
    assert_eq!(first.class, Some(1), "{first:#?}");
    assert!(
        first.text.contains("this is memory of 0000:02:00.0/frame0"),
        "{first:#?}"
    );
    Ok(())
}

/// A card that drops the upper half of an address writes into ordinary memory; the same place without the fault is
/// clean.
#[test]
fn truncated_addresses_show_above_4_gib() -> Result {
    let report = report(Place::Above4G, Some(Fault::Truncate32))?;

    let first = &report.violations[0];
    assert_eq!(first.class, Some(2), "{first:#?}");
    let lent = report.transfers[0].address;
    assert_eq!(first.address, lent - 4 * GIB);
    Ok(())
}

/// No RAM of a PC lies right below 4 GiB, which is said before anything boots; behind an IOMMU a buffer can lie across it
/// for the card. Without an IOMMU the driver refuses, and so it does where something is mapped.
#[test]
fn across_4_gib_behind_an_iommu() -> Result {
    let wishes = |iommu| Wishes {
        place: Some(Place::Across4G),
        guest: GuestOptions {
            iommu,
            ..with_capture_card()
        },
        ..Wishes::default()
    };
    let refused = wishes(Iommu::None).plan().expect_err("no such memory");
    assert!(
        refused.what.contains("no RAM right below it"),
        "{refused:?}"
    );

    let plan = wishes(Iommu::Strict).plan()?;
    let capture = &plan.captures[0];
    let guest = boot_loaded(plan.guest)?;
    let card = Device::open(&guest, 0)?;
    let mut session = Session::begin(&guest, &card)?;
    let captured = session.capture(capture, &guest, &card)?;
    let first = &captured.buffers()[0];
    assert_eq!(first.dma, capture.iova);
    assert!((first.dma..first.dma + first.length).contains(&(4 * GIB)));
    assert_eq!(session.finish(&guest, &card)?, []);

    let taken = Configure {
        width: 64,
        height: 32,
        buffers: 1,
        iova: card.info()?.selftest_dma,
        ..Configure::default()
    };
    assert_refused(card.configure(&taken), EBUSY);
    drop(card);
    guest.power_off()?;

    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let nowhere = Configure {
        iova: 4 * GIB,
        ..taken
    };
    assert_refused(card.configure(&nowhere), EOPNOTSUPP);
    drop(card);
    Ok(guest.power_off()?)
}
