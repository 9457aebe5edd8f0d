// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall explain`.

use landfall::bundle::{Bundle, story};

use super::Done;
use crate::cli::ExplainArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::report;

/// Tells the story of a failed run, or shows it.
pub(super) fn explain(arguments: &ExplainArguments) -> Done {
    let path = &arguments.bundle;
    let refused = |error| Failure::of_bundle(path, &error);
    let bundle = Bundle::open(path).map_err(refused)?;
    let views = arguments.views.views();
    if views.is_empty() {
        let told = story(&bundle, &path.display().to_string());
        output::text(&told.map_err(refused)?);
    } else {
        views.of_bundle(&bundle).map_err(refused)?;
        output::text(&report::viewed(&views));
    }
    Ok(ExitCode::Clean)
}
