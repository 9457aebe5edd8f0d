// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall fuzz`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use landfall::bundle::{Place, Request};
use landfall::guest::GuestOptions;
use landfall::guest::accelerator::{self, Choice};
use landfall_guest::{Cancel, Prepared};
use landfall_suite::fuzz::shrink;
use landfall_suite::fuzz::{Attempt, FuzzFailed, Wrong, attempt, command, draw};
use landfall_suite::scenario::Scenario;
use serde::Serialize;

use super::{Done, parts, prepare};
use crate::cli::FuzzArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::report;

/// What was found, as `--json` writes it.
#[derive(Debug, Serialize)]
struct Fuzzed {
    /// As asked for.
    seed: u64,
    /// Number of the first scenario.
    first: u64,
    /// Scenarios that were played, one that failed included.
    runs: u64,
    /// In how many of them each fault struck.
    struck: BTreeMap<String, u64>,
    /// The scenario that failed.
    failure: Option<Failed>,
    /// Seconds for all of it.
    seconds: f64,
}

/// A scenario whose verdict is not what it predicts.
#[derive(Debug, Serialize)]
struct Failed {
    /// Its number.
    number: u64,
    /// Its text.
    scenario: String,
    /// What is wrong.
    wrong: Wrong,
    /// The smallest that fails.
    smallest: String,
    /// What is wrong with that.
    smallest_wrong: Wrong,
    /// Runs that it took to find it.
    shrink_runs: u32,
    /// Nothing smaller fails.
    minimal: bool,
    /// The bundle of the smallest.
    bundle: Option<PathBuf>,
}

/// A scenario and its number.
type Numbered = (u64, Scenario);

/// Plays a scenario.
struct Player<'a> {
    /// What a scenario that fails leaves, in the place of the one before.
    bundle: Request,
    guest: GuestOptions,
    prepared: &'a Prepared,
    choice: &'a Choice,
    cancel: &'a Cancel,
}

impl Player<'_> {
    fn play(&mut self, scenario: &Scenario) -> Result<Attempt, FuzzFailed> {
        let (guest, bundle) = (self.guest.clone(), self.bundle.clone());
        let (prepared, choice, cancel) = (self.prepared, self.choice, self.cancel);
        let played = attempt(scenario, Some(bundle), guest, prepared, choice, cancel)?;
        if let Some(path) = &played.bundle {
            self.bundle.place = Place::At(path.clone());
        }
        Ok(played)
    }
}

/// Runs random scenarios, and makes the first that fails smaller.
pub(super) fn fuzz(arguments: &FuzzArguments, cancel: &Cancel) -> Done {
    let began = Instant::now();
    let given = arguments.play.as_deref().map(super::scenario).transpose()?;
    let bundle = Request {
        place: super::place(arguments.bundle.as_deref())?,
        command: command(&arguments.save),
        ..Request::default()
    };
    super::only_ours(&arguments.parts.modules)?;
    let set_up = parts(&arguments.parts)?;
    let mut progress = Progress::new();
    let prepared = prepare(&set_up, cancel, &mut progress)?;
    let choice = accelerator::choose(arguments.accel, &prepared, cancel)
        .map_err(|failed| Failure::of_guest(&failed))?;
    let mut player = Player {
        bundle,
        guest: GuestOptions {
            jobs: arguments.jobs,
            ..GuestOptions::default()
        },
        prepared: &prepared,
        choice: &choice,
        cancel,
    };
    let scenarios: Box<dyn Iterator<Item = Numbered>> = match given {
        Some(given) => Box::new(std::iter::once((0, given))),
        None => Box::new((0..arguments.runs).map_while(|run| {
            let number = arguments.first.checked_add(run)?;
            Some((number, draw(arguments.seed, number)))
        })),
    };
    let mut fuzzed = Fuzzed {
        seed: arguments.seed,
        first: arguments.first,
        runs: 0,
        struck: BTreeMap::new(),
        failure: None,
        seconds: 0.0,
    };
    for (number, scenario) in scenarios {
        let running = Instant::now();
        let played = player.play(&scenario).map_err(Failure::of_fuzz)?;
        fuzzed.runs += 1;
        let struck = strikes(&scenario, &played);
        progress.note(&format!(
            "  scenario {number:<6} {:>6.2} s  {}",
            running.elapsed().as_secs_f64(),
            told(&struck, &played)
        ));
        for name in struck {
            *fuzzed.struck.entry(name).or_default() += 1;
        }
        if let Some(wrong) = played.wrong {
            let first = Failed {
                number,
                scenario: scenario.to_toml(),
                smallest_wrong: wrong.clone(),
                wrong,
                smallest: String::new(),
                shrink_runs: 0,
                minimal: false,
                bundle: played.bundle,
            };
            let found = smallest(&mut player, arguments, &scenario, first, &progress)?;
            fuzzed.failure = Some(found);
            break;
        }
    }
    fuzzed.seconds = began.elapsed().as_secs_f64();
    progress.finish();
    if let Some(path) = &arguments.json {
        report::write_json(path, &fuzzed)?;
    }
    output::text(&summary(&fuzzed, arguments));
    match &fuzzed.failure {
        None => Ok(ExitCode::Clean),
        Some(failed) => {
            let saved = std::fs::write(&arguments.save, &failed.smallest);
            saved.map_err(|error| Failure::output(&arguments.save, &error))?;
            Ok(ExitCode::Violations)
        }
    }
}

/// The names of those faults that struck, each once.
fn strikes(scenario: &Scenario, played: &Attempt) -> Vec<String> {
    let struck = scenario.faults.iter().zip(&played.struck);
    let mut names: Vec<_> = struck
        .filter(|(_, struck)| **struck > 0)
        .map(|(planted, _)| planted.what.to_string())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn told(struck: &[String], played: &Attempt) -> String {
    let struck = match struck {
        [] => "nothing struck".to_owned(),
        struck => struck.join(", "),
    };
    match &played.wrong {
        None => struck,
        Some(wrong) => format!("{struck}: {wrong}"),
    }
}

/// Makes a scenario that fails as small as can be.
fn smallest(
    player: &mut Player<'_>,
    arguments: &FuzzArguments,
    scenario: &Scenario,
    mut failed: Failed,
    progress: &Progress,
) -> Result<Failed, Failure> {
    let shrunk = shrink(scenario, arguments.shrink_runs, |tried| {
        let played = player.play(tried)?;
        let fails = played.wrong.is_some();
        progress.note(&format!(
            "  {} with {} faults",
            if fails { "still fails" } else { "is right   " },
            tried.faults.len()
        ));
        if let Some(wrong) = played.wrong {
            failed.smallest_wrong = wrong;
            failed.bundle = played.bundle;
        }
        Ok(fails)
    });
    let shrunk = shrunk.map_err(Failure::of_fuzz)?;
    Ok(Failed {
        smallest: shrunk.scenario.to_toml(),
        shrink_runs: shrunk.runs,
        minimal: shrunk.minimal,
        ..failed
    })
}

fn summary(fuzzed: &Fuzzed, arguments: &FuzzArguments) -> String {
    let struck = fuzzed
        .struck
        .iter()
        .map(|(name, runs)| format!("{name} {runs}"));
    let struck: Vec<_> = struck.collect();
    let whose = match &arguments.play {
        Some(path) => path.display().to_string(),
        None => format!("{} scenarios of seed {}", fuzzed.runs, fuzzed.seed),
    };
    let head = format!(
        "{whose} in {:.0} s; struck in: {}\n",
        fuzzed.seconds,
        match struck.is_empty() {
            true => "none".to_owned(),
            false => struck.join(", "),
        }
    );
    let Some(failed) = &fuzzed.failure else {
        return format!("{head}every verdict is what its scenario predicts\n");
    };
    let how = match failed.minimal {
        true => "the smallest that fails",
        false => "the smallest that was found",
    };
    let left = failed
        .bundle
        .as_deref()
        .map_or_else(String::new, report::left);
    format!(
        "{head}scenario {} fails: {}\n{how}, after {} runs, for `landfall fuzz --play {}`:\n\n{}\n{}\n{left}",
        failed.number,
        failed.wrong,
        failed.shrink_runs,
        arguments.save.display(),
        failed.smallest,
        failed.smallest_wrong
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use landfall_suite::fuzz::plan;

    use super::*;
    use crate::cli::{Cli, Command};

    /// What its bundle says repeats it, a mask where the faults are of masks included.
    #[test]
    fn the_command_of_a_scenario_plans_the_same() {
        for number in 0..50 {
            let scenario = draw(1, number);
            let words = command(Path::new("scenario.toml"));
            let cli = Cli::try_parse_from(std::iter::once("landfall".to_owned()).chain(words));
            let Ok(Some(Command::Run(run))) = cli.map(|cli| cli.command) else {
                panic!("a command line of a run");
            };
            let mut wishes = super::super::wishes(&run);
            wishes.scenario = Some(scenario.clone());
            // The environment of this test may say how many guests there are at once.
            wishes.guest.jobs = None;

            let planned = wishes.plan().expect("it can be had");
            let played = plan(&scenario, GuestOptions::default()).expect("it can be had");

            assert_eq!(format!("{planned:?}"), format!("{played:?}"));
        }
    }
}
