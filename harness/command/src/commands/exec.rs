// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall exec`, `landfall shell` and `landfall build-module`: anybody's card and driver.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use landfall::bundle::{Place, Views};
use landfall::evidence::Named;
use landfall::guest::{Driver, Guest, GuestFailed, GuestOptions, Running, What, accelerator};
use landfall::judge::{Context, Leg, Outcome, Trial, TrialFailed, Verdict};
use landfall_guest::{
    Cancel, Packages, Prepared, SetupOptions, debug_kernel_is_there, packages, selftests,
};
use landfall_suite::project::{CardChoice, Subject};

use super::{Done, command_line, guest, parts, prepare, prepare_debug};
use crate::cli::{
    BuildModuleArguments, ExecArguments, MachineArguments, PartArguments, ShellArguments,
    SubjectArguments,
};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::{report, terminal, tried};

/// What trials are made with.
pub(super) struct Bench<'a> {
    options: SetupOptions,
    prepared: Prepared,
    debug: Option<Prepared>,
    machine: GuestOptions,
    cancel: &'a Cancel,
}

impl<'a> Bench<'a> {
    /// Sets up what is missing, and chooses what executes the guests.
    pub(super) fn prepare(
        of_parts: &PartArguments,
        machine: &MachineArguments,
        legs: &[Leg],
        cancel: &'a Cancel,
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        let options = parts(of_parts)?;
        let prepared = prepare(&options, cancel, progress)?;
        // What is not there yet takes a quarter of an hour: it is left out, and the verdict says so.
        let debug = legs.contains(&Leg::Debug) && debug_kernel_is_there(&options);
        let debug = match debug {
            true => Some(prepare_debug(&options, &prepared, cancel, progress)?),
            false => None,
        };
        let choice = accelerator::choose(machine.accel, &prepared, cancel)
            .map_err(|failed| Failure::of_guest(&failed))?;
        let plain = GuestOptions::default();
        let machine = GuestOptions {
            memory: machine.memory.unwrap_or(plain.memory),
            cpus: machine.cpus,
            append: machine.append.clone(),
            qemu_arguments: machine.qemu_arguments.clone(),
            jobs: machine.jobs,
            engine: choice.engine,
            watch_cpu: machine.watch_cpu,
            ..plain
        };
        progress.note(&tried::guests(&prepared, &choice));
        Ok(Self {
            options,
            prepared,
            debug,
            machine,
            cancel,
        })
    }

    /// The trial of a subject whose paths are below `root`: brings its packages into the cache, and builds its drivers, so that
    /// what takes time and what a compiler says is told before any guest.
    pub(super) fn trial(
        &self,
        name: &str,
        subject: &Subject,
        root: &Path,
        progress: &mut Progress,
    ) -> Result<Trial, Failure> {
        let brought = self.packages(subject, progress)?;
        for driver in &subject.drivers {
            let driver = driver.clone().below(root);
            tried::warnings(&self.build(&driver, progress)?);
        }
        subject
            .trial(name, self.machine.clone(), &brought, root)
            .map_err(|error| Failure::usage_of(&error))
    }

    fn packages(&self, subject: &Subject, progress: &mut Progress) -> Result<Packages, Failure> {
        let (options, prepared, cancel) = (&self.options, &self.prepared, self.cancel);
        let events = &mut |event| progress.setup(event);
        let brought = packages(options, prepared, &subject.packages, cancel, events);
        let brought = brought.and_then(|brought| {
            let built = selftests(options, prepared, &subject.selftests, cancel, events)?;
            Ok(brought.with(built))
        });
        progress.finish();
        brought.map_err(|error| Failure::of_setup(&error))
    }

    /// Builds a driver if it is one that is built; gives what the compilers warned of.
    fn build(&self, driver: &Driver, progress: &mut Progress) -> Result<Vec<String>, Failure> {
        let events = &mut |event| progress.setup(event);
        let built = driver.build_for(&self.options, &self.prepared, self.cancel, events);
        progress.finish();
        let built = built.map_err(|failed| Failure::of_trial(&TrialFailed::Build(failed)))?;
        Ok(built.map_or_else(Vec::new, |built| built.warnings))
    }

    /// Does a trial.
    pub(super) fn judge(
        &self,
        trial: &Trial,
        bundles: Option<&Place>,
        views: &Views,
    ) -> Result<Verdict, Failure> {
        trial
            .judge(&self.context(bundles, views))
            .map_err(|failed| Failure::of_trial(&failed))
    }

    /// What trials are made with, where they leave what failed, and how it is shown.
    pub(super) fn context<'b>(
        &'b self,
        bundles: Option<&'b Place>,
        views: &'b Views,
    ) -> Context<'b> {
        Context {
            setup: &self.options,
            prepared: &self.prepared,
            debug: self.debug.as_ref(),
            at_once: self.machine.jobs,
            bundles,
            views,
            cancel: self.cancel,
        }
    }
}

/// Where the bundles of several platforms go.
pub(super) fn bundles(path: Option<&Path>) -> Result<Place, Failure> {
    let place = match path {
        Some(path) => Place::At(path.to_owned()),
        None => Place::Evidence,
    };
    // Of PATH itself only the directory matters.
    let checked = place.of("0").check();
    checked.map_err(|error| Failure::of_place(&error))?;
    Ok(place)
}

pub(super) fn subject(arguments: &SubjectArguments) -> Subject {
    let named = arguments.cards.iter().cloned().map(CardChoice::Named);
    let sockets = arguments.card_sockets.iter().cloned();
    let commands = arguments.card_commands.iter().cloned();
    Subject {
        cards: named
            .chain(sockets.map(CardChoice::Socket))
            .chain(commands.map(CardChoice::Command))
            .collect(),
        registers: arguments.registers.clone(),
        unjudged: arguments.unjudged,
        drivers: arguments.drivers.clone(),
        packages: arguments.packages.clone(),
        selftests: arguments.selftests.clone(),
        files: arguments.files.clone(),
        ..Subject::default()
    }
}

/// The code that a verdict ends with.
pub(super) fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Clean => ExitCode::Clean,
        Outcome::Violations => ExitCode::Violations,
        Outcome::NotJudged => ExitCode::NotJudged,
    }
}

/// Tries a driver.
pub(super) fn exec(arguments: &ExecArguments, cancel: &Cancel) -> Done {
    let place = bundles(arguments.bundle.as_deref())?;
    let views = arguments.views.views();
    let command = |leg| on_leg(command_line(), leg);
    let verdict = judged(arguments, Some(&place), &views, cancel, command)?;
    tried::programs(&verdict);
    tried::verdict(&verdict);
    tried::viewed(&views, &verdict);
    if let Some(path) = &arguments.json {
        report::write_json(path, &tried::Json::from(&verdict))?;
    }
    Ok(code(verdict.outcome()))
}

/// The verdict on what `exec` is asked for; `command` is what the bundle of a platform says was done.
pub(super) fn judged(
    arguments: &ExecArguments,
    place: Option<&Place>,
    views: &Views,
    cancel: &Cancel,
    command: impl Fn(Leg) -> Vec<String> + Send + Sync + 'static,
) -> Result<Verdict, Failure> {
    let subject = of_exec(arguments);
    subject.check().map_err(|error| Failure::usage_of(&error))?;
    let mut progress = Progress::new();
    let (parts, machine) = (&arguments.parts, &arguments.machine);
    let bench = Bench::prepare(parts, machine, &arguments.legs, cancel, &mut progress)?;
    let trial = bench.trial("exec", &subject, Path::new(""), &mut progress)?;
    bench.judge(&trial.command(command), place, views)
}

/// The words of `exec` for one platform alone.
fn on_leg(words: Vec<String>, leg: Leg) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match &*word {
            "--" => {
                kept.push(word);
                kept.extend(words.by_ref());
            }
            "--legs" => drop(words.next()),
            word if word.starts_with("--legs=") => {}
            "exec" => kept.extend([word, format!("--legs={leg}")]),
            _ => kept.push(word),
        }
    }
    kept
}

/// Does again what a bundle recorded of one that [`ExecArguments::is_of_ours`]; gives what was named.
pub(super) fn again(
    arguments: &ExecArguments,
    parts: &PartArguments,
    views: &Views,
    cancel: &Cancel,
) -> Result<Vec<Named>, Failure> {
    let arguments = ExecArguments {
        parts: parts.clone(),
        ..arguments.clone()
    };
    let verdict = judged(&arguments, None, views, cancel, |_| Vec::new())?;
    let cards = verdict.legs.into_iter().flat_map(|leg| leg.cards);
    Ok(cards.flat_map(|(_, seen)| seen.violations).collect())
}

fn of_exec(arguments: &ExecArguments) -> Subject {
    let subject = Subject {
        program: arguments.program.clone(),
        legs: arguments.legs.clone(),
        patience: Some(Duration::from_secs(arguments.timeout)),
        ..subject(&arguments.subject)
    };
    subject.with_usual()
}

/// Gives a shell, and the verdict when it ends.
pub(super) fn shell(arguments: &ShellArguments, cancel: &Cancel) -> Done {
    let mut subject = subject(&arguments.subject);
    if subject.cards.is_empty() {
        subject.cards = vec![CardChoice::Named("capture".to_owned())];
    }
    let subject = subject.with_usual();
    let place = bundles(arguments.bundle.as_deref())?;
    let mut progress = Progress::new();
    let options = parts(&arguments.parts)?;
    let prepared = prepare(&options, cancel, &mut progress)?;
    let choice = accelerator::choose(arguments.guest.accel, &prepared, cancel)
        .map_err(|failed| Failure::of_guest(&failed))?;
    let machine = GuestOptions {
        shell: true,
        memory: arguments.guest.memory.unwrap_or(256 << 20),
        engine: choice.engine,
        ..guest(&arguments.guest, &arguments.parts)
    };
    progress.note(&tried::shell(&prepared, &choice));
    let bench = Bench {
        options,
        prepared,
        debug: None,
        machine,
        cancel,
    };
    let trial = bench.trial("shell", &subject, Path::new(""), &mut progress)?;
    progress.finish();
    let failed = Arc::new(Mutex::new(None));
    let (told, stop) = (Arc::clone(&failed), cancel.clone());
    let trial = trial.look(move |guest| {
        attach(guest, &stop).map_err(|failure| match failure {
            Left::Guest(failed) => failed,
            Left::Host(failure) => {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                GuestFailed::early(What::Interrupted)
            }
        })
    });
    let trial = trial.command(|_| command_line());
    let verdict = bench.judge(&trial, Some(&place), &Views::default());
    if let Some(failure) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure);
    }
    let verdict = verdict?;
    tried::verdict(&verdict);
    Ok(code(verdict.outcome()))
}

/// Why the terminal left the guest early.
enum Left {
    Guest(GuestFailed),
    Host(Failure),
}

/// Gives the terminal to the guest's shell until that ends.
fn attach<Stage: Running>(guest: &Guest<Stage>, cancel: &Cancel) -> Result<Vec<String>, Left> {
    let console = guest
        .take_console()
        .ok_or_else(|| Left::Host(Failure::bug("the console is taken")))?;
    guest.start_shell().map_err(Left::Guest)?;
    let mut ended = None;
    let over = || match guest.shell_ends(Duration::ZERO) {
        Ok(over) => over,
        Err(failed) => {
            ended = Some(failed);
            true
        }
    };
    terminal::attach(console, over, cancel).map_err(Left::Host)?;
    match ended {
        None => Ok(Vec::new()),
        Some(failed) => Err(Left::Guest(failed)),
    }
}

/// Builds a module, and puts it where it was asked for.
pub(super) fn build(arguments: &BuildModuleArguments, cancel: &Cancel) -> Done {
    let mut progress = Progress::new();
    let options = parts(&arguments.parts)?;
    let prepared = prepare(&options, cancel, &mut progress)?;
    let driver = match (&arguments.package, &arguments.directory) {
        (Some(name), _) => Driver::package(name),
        (None, directory) => Driver::build(directory.as_deref().unwrap_or(Path::new("."))),
    };
    let events = &mut |event| progress.setup(event);
    let built = driver.build_for(&options, &prepared, cancel, events);
    progress.finish();
    let built = built.map_err(|failed| Failure::of_trial(&TrialFailed::Build(failed)))?;
    let built = built.ok_or_else(|| Failure::bug("a driver to build was not built"))?;
    tried::warnings(&built.warnings);
    for module in &built.all {
        for file in [module.clone(), debug(module)] {
            let Some(name) = file.file_name() else {
                continue;
            };
            let to = arguments.output.join(name);
            match std::fs::copy(&file, &to) {
                Ok(_) => {}
                Err(error) if file != *module && error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::output(&to, &error)),
            }
        }
        let name = module.file_name().unwrap_or_default();
        let to = arguments.output.join(name);
        output::text(&format!(
            "{} for Linux {}\n",
            to.display(),
            prepared.kernel_release
        ));
    }
    Ok(ExitCode::Clean)
}

/// The debug information beside a module.
fn debug(module: &Path) -> PathBuf {
    let mut name = module.as_os_str().to_owned();
    name.push(".debug");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_of_one_platform_says_how_to_repeat_that_one() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in [
            "exec --card ring --legs plain,iommu -- prog --legs",
            "exec --legs=high --card ring -- prog --legs",
        ] {
            assert_eq!(
                on_leg(words(line), Leg::Iommu),
                words("exec --legs=iommu --card ring -- prog --legs")
            );
        }
    }
}
