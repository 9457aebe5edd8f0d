// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall completions` and `landfall man`: what is made of the command line itself.

use clap::CommandFactory;

use super::Done;
use crate::cli::{Cli, CompletionsArguments, ManArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;

/// The command's name.
const NAME: &str = "landfall";

/// Prints what a shell completes by.
pub(super) fn completions(arguments: &CompletionsArguments) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), NAME, &mut script);
    output::text(&String::from_utf8_lossy(&script));
    Ok(ExitCode::Clean)
}

/// Writes the manual's pages.
pub(super) fn man(arguments: &ManArguments) -> Done {
    let directory = &arguments.directory;
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::told(), directory));
    written.map_err(|error| Failure::output(directory, &error))?;
    Ok(ExitCode::Clean)
}
