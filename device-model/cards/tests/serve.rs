// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall-device serve` as a process: all is told, or it is said how much was not, and a signal ends it.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write, pipe};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use landfall_device::journal::{CAPACITY, Entry, Kind};
use landfall_device::ledger::{Ledger, Platform};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long an end by a signal may take.
const SECOND: Duration = Duration::from_secs(1);
/// How long everything else may take.
const LIMIT: Duration = Duration::from_secs(60);

struct Serving {
    process: Child,
    socket: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

/// Serves the capture card.
fn serve(out: impl Into<Stdio>, err: impl Into<Stdio>, more: &[&str]) -> Serving {
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("card.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-device"));
    command.args(["serve", "capture", "--socket"]).arg(&socket);
    command.args(more).stdin(Stdio::null());
    let process = command.stdout(out).stderr(err).spawn().expect("started");
    Serving {
        process,
        socket,
        _directory: directory,
    }
}

impl Serving {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("it is there");
    }

    /// Waits for the end: the code.
    fn code(&mut self, limit: Duration) -> i32 {
        let pid = Pid::from_child(&self.process);
        let ended = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
        let limit = Timespec::try_from(limit).expect("it fits");
        let mut fds = [PollFd::new(&ended, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&limit)).expect("polled");
        assert!(ready > 0, "it does not end within {limit:?}");
        assert!(!self.socket.exists(), "the socket is left");
        let status = self.process.wait().expect("waited for");
        status.code().expect("no signal killed it")
    }

    /// A machine comes, tries in vain to write as many words as said, which are told each, and goes.
    fn drive(&self, words: usize) {
        let began = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(began.elapsed() < LIMIT, "nobody listens: {error}"),
            }
        };
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        // To BAR 0, which is not decoded, without a reply.
        let mut write = header(10, 16 + 4000, 0x10);
        write.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0xf, 0, 0]);
        write.extend([7; 4000]);
        for _ in 0..words / 1000 {
            stream.write_all(&write).expect("sent");
        }
        stream.write_all(&header(13, 0, 0)).expect("sent");
        stream.read_exact(&mut [0; 16]).expect("answered");
    }
}

/// Header of a command, with as many bytes to follow.
fn header(command: u8, payload: u32, flags: u8) -> Vec<u8> {
    let mut bytes = vec![1, 0, command, 0];
    bytes.extend((16 + payload).to_le_bytes());
    bytes.extend([flags, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has ended is nobody's any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn begun() -> (Serving, BufReader<PipeReader>) {
    begun_with(&[])
}

/// One whose output is read; that it listens is read already.
fn begun_with(more: &[&str]) -> (Serving, BufReader<PipeReader>) {
    let (reader, writer) = pipe().expect("a pipe");
    let serving = serve(writer, Stdio::piped(), more);
    let mut out = BufReader::new(reader);
    let mut heading = String::new();
    out.read_line(&mut heading).expect("readable");
    assert!(heading.starts_with("listening on "), "{heading}");
    (serving, out)
}

fn entry(line: &str) -> Entry {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What it says at its end.
fn words(serving: &mut Serving) -> String {
    let mut words = String::new();
    let mut err = serving.process.stderr.take().expect("it is a pipe");
    err.read_to_string(&mut words).expect("readable");
    words
}

/// It fell silent for ever after as many as a journal keeps.
#[test]
fn entries_go_on_being_told_past_what_a_journal_keeps() {
    let writes = (CAPACITY + 20_000) / 1000 * 1000;
    let (mut serving, mut out) = begun();
    let (read, all) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut numbers, mut line) = (0, String::new());
        while out.read_line(&mut line).expect("readable") > 0 {
            let number = format!("{{\"sequence\":{numbers},");
            assert!(line.starts_with(&number), "{line} is not number {numbers}");
            numbers += 1;
            line.clear();
            if numbers == writes {
                read.send(()).expect("somebody waits");
            }
        }
        numbers
    });
    serving.drive(writes);
    all.recv_timeout(LIMIT).expect("all is told and read");
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(SECOND), 0);
    assert!(reader.join().expect("in order") > writes);
}

#[test]
fn a_signal_ends_it_while_nobody_reads() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut serving, out) = begun();
        serving.drive(20_000);
        serving.signal(signal);
        assert_eq!(serving.code(SECOND), 5);
        let said = words(&mut serving);
        assert!(
            said.contains("entries were not told: nobody read them"),
            "{said}"
        );
        drop(out);
    }
    // Nor does what it would say keep it: both are one pipe.
    let (reader, writer) = pipe().expect("a pipe");
    let other = writer.try_clone().expect("another end");
    let mut serving = serve(writer, other, &[]);
    serving.drive(20_000);
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(SECOND), 5);
    drop(reader);
}

/// The clean twin: while it is read, it ends as it should, also amid half a message.
#[test]
fn a_signal_ends_it_while_somebody_reads_and_a_peer_stalls() {
    let (mut serving, out) = begun();
    serving.drive(1000);
    let mut stalled = UnixStream::connect(&serving.socket).expect("connected");
    stalled.write_all(&[1, 0, 4]).expect("sent");
    let lines = std::thread::spawn(move || {
        out.lines()
            .map(|line| entry(&line.expect("text")))
            .collect()
    });
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(SECOND), 0);
    let told: Vec<Entry> = lines.join().expect("entries");
    let written = told
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Unclaimed { .. }));
    assert_eq!(written.count(), 1000);
    assert_eq!(
        told.last().map(|entry| &entry.kind),
        Some(&Kind::Disconnected)
    );
    assert_eq!(words(&mut serving), "");
}

/// What a slow reader misses is counted, and no verdict passes over it.
#[test]
fn what_is_not_told_is_counted_and_not_judged() {
    let (mut serving, out) = begun_with(&["--backlog", "100"]);
    serving.drive(20_000);
    let (read, came) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in out.lines() {
            read.send(entry(&line.expect("text")))
                .expect("somebody wants it");
        }
    });
    let (mut told, mut gap) = (Vec::<Entry>::new(), false);
    let began = Instant::now();
    while !gap {
        assert!(began.elapsed() < LIMIT, "it never catches up");
        serving.drive(0);
        for entry in came.try_iter() {
            gap |= told.len() as u64 != entry.sequence;
            told.push(entry);
        }
    }
    serving.signal(Signal::TERM);
    assert_eq!(serving.code(LIMIT), 5);
    reader.join().expect("entries");
    told.extend(came.try_iter());
    let all = told.last().map_or(0, |entry| entry.sequence + 1);
    let untold = all - told.len() as u64;
    let said = words(&mut serving);
    let wanted = format!("landfall-device: {untold} entries were not told");
    assert!(
        untold > 0 && said.starts_with(&wanted),
        "{said}, and not {untold}"
    );
    let mut ledger = Ledger::new(Platform::default());
    told.iter().for_each(|entry| ledger.entry(entry));
    let not_judged = ledger.finish().not_judged;
    assert!(
        not_judged.iter().any(|why| why.contains("lacks entries")),
        "{not_judged:?}"
    );
}

#[test]
fn a_closed_pipe_ends_it_though_nothing_happens() {
    let (mut serving, out) = begun();
    drop(out);
    assert_eq!(serving.code(LIMIT), 5);
    let said = words(&mut serving);
    assert!(said.contains("not told: broken pipe"), "{said}");
}

#[test]
fn a_full_disk_ends_it() {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("there");
    let mut serving = serve(full, Stdio::piped(), &[]);
    assert_eq!(serving.code(LIMIT), 5);
    let said = words(&mut serving);
    assert!(said.contains("No space left"), "{said}");
}

#[test]
fn help_tells_the_codes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-device"));
    let help = command.args(["serve", "--help"]).output().expect("runs");
    let help = String::from_utf8(help.stdout).expect("text");
    for code in [
        "0  ended",
        "1  the card",
        "2  the command",
        "5  not everything",
    ] {
        assert!(help.contains(code), "{help}");
    }
}
