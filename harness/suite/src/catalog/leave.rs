// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a case leaves that did not give what was expected, whatever became of it.

use landfall::bundle::Place;
use landfall::evidence::Observed;
use landfall::guest::GuestFailed;
use landfall::judge::{self, Expected};

use super::jobs::CatalogFailed;
use crate::run::RunFailed;
use crate::scenario::Scenario;

/// A scenario as a bundle has it.
pub(super) fn words(scenario: &Scenario) -> (String, u64) {
    (scenario.to_toml(), scenario.seed)
}

/// [`judge::leave`], or [`judge::leave_dead`].
pub(super) fn leave(
    place: Option<&Place>,
    expected: &Expected<'_>,
    done: Result<Observed, CatalogFailed>,
) -> Result<Observed, CatalogFailed> {
    match done {
        Ok(observed) => judge::leave(place, expected, observed).map_err(CatalogFailed::Bundle),
        Err(mut failed) => {
            if let Some(died) = failed.guest() {
                judge::leave_dead(place, expected, died);
            }
            Err(failed)
        }
    }
}

impl CatalogFailed {
    /// The guest that failed, if one did.
    fn guest(&mut self) -> Option<&mut GuestFailed> {
        match self {
            Self::Case(trial) => Some(&mut trial.source),
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
    use std::collections::BTreeMap;

    use landfall_device::contract::Role;
    use landfall_device::journal::{Bytes, Direction, Journal, Kind, Outcome};
    use landfall_device::ledger::Platform;

    use super::*;
    use landfall::bundle::{Bundle, compare, story};
    use landfall::evidence::Named;
    use landfall::evidence::Trace;
    use landfall::judge::{Asked, named, record};

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
        let (recorder, judged) = record(&journal, Platform::default(), &Asked::NOBODY);
        Observed {
            violations: named(&judged.violations),
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

            let evidence = directory.path().join("evidence");
            std::fs::create_dir(&evidence).unwrap();
            seen.trace.evidence = Some(evidence.clone());

            let seen = left(seen, Some(&place));

            assert!(!evidence.exists(), "the bundle took its place");
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
