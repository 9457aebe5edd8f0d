// SPDX-License-Identifier: MIT OR Apache-2.0

//! One guest, one driver, one card, one bug or none; and what was seen of it from outside.
//!
//! The driver is loaded into a guest with the witness, whose card nobody has bound. It captures while it is loaded and
//! tears down when it is unloaded, so that a trial is: load, perhaps do something to the guest, unload, look.

use std::time::Duration;

use landfall::evidence::Observed;
use landfall::guest::memory::Ram;
use landfall::guest::{Booted, Guest, GuestFailed, GuestOptions, What, cpu};
use landfall::judge::{Death, Watch};
use landfall_cards::capture::CaptureOptions;
use landfall_device::ledger::Platform;
use landfall_guest::{Cancel, Prepared};

use super::conduct;
use super::{Action, Leg};
use crate::capture;

/// The module with the mutants.
const MUTANT: &str = "landfall_mutant";
/// How long a restart of the kernel may take until QEMU ends.
const RESTART: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// On which platform.
    pub leg: Leg,
    /// Parameters of the driver, its mutant among them.
    pub parameters: String,
    /// The card, with its faults.
    pub card: CaptureOptions,
    /// What is done to the guest while the driver is bound.
    pub action: Action,
    /// Bytes of a cache line, to be judged as on a machine whose devices do not see the CPU's caches; 0: as it is.
    pub cache_line: u64,
    /// The CPU's accesses are judged, if they can be seen.
    pub watch_cpu: bool,
}

/// A trial came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("the trial on {leg} with `{parameters}` failed")]
pub struct CaseFailed {
    /// On which platform.
    pub leg: Leg,
    /// The driver's parameters.
    pub parameters: String,
    /// Why.
    #[source]
    pub source: GuestFailed,
}

/// The same options, with the CPU's accesses judged if that is wanted and can be.
pub(super) fn watching(options: GuestOptions, wanted: bool, prepared: &Prepared) -> GuestOptions {
    let watch_cpu = options.watch_cpu || wanted && cpu::can_watch(&options, prepared).is_ok();
    GuestOptions {
        watch_cpu,
        ..options
    }
}

impl Case {
    /// Runs it.
    ///
    /// # Errors
    /// If the guest does not come, or fails where no bug of driver or card can be the reason.
    pub fn run(&self, prepared: &Prepared, cancel: &Cancel) -> Result<Observed, CaseFailed> {
        self.attempt(prepared, cancel).map_err(|source| CaseFailed {
            leg: self.leg,
            parameters: self.parameters.clone(),
            source,
        })
    }

    fn attempt(&self, prepared: &Prepared, cancel: &Cancel) -> Result<Observed, GuestFailed> {
        let cards = vec![capture::card(self.card.clone())];
        let options = watching(self.leg.guest(prepared, cards), self.watch_cpu, prepared);
        let guest = Guest::configure(options).boot(prepared, cancel)?;
        let watch = Watch::begin(&guest, self.platform(guest.memory().ram()));
        let death = match self.drive(&guest) {
            Ok(()) => None,
            // It was to restart, and did.
            Err(failed) if self.restarted(&failed) => Some(Death {
                words: None,
                evidence: failed.evidence,
            }),
            Err(failed) => Some(Death::of(failed)?),
        };
        let [mut observed] =
            <[Observed; 1]>::try_from(watch.end(death.as_ref())).unwrap_or_default();
        observed.struck = (0..)
            .zip(&self.card.faults)
            .all(|(index, _)| self.card.strikes.of(index) > 0);
        let entries = observed.trace.entries();
        let console = guest.console_log();
        conduct::judge(&mut observed, &entries, self, &console);
        Ok(observed)
    }

    /// Loads the driver, which captures; does what is to be done; unloads it.
    fn drive(&self, guest: &Guest<Booted>) -> Result<(), GuestFailed> {
        guest.load_module(MUTANT, &self.parameters)?;
        match self.action {
            Action::Nothing => {}
            Action::FailLink => guest.fail_link(0)?,
            Action::Restart => {
                // It does not answer: the kernel goes down, and QEMU with it.
                let restarted = guest.run(&["/bin/busybox", "reboot", "-f"], RESTART);
                return restarted.map(drop);
            }
        }
        guest.unload_module(MUTANT)
    }

    /// Whether this is the restart that was asked for.
    fn restarted(&self, failed: &GuestFailed) -> bool {
        self.action == Action::Restart && matches!(*failed.what, What::QemuEnded { .. })
    }

    /// What the ledger is told of the machine.
    fn platform(&self, ram: &[Ram]) -> Platform {
        Platform {
            cache_line: self.cache_line,
            ..self.leg.platform(ram)
        }
    }
}
