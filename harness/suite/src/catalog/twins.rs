// SPDX-License-Identifier: MIT OR Apache-2.0

//! Clean twins. A class is planted in one of them, and many classes in the same.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use landfall::evidence::Named;

use super::case::Case;
use super::jobs::CatalogFailed;

/// What came of a twin.
#[derive(Clone, Debug)]
pub(super) struct Twin {
    /// What was said.
    pub(super) said: Vec<Named>,
    /// Why it was not silent, or its silence means nothing.
    pub(super) alarm: Option<String>,
    /// Where its bundle was left.
    pub(super) bundle: Option<PathBuf>,
}

/// What came of one, once it was run.
type Once = Arc<Mutex<Option<Twin>>>;

/// Those that were run already.
#[derive(Debug, Default)]
pub struct Twins(Mutex<Vec<(Case, Once)>>);

impl Twins {
    /// What came of that one; it is run if it was not, and whoever wants the same meanwhile waits.
    pub(super) fn one(
        &self,
        case: Case,
        run: impl FnOnce() -> Result<Twin, CatalogFailed>,
    ) -> Result<Twin, CatalogFailed> {
        let once = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match all.iter().find(|(other, _)| *other == case) {
                Some((_, once)) => Arc::clone(once),
                None => {
                    let once = Once::default();
                    all.push((case, Arc::clone(&once)));
                    once
                }
            }
        };
        let mut once = once.lock().unwrap_or_else(PoisonError::into_inner);
        match &*once {
            Some(twin) => Ok(twin.clone()),
            None => Ok(once.insert(run()?).clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use landfall::judge::Leg;
    use landfall_cards::capture::CaptureOptions;

    use super::*;
    use crate::catalog::Action;

    fn case(leg: Leg, parameters: &str) -> Case {
        Case {
            leg,
            parameters: parameters.to_owned(),
            card: CaptureOptions::default(),
            action: Action::Nothing,
            watch_cpu: false,
            cache_line: 0,
        }
    }

    #[test]
    fn each_twin_is_run_once_and_one_that_failed_again() {
        let twins = Twins::default();
        let mut runs = 0;
        let mut one = |case: Case, fails: bool| {
            let run = || {
                runs += 1;
                let twin = Twin {
                    said: Vec::new(),
                    alarm: Some(runs.to_string()),
                    bundle: None,
                };
                match fails {
                    true => Err(CatalogFailed::NoDebugKernel),
                    false => Ok(twin),
                }
            };
            twins.one(case, run).ok().and_then(|twin| twin.alarm)
        };

        assert_eq!(one(case(Leg::Plain, ""), true), None);
        assert_eq!(one(case(Leg::Plain, ""), false).as_deref(), Some("2"));
        assert_eq!(one(case(Leg::Plain, ""), false).as_deref(), Some("2"));
        assert_eq!(one(case(Leg::High, ""), false).as_deref(), Some("3"));
        assert_eq!(one(case(Leg::Plain, "x"), false).as_deref(), Some("4"));
    }
}
