// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall replay`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use landfall::bundle::{self, Bundle, BundleError, Comparison, Place, Request, Views, compare};
use landfall::evidence::Named;
use landfall::report::schema::{Report, Violation};
use landfall_cards::capture::pattern::Pattern;
use landfall_device::ledger;
use landfall_guest::Cancel;

use super::{Done, run_with};
use crate::cli::{
    CAPTURE, Cli, Command, OutputArguments, ReplayArguments, RunArguments, ViewArguments,
};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::report;

/// Repeats verdicts. One that is another, or cannot be told, is not the end of it.
pub(super) fn replay(arguments: &ReplayArguments, cancel: &Cancel) -> Done {
    let several = arguments.bundles.len() > 1;
    let mut code = ExitCode::Clean;
    for (number, path) in (1..).zip(&arguments.bundles) {
        let mut views = arguments.views.views();
        if several {
            output::text(&format!("{}: ", path.display()));
            views = views.of(&format!("{number}"));
        }
        let done = match arguments.live {
            true => live(path, arguments, &views, cancel),
            false => offline(path, &views),
        };
        match done {
            Ok(ExitCode::Clean) => {}
            Err(failure) if several && failure.code != ExitCode::Interrupted => {
                report::failure(&failure);
                code = failure.code;
            }
            Ok(other) => code = other,
            Err(failure) => return Err(failure),
        }
    }
    Ok(code)
}

fn offline(path: &Path, views: &Views) -> Done {
    let began = Instant::now();
    let refused = |error: BundleError| Failure::of_bundle(path, &error);
    let bundle = Bundle::open(path).map_err(refused)?;
    if !bundle.has_stream() {
        return Err(Failure::foreign(
            "there is nothing to judge: the guest died before; --live repeats the run",
        ));
    }
    let again = || -> Result<_, BundleError> {
        let recorded = bundle.judgement()?;
        let judged = bundle.judge(|_, _| ())?;
        Ok((recorded, judged))
    };
    let (recorded, judged) = again().map_err(refused)?;
    let comparison = compare(&recorded, &judged.said);
    let took = began.elapsed().as_secs_f64() * 1e3;
    let mut text = format!(
        "{} lines judged again in {took:.1} ms: {}\n",
        judged.lines,
        names_of_ledger(&judged.said)
    );
    text.push_str(&outcome(&comparison));
    output::text(&bundle::printable(&text));
    if !views.is_empty() {
        views.of_bundle(&bundle).map_err(refused)?;
    }
    Ok(code(comparison.is_same()))
}

fn outcome(comparison: &Comparison) -> String {
    let reworded = match comparison.reworded {
        0 => String::new(),
        count => format!(", {count} of them in other words"),
    };
    match comparison.is_same() {
        true => format!("the same verdict as recorded{reworded}\n"),
        false => {
            let lines = comparison.differences.join("\n  ");
            format!("another verdict than recorded:\n  {lines}\n")
        }
    }
}

fn code(same: bool) -> ExitCode {
    match same {
        true => ExitCode::Clean,
        false => ExitCode::Violations,
    }
}

/// Does the run again and compares classes: addresses and times are another guest's.
fn live(path: &Path, arguments: &ReplayArguments, views: &Views, cancel: &Cancel) -> Done {
    let refused = |error: BundleError| Failure::of_bundle(path, &error);
    let bundle = Bundle::open(path).map_err(refused)?;
    let recorded = bundle.run().map_err(refused)?;
    let report = bundle.report().map_err(refused)?;
    if let Some(observed) = bundle.observed().map_err(refused)? {
        let scenario = bundle.text(bundle::SCENARIO).map_err(refused)?;
        let now = trial(&recorded.command, scenario, arguments, views, cancel)?;
        let (was, is) = (names_of_trial(&observed.violations), names_of_trial(&now));
        output::text(&bundle::printable(&told(&was, &is)));
        return Ok(code(was == is));
    }
    let wanted = wanted(arguments, &recorded.command)?;
    let scratch =
        tempfile::tempdir().map_err(|error| Failure::host("cannot make a directory", &error))?;
    let request = Request {
        place: match arguments.record {
            true => Place::At(path.to_owned()),
            false => Place::At(scratch.path().join("bundle")),
        },
        command: recorded.command.clone(),
        scenario: bundle.text(bundle::SCENARIO).map_err(refused)?,
        seed: recorded.seed,
        views: views.clone(),
    };
    let outcome = match run_with(&wanted, request, cancel) {
        // A guest that died then, and dies now.
        Err(failure) if report.is_none() && failure.code == ExitCode::Guest => {
            report::failure(&failure);
            let same = failure.what == recorded.summary;
            let was = match same {
                true => "the same as recorded".to_owned(),
                false => format!("recorded was: {}", recorded.summary),
            };
            output::text(&bundle::printable(&format!("\n{was}\n")));
            return Ok(code(same));
        }
        other => other?,
    };
    report::outcome(&outcome);
    let bundle = outcome
        .bundle
        .map_err(|error| Failure::output_of_bundle(&error))?;
    let was = classes(report.as_ref());
    let is = classes(Some(&outcome.report));
    let mut text = told(&was, &is);
    if arguments.record {
        text.push_str(match bundle {
            Some(_) => "the bundle was recorded anew\n",
            None => "the run was clean: the bundle is as it was\n",
        });
    }
    output::text(&bundle::printable(&text));
    Ok(code(was == is))
}

/// What was named then and now.
fn told(was: &BTreeSet<String>, is: &BTreeSet<String>) -> String {
    match was == is {
        true => format!("\nthe same as recorded: {}\n", list(is)),
        false => format!(
            "\nrecorded was: {}\nnow it is:    {}\n",
            list(was),
            list(is)
        ),
    }
}

/// Does one platform of `legs` again.
fn trial(
    command: &[String],
    scenario: Option<String>,
    arguments: &ReplayArguments,
    views: &Views,
    cancel: &Cancel,
) -> Result<Vec<Named>, Failure> {
    let by_hand = |what: &str| {
        let command = command.join(" ");
        Failure::foreign(&format!("{what}; do it by hand: landfall {command}"))
    };
    if arguments.record {
        return Err(by_hand("only the bundle of a run can be recorded anew"));
    }
    let legs = match parsed(command)?.command {
        Some(Command::Legs(_)) if !views.is_empty() => {
            return Err(by_hand("of this only the bundle can be shown"));
        }
        Some(Command::Legs(legs)) => legs,
        Some(Command::Exec(exec)) if exec.is_of_ours() => {
            return super::exec::again(&exec, &arguments.parts, views, cancel);
        }
        Some(Command::Explore(_)) if !views.is_empty() => {
            return Err(by_hand("of this only the bundle can be shown"));
        }
        Some(Command::Explore(explore)) if explore.subject.is_of_ours() => {
            return super::explore::again(&explore, &arguments.parts, cancel);
        }
        Some(Command::Run(run)) => {
            let (parts, views) = (&arguments.parts, arguments.views.clone());
            let again = super::video::again(&run, parts, views, cancel);
            return again.unwrap_or_else(|| {
                Err(by_hand(
                    "it had parts of its own, which a bundle may not name",
                ))
            });
        }
        Some(Command::Exec(_) | Command::Explore(_)) => {
            return Err(by_hand(
                "it had files, programs or a card of somebody's own, which a bundle may not name",
            ));
        }
        _ => return Err(by_hand("this is not run again from a bundle")),
    };
    let scenario = scenario.as_deref().map(super::scenario_of_bundle);
    let scenario = scenario.transpose()?.unwrap_or_default();
    let runs = super::catalog::again(&legs, &scenario, &arguments.parts, cancel)?;
    Ok(runs.into_iter().flat_map(|run| run.violations).collect())
}

pub(super) fn parsed(command: &[String]) -> Result<Cli, Failure> {
    let words = std::iter::once("landfall").chain(command.iter().map(String::as_str));
    Cli::try_parse_from(words).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().next().unwrap_or_default();
        Failure::foreign(&format!("its command line is not understood: {why}"))
    })
}

/// The recorded command as this process would do it: nothing is written where the bundle says, and no program or
/// module is taken from where it says.
fn wanted(arguments: &ReplayArguments, command: &[String]) -> Result<RunArguments, Failure> {
    let cli = parsed(command)?;
    let mut run = match cli.command {
        None => cli.run,
        Some(Command::Run(run)) => *run,
        Some(_) => return Err(Failure::foreign("its command line is not one of a run")),
    };
    if run.card != CAPTURE {
        return Err(Failure::foreign(
            "its command line is not one of such a run",
        ));
    }
    let own = &run.parts;
    let brings = own.qemu.is_some() || own.kernel.is_some() || !own.modules.is_empty();
    let mine = &arguments.parts;
    let given = mine.qemu.is_some() || mine.kernel.is_some() || !mine.modules.is_empty();
    if brings && !given || !run.guest.qemu_arguments.is_empty() {
        return Err(Failure::foreign(&format!(
            "the run had parts of its own, which a bundle may not name; do it by hand: landfall {}",
            command.join(" ")
        )));
    }
    if run.output.save_frames.is_some() {
        // Which is what saved frames show unless told otherwise.
        run.capture.pattern.get_or_insert(Pattern::Bars);
    }
    run.parts = arguments.parts.clone();
    run.output = OutputArguments {
        bundle: None,
        json: None,
        save_frames: None,
        evidence: None,
        keep: false,
        views: ViewArguments::default(),
    };
    Ok(run)
}

/// Classes, or names where there is no class.
fn classes(report: Option<&Report>) -> BTreeSet<String> {
    let violations = report.map_or(&[][..], |report| &report.violations);
    violations
        .iter()
        .map(|violation: &Violation| name(&violation.name, violation.class))
        .collect()
}

fn names_of_ledger(said: &ledger::Judgement) -> String {
    let all = said.violations.iter().chain(&said.hints);
    let names =
        all.map(|violation| name(&violation.name, violation.class.map(ledger::Class::number)));
    list(&names.collect())
}

fn names_of_trial(violations: &[Named]) -> BTreeSet<String> {
    let named = violations.iter();
    named.map(|named| name(&named.name, named.class)).collect()
}

pub(super) fn name(name: &str, class: Option<u8>) -> String {
    match class {
        Some(class) => format!("{name} (class {class})"),
        None => name.to_owned(),
    }
}

pub(super) fn list(names: &BTreeSet<String>) -> String {
    match names.is_empty() {
        true => "nothing wrong".to_owned(),
        false => names.iter().cloned().collect::<Vec<_>>().join(", "),
    }
}
