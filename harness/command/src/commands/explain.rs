// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall explain`.

use landfall::bundle::{Bundle, story};

use super::Done;
use crate::cli::ExplainArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;

/// Tells the story of a failed run.
pub(super) fn explain(arguments: &ExplainArguments) -> Done {
    let path = &arguments.bundle;
    let told = Bundle::open(path).and_then(|bundle| story(&bundle, &path.display().to_string()));
    output::text(&told.map_err(|error| Failure::of_bundle(path, &error))?);
    Ok(ExitCode::Clean)
}
