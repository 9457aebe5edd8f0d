// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a driver's conduct tells, where no access of the card does: it does not come back, does not bind, or crashes.
//!
//! | class | when |
//! |---|---|
//! | 26 surprise removal | the card was gone, and the driver took too long to go |
//! | 28 BAR gone | memory decoding was off while the driver was told to go, and it took too long |
//! | 45 assumed MSI-X | the driver found a card without MSI-X, and its probe failed for want of interrupts |
//! | 54 large allocation | the page allocator refused a large block, and the kernel crashed right after |

use std::time::Duration;

use landfall_device::devices::capture::CaptureOptions;
use landfall_device::dma::journal::{DriverState, Entry, Kind};
use landfall_device::function::InterruptKind;

use super::trial::{Named, Observed};
use crate::console_findings::{self, Kind as Finding};

/// What the page allocator says when it has no block of that size.
const NO_BLOCK: &str = "page allocation failure: order:";
/// `-ENOSPC`: what the kernel answers a driver that asks for more interrupts than there are.
const NO_VECTORS: &str = "failed with error -28";

/// Adds what the conduct tells, before everything else: it is the cause of what followed.
pub(super) fn judge(
    observed: &mut Observed,
    entries: &[Entry],
    card: &CaptureOptions,
    console: &str,
    patience: Duration,
) {
    let happened = |wanted: &dyn Fn(&Kind) -> bool| entries.iter().any(|entry| wanted(&entry.kind));
    let late = observed.took > patience;
    let seconds = observed.took.as_secs_f64();
    let down = happened(&|kind| matches!(kind, Kind::KernelDown));
    let gone = !down && happened(&|kind| matches!(kind, Kind::Disconnected));
    let unbinding = |kind: &Kind| {
        matches!(
            kind,
            Kind::Driver {
                state: DriverState::Unbinding,
                ..
            }
        )
    };
    let blind = entries
        .iter()
        .skip_while(|entry| !matches!(entry.kind, Kind::Decoding { on: false }))
        .any(|entry| unbinding(&entry.kind));
    let named = if late && gone {
        let text = format!("the card was gone, and the driver came back only after {seconds:.1} s");
        Named::of(26, text)
    } else if late && blind {
        let text = format!(
            "the card's memory decoding was off, and the driver came back only after {seconds:.1} s"
        );
        Named::of(28, text)
    } else if let Some(line) = crashed_for_want_of_memory(console) {
        Named::of(
            54,
            format!("a large allocation failed, and the kernel crashed: {line}"),
        )
    } else if card.interrupt != InterruptKind::Msix
        && let Some(line) = console.lines().find(|line| line.contains(NO_VECTORS))
    {
        let has = card.interrupt;
        Named::of(
            45,
            format!("the card has {has} only, and the driver did not bind: {line}"),
        )
    } else {
        return;
    };
    observed.violations.insert(0, named);
}

/// The line of the crash that followed a refused allocation.
fn crashed_for_want_of_memory(console: &str) -> Option<String> {
    let at = console.find(NO_BLOCK)?;
    let crashes = console_findings::read(console.get(at..)?);
    let crash = crashes
        .into_iter()
        .find(|finding| finding.kind == Finding::Oops)?;
    Some(crash.line)
}
