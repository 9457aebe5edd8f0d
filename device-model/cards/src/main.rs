// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall-device`: serves a card to any QEMU by hand.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand};
use landfall_cards::capture::{CaptureCard, CaptureOptions, Fault, Planted};
use landfall_device::contract::{Function, InterruptKind};
use landfall_device::serve::CardServer;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Serves emulated PCI cards over vfio-user.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a card on a socket until interrupted.
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Which card.
    #[arg(value_parser = landfall_cards::NAMES)]
    device: String,
    /// Where to listen; must not exist.
    #[arg(long)]
    socket: PathBuf,
    /// How it interrupts: intx, msi or msix.
    #[arg(long, default_value_t)]
    interrupt: InterruptKind,
    /// How it misbehaves, such as overrun; a name that does not exist lists all.
    #[arg(long)]
    fault: Option<Fault>,
    /// Which frame of a run is the bad one, from 0.
    #[arg(long, default_value_t = 2)]
    fault_frame: u32,
    /// Address bits that the card drives: 24, 32, 36, 40 or 64.
    #[arg(long, default_value_t = CaptureOptions::default().address_bits,
          value_parser = address_bits)]
    address_bits: u8,
    /// Frames must be aligned to two to this power, bytes.
    #[arg(long, default_value_t = CaptureOptions::default().align_shift,
          value_parser = clap::value_parser!(u8).range(0..=30))]
    align_shift: u8,
    /// Frames must not cross a multiple of two to this power, bytes; 0: no such boundary.
    #[arg(long, default_value_t = CaptureOptions::default().boundary_shift,
          value_parser = clap::value_parser!(u8).range(0..=63))]
    boundary_shift: u8,
    /// Largest frame, bytes.
    #[arg(long, default_value_t = CaptureOptions::default().max_frame)]
    max_frame: u32,
}

fn address_bits(given: &str) -> Result<u8, String> {
    match given.parse() {
        Ok(bits @ (24 | 32 | 36 | 40 | 64)) => Ok(bits),
        _ => Err("choose 24, 32, 36, 40 or 64".to_owned()),
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let Command::Serve(serve) = Arguments::parse().command;
    match run(&serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("landfall-device: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                line.push_str(&format!(": {error}"));
                cause = error.source();
            }
            say(&mut std::io::stderr(), &line);
            ExitCode::FAILURE
        }
    }
}

/// Writes a line; a reader that has gone is no error.
fn say(to: &mut dyn Write, line: &str) {
    let _ = writeln!(to, "{line}");
    let _ = to.flush();
}

fn run(serve: &Serve) -> Result<(), Box<dyn Error>> {
    let function: Box<dyn Function> = match landfall_cards::by_name(&serve.device) {
        Some(make) if serve.device != "capture" => make(),
        _ => Box::new(CaptureCard::new(CaptureOptions {
            address_bits: serve.address_bits,
            align_shift: serve.align_shift,
            boundary_shift: serve.boundary_shift,
            max_frame: serve.max_frame,
            interrupt: serve.interrupt,
            faults: serve
                .fault
                .map(|fault| Planted::at(fault, serve.fault_frame))
                .into_iter()
                .collect(),
            ..CaptureOptions::default()
        })),
    };
    let server = CardServer::bind(&serve.socket, function)?;
    let mut out = std::io::stdout();
    say(
        &mut out,
        &format!("listening on {}", serve.socket.display()),
    );
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let journal = server.journal();
    let mut next = 0;
    while !ended.load(Ordering::Relaxed) {
        for entry in journal.entries_from(next) {
            next = entry.sequence + 1;
            say(&mut out, &serde_json::to_string(&entry)?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(()) // dropping the server removes the socket
}
