// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver that everybody has and nobody here wrote, the kernel's own nvme, Debian's module: rings, queues and vectors at load. What
//! fio writes it reads back and verifies; and a card that does wrong in four ways, each of which somebody names.

use std::collections::BTreeSet;
use std::fmt::Write;

use landfall::guest::{Card, Driver};
use landfall::judge::{Judged, Leg, Trial};
use landfall::testing::packages;
use landfall_cards::nvme::{Fault, Nvme, NvmeOptions};
use landfall_device::journal::Kind;
use landfall_device::ledger::Class;
use landfall_tests::{Result, named, wait_for_late_write};

/// Which read strikes: one of the test's, for the kernel looks for partitions first.
const FAULT_READ: u64 = 40;

fn card(name: &'static str, fault: Option<Fault>) -> Card {
    Card::new(name, move || {
        Nvme::new(NvmeOptions {
            fault,
            fault_read: FAULT_READ,
            ..NvmeOptions::default()
        })
    })
}

fn shell(script: &str) -> [&str; 4] {
    ["/bin/busybox", "sh", "-c", script]
}

/// A script's beginning: in `disk`, the disk of the card with that number, from 0, when it is there.
fn disk(card: usize) -> String {
    let controllers = format!("/sys/bus/pci/devices/0000:{:02x}:00.0/nvme", card + 1);
    format!(
        "until disk=$(ls {controllers} 2>/dev/null) && disk=/dev/${{disk}}n1 && [ -b $disk ]; do sleep 0.02; done;"
    )
}

/// What a program wrote, all of which ended well.
fn said(leg: &Judged, program: usize) -> &str {
    let (_, ran) = &leg.programs[program];
    assert_eq!((ran.status, ran.timed_out), (0, false), "{ran:?}");
    &ran.stdout
}

/// With 1, 4 and 32 commands in flight, of half a KiB to 256 KiB, which are two commands of up to 33 pages.
#[test]
fn fio_verifies_what_it_wrote_on_three_platforms() -> Result {
    let mut script = disk(0);
    // Each CPU has a queue of its own, and a vector.
    for (depth, cpu) in [(1, 0), (4, 1), (32, 0)] {
        let _ = write!(
            script,
            "fio --name=verify --filename=$disk --rw=randwrite --bssplit=512/20:4k/40:64k/20:256k/20 --size=4M --iodepth={depth} \
             --cpus_allowed={cpu} --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --minimal >&2 || exit {depth};"
        );
    }
    // The other format, and a controller that begins anew; then a flush.
    script += "nvme format $disk --lbaf=1 --force && nvme reset ${disk%n1} && nvme flush $disk && blockdev --getss $disk";
    let trial = Trial::new().plug(card("nvme", None));
    let trial = trial.packages(&packages(&["fio", "nvme-cli"])?);
    let trial = trial.driver(Driver::stock("nvme")).run(shell(&script));
    let trial = trial.look(|guest| {
        let journal = guest.journal(0).map(|journal| journal.entries_from(0));
        let vectors = journal.unwrap_or_default().into_iter();
        let vectors = vectors.filter_map(|entry| match entry.kind {
            Kind::Interrupt { vector } => Some(vector),
            _ => None,
        });
        let vectors: BTreeSet<_> = vectors.collect();
        let all = vectors == [0, 1, 2].into();
        Ok(match all {
            true => Vec::new(),
            false => vec![format!("interrupts by {vectors:?}")],
        })
    });
    let verdict = trial.on([Leg::Plain, Leg::Iommu, Leg::Swiotlb]).verdict()?;

    verdict.assert_clean();
    for leg in &verdict.legs {
        let said = said(leg, 0);
        assert!(said.ends_with("4096\n"), "{said}");
        assert_eq!(leg.looks, [""; 0]);
        let (_, seen) = &leg.cards[0];
        assert_eq!(seen.hints, []);
        assert!(seen.accesses > 10_000, "{seen:?}");
    }
    Ok(())
}

/// Five cards under one driver: a wrong byte its user sees, as he should, and Landfall cannot; the others Landfall names, and of
/// these the driver sees the interrupt that does not come. The one that is right is clean. Behind an IOMMU, which keeps what is late
/// from others' memory.
#[test]
fn a_card_that_does_wrong_is_named_by_landfall_or_by_its_user() -> Result {
    let cards = [
        card("right", None),
        card("corrupt", Some(Fault::Corrupt)),
        card("overrun", Some(Fault::Overrun)),
        card("lost", Some(Fault::LostInterrupt)),
        card("late", Some(Fault::AfterStop)),
    ];
    let count = cards.len();
    let mut trial = cards.into_iter().fold(Trial::new(), Trial::plug);
    // A command without an interrupt is looked for after five seconds, not thirty.
    let core = Driver::stock("nvme_core").with("io_timeout=5");
    trial = trial.driver(core).driver(Driver::stock("nvme"));
    for number in 0..count {
        let script = disk(number)
            + "dd if=/dev/urandom of=/tmp/a bs=512 count=64 2>/dev/null;
               dd if=/tmp/a of=$disk bs=32k oflag=direct 2>/dev/null;
               dd if=$disk of=/tmp/b bs=512 count=64 iflag=direct 2>/dev/null;
               cmp -l /tmp/a /tmp/b | wc -l";
        trial = trial.run(shell(&script));
    }
    let stop =
        disk(count - 1) + "d=${disk%n1}; echo 1 >/sys/class/nvme/${d#/dev/}/reset_controller";
    trial = trial.run(shell(&stop));
    let polled =
        disk(3) + "d=${disk%n1}; dmesg | grep -c \"nvme ${d#/dev/}: .* completion polled\"";
    let trial = trial.run(shell(&polled));
    let trial = trial.look(move |guest| wait_for_late_write(guest, count - 1, 64));
    let verdict = trial.on([Leg::Iommu]).verdict()?;

    let leg = &verdict.legs[0];
    let differs: Vec<_> = (0..count).map(|number| said(leg, number).trim()).collect();
    assert_eq!(differs, ["0", "1", "0", "0", "0"]);
    assert_ne!(said(leg, count + 1), "0\n", "what its driver says");
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
