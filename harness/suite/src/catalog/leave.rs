// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a trial leaves that did not give what was expected: its bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::jobs::CatalogFailed;
use crate::run::RunFailed;
use crate::scenario::Scenario;
use landfall::bundle::{self, Parts, Place, Run};
use landfall::evidence::Observed;
use landfall::evidence::{Logs, Pages, Trace};
use landfall::guest::{self, GuestFailed};

/// What a trial is to give, and what its bundle says if it gives something else.
pub(super) struct Expected<'a> {
    /// What takes part, by name.
    pub(super) versions: BTreeMap<String, String>,
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

/// Leaves the bundle of a trial that did not give what was expected, or whose guest died, if there is a place for it.
/// Forgets the trace; the evidence of a guest that died as expected goes.
pub(super) fn leave(
    place: Option<&Place>,
    expected: &Expected<'_>,
    done: Result<Observed, CatalogFailed>,
) -> Result<Observed, CatalogFailed> {
    match done {
        Ok(mut observed) => {
            let trace = std::mem::take(&mut observed.trace);
            match ((expected.wrong)(&observed), place) {
                (Some(wrong), Some(place)) => {
                    let path = store(place, expected, &trace, &wrong, Some(&observed))?;
                    observed.bundle = Some(path);
                }
                (Some(_), None) => {}
                (None, _) => {
                    // What cannot be removed stays.
                    let _ = trace.evidence.map(std::fs::remove_dir_all);
                }
            }
            Ok(observed)
        }
        Err(mut failed) => {
            let died = failed.guest().filter(|died| died.is_guests());
            if let (Some(place), Some(died)) = (place, died) {
                let logs = died.evidence.as_deref().map(guest::logs_in);
                let trace = Trace {
                    logs: logs.unwrap_or_default(),
                    ..Trace::default()
                };
                match store(place, expected, &trace, &died.to_string(), None) {
                    Ok(path) => died.bundle = Some(path),
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            Err(failed)
        }
    }
}

/// Leaves stream and verdict of a trial as one file, for tests that judge it again: no logs, no memory.
pub(super) fn record(
    directory: &Path,
    expected: &Expected<'_>,
    observed: &Observed,
) -> Result<(), CatalogFailed> {
    if observed.trace.stream.is_none() {
        return Ok(()); // no card was at work
    }
    let file = format!("{}.tar.zst", expected.word);
    let place = Place::At(directory.join(file));
    let trace = Trace {
        stream: None,
        ..Trace::default()
    };
    let said = (expected.wrong)(observed).unwrap_or_else(|| "as expected".to_owned());
    let parts = Recorded {
        trace: &observed.trace,
        logs: &trace.logs,
        pages: &trace.pages,
    };
    store_parts(&place, expected, parts, &said, Some(observed)).map(drop)
}

/// What a bundle of a trial is made of.
struct Recorded<'a> {
    trace: &'a Trace,
    logs: &'a Logs,
    pages: &'a Pages,
}

fn store(
    place: &Place,
    expected: &Expected<'_>,
    trace: &Trace,
    wrong: &str,
    observed: Option<&Observed>,
) -> Result<PathBuf, CatalogFailed> {
    let parts = Recorded {
        trace,
        logs: &trace.logs,
        pages: &trace.pages,
    };
    store_parts(&place.of(&expected.word), expected, parts, wrong, observed)
}

fn store_parts(
    place: &Place,
    expected: &Expected<'_>,
    recorded: Recorded<'_>,
    wrong: &str,
    observed: Option<&Observed>,
) -> Result<PathBuf, CatalogFailed> {
    let trace = recorded.trace;
    let request = bundle::Request {
        place: place.clone(),
        command: expected.command.clone(),
        scenario: expected.scenario.map(Scenario::to_toml),
        seed: expected.scenario.map(|scenario| scenario.seed),
    };
    let parts = Parts {
        request: &request,
        run: Run {
            command: request.command.clone(),
            seed: request.seed,
            versions: expected.versions.clone(),
            summary: format!("{}: {wrong}", expected.what),
            kernel_line: None,
        },
        stream: trace
            .stream
            .as_ref()
            .map(|(recorder, journal)| (recorder, journal)),
        judged: &trace.judged,
        report: None,
        observed,
        pages: recorded.pages,
        logs: recorded.logs,
    };
    bundle::store(&parts, &landfall::guest::run_directory::parent()).map_err(CatalogFailed::Bundle)
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
            Self::Gallery { source, .. } => Some(source),
            Self::NoDebugKernel | Self::Bundle(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use landfall_device::contract::Role;
    use landfall_device::journal::{Bytes, Direction, Journal, Kind, Outcome};
    use landfall_device::ledger::Platform;

    use super::*;
    use landfall::bundle::{Bundle, compare, story};
    use landfall::evidence::Named;
    use landfall::judge::record;

    /// What is seen of a card that writes where nothing was lent, or does not, until its journal of that size is full.
    fn observed(writes: bool, capacity: usize) -> Observed {
        let journal = Journal::with_capacity(capacity);
        journal.push(Kind::Attached {
            text_start: 0,
            text_end: 0,
            syncs: true,
        });
        journal.push(Kind::BusMaster { on: true });
        if writes {
            journal.push(Kind::Access {
                direction: Direction::Write,
                address: 0x1000,
                length: 64,
                slot: None,
                job: None,
                role: Role::Payload,
                outcome: Outcome::Ok,
                bytes: Bytes::default(),
            });
        }
        let (recorder, judged) = record(&journal, Platform::default(), &|| ());
        Observed {
            violations: crate::catalog::trial::named(&judged.violations),
            not_judged: judged.not_judged.clone(),
            accesses: 1,
            calls: 2,
            frames: 1,
            struck: true,
            trace: Trace {
                stream: Some((recorder, journal)),
                judged,
                ..Trace::default()
            },
            ..Observed::default()
        }
    }

    /// Leaves what is to be left of it if nothing may be said.
    fn left(observed: Observed, place: Option<&Place>) -> Observed {
        let expected = Expected {
            versions: BTreeMap::new(),
            word: "word".to_owned(),
            what: "what".to_owned(),
            command: vec!["legs".to_owned()],
            scenario: None,
            wrong: &Observed::alarm,
        };
        leave(place, &expected, Ok(observed)).expect("it is written")
    }

    #[test]
    fn what_was_not_expected_leaves_a_bundle_that_repeats_its_verdict() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::At(directory.path().join("bundle"));
        for (writes, capacity) in [(true, 9), (false, 1)] {
            let mut seen = observed(writes, capacity);
            assert_eq!(seen.violations.len(), usize::from(writes), "{seen:#?}");
            assert_eq!(seen.not_judged.len(), usize::from(!writes), "{seen:#?}");
            seen.violations
                .push(Named::of(26, "it took long".to_owned()));

            let seen = left(seen, Some(&place));

            let path = seen.bundle.as_ref().expect("a bundle");
            assert!(path.ends_with("bundle-word"), "{path:?}");
            let bundle = Bundle::open(path).unwrap();
            let judged = bundle.judge(|_, _| ()).unwrap().said;
            assert_eq!(judged.violations.len(), usize::from(writes));
            assert!(compare(&bundle.judgement().unwrap(), &judged).is_same());
            let recorded = bundle.observed().unwrap().expect("it was a trial");
            assert_eq!(recorded.violations, seen.violations);
            let told = story(&bundle, "B").unwrap();
            assert_eq!(told.contains("VIOLATION 1/1"), writes, "{told}");
            assert!(
                told.contains("surprise-removal, class 26: it took long"),
                "{told}"
            );
            assert!(!told.contains("The guest failed"), "{told}");
        }
    }

    #[test]
    fn what_was_expected_leaves_nothing_nor_does_what_has_no_place() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::At(directory.path().join("bundle"));
        let evidence = directory.path().join("evidence");
        let with_evidence = |mut observed: Observed| {
            std::fs::create_dir_all(&evidence).unwrap();
            observed.trace.evidence = Some(evidence.clone());
            observed
        };

        let expected = left(with_evidence(observed(false, 9)), Some(&place));
        assert_eq!(expected.bundle, None);
        assert!(!evidence.exists());
        let nowhere = left(with_evidence(observed(true, 9)), None);
        assert_eq!(nowhere.bundle, None);
        assert!(evidence.exists(), "nothing took its place");

        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
