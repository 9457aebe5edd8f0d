// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a trial leaves that did not give what was expected: its bundle.

use std::path::PathBuf;

use landfall_guest::Prepared;

use super::jobs::{CatalogFailed, Platforms};
use super::trial::Observed;
use crate::bundle::{self, Parts, Place, Run, Trace};
use crate::evidence;
use crate::guest::{self, GuestFailed};
use crate::run::{self, RunFailed};
use crate::scenario::Scenario;

/// What a trial is to give, and what its bundle says if it gives something else.
pub(super) struct Expected<'a> {
    /// What boots.
    pub(super) prepared: &'a Prepared,
    /// The word for the bundle's name.
    pub(super) word: String,
    /// What to call the trial.
    pub(super) what: String,
    /// The command line that does the same, without the program's name.
    pub(super) command: Vec<String>,
    /// What the card does.
    pub(super) scenario: Option<&'a Scenario>,
    /// What is wrong with what was seen, in words.
    pub(super) wrong: &'a dyn Fn(&Observed) -> Option<String>,
}

impl Platforms<'_> {
    /// Leaves the bundle of a trial that did not give what was expected, or whose guest died, and forgets the trace.
    pub(super) fn leave(
        &self,
        expected: &Expected<'_>,
        done: Result<Observed, CatalogFailed>,
    ) -> Result<Observed, CatalogFailed> {
        let Some(place) = self.bundles else {
            return done.map(Observed::forget);
        };
        match done {
            Ok(mut observed) => {
                let trace = std::mem::take(&mut observed.trace);
                if let Some(wrong) = (expected.wrong)(&observed) {
                    let path = store(place, expected, &trace, &wrong, Some(&observed))?;
                    observed.bundle = Some(path);
                }
                Ok(observed)
            }
            Err(mut failed) => {
                let died = failed.guest().filter(|died| died.is_guests());
                if let Some(died) = died {
                    let logs = died.evidence.as_deref().map(guest::logs_in);
                    let trace = Trace {
                        logs: logs.unwrap_or_default(),
                        ..Trace::default()
                    };
                    let text = died.to_string();
                    match store(place, expected, &trace, &text, None) {
                        Ok(path) => died.bundle = Some(path),
                        Err(error) => tracing::warn!("{error}"),
                    }
                }
                Err(failed)
            }
        }
    }
}

fn store(
    place: &Place,
    expected: &Expected<'_>,
    trace: &Trace,
    wrong: &str,
    observed: Option<&Observed>,
) -> Result<PathBuf, CatalogFailed> {
    let request = bundle::Request {
        place: place.of(&expected.word),
        command: expected.command.clone(),
        scenario: expected.scenario.map(Scenario::to_toml),
        seed: expected.scenario.map(|scenario| scenario.seed),
    };
    let parts = Parts {
        request: &request,
        run: Run {
            command: request.command.clone(),
            seed: request.seed,
            versions: run::versions(expected.prepared, None),
            summary: format!("{}: {wrong}", expected.what),
            kernel_line: observed.and_then(|observed| observed.died.clone()),
        },
        stream: trace
            .stream
            .as_ref()
            .map(|(recorder, journal)| (recorder, journal)),
        violations: &trace.judged,
        report: None,
        observed,
        pages: &trace.pages,
        logs: &trace.logs,
    };
    bundle::store(&parts, &evidence::parent()).map_err(CatalogFailed::Bundle)
}

impl CatalogFailed {
    /// The guest that failed, if one did.
    fn guest(&mut self) -> Option<&mut GuestFailed> {
        match self {
            Self::Trial(trial) => Some(&mut trial.source),
            Self::Run { source, .. } | Self::Clean { source, .. } => match source {
                RunFailed::Guest(failed) => Some(failed),
                _ => None,
            },
            Self::NoDebugKernel | Self::Bundle(_) => None,
        }
    }
}
