// SPDX-License-Identifier: MIT OR Apache-2.0

//! The debug kernel: what its own checks find of a driver's faults. They run where `landfall setup --debug-kernel` has
//! built it; elsewhere they say that they were skipped.

use landfall::Cancel;
use landfall::guest::console_findings::{self, Finding, Kind};
use landfall::guest::{Booted, Guest, GuestOptions};
use landfall_guest::{Kernel, Prepared};
use landfall_tests::{Result, kernel_log, prepared_debug, with_capture_card};

/// The driver whose faults are chosen by number.
const MUTANT: &str = "landfall_mutant";

/// KASAN's shadow and quarantine want their share.
fn options() -> GuestOptions {
    GuestOptions {
        memory: 512 << 20,
        ..with_capture_card()
    }
}

fn boot(prepared: &Prepared) -> landfall::guest::Result<Guest<Booted>> {
    Guest::configure(options()).boot(prepared, &Cancel::default())
}

/// What the kernel reported while the driver did its work once and went.
fn findings(prepared: &Prepared, bug: u32) -> Result<Vec<Finding>> {
    let guest = boot(prepared)?;
    guest.load_module(MUTANT, &format!("bug={bug}"))?;
    guest.unload_module(MUTANT)?;
    let log = kernel_log(&guest)?;
    guest.power_off()?;
    Ok(console_findings::read(&log))
}

/// The debug kernel boots with a card in it, its agent answers, its checks are on, and it reports nothing.
#[test]
fn the_debug_kernel_boots_with_its_checks_and_without_a_report() -> Result {
    let Some(prepared) = prepared_debug() else {
        return Ok(());
    };
    assert_eq!(prepared.kernel, Kernel::Debug);
    let guest = boot(prepared)?;

    assert_eq!(guest.kernel_release(), prepared.kernel_release);
    assert_eq!(
        guest
            .read_text("/sys/kernel/debug/dma-api/disabled")?
            .trim(),
        "N"
    );
    assert_eq!(
        guest
            .read_text("/sys/kernel/debug/dma-api/all_errors")?
            .trim(),
        "1"
    );
    let locks = guest.read_text("/proc/lockdep_stats")?;
    let on = locks
        .lines()
        .any(|line| line.split_whitespace().eq(["debug_locks:", "1"]));
    assert!(on, "{locks}");
    assert_eq!(console_findings::read(&kernel_log(&guest)?), []);
    Ok(guest.power_off()?)
}

/// A second unmap is dma-debug's; the same driver without it is nobody's.
#[test]
fn dma_debug_names_a_second_unmap_and_is_silent_without() -> Result {
    let Some(prepared) = prepared_debug() else {
        return Ok(());
    };

    let kinds: Vec<_> = findings(prepared, 48)?
        .iter()
        .map(|finding| finding.kind)
        .collect();
    assert!(kinds.contains(&Kind::DmaDebug), "{kinds:?}");
    assert_eq!(findings(prepared, 0)?, []);
    Ok(())
}
