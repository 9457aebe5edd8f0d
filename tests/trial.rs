// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pipeline as anybody uses it: a card, a driver, programs, a verdict.

use landfall::guest::{Card, Driver};
use landfall::judge::{Leg, Trial, TrialFailed};
use landfall_cards::ring::Ring;
use landfall_cards::template::Scratch;
use landfall_device::ledger::Class;
use landfall_tests::{Result, SHORT};

const DRIVER: &str = "landfall_gallery";

fn ring() -> Trial {
    Trial::new().plug(Card::new("ring", Ring::default))
}

/// A driver that is right is clean wherever it is tried, and a program of the guest's ran meanwhile.
#[test]
fn a_driver_that_is_right_is_clean_on_several_platforms() -> Result {
    let verdict = ring()
        .driver(Driver::image(DRIVER).with("pattern=own"))
        .run(["/bin/busybox", "true"])
        .look(|guest| {
            let bound = "/sys/bus/pci/drivers/landfall_gallery/0000:01:00.0";
            guest.wait_for_path(bound, SHORT).map(|()| Vec::new())
        })
        .on([Leg::Plain, Leg::Iommu, Leg::Swiotlb])
        .verdict()?;

    verdict.assert_clean();
    assert_eq!(verdict.legs.len(), 3);
    for leg in &verdict.legs {
        let [(name, seen)] = &leg.cards[..] else {
            panic!("one card: {leg:?}");
        };
        assert_eq!(name, "ring");
        assert!(seen.accesses > 0 && seen.calls > 1, "{seen:?}");
        assert_eq!(leg.programs.len(), 1);
        assert_eq!(seen.bundle, None);
    }
    Ok(())
}

/// A bug is named, and the verdict's text is the whole story, from the bundle that was left.
#[test]
fn a_bug_is_named_and_its_story_is_told() -> Result {
    let verdict = ring()
        .driver(Driver::image(DRIVER).with("bug=written-back"))
        .verdict()?;

    verdict.assert_named(Class::AddressFromCard);
    assert!(!verdict.is_clean());
    assert!(!verdict.is_named(Class::Overrun));
    let told = verdict.to_string();
    for word in [
        "VIOLATION 1/",
        "class 59",
        "landfall_gallery]",
        "a trial, by a test",
        "In the bundle",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let (_, seen) = &verdict.legs[0].cards[0];
    let bundle = seen.bundle.clone().expect("a bundle");
    assert!(bundle.exists());
    verdict.discard()?;
    assert!(!bundle.exists());
    Ok(())
}

/// Where nothing happened nothing was shown; a program that fails, and a driver that is not there, are told as such.
#[test]
fn silence_is_no_verdict_and_the_right_party_is_blamed() -> Result {
    let idle = || Trial::new().card(Scratch::default());
    let verdict = idle().verdict()?;
    let [wrong] = &verdict.wrong()[..] else {
        panic!("{verdict}");
    };
    assert!(wrong.contains("scratch: not judged"), "{wrong}");
    verdict.discard()?;

    let failing = idle().run(["/bin/busybox", "sh", "-c", "echo no >&2; exit 3"]);
    let verdict = failing.verdict()?;
    let told = verdict.wrong().join("\n");
    assert!(told.contains("ended with 3: no"), "{told}");
    verdict.discard()?;

    let seen = idle().look(|_| Ok(vec!["a line of its own".to_owned()]));
    let verdict = seen.verdict()?;
    assert!(!verdict.is_clean() && verdict.to_string().contains("a line of its own"));
    verdict.discard()?;

    let missing = idle().driver(Driver::stock("no_such_driver")).verdict();
    match missing {
        Err(TrialFailed::Driver { driver, .. }) => assert_eq!(driver, "no_such_driver"),
        other => panic!("{other:?}"),
    }
    Ok(())
}
