// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver that nobody here wrote, the kernel's pci_endpoint_test, with the kernel's own selftest of it, both built from its
//! source as they are; and a card that does wrong in four ways, each of which somebody names.

use std::time::Instant;

use landfall::guest::{Booted, Card, Driver, Guest};
use landfall::judge::{Leg, Trial};
use landfall::testing::selftests;
use landfall_cards::endpoint::{Endpoint, EndpointOptions, Fault};
use landfall_device::ledger::Class;
use landfall_tests::kselftest::said;
use landfall_tests::{Result, SHORT, named, wait_for_late_write};

const SELFTEST: &str = "/opt/kselftest/pci_endpoint/pci_endpoint_test";

/// A card that does wrong at number `fault_at` of what a fault can strike.
fn card(name: &'static str, fault: Option<Fault>, fault_at: u64) -> Card {
    Card::new(name, move || {
        Endpoint::new(EndpointOptions { fault, fault_at })
    })
}

fn driven(cards: impl IntoIterator<Item = Card>) -> Result<Trial> {
    let trial = Trial::new().packages(&selftests(&["pci_endpoint"])?);
    let trial = cards.into_iter().fold(trial, Trial::plug);
    Ok(trial.driver(Driver::kernel("drivers/misc/pci_endpoint_test.c")))
}

const REGISTERS: (&str, &str) = (
    "pci_ep_bar.BAR0.BAR_SUBRANGE_TEST",
    "BAR is test register space",
);
/// An x86 without interrupt remapping gives no more than one vector of MSI.
const ONE_VECTOR: (&str, &str) = ("pci_ep_basic.MSI_TEST", "MSI2 is disabled");
/// The card has 64, and the test asks for 2048.
const SIXTY_FOUR: (&str, &str) = ("pci_ep_basic.MSIX_TEST", "MSI-X65 is disabled");

/// All that the selftest tries passes, but for what the machine has not; the witness sees nothing wrong.
#[test]
fn the_kernels_selftest_passes_on_plain_memory_and_behind_an_iommu() -> Result {
    let trial = driven([card("endpoint", None, 0)])?.run([SELFTEST]);
    let verdict = trial.on([Leg::Plain, Leg::Iommu]).verdict()?;

    verdict.assert_clean();
    for leg in &verdict.legs {
        let said = said(leg, 0);
        let (totals, skipped) = match leg.leg {
            Leg::Plain => (
                "pass:20 fail:0 xfail:0 xpass:0 skip:3 error:0",
                &[REGISTERS, ONE_VECTOR, SIXTY_FOUR][..],
            ),
            _ => (
                "pass:21 fail:0 xfail:0 xpass:0 skip:2 error:0",
                &[REGISTERS, SIXTY_FOUR][..],
            ),
        };
        assert_eq!((said.totals, &said.skipped[..]), (totals, skipped));
        assert_eq!(said.passed + said.skipped.len(), 23);
        let (_, seen) = &leg.cards[0];
        assert_eq!(seen.hints, []);
        // Each way three short transfers and two of a megabyte, twice: read or written in four pieces, copied in eight.
        assert_eq!(seen.accesses, 2 * (6 + 4 * 4) + 2 * (6 + 4 * 8), "{seen:?}");
    }
    Ok(())
}

/// What a bounce buffer cannot hold, 256 KiB, the driver has no other way for, nor has it one where no megabyte of memory is in
/// one piece: those transfers fail, and nothing else. That the kernel tells of memory which it refused is nobody's fault.
#[test]
fn with_bounce_buffers_and_in_fragmented_memory_the_long_transfers_alone_fail() -> Result {
    let trial = driven([card("endpoint", None, 0)])?.run([SELFTEST]);
    let verdict = trial.on([Leg::Swiotlb, Leg::Fragmented]).verdict()?;

    for leg in &verdict.legs {
        let said = said(leg, 0);
        let failed = ["memcpy", "dma"].map(|how| {
            ["READ", "WRITE", "COPY"].map(|way| format!("pci_ep_data_transfer.{how}.{way}_TEST"))
        });
        assert_eq!(said.failed, failed.concat());
        assert_eq!(said.skipped, [REGISTERS, ONE_VECTOR, SIXTY_FOUR]);
        let (_, ran) = &leg.programs[0];
        let sizes = ran.stderr.matches("Test failed for size").count();
        let long = ["(1024000)", "(1024001)"].map(|size| ran.stderr.matches(size).count());
        assert_eq!((sizes, long), (12, [6, 6]), "{}", ran.stderr);
        let (_, seen) = &leg.cards[0];
        assert!(!seen.is_wrong() && seen.hints.is_empty(), "{seen:?}");
    }
    verdict.discard()?;
    Ok(())
}

/// The selftest on the card of that number: it knows the first alone, so the others get that one's name.
fn on(trial: Trial, card: usize, which: &str) -> Trial {
    let names = "[ -e /dev/e0 ] || for node in /dev/pci-endpoint-test.*; do mv $node /dev/e${node##*.}; done";
    let script =
        format!("{names}; ln -sf e{card} /dev/pci-endpoint-test.0; exec {SELFTEST} {which}");
    trial.run(["/bin/busybox", "sh", "-c", &script])
}

/// Five cards under one driver: a wrong byte the selftest sees, as it should, and Landfall cannot; a lost interrupt both name; a
/// byte too far, and a write after the card said that it was done, Landfall alone names. The one that is right is clean. Behind an
/// IOMMU, which keeps what is late from others' memory; and the byte too far is of a kmalloc'd 2 KiB.
#[test]
fn a_card_that_does_wrong_is_named_by_landfall_or_by_the_selftest() -> Result {
    let cards = [
        card("right", None, 0),
        card("corrupt", Some(Fault::Corrupt), 1),
        card("overrun", Some(Fault::Overrun), 2),
        card("lost", Some(Fault::LostInterrupt), 0),
        card("late", Some(Fault::AfterDone), 19),
    ];
    let mut trial = driven(cards)?.on([Leg::Iommu]);
    for card in 0..5 {
        trial = match card {
            3 => on(trial, card, "-f pci_ep_basic"),
            _ => on(trial, card, "-f pci_ep_data_transfer"),
        };
    }
    let verdict = trial
        .look(|guest| wait_for_late_write(guest, 4, 64))
        .verdict()?;

    let leg = &verdict.legs[0];
    assert_eq!(leg.looks, [""; 0]);
    let complained: Vec<_> = (0..5).map(|program| said(leg, program).failed).collect();
    let expected = [
        vec![],
        vec!["pci_ep_data_transfer.memcpy.READ_TEST"],
        vec![],
        vec!["pci_ep_basic.LEGACY_IRQ_TEST"],
        vec![],
    ];
    assert_eq!(complained, expected, "{verdict}");
    let (_, corrupt) = &leg.programs[1];
    assert!(
        corrupt.stderr.contains("Test failed for size (1024)"),
        "{}",
        corrupt.stderr
    );
    let class = |class: Class| vec![Some(class.number())];
    let expected = [
        ("right", vec![]),
        ("corrupt", vec![]),
        ("overrun", class(Class::Overrun)),
        ("lost", class(Class::LostInterrupt)),
        ("late", class(Class::DoneTooEarly)),
    ];
    assert_eq!(named(leg), expected, "{verdict}");
    verdict.discard()?;
    Ok(())
}

/// Kills what sleeps and hears no signal, and tells its name.
const KILL: &str = "for task in /proc/[0-9]*; do if grep -q 'disk sleep' $task/status; then cat $task/comm; \
    kill -9 ${task#/proc/}; fi; done 2>/dev/null";

/// Waits until the selftest sleeps, and still does when it was killed.
fn wait_for_hang(guest: &Guest<Booted>) -> landfall::guest::Result<Vec<String>> {
    let end = Instant::now() + SHORT;
    let mut seen = 0;
    while seen < 2 {
        if Instant::now() > end {
            return Ok(vec!["the selftest does not hang".to_owned()]);
        }
        let ran = guest.run(&["/bin/busybox", "sh", "-c", KILL], SHORT)?;
        seen += usize::from(ran.stdout.contains("pci_endpoint_te"));
    }
    Ok(Vec::new())
}

/// The driver's own: it waits for a transfer without end. Of an interrupt that is lost nobody tells but Landfall; who waits stays,
/// whatever kills it, and with it the module.
#[test]
fn a_transfer_whose_interrupt_is_lost_hangs_the_driver_and_landfall_says_why() -> Result {
    let script = format!("{SELFTEST} -f pci_ep_data_transfer >/dev/null 2>&1 &");
    let trial = driven([card("endpoint", Some(Fault::LostInterrupt), 0)])?;
    let trial = trial.run(["/bin/busybox", "sh", "-c", &script]);
    let verdict = trial.look(wait_for_hang).verdict()?;

    verdict.assert_named(Class::LostInterrupt);
    let leg = &verdict.legs[0];
    assert_eq!(leg.looks, [""; 0]);
    let (_, seen) = &leg.cards[0];
    let died = seen.died.as_deref().unwrap_or_default();
    assert!(died.contains("pci_endpoint_test"), "{died}");
    verdict.discard()?;
    Ok(())
}
