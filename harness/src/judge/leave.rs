// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is left of a guest that did not give what was expected: its bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bundle::{self, BundleError, Parts, Place, Request, Run, Views};
use crate::debug_info::Lines;
use crate::evidence::{Logs, Observed, Pages, Trace};
use crate::guest::{self, GuestFailed, run_directory};

/// What a guest is to give, and what its bundle says if it gives something else.
pub struct Expected<'a> {
    /// What takes part, by name.
    pub versions: BTreeMap<String, String>,
    /// The word for the bundle's name.
    pub word: String,
    /// What to call it.
    pub what: String,
    /// The command line that does the same, without the program's name.
    pub command: Vec<String>,
    /// What the card does, as a scenario, and its seed.
    pub scenario: Option<(String, u64)>,
    /// What is wrong with what was seen, in words.
    pub wrong: &'a dyn Fn(&Observed) -> Option<String>,
}

/// Leaves the bundle of what did not give what was expected, if there is a place for it. Forgets the trace; the evidence
/// of a guest that died goes if that was expected, or a bundle took its place.
///
/// # Errors
/// If the bundle cannot be written.
pub fn leave(
    place: Option<&Place>,
    expected: &Expected<'_>,
    mut observed: Observed,
) -> Result<Observed, BundleError> {
    let trace = std::mem::take(&mut observed.trace);
    match ((expected.wrong)(&observed), place) {
        (Some(_), None) => return Ok(observed),
        (Some(wrong), Some(place)) => {
            let place = place.of(&expected.word);
            let path = store(&place, expected, Kept::of(&trace), &wrong, Some(&observed))?;
            observed.bundle = Some(path);
        }
        (None, _) => {}
    }
    // What cannot be removed stays.
    let _ = trace.evidence.map(std::fs::remove_dir_all);
    Ok(observed)
}

/// Likewise of a guest of which nothing was seen, because it died where no driver or card can be the reason.
pub fn leave_dead(place: Option<&Place>, expected: &Expected<'_>, died: &mut GuestFailed) {
    let Some(place) = place.filter(|_| died.is_guests()) else {
        return;
    };
    let logs = died.evidence.as_deref().map(guest::logs_in);
    let trace = Trace {
        logs: logs.unwrap_or_default(),
        ..Trace::default()
    };
    let place = place.of(&expected.word);
    match store(&place, expected, Kept::of(&trace), &died.to_string(), None) {
        Ok(path) => died.bundle = Some(path),
        Err(error) => tracing::warn!("the bundle was not written: {error}"),
    }
}

/// Leaves stream and verdict in a directory as one file, for tests that judge them again: no logs, no memory, no lines.
///
/// # Errors
/// If it cannot be written.
pub fn record_to(
    directory: &Path,
    expected: &Expected<'_>,
    observed: &Observed,
) -> Result<(), BundleError> {
    if observed.trace.stream.is_none() {
        return Ok(()); // no card was at work
    }
    let place = Place::At(directory.join(format!("{}.tar.zst", expected.word)));
    let said = (expected.wrong)(observed).unwrap_or_else(|| "as expected".to_owned());
    let kept = Kept {
        trace: &observed.trace,
        logs: &Logs::new(),
        pages: &Pages::default(),
        lines: Lines::new(),
        page: false,
    };
    store(&place, expected, kept, &said, Some(observed)).map(drop)
}

/// What of a trace is kept.
struct Kept<'a> {
    trace: &'a Trace,
    logs: &'a Logs,
    pages: &'a Pages,
    lines: Lines,
    page: bool,
}

impl<'a> Kept<'a> {
    /// All of it.
    fn of(trace: &'a Trace) -> Self {
        Self {
            trace,
            logs: &trace.logs,
            pages: &trace.pages,
            lines: trace.lines(),
            page: true,
        }
    }
}

fn store(
    place: &Place,
    expected: &Expected<'_>,
    kept: Kept<'_>,
    wrong: &str,
    observed: Option<&Observed>,
) -> Result<PathBuf, BundleError> {
    let request = request(place, expected);
    let parts = parts(&request, expected, &kept, wrong, observed);
    bundle::store(&parts, &run_directory::parent())
}

/// Makes what is to be looked at of a guest, whatever it gave.
///
/// # Errors
/// If a file cannot be written.
pub fn show(
    views: &Views,
    expected: &Expected<'_>,
    observed: &Observed,
) -> Result<(), BundleError> {
    if views.is_empty() {
        return Ok(());
    }
    let said = (expected.wrong)(observed).unwrap_or_else(|| "as expected".to_owned());
    let kept = Kept::of(&observed.trace);
    let request = request(&Place::Evidence, expected);
    views.of_parts(&parts(&request, expected, &kept, &said, Some(observed)))
}

fn request(place: &Place, expected: &Expected<'_>) -> Request {
    let scenario = expected.scenario.as_ref();
    Request {
        place: place.clone(),
        command: expected.command.clone(),
        scenario: scenario.map(|(text, _)| text.clone()),
        seed: scenario.map(|(_, seed)| *seed),
        views: Views::default(),
    }
}

fn parts<'a>(
    request: &'a Request,
    expected: &Expected<'_>,
    kept: &'a Kept<'a>,
    wrong: &str,
    observed: Option<&'a Observed>,
) -> Parts<'a> {
    let stream = kept.trace.stream.as_ref();
    Parts {
        run: Run {
            command: request.command.clone(),
            seed: request.seed,
            versions: expected.versions.clone(),
            summary: format!("{}: {wrong}", expected.what),
            kernel_line: None,
        },
        request,
        stream: stream.map(|(recorder, journal)| (recorder, journal)),
        judged: &kept.trace.judged,
        lines: &kept.lines,
        report: None,
        observed,
        pages: kept.pages,
        logs: kept.logs,
        page: kept.page,
    }
}
