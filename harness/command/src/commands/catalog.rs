// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall catalog` and `landfall legs`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use landfall::bundle::Place;
use landfall::report::drawing::Drawing;
use landfall_guest::{Architecture, Cancel, Prepared};
use landfall_suite::catalog::{
    self, ENTRIES, Entry, Event, KernelMatrix, KernelRuns, Leg, On, PATTERNS, Plan, Platforms,
};
use landfall_suite::scenario::Scenario;

use super::survey::{file, png};
use super::{Done, parts, prepare, prepare_debug, scenario};
use crate::cli::{
    CatalogArguments, CatalogCommand, Common, Kernels as Named, LegsArguments, PartArguments,
};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::report;

/// What is booted.
struct Kernels {
    stock: Prepared,
    debug: Option<Prepared>,
    jobs: Option<NonZeroUsize>,
    bundles: Place,
    watch_cpu: bool,
}

impl Kernels {
    fn prepare(
        common: &Common,
        debug: bool,
        cancel: &Cancel,
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        let bundles = match &common.bundle {
            Some(path) => Place::At(path.clone()),
            None => Place::Evidence,
        };
        // Of PATH itself only the directory matters.
        let checked = bundles.of("0").check();
        checked.map_err(|error| Failure::of_place(&error))?;
        let set_up = parts(&common.parts)?;
        let stock = prepare(&set_up, cancel, progress)?;
        let debug = match debug {
            true => Some(prepare_debug(&set_up, &stock, cancel, progress)?),
            false => None,
        };
        Ok(Self {
            stock,
            debug,
            jobs: common.jobs,
            bundles,
            watch_cpu: common.watch_cpu,
        })
    }

    fn platforms(&self) -> Platforms<'_> {
        Platforms {
            stock: &self.stock,
            debug: self.debug.as_ref(),
            jobs: self.jobs,
            bundles: Some(&self.bundles),
            record: None,
            twins: None,
            watch_cpu: self.watch_cpu,
        }
    }
}

/// Does what was asked of the catalogue.
pub(super) fn catalog(arguments: &CatalogArguments, cancel: &Cancel) -> Done {
    match &arguments.command {
        CatalogCommand::List { json } => list(json.as_deref()),
        CatalogCommand::Run {
            numbers,
            record,
            common,
        } => run(numbers, record.as_deref(), common, cancel),
        CatalogCommand::Matrix { kernels, .. } if !kernels.is_empty() => {
            on_kernels(&arguments.command, cancel)
        }
        CatalogCommand::Matrix { .. } => matrix(&arguments.command, cancel),
        CatalogCommand::Gallery { list: true, .. } => {
            for pattern in &PATTERNS {
                output::text(&format!("{:<22} {}\n", pattern.name, pattern.what));
            }
            Ok(ExitCode::Clean)
        }
        CatalogCommand::Gallery {
            names,
            legs,
            runs,
            mute,
            common,
            ..
        } => {
            let plan = Plan {
                patterns: match names.as_slice() {
                    [] => PATTERNS.iter().collect(),
                    some => some.to_vec(),
                },
                legs: legs.clone(),
                runs: *runs,
                mute: *mute,
            };
            gallery(&plan, common, cancel)
        }
        CatalogCommand::Clean {
            runs,
            debug_kernel,
            common,
        } => clean(*runs, *debug_kernel, common, cancel),
    }
}

fn list(json: Option<&std::path::Path>) -> Done {
    let list = catalog::list();
    if let Some(path) = json {
        report::write_json(path, &list)?;
    }
    let mut text = String::new();
    for class in &list.classes {
        let legs: Vec<_> = class.legs.iter().map(|leg| leg.name()).collect();
        let planted = format!("{} [{}]", class.planted, legs.join(", "));
        text.push_str(&format!(
            "{:>2} {:<28} {planted}\n",
            class.number, class.name
        ));
    }
    output::text(&text);
    Ok(ExitCode::Clean)
}

/// Notes each run as it ends.
fn teller(progress: &Mutex<Progress>) -> impl Fn(Event) + Sync {
    |event| {
        let Event::Done {
            what,
            result,
            elapsed,
        } = event;
        let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let result: String = result.chars().take(160).collect();
        progress.note(&format!(
            "  {what:<44} {:>5.1} s  {result}",
            elapsed.as_secs_f64()
        ));
    }
}

fn run(numbers: &[u8], record: Option<&Path>, common: &Common, cancel: &Cancel) -> Done {
    let entries: Vec<&'static Entry> = match numbers {
        [] => ENTRIES.iter().collect(),
        some => some
            .iter()
            .filter_map(|number| Entry::of(*number))
            .collect(),
    };
    let mut progress = Progress::new();
    let debug = entries.iter().any(|entry| entry.legs.contains(&Leg::Debug));
    let kernels = Kernels::prepare(common, debug, cancel, &mut progress)?;
    let progress = Mutex::new(progress);
    let platforms = Platforms {
        record,
        ..kernels.platforms()
    };
    let runs = catalog::run(&entries, &platforms, cancel, &teller(&progress))
        .map_err(|failed| Failure::of_catalog(&failed))?;
    if let Some(path) = &common.json {
        report::write_json(path, &runs)?;
    }
    let passed = runs.classes.iter().filter(|run| run.passed).count();
    output::text(&format!(
        "{passed} of {} named, with silent clean twins; {}{:.0} s\n",
        runs.classes.len(),
        match runs.skipped.len() {
            0 => String::new(),
            some => format!("{some} not run; "),
        },
        runs.seconds
    ));
    left(runs.classes.iter().flat_map(|run| &run.bundles));
    if runs.classes.is_empty() && !runs.skipped.is_empty() {
        return Ok(ExitCode::NotJudged);
    }
    Ok(verdict(runs.passed()))
}

fn matrix(command: &CatalogCommand, cancel: &Cancel) -> Done {
    let CatalogCommand::Matrix {
        repeats,
        no_debug_kernel,
        markdown,
        svg,
        png: picture,
        common,
        kernels: _,
    } = command
    else {
        return Ok(ExitCode::Usage);
    };
    let mut progress = Progress::new();
    let kernels = Kernels::prepare(common, !no_debug_kernel, cancel, &mut progress)?;
    let progress = Mutex::new(progress);
    let matrix = catalog::matrix(*repeats, &kernels.platforms(), cancel, &teller(&progress))
        .map_err(|failed| Failure::of_catalog(&failed))?;
    output::text(&catalog::table(&matrix));
    if let Some(path) = &common.json {
        report::write_json(path, &matrix)?;
    }
    if let Some(path) = markdown {
        file(path, catalog::page(&matrix))?;
    }
    draw(&catalog::plot(&matrix), svg.as_deref(), picture.as_deref())?;
    Ok(verdict(matrix.rows.iter().all(|row| row.alarms.is_empty())))
}

/// Writes a drawing where it was asked for.
fn draw(drawing: &Drawing, svg: Option<&Path>, picture: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = svg {
        file(path, drawing.svg())?;
    }
    if let Some(path) = picture {
        file(path, png(drawing, path)?)?;
    }
    Ok(())
}

/// The whole catalogue on each of some kernels, one after the other.
fn on_kernels(command: &CatalogCommand, cancel: &Cancel) -> Done {
    let CatalogCommand::Matrix {
        kernels,
        markdown,
        svg,
        png: picture,
        common,
        ..
    } = command
    else {
        return Ok(ExitCode::Usage);
    };
    let mut wanted: Vec<On> = Vec::new();
    for named in kernels {
        let these = match named {
            Named::One(on) => vec![on.clone()],
            Named::All => all_kernels(),
        };
        wanted.extend(
            these
                .into_iter()
                .filter(|on| !wanted.contains(on))
                .collect::<Vec<_>>(),
        );
    }
    let entries: Vec<&'static Entry> = ENTRIES.iter().collect();
    let (mut done, mut qemu) = (Vec::new(), String::new());
    for on in wanted {
        let parts = PartArguments {
            arch: Some(on.architecture.clone()),
            kernel_series: Some(on.series.clone()),
            ..common.parts.clone()
        };
        let common = Common {
            json: None,
            bundle: common.bundle.clone(),
            jobs: common.jobs,
            watch_cpu: common.watch_cpu,
            parts,
        };
        let mut progress = Progress::new();
        let guests = Kernels::prepare(&common, false, cancel, &mut progress)?;
        progress.note(&format!("Linux {}", guests.stock.kernel_release));
        let progress = Mutex::new(progress);
        let runs = catalog::run(&entries, &guests.platforms(), cancel, &teller(&progress))
            .map_err(|failed| Failure::of_catalog(&failed))?;
        qemu.clone_from(&guests.stock.qemu.version);
        done.push(KernelRuns {
            on,
            release: guests.stock.kernel_release.clone(),
            runs,
        });
    }
    let matrix = KernelMatrix::of(&qemu, &done);
    output::text(&matrix.table());
    if let Some(path) = &common.json {
        report::write_json(path, &matrix)?;
    }
    if let Some(path) = markdown {
        file(path, matrix.page())?;
    }
    draw(
        &catalog::plot_kernels(&matrix),
        svg.as_deref(),
        picture.as_deref(),
    )?;
    let bundles = done.iter().flat_map(|kernel| &kernel.runs.classes);
    left(bundles.flat_map(|run| &run.bundles));
    Ok(verdict(matrix.passed()))
}

/// Of every architecture every series.
fn all_kernels() -> Vec<On> {
    let of = |name: &'static str| {
        let series = Architecture::of(name).map(Architecture::series);
        let series = series.unwrap_or_default().into_iter();
        series.map(move |series| On {
            architecture: name.to_owned(),
            series: series.to_owned(),
        })
    };
    Architecture::names().into_iter().flat_map(of).collect()
}

fn clean(runs: u32, debug: bool, common: &Common, cancel: &Cancel) -> Done {
    let mut progress = Progress::new();
    let kernels = Kernels::prepare(common, debug, cancel, &mut progress)?;
    let progress = Mutex::new(progress);
    let clean = catalog::clean(runs, &kernels.platforms(), cancel, &teller(&progress))
        .map_err(|failed| Failure::of_catalog(&failed))?;
    if let Some(path) = &common.json {
        report::write_json(path, &clean)?;
    }
    for (kind, count) in &clean.kinds {
        output::text(&format!("{count:>4}  {kind}\n"));
    }
    let alarms = clean.alarms.len();
    output::text(&format!(
        "{} clean runs, {alarms} false alarms; {:.0} s\n",
        clean.runs, clean.seconds
    ));
    for alarm in &clean.alarms {
        output::text(&format!("  {alarm}\n"));
    }
    left(&clean.bundles);
    Ok(verdict(alarms == 0))
}

fn gallery(plan: &Plan, common: &Common, cancel: &Cancel) -> Done {
    let mut progress = Progress::new();
    let debug = plan.legs.contains(&Leg::Debug);
    let kernels = Kernels::prepare(common, debug, cancel, &mut progress)?;
    let progress = Mutex::new(progress);
    let gallery = catalog::gallery(plan, &kernels.platforms(), cancel, &teller(&progress))
        .map_err(|failed| Failure::of_catalog(&failed))?;
    if let Some(path) = &common.json {
        report::write_json(path, &gallery)?;
    }
    for shown in gallery.shown.iter().filter(|shown| !shown.silent) {
        output::text(&format!(
            "  {}, {}: {}\n",
            shown.pattern,
            shown.leg,
            shown.says()
        ));
    }
    for guest in &gallery.guests {
        for said in guest.not_judged.iter().chain(&guest.findings) {
            output::text(&format!("  {}: {said}\n", guest.leg));
        }
    }
    let silent = gallery.shown.iter().filter(|shown| shown.silent).count();
    output::text(&format!(
        "{silent} of {} silent, in {} guests; {:.0} s\n",
        gallery.shown.len(),
        gallery.guests.len(),
        gallery.seconds
    ));
    left(
        gallery
            .guests
            .iter()
            .filter_map(|guest| guest.bundle.as_ref()),
    );
    Ok(verdict(gallery.silent))
}

/// Runs the same on several platforms, and tells where they differ.
pub(super) fn legs(arguments: &LegsArguments, cancel: &Cancel) -> Done {
    let scenario = match &arguments.scenario {
        Some(path) => scenario(path)?,
        None => Scenario::default(),
    };
    let mut progress = Progress::new();
    let debug = arguments.legs.contains(&Leg::Debug);
    let kernels = Kernels::prepare(&arguments.common, debug, cancel, &mut progress)?;
    let platforms = kernels.platforms();
    let runs = catalog::legs(
        arguments.bug,
        &scenario,
        &arguments.legs,
        &platforms,
        cancel,
    )
    .map_err(|failed| Failure::of_catalog(&failed))?;
    progress.finish();
    if let Some(path) = &arguments.common.json {
        report::write_json(path, &runs)?;
    }
    for run in &runs {
        let mut said = run.violations.iter().map(|found| {
            let class = found
                .class
                .map_or_else(String::new, |class| format!("{class} "));
            format!("{class}{}: {}", found.name, found.text)
        });
        let first = said.next().unwrap_or_else(|| "clean".to_owned());
        output::text(&format!(
            "{:<11} {:>3} frames  {first}\n",
            run.leg, run.frames
        ));
        let hints = run.hints.iter().map(|hint| format!("hint: {}", hint.text));
        let why = run
            .not_judged
            .iter()
            .map(|why| format!("not judged: {why}"));
        let others = run.findings.iter().cloned().chain(why).chain(hints);
        for more in said.chain(others).take(7) {
            output::text(&format!("{:<24}{more}\n", ""));
        }
    }
    let classes = |run: &catalog::LegRun| run.violations.first().map(|first| first.class);
    let first = runs.first().map(classes);
    let agree = runs.iter().all(|run| Some(classes(run)) == first);
    output::text(match agree {
        true => "The platforms agree.\n",
        false => {
            "The platforms differ: what only one of them shows depends on it, as missing syncs do on bounce buffers.\n"
        }
    });
    left(runs.iter().filter_map(|run| run.bundle.as_ref()));
    Ok(verdict(runs.iter().all(catalog::LegRun::is_clean)))
}

/// Runs the same again with another scenario and other parts, and leaves nothing.
pub(super) fn again(
    arguments: &LegsArguments,
    scenario: &Scenario,
    parts: &PartArguments,
    cancel: &Cancel,
) -> Result<Vec<catalog::LegRun>, Failure> {
    let common = Common {
        json: None,
        bundle: None,
        jobs: None,
        watch_cpu: arguments.common.watch_cpu,
        parts: parts.clone(),
    };
    let mut progress = Progress::new();
    let debug = arguments.legs.contains(&Leg::Debug);
    let kernels = Kernels::prepare(&common, debug, cancel, &mut progress)?;
    let platforms = Platforms {
        bundles: None,
        ..kernels.platforms()
    };
    catalog::legs(arguments.bug, scenario, &arguments.legs, &platforms, cancel)
        .map_err(|failed| Failure::of_catalog(&failed))
}

/// Tells of bundles.
fn left<'a>(bundles: impl IntoIterator<Item = &'a PathBuf>) {
    for bundle in bundles {
        output::text(&report::left(bundle));
    }
}

fn verdict(clean: bool) -> ExitCode {
    match clean {
        true => ExitCode::Clean,
        false => ExitCode::Violations,
    }
}
