// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver that nobody here wrote, Debian's own ioatdma, with the kernel's own client of it, dmatest, which compares every byte
//! that it had copied and those beside them; and a card that does wrong in five ways, each of which somebody names.

use landfall::guest::{Card, Driver};
use landfall::judge::{Judged, Leg, Trial};
use landfall_cards::ioatdma::{Fault, Ioat, IoatOptions};
use landfall_device::ledger::Class;
use landfall_tests::{Result, named, wait_for_late_write};

use crate::cpu::only;

/// Copies of each of dmatest's threads.
const COPIES: usize = 50;

/// A card of which copy `fault_copy` is bad. Copy 0 is the driver's self-test, the others are dmatest's.
fn card(name: &'static str, fault: Option<Fault>, fault_copy: u64) -> Card {
    Card::new(name, move || {
        Ioat::new(IoatOptions {
            fault,
            fault_copy,
            ..IoatOptions::default()
        })
    })
}

fn driven(cards: impl IntoIterator<Item = Card>) -> Trial {
    let trial = cards.into_iter().fold(Trial::new(), Trial::plug);
    trial.driver(Driver::stock("ioatdma"))
}

/// Has dmatest copy with so many threads on each of these channels, and tells of each what it says.
fn copies(trial: Trial, channels: &[usize], threads: usize) -> Trial {
    let parameters = "/sys/module/dmatest/parameters";
    let add = |channel: &usize| format!("echo dma{channel}chan0 >channel;");
    let add: String = channels.iter().map(add).collect();
    let script = format!(
        "cd {parameters} && echo {threads} >threads_per_chan && {add} echo 1 >run && cat wait; dmesg -c | grep 'dmatest.*summary'"
    );
    trial.run(["/bin/busybox", "sh", "-c", &script])
}

fn dmatest() -> Driver {
    let parameters = format!("timeout=20000 iterations={COPIES}");
    Driver::kernel("drivers/dma/dmatest.c").with(parameters)
}

/// What dmatest says of each thread that a program started: the channel's number, and its failures.
fn summaries(leg: &Judged, program: usize) -> Vec<(usize, usize)> {
    let (_, ran) = &leg.programs[program];
    let said = ran.stdout.lines().filter_map(|line| {
        let (_, line) = line.split_once("dmatest: dma")?;
        let (channel, line) = line.split_once("chan0-copy")?;
        let (_, line) = line.split_once(": summary ")?;
        let (tests, line) = line.split_once(" tests, ")?;
        let (failures, line) = line.split_once(" failures ")?;
        assert_eq!(
            (tests.parse(), line.ends_with("(0)")),
            (Ok(COPIES), true),
            "{line}"
        );
        Some((channel.parse().ok()?, failures.parse().ok()?))
    });
    let mut said: Vec<_> = said.collect();
    said.sort_unstable();
    said
}

/// The self-test passes, and every byte that dmatest copies, with one thread and with four; the witness sees nothing wrong.
#[test]
fn every_copy_is_right_on_plain_memory_and_behind_an_iommu() -> Result {
    let trial = driven([card("ioatdma", None, 0)]).driver(dmatest());
    let trial = copies(copies(trial, &[0], 1), &[0], 4);
    let verdict = trial.on([Leg::Plain, Leg::Iommu]).verdict()?;

    verdict.assert_clean();
    for leg in &verdict.legs {
        assert_eq!(summaries(leg, 0), [(0, 0)], "{leg:?}");
        assert_eq!(summaries(leg, 1), [(0, 0); 4], "{leg:?}");
        let (_, seen) = &leg.cards[0];
        assert_eq!(seen.hints, []);
        // A descriptor, a source, a destination and a completion word each.
        assert!(seen.accesses as usize >= 4 * 5 * COPIES, "{seen:?}");
    }
    Ok(())
}

/// The driver's own bug: its self-test compares before it unmaps, and refuses a card that copied every byte.
#[test]
fn with_bounce_buffers_the_self_test_looks_too_early() -> Result {
    let trial = driven([card("ioatdma", None, 0)]).on([Leg::Swiotlb]);
    let said = ["/bin/busybox", "dmesg"];
    let verdict = trial.run(said).verdict()?;

    verdict.assert_clean();
    let leg = &verdict.legs[0];
    let (_, log) = &leg.programs[0];
    assert!(
        log.stdout
            .contains("Self-test copy failed compare, disabling"),
        "{}",
        log.stdout
    );
    let (_, seen) = &leg.cards[0];
    let [hint] = &seen.hints[..] else {
        panic!("one hint: {seen:?}");
    };
    assert_eq!(
        hint.class,
        Some(Class::MissingSyncForCpu.number()),
        "{hint:?}"
    );
    assert!(
        hint.text.contains("the driver ioatdma gave the card up"),
        "{hint:?}"
    );
    Ok(())
}

/// Where the CPU's accesses are told, that is no guess: the compare itself is named, on plain memory, where its bytes are right.
#[test]
fn the_self_test_is_named_at_the_instruction() -> Result {
    let trial = driven([card("ioatdma", None, 0)]).on([Leg::Cpu]);
    let verdict = trial.verdict()?;

    verdict.assert_named(Class::MissingSyncForCpu);
    let found = only(&verdict)?;
    let instruction = found.instruction.clone().expect("an instruction");
    let function = instruction.symbol.expect("its name");
    let caller = instruction.caller.expect("who called it");
    assert!(function.starts_with("memcmp+"), "{function}");
    assert!(caller.ends_with("[ioatdma]"), "{caller}");
    verdict.discard()?;
    Ok(())
}

/// Five cards under one driver: a wrong byte dmatest sees, as it should, and Landfall cannot; the others Landfall names, and the
/// driver sees none of them. The one that is right is clean. Behind an IOMMU, which keeps what is late from others' memory.
#[test]
fn a_card_that_does_wrong_is_named_by_landfall_or_by_the_driver() -> Result {
    let cards = [
        card("right", None, 0),
        card("corrupt", Some(Fault::Corrupt), 7),
        card("overrun", Some(Fault::Overrun), 0),
        card("lost", Some(Fault::LostInterrupt), 0),
        card("late", Some(Fault::AfterStop), 0),
    ];
    let trial = driven(cards).driver(dmatest()).on([Leg::Iommu]);
    let trial = copies(trial, &[0, 1, 2, 3], 1);
    let verdict = trial
        .look(|guest| wait_for_late_write(guest, 4, 64))
        .verdict()?;

    let leg = &verdict.legs[0];
    assert_eq!(
        summaries(leg, 0),
        [(0, 0), (1, 1), (2, 0), (3, 0)],
        "{leg:?}"
    );
    assert_eq!(leg.looks, [""; 0]);
    let class = |class: Class| vec![Some(class.number())];
    let expected = [
        ("right", vec![]),
        ("corrupt", vec![]),
        ("overrun", class(Class::Overrun)),
        ("lost", class(Class::LostInterrupt)),
        ("late", class(Class::AfterStop)),
    ];
    assert_eq!(named(leg), expected, "{verdict}");
    verdict.discard()?;
    Ok(())
}
