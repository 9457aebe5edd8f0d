// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall-device`: serves a card to any QEMU by hand.

mod teller;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use landfall_cards::capture::{CaptureCard, CaptureOptions, Fault, Planted};
use landfall_device::contract::{Function, InterruptKind};
use landfall_device::journal::CAPACITY;
use landfall_device::serve::{CardServer, Options};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use teller::Teller;

/// Serves emulated PCI cards over vfio-user.
#[derive(Debug, Parser)]
#[command(version, after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a card on a socket until interrupted, and tell all that it does, a line of JSON each.
    #[command(after_help = HELP)]
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
    /// Most entries that wait for whoever reads the output. What is more is dropped: the numbers have a gap, the command
    /// says how many at its end.
    #[arg(long, default_value_t = CAPACITY)]
    backlog: usize,
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

/// What the command ends with, beside 0.
const FAILED: u8 = 1;
const UNTOLD: u8 = 5;

/// The codes, for `--help`.
const HELP: &str = "\
Exit codes:
    0  ended by SIGINT or SIGTERM; everything that the card did was told
    1  the card cannot be served
    2  the command line makes no sense
    5  not everything was told: the output is closed, its disk is full, or nobody read it";

/// How long an end may take, a card that is stuck and an output that nobody reads included.
const ENDING: Duration = Duration::from_millis(600);
/// How long it may take to say why.
const SAYING: Duration = Duration::from_millis(200);

/// What comes to who waits.
enum Event {
    Signal,
    Told(io::Result<()>),
    Closed,
}

/// Not everything was told.
#[derive(Debug, thiserror::Error)]
#[error("{count} entries were not told")]
struct Untold {
    count: u64,
    #[source]
    why: Option<io::Error>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    let Command::Serve(serve) = Arguments::parse().command;
    let Err(error) = run(&serve) else {
        return ExitCode::SUCCESS;
    };
    let mut line = format!("landfall-device: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    say(line);
    match error.is::<Untold>() {
        true => ExitCode::from(UNTOLD),
        false => ExitCode::from(FAILED),
    }
}

/// Writes a line to standard error, whose reader may have gone, or sleep.
fn say(line: String) {
    let (said, is_said) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = writeln!(io::stderr(), "{line}");
        let _ = said.send(());
    });
    let _ = is_said.recv_timeout(SAYING);
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
    let (events, came) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let signalled = events.clone();
    std::thread::Builder::new().spawn(move || {
        for _ in signals.forever() {
            let _ = signalled.send(Event::Signal);
        }
    })?;
    let options = Options {
        journal: serve.backlog,
        ..Options::default()
    };
    let server = CardServer::bind_with(&serve.socket, function, options)?;
    let heading = format!("listening on {}\n", serve.socket.display());
    let told = events.clone();
    let teller = Teller::begin(server.journal(), heading, move |result| {
        let _ = told.send(Event::Told(result));
    })?;
    let (mut told, mut closed) = (None, false);
    if let Event::Told(result) = came.recv()? {
        told = Some(result);
    }
    let by = Instant::now() + ENDING;
    let last = teller.clone();
    std::thread::Builder::new().spawn(move || {
        drop(server); // which removes the socket
        last.finish();
        let _ = events.send(Event::Closed);
    })?;
    while told.is_none() || !closed {
        match came.recv_timeout(by.saturating_duration_since(Instant::now())) {
            Ok(Event::Told(result)) => told = Some(result),
            Ok(Event::Closed) => closed = true,
            Ok(Event::Signal) => {}
            Err(_) => break,
        }
    }
    let why = match told {
        Some(result) => result.err(),
        None => Some(io::Error::new(io::ErrorKind::TimedOut, "nobody read them")),
    };
    match (teller.untold(), why) {
        (0, None) => Ok(()),
        (count, why) => Err(Untold { count, why }.into()),
    }
}
