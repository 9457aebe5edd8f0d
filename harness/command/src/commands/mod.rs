// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each command does.

mod again;
mod catalog;
mod exec;
mod explain;
mod explore;
mod fuzz;
mod generate;
mod replay;
mod survey;
mod test;
mod video;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use landfall::bundle;
use landfall::guest::accelerator;
use landfall::guest::{
    Board, EvidenceOptions, FRAGMENT_MODULE, GuestOptions, POOL_MODULE, PoolOptions, PoolSource,
    Start, WITNESS_MODULE,
};
use landfall::report::schema::{Timing, Verdict};
use landfall_cards::capture::{CaptureOptions, Planted};
use landfall_guest::{Cancel, ModuleInfo, Prepared, SetupError, SetupOptions, Status, read_module};
use landfall_suite::capture::CAPTURE_MODULE;
use landfall_suite::exercise;
use landfall_suite::run::{self, Outcome, Wishes};
use landfall_suite::scenario::Scenario;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::{
    CAPTURE, Cli, Command, DoctorArguments, ExerciseArguments, GuestArguments, PartArguments,
    RunArguments, SetupArguments,
};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::report;

/// What a command runs into: an exit code and what to print.
pub(crate) type Done = Result<ExitCode, Failure>;

/// Does what the command line asks.
pub(crate) fn main(cli: Cli) -> ExitCode {
    let cancel = match watch_signals() {
        Ok(cancel) => cancel,
        Err(error) => {
            report::failure(&Failure::host("cannot watch for signals", &error));
            return ExitCode::Host;
        }
    };
    let done = match cli.command {
        None => run(&cli.run, &cancel),
        Some(Command::Run(arguments)) => run(&arguments, &cancel),
        Some(Command::Explain(arguments)) => explain::explain(&arguments),
        Some(Command::Replay(arguments)) => replay::replay(&arguments, &cancel),
        Some(Command::Try(arguments)) => again::again(&arguments, &cancel),
        Some(Command::Exec(arguments)) => exec::exec(&arguments, &cancel),
        Some(Command::Explore(arguments)) => explore::explore(&arguments, &cancel),
        Some(Command::Test(arguments)) => test::test(&arguments, &cancel),
        Some(Command::Init(arguments)) => test::init(&arguments),
        Some(Command::BuildModule(arguments)) => exec::build(&arguments, &cancel),
        Some(Command::Shell(arguments)) => exec::shell(&arguments, &cancel),
        Some(Command::Fuzz(arguments)) => fuzz::fuzz(&arguments, &cancel),
        Some(Command::Survey(arguments)) => survey::survey(&arguments, &cancel),
        Some(Command::Catalog(arguments)) => catalog::catalog(&arguments, &cancel),
        Some(Command::Legs(arguments)) => catalog::legs(&arguments, &cancel),
        Some(Command::Setup(arguments)) => setup(&arguments, &cancel),
        Some(Command::Doctor(arguments)) => doctor(&arguments),
        Some(Command::Completions(arguments)) => generate::completions(&arguments),
        Some(Command::Man(arguments)) => generate::man(&arguments),
        Some(Command::PoolExercise(arguments)) => pool_exercise(&arguments, &cancel),
    };
    let code = match done {
        Ok(code) => code,
        Err(failure) => {
            report::failure(&failure);
            failure.code
        }
    };
    // Who reads the code alone must not take for said what was not.
    match output::failed() {
        Some(error) if code == ExitCode::Clean => {
            report::failure(&Failure::output(Path::new("standard output"), error));
            ExitCode::Output
        }
        _ => code,
    }
}

/// A flag that SIGINT, SIGTERM and SIGHUP set; a second signal ends the process at once, and QEMU with it.
fn watch_signals() -> std::io::Result<Cancel> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(ExitCode::Interrupted as u8),
            Arc::clone(&flag),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(Cancel::from(flag))
}

fn run(arguments: &RunArguments, cancel: &Cancel) -> Done {
    if arguments.card != CAPTURE {
        return video::run(arguments, cancel);
    }
    let place = place(arguments.output.bundle.as_deref())?;
    let request = bundle::Request {
        place,
        command: command_line(),
        views: arguments.output.views.views(),
        ..bundle::Request::default()
    };
    let outcome = run_with(arguments, request, cancel)?;
    report::outcome(&outcome);
    output::text(&report::viewed(&arguments.output.views.views()));
    if let Some(path) = &arguments.output.json {
        report::write_json(path, &outcome.report)?;
    }
    outcome
        .bundle
        .map_err(|error| Failure::output_of_bundle(&error))?;
    Ok(match outcome.report.verdict {
        Verdict::Clean => ExitCode::Clean,
        Verdict::Violations => ExitCode::Violations,
        Verdict::NotJudged => ExitCode::NotJudged,
    })
}

/// Refuses modules that the capture driver's run would put into the guest and not load: its verdict is not about them.
fn only_ours(modules: &[PathBuf]) -> Result<(), Failure> {
    // What is no module, the set-up refuses with its reason.
    let read = |path: &PathBuf| ModuleInfo::read(&read_module(path).ok()?).ok();
    let mut others: Vec<_> = modules
        .iter()
        .filter_map(|path| Some((read(path)?, path)))
        .collect();
    let ours = [CAPTURE_MODULE, POOL_MODULE, WITNESS_MODULE, FRAGMENT_MODULE];
    let mut wanted = ours.map(str::to_owned).to_vec();
    while let Some(name) = wanted.pop() {
        if let Some(at) = others.iter().position(|(info, _)| info.name == name) {
            wanted.extend(others.swap_remove(at).0.depends);
        }
    }
    match others.first() {
        None => Ok(()),
        Some((info, path)) => Err(Failure::not_loaded(&info.name, path)),
    }
}

/// Where bundles go.
fn place(path: Option<&Path>) -> Result<bundle::Place, Failure> {
    let place = match path {
        Some(path) => bundle::Place::At(path.to_owned()),
        None => bundle::Place::Evidence,
    };
    place.check().map_err(|error| Failure::of_place(&error))?;
    Ok(place)
}

/// The command line that this process was given, without its name and without where bundle, page and trace go.
fn command_line() -> Vec<String> {
    let mut words = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        let word = word.to_string_lossy();
        let name = word.split('=').next().unwrap_or_default();
        match ["--bundle", "--report", "--html", "--perfetto"].contains(&name) {
            true if name == word => drop(words.next()),
            true => {}
            false => kept.push(word.into_owned()),
        }
    }
    kept
}

/// Does a run, and shows how it goes.
fn run_with(
    arguments: &RunArguments,
    mut request: bundle::Request,
    cancel: &Cancel,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    only_ours(&arguments.parts.modules)?;
    let scenario = match (&request.scenario, &arguments.scenario) {
        // Of a bundle: the file that it was read from may be gone, or be another.
        (Some(text), _) => Some(scenario_of_bundle(text)?),
        (None, Some(path)) => Some(scenario(path)?),
        (None, None) => None,
    };
    if let Some(scenario) = &scenario {
        request.scenario = Some(scenario.to_toml());
        request.seed = Some(scenario.seed);
    }
    let wishes = Wishes {
        scenario,
        bundle: Some(request),
        ..wishes(arguments)
    };
    let plan = wishes.plan().map_err(Failure::usage)?;
    let mut progress = Progress::new();
    let options = parts(&arguments.parts)?;
    let prepared = prepare(&options, cancel, &mut progress)?;
    let mut timings = vec![timing("set-up", began)];
    let choosing = Instant::now();
    let choice = accelerator::choose(arguments.guest.accel, &prepared, cancel)
        .map_err(|failed| Failure::of_guest(&failed))?;
    timings.push(timing("choose accelerator", choosing));
    progress.note(&report::booting(&prepared, &choice, &plan));

    let mut plan = plan;
    plan.guest.engine = choice.engine;
    let outcome = run::run(&plan, &prepared, &choice, timings, cancel, &mut |event| {
        progress.run(event)
    });
    progress.finish();
    let mut outcome = outcome.map_err(|failed| Failure::of_run(&failed))?;
    outcome.report.timings.push(timing("total", began));
    Ok(outcome)
}

fn setup(arguments: &SetupArguments, cancel: &Cancel) -> Done {
    let mut options = SetupOptions {
        refresh: arguments.refresh,
        verify: arguments.verify,
        ..parts(&arguments.parts)?
    };
    let mut progress = Progress::new();
    let failed = |error: SetupError| Failure::of_setup(&error);
    if let Some(file) = &arguments.import {
        let imported =
            landfall_guest::import(&options, file, cancel, &mut |event| progress.setup(event));
        progress.finish();
        report::imported(file, &imported.map_err(failed)?);
    }
    if let Some(file) = &arguments.export {
        let exported =
            landfall_guest::export(&options, file, cancel, &mut |event| progress.setup(event));
        progress.finish();
        report::exported(file, &exported.map_err(failed)?);
        options.refresh = false; // it is done
    }
    let prepared = prepare(&options, cancel, &mut progress)?;
    if arguments.debug_kernel {
        let debug = prepare_debug(&options, &prepared, cancel, &mut progress)?;
        report::debug_kernel(&debug);
    }
    if arguments.kernels {
        for series in landfall_guest::kernel_series() {
            let of_series = SetupOptions {
                series: Some(series.to_owned()),
                ..options.clone()
            };
            report::kernel(series, &prepare(&of_series, cancel, &mut progress)?);
        }
    }
    let pruned = match arguments.prune {
        true => Some(landfall_guest::prune(&options).map_err(failed)?),
        false => None,
    };
    let size = landfall_guest::size(&options.cache)
        .map_err(|error| Failure::host("cannot measure the cache", &error))?;
    report::setup(&options, &prepared, pruned.as_ref(), &size);
    Ok(ExitCode::Clean)
}

/// Makes sure of the debug kernel.
fn prepare_debug(
    options: &SetupOptions,
    prepared: &Prepared,
    cancel: &Cancel,
    progress: &mut Progress,
) -> Result<Prepared, Failure> {
    let debug = landfall_guest::prepare_debug(options, prepared, cancel, &mut |event| {
        progress.setup(event)
    });
    progress.finish();
    debug.map_err(|error| Failure::of_setup(&error))
}

fn doctor(arguments: &DoctorArguments) -> Done {
    let findings = landfall_guest::doctor(&parts(&arguments.parts)?);
    report::doctor(&findings);
    let lacking = findings
        .iter()
        .any(|finding| finding.status == Status::Lacks);
    Ok(if lacking {
        ExitCode::Host
    } else {
        ExitCode::Clean
    })
}

fn pool_exercise(arguments: &ExerciseArguments, cancel: &Cancel) -> Done {
    let options = exercise::Options {
        seed: arguments.seed,
        steps: arguments.steps,
        fit: arguments.fit,
        fault_at: arguments.fault_at,
    };
    let exercised = exercise::run(&options, || cancel.is_cancelled());
    report::exercise(&exercised, arguments.show);
    if let Some(path) = &arguments.json {
        report::write_json(path, &exercised)?;
    }
    Ok(match exercised.difference {
        None if cancel.is_cancelled() => ExitCode::Interrupted,
        None => ExitCode::Clean,
        Some(_) => ExitCode::Violations,
    })
}

pub(crate) fn prepare(
    options: &SetupOptions,
    cancel: &Cancel,
    progress: &mut Progress,
) -> Result<Prepared, Failure> {
    let prepared = landfall_guest::prepare(options, cancel, &mut |event| progress.setup(event));
    progress.finish();
    prepared.map_err(|error| Failure::of_setup(&error))
}

fn timing(step: &str, began: Instant) -> Timing {
    Timing {
        step: step.to_owned(),
        seconds: began.elapsed().as_secs_f64(),
    }
}

/// Where the guest's parts come from.
pub(crate) fn parts(arguments: &PartArguments) -> Result<SetupOptions, Failure> {
    let cache = match &arguments.cache {
        Some(cache) => cache.clone(),
        None => {
            landfall::default_cache(|name| std::env::var_os(name)).ok_or_else(Failure::no_cache)?
        }
    };
    let mut options = SetupOptions {
        elsewhere: Some(landfall::guest::run_directory::elsewhere()),
        ..SetupOptions::new(cache)
    };
    options.mirror.clone_from(&arguments.mirror);
    options.snapshot_limit = arguments.snapshot_limit;
    options.qemu.clone_from(&arguments.qemu);
    options.architecture.clone_from(&arguments.arch);
    options.series.clone_from(&arguments.kernel_series);
    options.kernel.clone_from(&arguments.kernel);
    options.kdir.clone_from(&arguments.kdir);
    options.modules.clone_from(&arguments.modules);
    options.marks = arguments.marks;
    Ok(options)
}

/// The guest, but for its memory, cards and pool's size.
fn guest(arguments: &GuestArguments, parts: &PartArguments) -> GuestOptions {
    let board = parts.arch.as_deref().and_then(Board::of);
    GuestOptions {
        board: board.unwrap_or_default(),
        cpus: arguments.cpus,
        low_memory: arguments.low_memory,
        pool: PoolOptions {
            source: PoolSource::Reserve,
            parameters: arguments.pool_parameters.clone(),
            ..PoolOptions::default()
        },
        fragment: arguments.fragment,
        watch_from_boot: arguments.watch_from_boot,
        iommu: arguments.iommu.unwrap_or_default(),
        witness: !arguments.no_witness,
        watch_cpu: arguments.watch_cpu,
        start: match (arguments.stock_boot, arguments.cold) {
            (true, _) => Start::Stock,
            (false, true) => Start::Cold,
            (false, false) => Start::Restored,
        },
        jobs: arguments.jobs,
        append: arguments.append.clone(),
        qemu_arguments: arguments.qemu_arguments.clone(),
        ..GuestOptions::default()
    }
}

fn card(arguments: &GuestArguments) -> CaptureOptions {
    let planted = arguments
        .fault
        .map(|at| Planted::at(at.fault, at.frame.unwrap_or(run::FAULT_FRAME)));
    CaptureOptions {
        address_bits: arguments.address_bits,
        interrupt: arguments.interrupt,
        faults: planted.into_iter().collect(),
        ..CaptureOptions::default()
    }
}

/// Reads the scenario of a bundle.
fn scenario_of_bundle(text: &str) -> Result<Scenario, Failure> {
    let failed = |error| Failure::no_scenario(Path::new(bundle::SCENARIO), &error);
    Scenario::parse(text).map_err(failed)
}

/// Reads a scenario.
fn scenario(path: &Path) -> Result<Scenario, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::no_scenario(path, &error))?;
    Scenario::parse(&text).map_err(|error| Failure::no_scenario(path, &error))
}

fn wishes(arguments: &RunArguments) -> Wishes {
    let (of_guest, capture, output) = (&arguments.guest, &arguments.capture, &arguments.output);
    let mut wanted = guest(of_guest, &arguments.parts);
    wanted.evidence = EvidenceOptions {
        directory: output.evidence.clone(),
        keep: output.keep,
    };
    Wishes {
        guest: wanted,
        memory: of_guest.memory,
        card: card(of_guest),
        driver_parameters: of_guest.driver_parameters.clone(),
        fault: of_guest.fault.map(|at| (at.fault, at.frame)),
        scenario: None, // read by whoever may fail
        pool_source: of_guest.pool_source,
        pool_size: of_guest.pool_size,
        carveout: of_guest.carveout.map(|hole| (hole.size, hole.at)),
        place: capture.place,
        width: capture.width,
        height: capture.height,
        pixel: capture.format,
        pattern: capture.pattern,
        frames: capture.frames,
        interval_us: capture.interval,
        save_frames: output.save_frames.clone(),
        bundle: None,
    }
}
