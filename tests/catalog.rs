// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every class of the catalogue that can be planted is named where it must be, and its clean twin is silent.

use std::sync::LazyLock;

use landfall::Cancel;
use landfall::bundle::{Bundle, Place, compare};
use landfall_suite::catalog::{ENTRIES, Entry, Leg, Platforms, Twins, run};
use landfall_tests::{Result, prepared};

/// Plants a class on each of its platforms, runs the twin, and demands the verdict. Twins that differ in nothing are one.
fn named(number: u8) -> Result {
    static TWINS: LazyLock<Twins> = LazyLock::new(Twins::default);
    let entry = Entry::of(number).expect("a class");
    let platforms = Platforms {
        stock: prepared(),
        debug: None,
        jobs: None,
        bundles: None,
        record: None,
        twins: Some(&TWINS),
        watch_cpu: false,
    };
    let runs = run(&[entry], &platforms, &Cancel::default(), &|_| ())?;
    assert!(!runs.classes.is_empty(), "{number} is planted nowhere");
    for run in &runs.classes {
        assert!(run.passed, "{run:#?}");
    }
    Ok(())
}

/// A bug that is not named where it should be leaves a bundle, its silent twin none; nor does one that is named.
#[test]
fn what_is_not_named_leaves_a_bundle() -> Result {
    let directory = tempfile::tempdir()?;
    let place = Place::At(directory.path().join("bundle"));
    let platforms = Platforms {
        stock: prepared(),
        debug: None,
        jobs: None,
        bundles: Some(&place),
        record: None,
        twins: None,
        watch_cpu: false,
    };
    let entry: &Entry = Box::leak(Box::new(Entry {
        legs: &[Leg::Swiotlb],
        ..*Entry::of(40).expect("a class")
    }));
    // Without an IOMMU the card's address is the physical one.
    let elsewhere: &Entry = Box::leak(Box::new(Entry {
        legs: &[Leg::Plain],
        ..*Entry::of(5).expect("a class")
    }));

    // A bug of class 6, expected as another.
    let otherwise: &Entry = Box::leak(Box::new(Entry {
        number: 21,
        ..*Entry::of(6).expect("a class")
    }));

    let entries = [entry, elsewhere, otherwise];
    let runs = run(&entries, &platforms, &Cancel::default(), &|_| ())?;

    let [named, missed, seen] = &runs.classes[..] else {
        panic!("three runs: {runs:#?}");
    };
    assert!(named.passed && named.bundles.is_empty(), "{named:#?}");
    assert!(!missed.passed, "{missed:#?}");
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 2);
    for (run, summary) in [
        (missed, "class 5 on plain: missed"),
        (
            seen,
            "class 21 on plain: seen, but not as this class alone: ",
        ),
    ] {
        let path = directory
            .path()
            .join(format!("bundle-{:02}-plain", run.number));
        assert_eq!(run.bundles, std::slice::from_ref(&path));
        let bundle = Bundle::open(&path)?;
        let told = bundle.run()?.summary;
        assert!(told.starts_with(summary), "{told}");
        let again = bundle.judge(|_, _| ())?;
        let lines = again.lines;
        assert!(lines > 100, "{told}: {lines} lines, not all that happened");
        assert!(compare(&bundle.judgement()?, &again.said).is_same());
    }
    Ok(())
}

macro_rules! classes {
    ($($name:ident = $number:literal,)*) => {
        $(
            #[test]
            fn $name() -> Result {
                named($number)
            }
        )*

        /// No class is left out here.
        #[test]
        fn every_class_is_tested() {
            let tested = [$($number),*];
            for entry in &ENTRIES {
                assert!(tested.contains(&entry.number), "{}", entry.number);
            }
        }
    };
}

classes! {
    overrun_01 = 1,
    truncated_32_02 = 2,
    truncated_odd_03 = 3,
    wrong_mask_04 = 4,
    physical_address_05 = 5,
    wrong_page_06 = 6,
    stale_address_07 = 7,
    reserved_in_use_08 = 8,
    fetch_crosses_page_09 = 9,
    crosses_boundary_10 = 10,
    segment_too_long_11 = 11,
    misaligned_12 = 12,
    length_hard_wired_13 = 13,
    off_by_one_14 = 14,
    kernel_text_15 = 15,
    stack_16 = 16,
    invalid_memory_17 = 17,
    shared_cache_line_18 = 18,
    routing_bits_19 = 19,
    late_engine_20 = 20,
    freed_while_mapped_21 = 21,
    left_bus_mastering_22 = 22,
    early_bus_mastering_23 = 23,
    alive_across_kexec_24 = 24,
    interrupt_order_on_remove_25 = 25,
    surprise_removal_26 = 26,
    stale_device_27 = 27,
    bar_gone_28 = 28,
    no_error_handlers_29 = 29,
    cancel_30 = 30,
    removed_while_running_31 = 31,
    reprogrammed_32 = 32,
    interior_pointer_33 = 33,
    late_descriptor_34 = 34,
    missing_read_barrier_35 = 35,
    unflushed_write_36 = 36,
    no_sync_for_cpu_37 = 37,
    no_sync_for_device_38 = 38,
    wrong_direction_39 = 39,
    sync_of_nothing_40 = 40,
    early_status_41 = 41,
    early_interrupt_42 = 42,
    lost_interrupt_43 = 43,
    interrupt_in_probe_44 = 44,
    no_msix_45 = 45,
    storm_46 = 46,
    unmap_size_47 = 47,
    unmap_twice_48 = 48,
    unchecked_error_49 = 49,
    wrong_free_50 = 50,
    entries_51 = 51,
    partial_failure_52 = 52,
    leak_53 = 53,
    large_allocation_54 = 54,
    trusted_length_55 = 55,
    short_transfer_56 = 56,
    neighbours_57 = 57,
    foreign_registers_58 = 58,
    address_from_card_59 = 59,
    lent_to_another_60 = 60,
    read_by_the_cpu_61 = 61,
    written_by_the_cpu_62 = 62,
    user_space_in_a_queued_buffer_63 = 63,
}
