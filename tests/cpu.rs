// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest's CPUs do with memory that is a card's. That each class of it is named, and its twin silent, the catalogue shows, and
//! the gallery what only looks like it.

use std::fs;
use std::path::{Path, PathBuf};

use landfall::bundle::Bundle;
use landfall::guest::qemu::command::Engine;
use landfall::guest::{Card, Driver, Guest, GuestOptions, Start, What};
use landfall::judge::{Leg, Trial, Verdict};
use landfall::testing;
use landfall_cards::ring::Ring;
use landfall_device::ledger::{Class, Violation};
use landfall_guest::{Cancel, Kernel, Prepared, SetupOptions, build_module};
use landfall_tests::{Result, prepared};

const DRIVER: &str = "landfall_gallery";

fn ring(parameters: &str) -> Trial {
    Trial::new()
        .plug(Card::new("ring", Ring::default))
        .driver(Driver::image(DRIVER).with(parameters))
}

/// The one violation of a verdict on one platform with one card, as its bundle has it.
pub(crate) fn only(verdict: &Verdict) -> Result<Violation> {
    let (_, seen) = &verdict.legs[0].cards[0];
    let bundle = seen.bundle.as_deref().expect("a bundle");
    let recorded = Bundle::open(bundle)?;
    let violations = recorded.judgement()?.violations;
    assert_eq!(violations, recorded.judge(|_, _| ())?.said.violations);
    assert_eq!(violations.len(), 1, "{verdict}");
    Ok(violations[0].clone())
}

/// Each of ten thousand loads by another CPU is found, in one violation, at its instruction, with the driver's function; the bundle
/// says the same.
#[test]
fn every_wrong_load_of_another_cpu_is_found_and_told_by_its_instruction() -> Result {
    const LOADS: u64 = 10_000;
    let verdict = ring(&format!("bug=while-lent handoffs={LOADS}"))
        .on([Leg::Cpu])
        .verdict()?;

    verdict.assert_named(Class::CpuReads);
    let found = only(&verdict)?;
    assert_eq!(found.accesses, LOADS);
    let instruction = found.instruction.clone().expect("an instruction");
    let symbol = instruction.symbol.expect("its name");
    assert!(
        symbol.starts_with("look+0x") && symbol.ends_with("[landfall_gallery]"),
        "{symbol}"
    );
    assert_eq!(
        found.title(),
        "cpu-reads by look [landfall_gallery] at a streaming mapping"
    );
    let told = verdict.to_string();
    assert!(
        told.contains("look+0x") && told.contains("class 61"),
        "{told}"
    );
    verdict.discard()?;
    Ok(())
}

/// As many that are right, with two CPUs that hand memory to and fro, are no word.
#[test]
fn what_two_cpus_hand_to_each_other_rightly_is_no_word() -> Result {
    let verdict = ring("pattern=handed-over handoffs=10000")
        .on([Leg::Cpu])
        .verdict()?;
    verdict.assert_clean();
    Ok(())
}

/// The gallery as anybody's driver, whose own Kbuild asks for no marks, built with or without them.
fn own_gallery(marks: bool) -> Result<PathBuf> {
    let kmod = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kmod");
    let directory = tempfile::tempdir()?;
    for part in ["gallery", "include"] {
        fs::create_dir(directory.path().join(part))?;
        for file in fs::read_dir(kmod.join(part))? {
            let file = file?;
            let to = directory.path().join(part).join(file.file_name());
            fs::copy(file.path(), to)?;
        }
    }
    let kbuild = fs::read_to_string(kmod.join("Kbuild"))?;
    let plain = |line: &&str| !line.contains("landfall_marks.h");
    let mut kbuild: Vec<_> = kbuild.lines().filter(plain).collect();
    kbuild.push("obj-m := landfall_gallery.o");
    fs::write(directory.path().join("Kbuild"), kbuild.join("\n"))?;
    let options = SetupOptions {
        marks,
        ..testing::setup_options().expect("HOME or LANDFALL_CACHE is set")
    };
    let cancel = Cancel::default();
    let built = build_module(&options, prepared(), directory.path(), &cancel, &mut |_| ())?;
    Ok(built.ko)
}

/// A driver of one's own that lacks a read barrier is named if it was built with marks, with both instructions; without, nobody
/// knows which barriers it has, and nothing is said.
#[test]
fn a_missing_read_barrier_of_ones_own_driver_is_told_by_both_instructions() -> Result {
    let trial = |marks| -> Result<_> {
        let driver = Driver::module(own_gallery(marks)?).with("bug=no-read-barrier");
        let card = Card::new("ring", Ring::default);
        Ok(Trial::new()
            .plug(card)
            .driver(driver)
            .on([Leg::Cpu])
            .verdict()?)
    };
    trial(false)?.assert_clean();

    let verdict = trial(true)?;
    verdict.assert_named(Class::MissingReadBarrier);
    let (_, seen) = &verdict.legs[0].cards[0];
    let bundle = seen.bundle.as_deref().expect("a bundle");
    let recorded = Bundle::open(bundle)?;
    let violations = recorded.judgement()?.violations;
    assert_eq!(violations, recorded.judge(|_, _| ())?.said.violations);
    for violation in &violations {
        let instruction = violation.instruction.as_ref().expect("an instruction");
        let other = instruction.other.as_ref().expect("another");
        let symbols = [&instruction.symbol, &other.symbol];
        for symbol in symbols {
            let symbol = symbol.as_deref().unwrap_or_default();
            assert!(symbol.ends_with("[landfall_gallery]"), "{violation:#?}");
        }
        assert!(violation.job.is_some(), "{violation:#?}");
    }
    verdict.discard()?;
    Ok(())
}

/// Without the plugin nobody sees any of it.
#[test]
fn on_plain_memory_alone_nobody_sees_it() -> Result {
    let verdict = ring("bug=while-lent").on([Leg::Plain]).verdict()?;
    verdict.assert_clean();
    Ok(())
}

/// A guest in which it cannot be seen is refused, or its platform skipped, with the reason.
#[test]
fn where_it_cannot_be_seen_that_is_said() -> Result {
    let cold = GuestOptions {
        watch_cpu: true,
        witness: true,
        start: Start::Cold,
        ..GuestOptions::default()
    };
    let refused = Guest::configure(cold.clone()).boot(prepared(), &Cancel::default());
    let failed = refused.expect_err("it is refused");
    let What::Options(why) = &*failed.what else {
        panic!("{failed:?}");
    };
    assert!(why.contains("only in a guest that is restored"), "{why}");

    // Neither is begun.
    let native = GuestOptions {
        engine: Engine::Kvm,
        start: Start::Restored,
        ..cold.clone()
    };
    let looks_itself = Prepared {
        kernel: Kernel::Debug,
        ..prepared().clone()
    };
    let usual = GuestOptions {
        start: Start::Restored,
        ..cold.clone()
    };
    for (options, prepared, words) in [
        (native, prepared(), "not under KVM"),
        (usual, &looks_itself, "the debug kernel"),
    ] {
        let refused = Guest::configure(options).boot(prepared, &Cancel::default());
        let failed = refused.expect_err("it is refused");
        assert!(failed.what.to_string().contains(words), "{failed:?}");
    }

    let verdict = ring("pattern=own").machine(cold).on([Leg::Cpu]).verdict()?;
    let skipped = verdict.legs[0].skipped.clone().expect("a reason");
    assert!(skipped.contains("as asked for"), "{skipped}");
    Ok(())
}
