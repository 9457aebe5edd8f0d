// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command `landfall`.

/// Writes a line to `stdout` or `stderr`. A reader that went away, as `| head` does, is no failure.
macro_rules! say {
    ($stream:ident, $($text:tt)*) => {{
        let line = format!($($text)*);
        let _ = std::io::Write::write_fmt(&mut std::io::$stream(), format_args!("{line}\n"));
    }};
}

mod cli;
mod commands;
mod exit_code;
mod failure;
mod progress;
mod report;
mod terminal;
mod tried;

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
