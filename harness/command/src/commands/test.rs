// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall test` and `landfall init`: what a project's landfall.toml says.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use landfall::bundle;
use landfall::judge::Leg;
use landfall::judge::Verdict;
use landfall_guest::Cancel;
use landfall_suite::project::{Guests, Project, TEMPLATE, Test};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::Done;
use super::exec::{Bench, bundles};
use crate::cli::{InitArguments, PartArguments, TestArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// The file that `init` writes, and `test` reads.
const FILE: &str = "landfall.toml";

/// What came of a test.
struct Tested {
    name: String,
    took: Duration,
    came: Came,
}

/// How a test ended.
enum Came {
    /// As expected.
    Passed,
    /// Otherwise: why, in a line, and the whole story.
    Failed(String, String),
    /// It came to no verdict.
    Broken(Failure),
}

/// Does the tests of a project.
pub(super) fn test(arguments: &TestArguments, cancel: &Cancel) -> Done {
    let path = &arguments.project;
    let project = read(path)?;
    let root = path.parent().unwrap_or(Path::new(""));
    let wanted = |test: &&Test| {
        let filters = &arguments.filters;
        filters.is_empty() || filters.iter().any(|part| test.name.contains(part))
    };
    let asked = Guests {
        architecture: arguments.parts.arch.clone(),
        kernel: arguments.parts.kernel_series.clone(),
    };
    let of_guests = |test: &&Test| test.guests.can_be(&asked);
    let tests = project.tests.iter().filter(wanted).filter(of_guests);
    let tests: Vec<_> = tests.cloned().collect();
    if tests.is_empty() {
        let names: Vec<_> = project.tests.iter().map(|test| &*test.name).collect();
        let what = format!("no test is called so; there are: {}", names.join(", "));
        return Err(Failure::foreign(&what));
    }
    for test in &tests {
        let unknown = test.subject.check().map_err(|error| (&test.name, error));
        unknown.map_err(|(name, error)| Failure::usage_of(&error).about(name))?;
    }
    let place = bundles(arguments.bundle.as_deref())?;
    let mut progress = Progress::new();
    let mut benches: BTreeMap<Guests, Bench<'_>> = BTreeMap::new();
    for test in &tests {
        if benches.contains_key(&test.guests) {
            continue;
        }
        let on_it = tests.iter().filter(|other| other.guests == test.guests);
        let legs: Vec<_> = match &arguments.legs[..] {
            [] => on_it.flat_map(|test| test.subject.legs.clone()).collect(),
            legs => legs.to_vec(),
        };
        let guests = test.guests.or(&asked);
        let parts = PartArguments {
            arch: guests.architecture,
            kernel_series: guests.kernel,
            ..arguments.parts.clone()
        };
        let bench = Bench::prepare(&parts, &arguments.machine, &legs, cancel, &mut progress)?;
        benches.insert(test.guests.clone(), bench);
    }
    if arguments.ktap {
        output::text(&format!("KTAP version 1\n1..{}\n", tests.len()));
    }
    let mut done = Vec::new();
    for (number, test) in tests.into_iter().enumerate() {
        let mut test = test;
        if !arguments.legs.is_empty() {
            test.subject.legs.clone_from(&arguments.legs);
        } else if test.subject.legs.is_empty() {
            test.subject.legs = vec![Leg::Plain, Leg::Cpu];
        }
        let Some(bench) = benches.get(&test.guests) else {
            continue;
        };
        let began = Instant::now();
        let verdict = bench
            .trial(&test.name, &test.subject, root, &mut progress)
            .and_then(|trial| {
                let (word, views) = (word(&test.name), arguments.views.views());
                bench.judge(&trial, Some(&place.of(&word)), &views.of(&word))
            });
        progress.finish();
        let came = match verdict {
            Ok(verdict) => came(&test, verdict)?,
            Err(failure) if failure.code == ExitCode::Interrupted => return Err(failure),
            Err(failure) => Came::Broken(failure),
        };
        let one = Tested {
            name: test.name,
            took: began.elapsed(),
            came,
        };
        output::text(&match arguments.ktap {
            true => ktap(number + 1, &one),
            false => line(&one),
        });
        if arguments.github {
            output::text(&annotation(&one));
        }
        done.push(one);
    }
    if let Some(path) = &arguments.junit {
        write_junit(path, &done)?;
    }
    if !arguments.ktap {
        let passed = done.iter().filter(|one| matches!(one.came, Came::Passed));
        output::text(&format!("{} of {} passed\n", passed.count(), done.len()));
    }
    Ok(done
        .iter()
        .map(Tested::code)
        .max_by_key(|code| severity(*code))
        .unwrap_or(ExitCode::Clean))
}

fn read(path: &Path) -> Result<Project, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let failure = Failure::no_project(path, &error);
        match error.kind() {
            io::ErrorKind::NotFound => failure.hinting("`landfall init` writes one that works"),
            _ => failure,
        }
    })?;
    Project::parse(&text).map_err(|error| Failure::no_project(path, &error))
}

fn came(test: &Test, verdict: Verdict) -> Result<Came, Failure> {
    match test.expect.check(&verdict) {
        Ok(()) => {
            // A bug that was expected leaves nothing behind.
            let discarded = verdict.discard();
            discarded.map_err(|error| Failure::host("cannot remove a bundle", &error))?;
            Ok(Came::Passed)
        }
        Err(why) => Ok(Came::Failed(why, verdict.to_string())),
    }
}

/// What a bundle of that test has in its name.
fn word(name: &str) -> String {
    let letters = name.chars().take(40);
    letters
        .map(|letter| match letter.is_ascii_alphanumeric() {
            true => letter.to_ascii_lowercase(),
            false => '-',
        })
        .collect()
}

/// Of several codes the one that a command ends with: a test that could not be done is worse than one that failed.
fn severity(code: ExitCode) -> u8 {
    match code {
        ExitCode::Clean => 0,
        ExitCode::Violations => 1,
        _ => 2,
    }
}

impl Tested {
    fn code(&self) -> ExitCode {
        match &self.came {
            Came::Passed => ExitCode::Clean,
            Came::Failed(..) => ExitCode::Violations,
            Came::Broken(failure) => failure.code,
        }
    }
}

fn line(one: &Tested) -> String {
    let took = one.took.as_secs_f64();
    let name = &one.name;
    match &one.came {
        Came::Passed => format!("passed  {name} ({took:.1} s)\n"),
        Came::Failed(why, story) => {
            format!(
                "FAILED  {name} ({took:.1} s): {why}\n{}\n",
                indented(story, "  ")
            )
        }
        Came::Broken(failure) => {
            format!(
                "BROKEN  {name} ({took:.1} s): {}\n{}",
                failure.what,
                indented(&failure.details(), "  ")
            )
        }
    }
}

/// A result of KTAP's: one line, and lines for people before it.
fn ktap(number: usize, one: &Tested) -> String {
    let name = one.name.replace('#', " ");
    match &one.came {
        Came::Passed => format!("ok {number} {name}\n"),
        Came::Failed(why, story) => {
            format!("{}not ok {number} {name} # {why}\n", indented(story, "# "))
        }
        Came::Broken(failure) => {
            let told = format!("{}\n{}", failure.what, failure.details());
            format!(
                "{}not ok {number} {name} # {}\n",
                indented(&told, "# "),
                failure.what
            )
        }
    }
}

/// An annotation of GitHub's, if something is to be said.
fn annotation(one: &Tested) -> String {
    let why = match &one.came {
        Came::Passed => return String::new(),
        Came::Failed(why, _) => why,
        Came::Broken(failure) => &failure.what,
    };
    let escaped = |text: &str| {
        let text = bundle::printable(text).trim_end().replace('%', "%25");
        text.replace('\r', "%0D").replace('\n', "%0A")
    };
    let title = escaped(&one.name).replace(':', "%3A").replace(',', "%2C");
    format!("::error title=landfall%3A {title}::{}\n", escaped(why))
}

fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}\n")).collect()
}

fn write_junit(path: &Path, done: &[Tested]) -> Result<(), Failure> {
    let mut suite = TestSuite::new("landfall");
    for one in done {
        let status = |kind, why: &str, story: &str| {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(why).set_description(story);
            status
        };
        let status = match &one.came {
            Came::Passed => TestCaseStatus::success(),
            Came::Failed(why, story) => status(NonSuccessKind::Failure, why, story),
            Came::Broken(failure) => {
                status(NonSuccessKind::Error, &failure.what, &failure.details())
            }
        };
        let mut case = TestCase::new(one.name.clone(), status);
        case.set_time(one.took);
        suite.add_test_case(case);
    }
    let mut results = quick_junit::Report::new("landfall");
    results.add_test_suite(suite);
    let text = results
        .to_string()
        .map_err(|error| Failure::output(path, &error))?;
    fs::write(path, text).map_err(|error| Failure::output(path, &error))
}

/// Writes a file that works.
pub(super) fn init(arguments: &InitArguments) -> Done {
    let path = arguments.directory.join(FILE);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all(TEMPLATE.as_bytes())
    };
    write().map_err(|error: io::Error| Failure::output(&path, &error))?;
    output::text(&format!(
        "{} is there; `landfall test` does what it says\n",
        path.display()
    ));
    Ok(ExitCode::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line_whatever_is_in_it() {
        let tested = |came| Tested {
            name: "a, b: 100%".to_owned(),
            took: Duration::ZERO,
            came,
        };
        assert_eq!(annotation(&tested(Came::Passed)), "");
        let failed = Came::Failed("1%\n::error::two".to_owned(), "the story".to_owned());
        assert_eq!(
            annotation(&tested(failed)),
            "::error title=landfall%3A a%2C b%3A 100%25::1%25%0A::error::two\n"
        );
        let broken = Came::Broken(Failure::foreign("no guest"));
        let said = annotation(&tested(broken));
        assert!(said.ends_with("::no guest\n"), "{said}");
    }
}
