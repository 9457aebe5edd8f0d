// SPDX-License-Identifier: MIT OR Apache-2.0

//! A failure as a person is told it.

use std::error::Error;
use std::path::Path;

use landfall::bundle::{BundleError, Refused};
use landfall::guest::{GuestFailed, What};
use landfall::judge::TrialFailed;
use landfall_guest::failures::ArchiveError;
use landfall_guest::{BuildFailed, SetupError};
use landfall_suite::catalog::CatalogFailed;
use landfall_suite::fuzz::FuzzFailed;
use landfall_suite::project::NoSubject;
use landfall_suite::run::{Impossible, RunFailed};
use landfall_suite::survey::SurveyFailed;

use crate::exit_code::ExitCode;

/// ENOENT: the guest has no such program.
const NOT_THERE: i32 = 2;

/// A failure as a person is told: what, why, where the evidence is, what to try.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: ExitCode,
    pub(crate) what: String,
    pub(crate) causes: Vec<String>,
    pub(crate) lines: Vec<(&'static str, String)>,
    pub(crate) hint: Option<String>,
}

impl Failure {
    fn new(code: ExitCode, error: &dyn Error) -> Self {
        Self {
            code,
            what: error.to_string(),
            causes: causes(error),
            lines: Vec::new(),
            hint: None,
        }
    }

    /// Something on the host failed.
    pub(crate) fn host(doing: &str, error: &dyn Error) -> Self {
        let mut failure = Self::new(ExitCode::Host, error);
        let what = std::mem::replace(&mut failure.what, doing.to_owned());
        failure.causes.insert(0, what);
        failure
    }

    /// Landfall itself is wrong.
    pub(crate) fn bug(what: &str) -> Self {
        Self {
            code: ExitCode::Host,
            what: what.to_owned(),
            causes: Vec::new(),
            lines: Vec::new(),
            hint: Some("this is a bug in Landfall".to_owned()),
        }
    }

    /// Nobody said where the cache is.
    pub(crate) fn no_cache() -> Self {
        Self {
            code: ExitCode::Usage,
            what: "no cache directory: neither XDG_CACHE_HOME nor HOME is set".to_owned(),
            causes: Vec::new(),
            lines: Vec::new(),
            hint: Some("name one with --cache DIR or LANDFALL_CACHE".to_owned()),
        }
    }

    /// The command line asks for the impossible.
    pub(crate) fn usage(impossible: Impossible) -> Self {
        let hint = impossible.hint.clone();
        Self {
            hint: Some(hint),
            ..Self::new(ExitCode::Usage, &impossible)
        }
    }

    /// A file that should be a scenario is none, or cannot be read.
    pub(crate) fn no_scenario(path: &Path, error: &dyn Error) -> Self {
        Self {
            code: ExitCode::Usage,
            ..Self::host(&format!("{} is no scenario", path.display()), error)
        }
    }

    /// There is nothing to try.
    pub(crate) fn usage_of(error: &NoSubject) -> Self {
        let hint = match error {
            NoSubject::NoCard => "--card NAME, --card-socket PATH or --card-command COMMAND",
            NoSubject::UnknownCard(_) => {
                "--card-socket and --card-command are for cards of your own"
            }
        };
        Self::new(ExitCode::Usage, error).hinting(hint)
    }

    /// `run` was asked for what only `exec` does, or for what only our own card has.
    pub(crate) fn not_streamed(what: String, hint: &str) -> Self {
        Self {
            code: ExitCode::Usage,
            what,
            causes: Vec::new(),
            lines: Vec::new(),
            hint: Some(hint.to_owned()),
        }
    }

    /// A trial came to no verdict.
    pub(crate) fn of_trial(failed: &TrialFailed) -> Self {
        let mut failure = match failed {
            TrialFailed::Build(BuildFailed::Cancelled) => Self::new(ExitCode::Interrupted, failed),
            TrialFailed::Build(BuildFailed::SetUp(error)) => return Self::of_setup(error),
            TrialFailed::Build(BuildFailed::Driver { .. }) => Self::new(ExitCode::Guest, failed),
            TrialFailed::Build(_) | TrialFailed::SetUp(_) => Self::new(ExitCode::Host, failed),
            TrialFailed::Bundle(error) => return Self::output_of_bundle(error),
            TrialFailed::Guest { source, .. }
            | TrialFailed::Driver { source, .. }
            | TrialFailed::Program { source, .. } => Self::of_guest(source),
        };
        failure.what = failed.to_string();
        failure.causes.clear(); // it says them all
        if let TrialFailed::Program { source, .. } = failed
            && source.errno() == Some(NOT_THERE)
        {
            let hint = "the guest has busybox: --package NAME brings a Debian package (v4l-utils has v4l2-ctl), --file a file";
            failure.hint = Some(hint.to_owned());
        }
        failure
    }

    /// A project's file makes no sense, or cannot be read.
    pub(crate) fn no_project(path: &Path, error: &dyn Error) -> Self {
        Self {
            code: ExitCode::Usage,
            ..Self::host(&format!("{} cannot be used", path.display()), error)
        }
    }

    /// Likewise, of a test.
    pub(crate) fn about(self, name: &str) -> Self {
        let what = format!("test {name:?}: {}", self.what);
        Self { what, ..self }
    }

    /// Likewise, with what to try.
    pub(crate) fn hinting(self, hint: &str) -> Self {
        Self {
            hint: Some(hint.to_owned()),
            ..self
        }
    }

    /// All but what failed: causes, evidence and hint, a line each.
    pub(crate) fn details(&self) -> String {
        let causes = self.causes.iter().map(|cause| format!("cause: {cause}\n"));
        let lines = self
            .lines
            .iter()
            .map(|(name, line)| format!("{name}: {line}\n"));
        let hint = self.hint.iter().map(|hint| format!("hint: {hint}\n"));
        causes.chain(lines).chain(hint).collect()
    }

    /// A module would be in the guest, and not loaded.
    pub(crate) fn not_loaded(name: &str, path: &Path) -> Self {
        let path = path.display();
        let what = format!(
            "a run is Landfall's own capture driver at work: it would not load {name}, and its verdict would not be about \
             {path}"
        );
        Self::foreign(&what).hinting(&format!(
            "`landfall exec --driver {path} --card NAME` loads it, and judges"
        ))
    }

    /// A scenario could not be played.
    pub(crate) fn of_fuzz(failed: FuzzFailed) -> Self {
        match failed {
            FuzzFailed::Impossible(impossible) => Self::usage(impossible),
            FuzzFailed::Run(failed) => Self::of_run(&failed),
            FuzzFailed::Bundle(error) => Self::output_of_bundle(&error),
        }
    }

    /// The set-up failed.
    pub(crate) fn of_setup(error: &SetupError) -> Self {
        let code = match error {
            SetupError::Cancelled => ExitCode::Interrupted,
            SetupError::Export { source, .. } | SetupError::Import { source, .. } => match source {
                ArchiveError::OwnParts => ExitCode::Usage,
                ArchiveError::Write(_) => ExitCode::Output,
                _ => ExitCode::Host,
            },
            _ => ExitCode::Host,
        };
        let mut failure = Self::new(code, error);
        for line in error.last_lines() {
            failure.lines.push(("it said", line.clone()));
        }
        if let Some(log) = error.log() {
            failure.lines.push(("evidence", log.display().to_string()));
        }
        failure.hint = error.hint();
        failure
    }

    /// The guest failed.
    pub(crate) fn of_guest(failed: &GuestFailed) -> Self {
        let code = match &*failed.what {
            What::Interrupted => ExitCode::Interrupted,
            What::Options(_) => ExitCode::Usage,
            what if what.is_hosts() => ExitCode::Host,
            _ => ExitCode::Guest,
        };
        let mut failure = Self::new(code, failed);
        if let Some(line) = &failed.kernel_line {
            failure.lines.push(("last kernel line", line.clone()));
        }
        if let Some(evidence) = &failed.evidence {
            failure
                .lines
                .push(("evidence", evidence.display().to_string()));
        }
        if let Some(bundle) = &failed.bundle {
            failure.lines.push(("bundle", bundle.display().to_string()));
        }
        failure.hint = match &*failed.what {
            What::TimedOut { .. } => {
                Some("the console's log in the evidence tells how far the guest came".to_owned())
            }
            What::Touched(_) => Some(
                "a carve-out must not touch what firmware and kernel use: the kernel lies at 16 MiB, and firmware uses the last 32 MiB of RAM below 4 GiB"
                    .to_owned(),
            ),
            What::NoModule { .. } => Some(
                "pool, capture driver and fragmenter are in Rust, which only kernels of the first series take; `exec`, `shell`, `test` and \
                 `catalog run` do without"
                    .to_owned(),
            ),
            What::Start { .. } => Some("`landfall doctor` tells what would be used".to_owned()),
            _ => None,
        };
        failure
    }

    /// A survey came to nothing.
    pub(crate) fn of_survey(failed: &SurveyFailed) -> Self {
        let mut failure = Self::of_run(&failed.source);
        let what = std::mem::replace(&mut failure.what, failed.to_string());
        failure.causes.insert(0, what);
        failure
    }

    /// The catalogue came to nothing.
    pub(crate) fn of_catalog(failed: &CatalogFailed) -> Self {
        let mut failure = match failed {
            CatalogFailed::Case(trial) => Self::of_guest(&trial.source),
            CatalogFailed::Gallery { source, .. } => Self::of_guest(source),
            CatalogFailed::Run { source, .. } | CatalogFailed::Clean { source, .. } => {
                Self::of_run(source)
            }
            CatalogFailed::Bundle(error) => return Self::output_of_bundle(error),
            CatalogFailed::NoDebugKernel => {
                return Self::host("the catalogue cannot be run", failed);
            }
        };
        let what = std::mem::replace(&mut failure.what, failed.to_string());
        failure.causes.insert(0, what);
        failure
    }

    /// What was found cannot be written.
    pub(crate) fn output(path: &Path, error: &dyn Error) -> Self {
        Self {
            code: ExitCode::Output,
            ..Self::host(&format!("cannot write {}", path.display()), error)
        }
    }

    /// The place asked for cannot take a bundle.
    pub(crate) fn of_place(error: &BundleError) -> Self {
        Self {
            hint: Some("name another place with --bundle".to_owned()),
            ..Self::new(ExitCode::Usage, error)
        }
    }

    /// A bundle was not written.
    pub(crate) fn output_of_bundle(error: &BundleError) -> Self {
        Self {
            code: ExitCode::Output,
            ..Self::host("what the run leaves was not written", error)
        }
    }

    /// A bundle's command cannot be done again.
    pub(crate) fn foreign(what: &str) -> Self {
        Self {
            code: ExitCode::Usage,
            what: what.to_owned(),
            causes: Vec::new(),
            lines: Vec::new(),
            hint: None,
        }
    }

    /// A bundle is refused.
    pub(crate) fn of_bundle(path: &Path, error: &BundleError) -> Self {
        if matches!(error, BundleError::Write { .. }) {
            return Self::output_of_bundle(error);
        }
        let doing = format!("cannot use the bundle {}", path.display());
        Self {
            hint: match error {
                BundleError::Format { .. } => {
                    Some("use the Landfall that wrote it, or record it again".to_owned())
                }
                BundleError::File {
                    why: Refused::Size | Refused::Checksum | Refused::Missing,
                    ..
                } => Some("it was changed or cut short since it was written".to_owned()),
                _ => None,
            },
            ..Self::host(&doing, error)
        }
    }

    /// A run came to no verdict.
    pub(crate) fn of_run(failed: &RunFailed) -> Self {
        match failed {
            RunFailed::Guest(failed) => Self::of_guest(failed),
            RunFailed::Save(_) => Self::new(ExitCode::Output, failed),
            RunFailed::SelfTest(_) | RunFailed::Memory(_) => Self::new(ExitCode::Guest, failed),
            RunFailed::Evidence(_) => Self::new(ExitCode::Output, failed),
        }
    }
}

/// The errors behind an error, nearest first.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}
