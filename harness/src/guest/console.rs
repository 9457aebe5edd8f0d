// SPDX-License-Identifier: MIT OR Apache-2.0

//! The serial console: written to the log as it comes, and watched for a dying kernel.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// What in a console line means that the kernel is dying or broken.
const FATAL: [&str; 11] = [
    "Kernel panic - not syncing",
    "BUG: unable to handle",
    "BUG: kernel NULL pointer",
    "Unable to handle kernel",
    "Internal error: ",
    "Oops: ",
    "general protection fault",
    "kernel BUG at",
    "BUG: Bad page state",
    "rcu_sched self-detected stall",
    "watchdog: BUG: soft lockup",
];

/// Longest line that is looked at as one, bytes.
const MAX_LINE: usize = 4096;

/// Splits bytes into lines and picks out those that tell of a fault.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    line: Vec<u8>,
}

impl Scanner {
    /// Takes more bytes; calls `found` for each finished line that tells of a fault.
    pub(super) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' || self.line.len() >= MAX_LINE {
                let line = String::from_utf8_lossy(&self.line).trim().to_owned();
                self.line.clear();
                if is_fatal(&line) {
                    found(&line);
                }
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
    }
}

/// Whether a console line tells of a fault.
pub(super) fn is_fatal(line: &str) -> bool {
    FATAL.iter().any(|sign| line.contains(sign))
}

/// The line of a log that says most about a failure: the last fatal one, else the last non-empty one.
pub(super) fn telling_line(log: &str) -> Option<String> {
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back();
    lines
        .rfind(|line| is_fatal(line))
        .or(last)
        .map(str::to_owned)
}

/// Copies the console to `log` until it closes, and calls `found` for each line that tells of a fault.
///
/// # Errors
/// What the console or the log gave.
pub(super) fn watch(
    mut console: UnixStream,
    mut log: File,
    mut found: impl FnMut(&str),
) -> io::Result<()> {
    let mut scanner = Scanner::default();
    let mut buffer = [0; 4096];
    loop {
        let count = match console.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        log.write_all(bytes)?;
        scanner.feed(bytes, &mut found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_however_the_bytes_come() {
        let text = b"[    1.0] fine\r\n[    2.0] Kernel panic - not syncing: oh\r\n";
        for size in 1..text.len() {
            let (mut scanner, mut found) = (Scanner::default(), Vec::new());
            for piece in text.chunks(size) {
                scanner.feed(piece, |line| found.push(line.to_owned()));
            }
            assert_eq!(found, ["[    2.0] Kernel panic - not syncing: oh"]);
        }
    }

    #[test]
    fn ordinary_lines_are_silent() {
        let mut scanner = Scanner::default();
        scanner.feed(b"panic=-1 oops=panic debug bug\nEntering kdb\n", |line| {
            panic!("{line}")
        });
    }

    #[test]
    fn an_endless_line_takes_no_endless_memory() {
        let mut scanner = Scanner::default();
        scanner.feed(&vec![b'x'; 1 << 20], |_| ());
        assert!(scanner.line.len() <= MAX_LINE);
    }

    #[test]
    fn the_telling_line_is_the_fault_else_the_last() {
        assert_eq!(telling_line("a\nOops: 1\nb\n").as_deref(), Some("Oops: 1"));
        assert_eq!(telling_line("a\nb\n\n").as_deref(), Some("b"));
        assert_eq!(telling_line("\n"), None);
    }
}
