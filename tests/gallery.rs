// SPDX-License-Identifier: MIT OR Apache-2.0

//! The gallery of correct drivers: nothing is said of any pattern; and of those that are done wrong, what they do wrong.

use landfall::Cancel;
use landfall_suite::catalog::{
    BUGS, Gallery, Leg, PATTERNS, Pattern, Plan, Platforms, gallery, show_bug,
};
use landfall_tests::{Result, prepared};

fn platforms() -> Platforms<'static> {
    Platforms {
        stock: prepared(),
        debug: None,
        jobs: None,
        bundles: None,
        record: None,
        twins: None,
        watch_cpu: false,
    }
}

/// Shows patterns on a platform, and demands that nothing is said.
fn silent(leg: Leg, mute: bool, patterns: Vec<&'static Pattern>) -> Result<Gallery> {
    let plan = Plan {
        patterns,
        legs: vec![leg],
        runs: 1,
        mute,
    };
    let shown = gallery(&plan, &platforms(), &Cancel::default(), &|_| ())?;
    let loud: Vec<_> = shown.shown.iter().filter(|one| !one.silent).collect();
    assert!(shown.silent, "{loud:#?}\n{:#?}", shown.guests);
    Ok(shown)
}

/// The patterns of these names.
fn some(names: &str) -> Vec<&'static Pattern> {
    let names = names.split_whitespace();
    names
        .map(|name| Pattern::of(name).unwrap_or_else(|| panic!("{name}")))
        .collect()
}

/// All patterns, on plain memory: silent, and what the driver counted was right.
#[test]
fn every_pattern_is_silent() -> Result {
    let shown = silent(Leg::Plain, false, PATTERNS.iter().collect())?;
    assert_eq!(shown.shown.len(), PATTERNS.len());
    let of = |name: &str| {
        let mut all = shown.shown.iter();
        all.find(|one| one.pattern == name).expect("it was shown")
    };
    assert_eq!(of("own").told.bytes, 32 * 1500);
    assert_eq!(of("four-queues").told.jobs, 400);
    assert_eq!(of("rebind").told.bindings, 21);
    assert!(of("timer").calls > 200);
    Ok(())
}

/// What an IOMMU makes different: addresses that are nobody's memory, lists that are joined, unmaps that take effect.
#[test]
fn patterns_behind_an_iommu_are_silent() -> Result {
    let patterns = "own deep two-cpus chain sg-table halves skip-sync lists lists-in-irq timer \
                    other-cpu pool zero-page noncontiguous managed d3-memory flr rebind refused \
                    stop-outstanding master-off stays-lent";
    silent(Leg::Iommu, false, some(patterns)).map(drop)
}

/// What is unmapped stays within reach for a while.
#[test]
fn patterns_behind_a_lazy_iommu_are_silent() -> Result {
    let patterns = "own deep refill-in-irq lists halves pool cancel card-reset left-in-d3";
    silent(Leg::IommuLazy, false, some(patterns)).map(drop)
}

/// Without the right syncs the bytes would be wrong.
#[test]
fn patterns_through_bounce_buffers_are_silent() -> Result {
    let patterns = "own scatter chain sg-table copy coalesce sync-in-irq napi halves twice neighbours \
                    bidirectional skip-sync need-unmap partial-syncs requeue unread rewrite \
                    unmap-in-timer mapping-error coherent-and-streaming noncontiguous pages narrow \
                    d3-memory cancel refused";
    silent(Leg::Swiotlb, false, some(patterns)).map(drop)
}

/// Memory above 4 GiB, which a driver that says 32 bits reaches through bounce buffers.
#[test]
fn patterns_above_4_gib_are_silent() -> Result {
    let patterns = "own gather copy narrow need-unmap carved pages";
    silent(Leg::High, false, some(patterns)).map(drop)
}

/// A card that declares nothing of its work is judged on less, and never wrongly.
#[test]
fn a_card_that_declares_nothing_is_not_called_wrong() -> Result {
    let patterns = "own deep scatter chain coalesce masked refill-in-irq other-causes pool-lists flr \
                    card-reset stop-outstanding";
    let shown = silent(Leg::Plain, true, some(patterns))?;
    let mute: Vec<_> = shown.shown.iter().filter(|one| one.mute).collect();
    assert_eq!(mute.len() * 2, shown.shown.len());
    assert!(
        mute.iter()
            .all(|one| one.completed == 0 && one.accesses > 0)
    );
    Ok(())
}

/// A bug is named as what it is, and nothing else; its twin is silent.
fn named(name: &str) -> Result {
    let bug = BUGS.iter().find(|bug| bug.name == name).expect("a bug");
    for planted in [true, false] {
        let (seen, told) = show_bug(bug, planted, bug.leg, &platforms(), &Cancel::default())?;
        let said = || {
            let words = (&seen.violations, &seen.hints, &seen.not_judged);
            format!(
                "{words:#?}, {:#?}, {:?}, {told:?}",
                seen.findings, seen.died
            )
        };
        if !planted {
            assert!(seen.is_silent() && seen.is_telling(), "{}", said());
            assert_eq!(told.result, 0);
            assert!(told.jobs > 0, "{told:?}");
            continue;
        }
        assert!(seen.names(bug.class.number()), "{}", said());
        assert_eq!(seen.violations.is_empty(), bug.hint, "{}", said());
        let judged = seen.not_judged.is_empty() && seen.died.is_none();
        assert!(judged, "{}", said());
    }
    Ok(())
}

macro_rules! bugs {
    ($($test:ident = $name:literal,)*) => {
        $(
            #[test]
            fn $test() -> Result {
                named($name)
            }
        )*

        #[test]
        fn every_bug_is_tested() {
            let tested = [$($name),*];
            let listed: Vec<_> = BUGS.iter().map(|bug| bug.name).collect();
            assert_eq!(listed, tested);
        }
    };
}

bugs! {
    mapped_for_another_device = "elsewhere",
    armed_with_what_the_card_wrote = "written-back",
    coalesced_completions_that_are_never_told = "lost-coalesced",
    over_before_all_was_read = "early-done",
    block_freed_while_the_card_has_it = "pool-freed",
    never_synced = "never-syncs",
    given_back_when_the_first_descriptor_is_over = "first-of-chain",
    interrupt_without_a_cause_after_the_second_stop = "spurious",
    completion_that_nobody_took = "cause-cleared-late",
    looked_into_by_another_cpu_while_lent = "while-lent",
    wiped_when_it_was_the_cards = "wiped-late",
    looked_at_beyond_what_was_synced = "beyond-the-part",
    read_without_a_barrier = "no-read-barrier",
    read_behind_a_barrier_for_cpus = "barrier-for-cpus",
    read_one_word_before_the_barrier = "one-word-early",
    read_behind_a_register_that_keeps_no_order = "relaxed-register",
    rung_by_a_register_that_keeps_no_order = "relaxed-doorbell",
}
