// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command `landfall`.

/// Writes a line to `stdout` or `stderr`. What of the former cannot be written shows in the exit code.
macro_rules! say {
    (stdout, $($text:tt)*) => { crate::output::text(&(format!($($text)*) + "\n")) };
    (stderr, $($text:tt)*) => {{
        let line = format!($($text)*);
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n"));
    }};
}

mod cli;
mod commands;
mod exit_code;
mod failure;
mod output;
mod progress;
mod report;
mod terminal;
mod tried;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::given() {
        Ok(cli) => cli,
        Err(answer) => return told(&answer),
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("LANDFALL_LOG")
                .unwrap_or_else(|_| "off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    commands::main(cli).into()
}

/// Prints help, or what is wrong with the command line.
fn told(answer: &clap::Error) -> ExitCode {
    match (answer.print(), answer.exit_code()) {
        (Err(_), 0) => exit_code::ExitCode::Output.into(),
        (_, 0) => ExitCode::SUCCESS,
        _ => exit_code::ExitCode::Usage.into(),
    }
}
