// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a driver's conduct tells, where no access of the card does: it does not come back, does not bind, or crashes.
//!
//! | class | when |
//! |---|---|
//! | 26 surprise removal | the card was gone, and the driver took too long to go |
//! | 28 BAR gone | the card did not decode, and a driver that was to go waited for it |
//! | 37 missing sync for the CPU | the ledger hints at it, and the driver says that fewer frames were right than the card completed |
//! | 45 assumed MSI-X | the driver found a card without MSI-X, and its probe failed as one does for want of interrupts |
//! | 54 large allocation | memory was fragmented, and the kernel crashed at address 0 while the driver probed |

use std::time::Duration;

use landfall_device::contract::InterruptKind;
use landfall_device::journal::{DriverState, Entry, Kind};

use super::case::Case;
use landfall::evidence::{Named, Observed};
use landfall::guest::console_findings;

/// How long a driver that is told to go may take. One that takes longer waits for something that never comes.
const COME_BACK: Duration = Duration::from_secs(5);
/// How long it may take from being loaded to being gone where the card goes meanwhile: on a host of ten tasks for each CPU
/// a sound driver takes 5 s for it, and one that polls waits three times.
const ALL_OF_IT: Duration = Duration::from_secs(12);
/// What a probe fails with that asks for interrupts which there are not: `EINVAL` if the card has not the capability,
/// `ENOSPC` if there are too few.
const NO_VECTORS: [&str; 2] = ["failed with error -22", "failed with error -28"];
/// How the kernel tells of a crash at address 0.
const AT_ZERO: [&str; 2] = [
    "NULL pointer dereference, address: 0000000000000000",
    "virtual address 0000000000000000",
];

/// Adds what the conduct tells, before everything else: it is the cause of what followed.
pub(super) fn judge(observed: &mut Observed, entries: &[Entry], trial: &Case, console: &str) {
    let happened = |wanted: &dyn Fn(&Kind) -> bool| entries.iter().any(|entry| wanted(&entry.kind));
    let down = happened(&|kind| matches!(kind, Kind::KernelDown));
    let gone = !down && happened(&|kind| matches!(kind, Kind::Disconnected));
    let not_bound = happened(&|kind| {
        matches!(
            kind,
            Kind::Driver {
                state: DriverState::NotBound,
                ..
            }
        )
    });
    let has = trial.card.interrupt;
    let refused = console
        .lines()
        .find(|line| NO_VECTORS.iter().any(|error| line.contains(error)));
    let crash = console_findings::read(console)
        .into_iter()
        .find(|finding| AT_ZERO.iter().any(|sign| finding.line.contains(sign)));
    let unsynced = observed.hints.iter().find(|hint| hint.class == Some(37));
    let unsynced = unsynced.map(|hint| hint.text.clone());
    let named = if observed.took > ALL_OF_IT && gone {
        let seconds = observed.took.as_secs_f64();
        let text = format!("the card was gone, and the driver came back only after {seconds:.1} s");
        Named::of(26, text)
    } else if let Some(waited) = waited_blind(entries).filter(|waited| *waited > COME_BACK) {
        let seconds = waited.as_secs_f64();
        let text = format!(
            "the card did not decode, and the driver, told to go, waited {seconds:.1} s for it"
        );
        Named::of(28, text)
    } else if let (Some(order), Some(crash)) = (trial.leg.fragment(), crash) {
        let text = format!(
            "no block of more than 2^{order} pages was free, and an allocation's result was used unchecked: {}",
            crash.line
        );
        Named::of(54, text)
    } else if let (true, Some(line), false) = (not_bound, refused, has == InterruptKind::Msix) {
        let text = format!("the card has {has} only, and the driver did not bind: {line}");
        Named::of(45, text)
    } else if let (Some(hint), Some((right, complete))) = (unsynced, frames_right(console)) {
        let text = format!("{hint}; and of {complete} frames the driver read {right} right");
        Named::of(37, text)
    } else {
        return;
    };
    observed.violations.insert(0, named);
}

/// How many frames the driver says were right, and how many it says were complete, if they are not as many.
fn frames_right(console: &str) -> Option<(u32, u32)> {
    let line = console
        .lines()
        .find(|line| line.contains(" frames complete, "))?;
    let (before, after) = line.split_once(" frames complete, ")?;
    let complete = before.split_whitespace().rev().nth(2)?.parse().ok()?;
    let right = after.split_whitespace().next()?.parse().ok()?;
    (right < complete).then_some((right, complete))
}

/// How long a driver that was to go left the card without decoding.
fn waited_blind(entries: &[Entry]) -> Option<Duration> {
    let going = |entry: &&Entry| {
        matches!(
            entry.kind,
            Kind::Driver {
                state: DriverState::Unbinding,
                ..
            }
        )
    };
    let mut after = entries.iter().skip_while(|entry| !going(entry));
    let off = after.find(|entry| matches!(entry.kind, Kind::Decoding { on: false }))?;
    let next = after.next()?;
    Some(Duration::from_nanos(
        next.time_ns.saturating_sub(off.time_ns),
    ))
}
