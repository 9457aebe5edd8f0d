// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command `landfall`.

mod cli;
mod commands;
mod exit_code;
mod failure;
mod progress;
mod report;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("LANDFALL_LOG")
                .unwrap_or_else(|_| "off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    commands::main(cli).into()
}
