// SPDX-License-Identifier: MIT OR Apache-2.0

//! All orders of the card's actions among the driver's steps: races are found at once, and what is right is right in all of them.

use std::time::Duration;

use landfall::explore::{Bounds, End, Explored, HANG, Order, Wanted};
use landfall::guest::{Card, Driver};
use landfall::judge::Trial;
use landfall_cards::capture::CaptureCard;
use landfall_cards::ring::Ring;
use landfall_device::ledger::Class;
use landfall_tests::{Result, landfall, prepared};

/// Two frames, nothing around them.
const FRAMES: &str = "frames=2 buffers=2 width=64 height=32 clip=0";
/// In which order of those with few deviations a race must be found.
const SOON: u64 = 30;

fn mutant(parameters: &str) -> Trial {
    let driver = Driver::image("landfall_mutant").with(format!("{FRAMES} {parameters}"));
    Trial::new()
        .plug(Card::new("capture", CaptureCard::default))
        .driver(driver)
        .pool(Default::default())
}

/// With so many deviations, however long it takes.
fn wanted(deviations: usize) -> Wanted {
    Wanted {
        bounds: Bounds {
            deviations,
            ..Bounds::default()
        },
        time: Duration::MAX,
        ..Wanted::default()
    }
}

/// Explores a driver with a race; it must be found soon, again in a guest of its own, and told with the place.
fn found(parameters: &str, name: &str) -> Result<Explored> {
    let explored = mutant(parameters).explore(&wanted(2))?;

    assert_eq!(explored.end, End::Failed, "{explored:?}");
    let failed = explored.failed.as_ref().expect("one that fails");
    assert!(failed.number <= SOON, "{failed:?}");
    for wrong in [&failed.wrong, &failed.again] {
        assert_eq!(
            wrong.first().map(|named| &*named.name),
            Some(name),
            "{failed:?}"
        );
    }
    let order: Order = failed.order.parse()?;
    assert_eq!(order.deviations(), 1, "the shortest there is");
    let marked = failed
        .columns
        .iter()
        .filter(|line| line.contains("<- here"));
    assert_eq!(marked.count(), 1, "{:?}", failed.columns);
    let bundle = failed.observed.bundle.clone().expect("a bundle");
    assert!(bundle.exists());
    std::fs::remove_dir_all(bundle)?;
    Ok(explored)
}

/// Two ways to take memory back from a card that may be at work.
#[test]
fn memory_that_is_taken_back_too_early_is_found_in_few_orders() -> Result {
    for bug in ["bug=64 cancel=1", "bug=65 cancel=1"] {
        let failed = found(bug, "taken back during a job")?.failed;
        let class = failed.and_then(|failed| failed.wrong.first()?.class);
        assert_eq!(class, Some(Class::CancelMidTransfer.number()), "{bug}");
    }
    Ok(())
}

/// Two ways to lose a completion: no violation of DMA, but the driver waits in vain.
#[test]
fn a_lost_completion_is_found_in_few_orders_as_a_hang() -> Result {
    for bug in ["bug=66", "bug=67"] {
        let explored = found(bug, HANG)?;
        let failed = explored.failed.expect("one that fails");
        let named = |name: &str| {
            failed
                .observed
                .violations
                .iter()
                .any(|named| named.name == name)
        };
        assert!(named(HANG), "what is kept of it says so");
    }
    Ok(())
}

/// The same driver without them is clean in all orders of a cancelled capture, and with two deviations of one to its end.
#[test]
fn a_driver_that_is_right_is_clean_in_all_orders() -> Result {
    let explored = mutant("cancel=1").explore(&wanted(usize::MAX))?;
    assert!(explored.is_clean(), "{explored:?}");
    assert_eq!(explored.end, End::All);
    assert!(
        explored.orders > 100 && explored.by_deviations.len() > 3,
        "{explored:?}"
    );

    let explored = mutant("").explore(&wanted(2))?;
    assert!(explored.is_clean(), "{explored:?}");
    assert_eq!(explored.end, End::Bounds);
    assert!(explored.orders > 50, "{explored:?}");
    // More than one thing can happen, and less than orders there are.
    assert!(explored.journals > 10 && (explored.journals as u64) < explored.orders);
    Ok(())
}

/// One order comes to one journal, each time: the card finishes its second frame within the interrupt's handler.
#[test]
fn the_same_order_comes_to_the_same_each_time() -> Result {
    let again = |order: &str| -> Result<Explored> {
        let wanted = Wanted {
            order: Some(order.parse()?),
            times: 20,
            ..wanted(2)
        };
        Ok(mutant("").explore(&wanted)?)
    };
    for order in ["default", "48:4"] {
        let explored = again(order)?;
        assert!(explored.is_clean(), "{order}: {explored:?}");
        assert_eq!(explored.end, End::One);
    }
    // One that cannot be carried out says so.
    let explored = again("1:1")?;
    assert!(
        !explored.is_judged() && explored.failed.is_none(),
        "{explored:?}"
    );
    let why = explored.why_not.expect("why");
    assert!(why.contains("to act 1 times, and did 0 times"), "{why}");
    Ok(())
}

/// A register write that is on its way is another order.
#[test]
fn a_driver_that_is_right_is_clean_with_a_write_on_its_way() -> Result {
    let wanted = Wanted {
        bounds: Bounds {
            deviations: 1,
            held_writes: 1,
            ..Bounds::default()
        },
        ..wanted(1)
    };
    let explored = mutant("cancel=1").explore(&wanted)?;
    assert!(explored.is_clean(), "{explored:?}");
    assert!(explored.orders > 30, "{explored:?}");
    Ok(())
}

/// A card whose model does not promise what it takes is refused in words.
#[test]
fn a_model_that_promises_nothing_is_refused() -> Result {
    let trial = Trial::new()
        .plug(Card::new("ring", Ring::default))
        .driver(Driver::image("landfall_gallery").with("pattern=own"))
        .pool(Default::default());
    let refused = trial.explore(&wanted(1)).map(drop).unwrap_err().to_string();
    assert!(
        refused.contains("does not say whether it wants to act"),
        "{refused}"
    );
    Ok(())
}

/// The command tells the order that fails and leaves it in a bundle, from which it is repeated; alone it fails, too.
#[test]
fn the_command_leaves_an_order_that_repeats_itself() -> Result {
    prepared();
    let temporary = tempfile::tempdir()?;
    let command = |words: &[&str]| -> Result<(Option<i32>, String)> {
        let ran = landfall()
            .args(words)
            .env("TMPDIR", temporary.path())
            .env("NO_COLOR", "1")
            .output()?;
        let text = [&*ran.stdout, &*ran.stderr].concat();
        Ok((
            ran.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    };
    let driver = format!("image:landfall_mutant {FRAMES} bug=66");
    let explore = ["explore", "--card", "capture", "--driver", &driver];

    let (code, said) = command(&explore)?;

    assert_eq!(code, Some(1), "{said}");
    for told in [
        "the same in a guest of its own",
        "<- here",
        "verdict: violations",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let order = said.lines().find_map(|line| line.split_once("--order "));
    let (_, order) = order.ok_or("an order")?;
    let bundle = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("bundle: "));
    let (code, live) = command(&["replay", "--live", bundle.ok_or("a bundle")?])?;
    assert_eq!(code, Some(0), "{live}");
    assert!(live.contains("the same as recorded: hang"), "{live}");

    let one = [&explore[..], &["--order", order]].concat();
    let (code, said) = command(&one)?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 orders in"), "{said}");
    Ok(())
}
