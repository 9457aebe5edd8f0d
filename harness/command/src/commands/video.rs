// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall run --card NAME`: pictures of a video card with a driver of somebody's.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use landfall::bundle;
use landfall::evidence::Named;
use landfall::guest::Iommu;
use landfall::judge::{Leg, Verdict};
use landfall_cards::Camera;
use landfall_cards::capture::pattern::Pixel;
use landfall_device::contract::InterruptKind;
use landfall_guest::Cancel;
use landfall_suite::project::{CardChoice, Subject};
use landfall_suite::run::RunFailed;
use landfall_suite::video::{Plan, Streamed, stream};

use super::exec::{Bench, bundles, code};
use super::{Done, command_line};
use crate::cli::{MachineArguments, PartArguments, RunArguments, ViewArguments};
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::{report, tried};

/// Pictures, unless it is said how many.
const FRAMES: u32 = 8;
/// What to make of an option that is not for a card.
const HINT: &str = "it is an option of the card capture";

/// Streams, and shows what came of it.
pub(super) fn run(arguments: &RunArguments, cancel: &Cancel) -> Done {
    let camera = asked(arguments)?;
    let place = bundles(arguments.output.bundle.as_deref())?;
    let (verdict, streamed) = judge(arguments, &arguments.parts, camera, Some(&place), cancel)?;
    tell(&streamed);
    tried::verdict(&verdict);
    tried::viewed(&arguments.output.views.views(), &verdict);
    if let Some(path) = &arguments.output.json {
        report::write_json(path, &tried::Json::from(&verdict))?;
    }
    match streamed.not_saved {
        Some(error) => Err(Failure::of_run(&RunFailed::Save(error))),
        None => Ok(code(verdict.outcome())),
    }
}

/// Does again what a bundle recorded; gives what was named. `None` if something takes part that somebody could have put on
/// this machine.
pub(super) fn again(
    arguments: &RunArguments,
    parts: &PartArguments,
    views: ViewArguments,
    cancel: &Cancel,
) -> Option<Result<Vec<Named>, Failure>> {
    let own = &arguments.parts;
    let brings = own.qemu.is_some() || own.kernel.is_some() || !own.modules.is_empty();
    if brings || !arguments.guest.qemu_arguments.is_empty() {
        return None;
    }
    let mut arguments = arguments.clone();
    arguments.output.save_frames = None;
    arguments.output.views = views;
    let verdict =
        asked(&arguments).and_then(|camera| judge(&arguments, parts, camera, None, cancel));
    Some(verdict.map(|(verdict, _)| {
        let cards = verdict.legs.into_iter().flat_map(|leg| leg.cards);
        cards.flat_map(|(_, seen)| seen.violations).collect()
    }))
}

/// What the card sends; refuses a card that is no video card, and options that are of our own card.
fn asked(arguments: &RunArguments) -> Result<Camera, Failure> {
    let name = &arguments.card;
    let Some(camera) = landfall_cards::camera(name) else {
        return Err(Failure::not_streamed(
            format!("{name} is no video card, of which pictures could be captured"),
            &format!("landfall exec --card {name}"),
        ));
    };
    let (guest, capture) = (&arguments.guest, &arguments.capture);
    let others = [
        ("--scenario", arguments.scenario.is_some()),
        ("--fault", guest.fault.is_some()),
        ("--interrupt", guest.interrupt != InterruptKind::Msi),
        ("--address-bits", guest.address_bits != 64),
        ("--low-memory", guest.low_memory.is_some()),
        ("--cold", guest.cold),
        ("--stock-boot", guest.stock_boot),
        ("--pool-source", guest.pool_source.is_some()),
        ("--pool-size", guest.pool_size.is_some()),
        ("--carveout", guest.carveout.is_some()),
        ("--watch-from-boot", guest.watch_from_boot),
        ("--fragment", guest.fragment.is_some()),
        ("--pool-parameters", !guest.pool_parameters.is_empty()),
        ("--driver-parameters", !guest.driver_parameters.is_empty()),
        ("--no-witness", guest.no_witness),
        ("--width", capture.width.is_some()),
        ("--height", capture.height.is_some()),
        ("--format", capture.format != Pixel::Yuyv),
        ("--pattern", capture.pattern.is_some()),
        ("--place", capture.place.is_some()),
        ("--interval", capture.interval != 0),
        ("--evidence", arguments.output.evidence.is_some()),
        ("--keep", arguments.output.keep),
        ("--module", !arguments.parts.modules.is_empty()),
    ];
    match others.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::not_streamed(
            format!("{option} is not for the card {name}"),
            HINT,
        )),
        None => Ok(camera),
    }
}

fn judge(
    arguments: &RunArguments,
    parts: &PartArguments,
    camera: Camera,
    bundles: Option<&bundle::Place>,
    cancel: &Cancel,
) -> Result<(Verdict, Streamed), Failure> {
    let leg = match arguments.guest.iommu.unwrap_or_default() {
        Iommu::None => Leg::Plain,
        Iommu::Strict => Leg::Iommu,
        Iommu::Lazy => Leg::IommuLazy,
    };
    let subject = Subject {
        cards: vec![CardChoice::Named(arguments.card.clone())],
        legs: vec![leg],
        ..Subject::default()
    };
    // No program of anybody's streams.
    let subject = Subject {
        packages: Vec::new(),
        selftests: Vec::new(),
        ..subject.with_usual()
    };
    let guest = &arguments.guest;
    let machine = MachineArguments {
        memory: guest.memory,
        cpus: guest.cpus,
        append: guest.append.clone(),
        qemu_arguments: guest.qemu_arguments.clone(),
        accel: guest.accel,
        jobs: guest.jobs,
        watch_cpu: guest.watch_cpu,
    };
    let mut progress = Progress::new();
    let bench = Bench::prepare(parts, &machine, &[leg], cancel, &mut progress)?;
    let trial = bench.trial("run", &subject, Path::new(""), &mut progress)?;
    let plan = Plan {
        frames: arguments.capture.frames.unwrap_or(FRAMES),
        save: arguments.output.save_frames.clone(),
    };
    let came = Arc::new(Mutex::new(Streamed::default()));
    let told = Arc::clone(&came);
    let trial = trial.command(|_| command_line()).look(move |guest| {
        let streamed = stream(guest, 0, camera, &plan)?;
        let wrong = streamed.wrong.clone();
        *told.lock().unwrap_or_else(PoisonError::into_inner) = streamed;
        Ok(wrong)
    });
    let views = arguments.output.views.views();
    let verdict = bench.judge(&trial, bundles, &views)?;
    let streamed = std::mem::take(&mut *came.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((verdict, streamed))
}

/// Tells of the pictures.
fn tell(streamed: &Streamed) {
    let Streamed {
        picture,
        right,
        bytes,
        saved,
        ..
    } = streamed;
    let mut text = format!(
        "{right} frames of {picture}: {bytes} bytes as the card sent them, compared one by one\n"
    );
    for path in saved {
        text.push_str(&format!("saved {}\n", path.display()));
    }
    output::text(&text);
}
