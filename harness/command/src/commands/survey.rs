// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall survey`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use landfall::guest::accelerator;
use landfall::report::drawing::Drawing;
use landfall_guest::Cancel;
use landfall_suite::survey::{self, Event, Method, Options, Survey};

use super::{Done, parts, prepare};
use crate::cli::SurveyArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::report;

/// Order of the largest free blocks of a fragmented guest: 16 pages.
const FRAGMENT: u32 = 4;

/// Measures every way, and tells.
pub(super) fn survey(arguments: &SurveyArguments, cancel: &Cancel) -> Done {
    let set_up = parts(&arguments.parts)?;
    let mut progress = Progress::new();
    let prepared = prepare(&set_up, cancel, &mut progress)?;
    let choice = accelerator::choose(arguments.accel, &prepared, cancel)
        .map_err(|failed| Failure::of_guest(&failed))?;
    let options = Options {
        memory: arguments.memory,
        fragment: arguments.fragmented.then_some(FRAGMENT),
        methods: match arguments.methods.is_empty() {
            true => Method::ALL.to_vec(),
            false => arguments.methods.clone(),
        },
        engine: choice.engine,
        jobs: arguments.jobs,
    };
    let progress = Mutex::new(progress);
    let tell = |event: Event| {
        if let Event::Done { method, elapsed } = event {
            let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.note(&format!("  {method:<28} {:>6.2} s", elapsed.as_secs_f64()));
        }
    };
    let survey = survey::survey(&options, &prepared, cancel, &tell)
        .map_err(|failed| Failure::of_survey(&failed))?;
    output::text(&survey::table(&survey));
    write(arguments, &survey)?;
    Ok(match survey.is_clean() {
        true => ExitCode::Clean,
        false => ExitCode::Violations,
    })
}

fn write(arguments: &SurveyArguments, survey: &Survey) -> Result<(), Failure> {
    if let Some(path) = &arguments.json {
        report::write_json(path, survey)?;
    }
    if let Some(path) = &arguments.markdown {
        file(path, survey::page(survey))?;
    }
    let drawing = survey::plot(survey);
    if let Some(path) = &arguments.svg {
        file(path, drawing.svg())?;
    }
    if let Some(path) = &arguments.png {
        file(path, png(&drawing, path)?)?;
    }
    Ok(())
}

pub(super) fn png(drawing: &Drawing, path: &Path) -> Result<Vec<u8>, Failure> {
    drawing.png().map_err(|error| Failure::output(path, &error))
}

pub(super) fn file(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::output(path, &error))
}
