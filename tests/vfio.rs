// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver in user space that nobody here wrote: the kernel's selftests of VFIO, which have one of the copy engine, built from the
//! kernel's source as they are; and a card that does wrong in two ways, each of which they see. The kernel's own driver of it stays
//! away: the card is vfio-pci's.
//!
//! Programs map their memory by ioctls of VFIO, of which the witness does not hear. So where the card's accesses landed is not
//! judged, and the verdict says for want of what.

use landfall::guest::{Card, Driver, GuestOptions};
use landfall::judge::{Leg, Outcome, Trial};
use landfall::testing::selftests;
use landfall_cards::ioatdma::{Fault, Ioat, IoatOptions};
use landfall_device::ledger::Class;
use landfall_tests::kselftest::said;
use landfall_tests::{Result, named};

/// Some of the selftests take no IOMMU but that of `/dev/iommu`, which Debian's kernel has not: they are told another one before
/// their `main` begins. Their source stays as it is.
const SELFTESTS: &str = r#"vfio EXTRA_CFLAGS=-D'main(a,b)=main(a,b); __attribute__((constructor)) static void mode(void) { default_iommu_mode = "vfio_type1v2_iommu"; } int main(a,b)'"#;

const GIB: u64 = 1 << 30;

/// What a verdict says of accesses that it cannot judge, but for how many these were.
const NOT_JUDGED: [&str; 2] = [
    "nobody told what was lent when the card accessed memory, ",
    " times: the witness does not hear maps of a driver that manages its DMA itself (ioctls of VFIO)",
];

/// A card of which copy `0` is bad, with descriptors of a page: one of the selftests has 65535 in a row.
fn card(name: &'static str, fault: Option<Fault>) -> Card {
    Card::new(name, move || {
        Ioat::new(IoatOptions {
            longest: 12,
            fault,
            ..IoatOptions::default()
        })
    })
}

/// A guest with one huge page of a GiB, above 4 GiB, and room for another GiB in pages of 2 MiB.
fn driven(cards: impl IntoIterator<Item = Card>) -> Result<Trial> {
    let trial = Trial::new().machine(GuestOptions {
        memory: 3 * GIB,
        low_memory: Some(GIB),
        append: "hugepagesz=1G hugepages=1".to_owned(),
        ..GuestOptions::default()
    });
    let trial = trial.packages(&selftests(&[SELFTESTS])?);
    let trial = cards.into_iter().fold(trial, Trial::plug);
    let trial = trial.driver(Driver::stock("vfio_iommu_type1"));
    let trial = trial.driver(Driver::stock("vfio_pci").with("ids=8086:2021"));
    let huge = "echo always >/sys/kernel/mm/transparent_hugepage/shmem_enabled && echo 8 >/proc/sys/vm/nr_hugepages";
    let trial = trial.run(["/bin/busybox", "sh", "-c", huge]);
    Ok(trial.on([Leg::Iommu]))
}

/// A selftest on the card of that number, with these options. Which tests fail is the test's business, and 4 says that all were
/// skipped.
fn selftest(trial: Trial, name: &str, card: usize, options: &str) -> Trial {
    let script = format!(
        "/opt/kselftest/vfio/{name} {options} 0000:{:02x}:00.0; case $? in 0 | 1 | 4) ;; *) exit 9 ;; esac",
        card + 1
    );
    trial.run(["/bin/busybox", "sh", "-c", &script])
}

/// Variants of tests are chosen by their names: those of the container's two kinds, and what follows these.
fn kinds(of: &[&str]) -> String {
    let kinds = ["vfio_type1_iommu", "vfio_type1v2_iommu"];
    let each = kinds
        .iter()
        .flat_map(|kind| of.iter().map(move |of| format!("-v {kind}{of} ")));
    each.collect()
}

/// Maps of every size, of memory and of BARs, and their limits; configuration space, resets and each interrupt; copies of every
/// kind, from and to where nothing is mapped, too. What is left out needs `/dev/iommu`.
#[test]
fn the_kernels_selftests_pass_with_the_containers_iommu() -> Result {
    let trial = driven([card("ioatdma", None)])?;
    let sizes = kinds(&[
        "",
        "_anonymous",
        "_anonymous_hugetlb_2mb",
        "_anonymous_hugetlb_1gb",
    ]);
    let programs = [
        ("vfio_dma_mapping_test", sizes.as_str(), 12),
        ("vfio_dma_mapping_mmio_test", &kinds(&[""]), 6),
        ("vfio_pci_device_test", "", 5),
        ("vfio_pci_device_init_perf_test", &kinds(&[""]), 2),
        ("vfio_pci_driver_test", "-v vfio_type1v2_iommu", 7),
        ("vfio_pci_sriov_uapi_test", "", 0),
    ];
    let trial = programs.iter().fold(trial, |trial, (name, options, _)| {
        selftest(trial, name, 0, options)
    });
    let verdict = trial.verdict()?;

    let leg = &verdict.legs[0];
    for (number, (name, _, passes)) in (1..).zip(programs) {
        let said = said(leg, number);
        let skipped: &[_] = match passes {
            0 => &[("", "SR-IOV may not be supported by the PF: 0000:01:00.0")],
            _ => &[],
        };
        assert_eq!(
            (said.passed, &said.failed[..]),
            (passes, &[][..]),
            "{name}: {said:?}"
        );
        assert_eq!(said.skipped, skipped, "{name}");
    }
    assert_eq!(verdict.outcome(), Outcome::NotJudged, "{verdict}");
    let (_, seen) = &leg.cards[0];
    // Of a descriptor, of the source and of the destination, for each copy of the longest test.
    assert!(seen.accesses > 3 * 65_535, "{seen:?}");
    let [why] = &seen.not_judged[..] else {
        panic!("one reason: {seen:?}");
    };
    let [before, after] = NOT_JUDGED;
    assert!(why.starts_with(before) && why.ends_with(after), "{why}");
    assert_eq!(seen.hints, []);
    verdict.discard()?;
    Ok(())
}

/// The first option that fits a test decides: these leave the variants out that are not `vfio_type1v2_iommu`.
const OTHER_VARIANTS: &str =
    "-V vfio_type1_iommu -V iommufd_compat_type1 -V iommufd_compat_type1v2 -V iommufd";

/// Three cards: a wrong byte the selftest sees, as it should, and Landfall cannot; a lost interrupt both name. The one that is right
/// passes.
#[test]
fn a_card_that_does_wrong_is_named_by_the_selftest() -> Result {
    let mut trial = driven([
        card("right", None),
        card("corrupt", Some(Fault::Corrupt)),
        card("lost", Some(Fault::LostInterrupt)),
    ])?;
    for number in 0..3 {
        let which = [
            "-t memcpy_success -t send_msi",
            "-t memcpy_success",
            "-t send_msi",
        ][number];
        let options = format!("{OTHER_VARIANTS} {which}");
        trial = selftest(trial, "vfio_pci_driver_test", number, &options);
    }
    let verdict = trial.verdict()?;

    let leg = &verdict.legs[0];
    let said: Vec<_> = (1..=3).map(|program| said(leg, program)).collect();
    assert_eq!([said[0].passed, said[1].passed, said[2].passed], [2, 0, 0]);
    let failed: Vec<_> = said.iter().map(|said| said.failed.clone()).collect();
    let expected = [
        vec![],
        vec!["vfio_pci_driver_test.vfio_type1v2_iommu.memcpy_success"],
        vec!["vfio_pci_driver_test.vfio_type1v2_iommu.send_msi"],
    ];
    assert_eq!(failed, expected, "{verdict}");
    let expected = [
        ("right", vec![]),
        ("corrupt", vec![]),
        ("lost", vec![Some(Class::LostInterrupt.number())]),
    ];
    assert_eq!(named(leg), expected, "{verdict}");
    verdict.discard()?;
    Ok(())
}
