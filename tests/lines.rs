// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a violation's calls stand in the driver's source.

use std::path::Path;

use landfall::debug_info::{self, Line, Source, Unreadable};
use landfall::guest::{GuestOptions, WITNESS_MODULE};
use landfall::judge::judge_card;
use landfall_cards::capture::Fault;
use landfall_device::ledger::{Caller, Class, Platform};
use landfall_suite::run::Wishes;
use landfall_tests::{Result, boot, reported, with_capture_card};

const MUTANT: &str = "landfall_mutant";

/// The line of a file of `kmod` that has this text in it, which no other has.
fn line_of(file: &str, text: &str) -> Result<u32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../kmod")
        .join(file);
    let source = std::fs::read_to_string(path)?;
    let mut lines = (1..).zip(source.lines());
    let (line, _) = lines.find(|(_, line)| line.contains(text)).ok_or(text)?;
    assert!(!lines.any(|(_, line)| line.contains(text)), "{text}");
    Ok(line)
}

/// A mutant that gives the card memory that it took back: both calls are named by file and line, also where the kernel's
/// headers have inlined the function that was traced. The module in the guest has no debug information, and tells nothing.
#[test]
fn a_mutants_calls_are_named_by_file_and_line() -> Result {
    let guest = boot(GuestOptions {
        witness: true,
        ..with_capture_card()
    })?;
    guest.load_module(WITNESS_MODULE, "")?;
    guest.load_module(MUTANT, "bug=7")?;
    guest.unload_module(MUTANT)?;

    let judged = judge_card(&guest, 0, Platform::default());
    let files = guest.module_files();
    let lines = debug_info::of_violations(&files, &judged.violations);

    let stale = |class: Option<Class>| class.is_some_and(|class| class.number() == 7);
    let violation = judged.violations.iter().find(|said| stale(said.class));
    let lend = violation
        .and_then(|said| said.lend.as_ref())
        .ok_or("a lend")?;
    let source = |call: &Option<Caller>| {
        let symbol = call.as_ref().and_then(|call| call.symbol.clone());
        let symbol = symbol.expect("the witness told");
        let source = lines.get(&symbol).cloned();
        (symbol, source.expect("its line"))
    };
    let at = |text| -> Result<Source> {
        Ok(Source {
            file: "mutant/memory.c".to_owned(),
            line: line_of("mutant/memory.c", text)?,
            inlined: None,
            at: None,
        })
    };
    let (lent, line) = source(&lend.lent_by);
    assert!(lent.starts_with("mutant_map+"), "{lent}");
    assert_eq!(line, at("dma_map_single(")?);
    let (taken, line) = source(&lend.taken_back_by);
    assert!(taken.starts_with("mutant_unmap+"), "{taken}");
    assert_eq!(line, at("dma_unmap_single(")?);

    let stripped = files.loaded(MUTANT)?.ok_or("the module")?;
    let told = [lent.as_str()];
    assert_eq!(
        debug_info::of_module(&stripped, &told),
        Err(Unreadable::Stripped)
    );
    Ok(guest.power_off()?)
}

/// The report of a run has them as well, of a driver in Rust: functions that were inlined from the kernel's crates are
/// passed over.
#[test]
fn the_report_names_the_line_that_lent_the_buffer() -> Result {
    let report = reported(Wishes {
        fault: Some((Fault::Overrun, None)),
        width: Some(320),
        height: Some(240),
        frames: Some(2),
        ..Wishes::default()
    })?;

    let violation = report.violations.first().ok_or("a violation")?;
    let call = violation.driver_call.as_ref().ok_or("who lent it")?;
    let source = call.source.as_ref().ok_or("its line")?;
    let outermost = source.at.clone().unwrap_or(Line {
        file: source.file.clone(),
        line: source.line,
    });
    let call = "Mapped::new(device, buffer";
    let expected = Line {
        file: "capture/memory.rs".to_owned(),
        line: line_of("capture/memory.rs", call)?,
    };
    assert_eq!(outermost, expected, "{source}");
    Ok(())
}
