// SPDX-License-Identifier: MIT OR Apache-2.0

//! Watches the kernel log and tells of faults the moment they are logged.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use landfall_agent::protocol::{Event, FromGuest};
use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::console;
use crate::port::Port;

/// A fault is over when nothing more was logged for this long.
const QUIET: Duration = Duration::from_millis(200);
/// Or after this long, however much is logged.
const LONGEST: Duration = Duration::from_secs(2);
/// Or after this many lines.
const MOST_LINES: usize = 200;
/// Longest record of `/dev/kmsg`, bytes.
const RECORD: usize = 8192;

/// Beginnings of the lines with which the kernel says that something is broken.
const BEGINNINGS: [&str; 17] = [
    "BUG: ",
    "Oops: ",
    "WARNING: ",
    "kernel BUG at ",
    "Kernel panic - not syncing",
    "general protection fault",
    "divide error",
    "invalid opcode",
    "stack segment",
    "unchecked MSR access error",
    "watchdog: BUG: ",
    "watchdog: Watchdog detected hard LOCKUP",
    "INFO: task ",
    "rcu: INFO: ",
    "UBSAN: ",
    "refcount_t: ",
    TRACE,
];
const TRACE: &str = "Call Trace:";
/// Words with which it says so anywhere in a line.
const WORDS: [&str; 3] = [
    "list_add corruption",
    "list_del corruption",
    ": nobody cared",
];

/// Most lines that [`Mark::since`] gives, and longest line.
const SINCE: usize = 16;
const LONG: usize = 400;

/// A place in the log.
pub(crate) struct Mark(File);

impl Mark {
    /// Its present end; `None` if there is no log.
    pub(crate) fn now() -> Option<Self> {
        let mut options = OpenOptions::new();
        let mut log = options
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open("/dev/kmsg")
            .ok()?;
        log.seek(SeekFrom::End(0)).ok()?;
        Some(Self(log))
    }

    /// What was logged since, but for what is logged of every module that is not the kernel's own.
    pub(crate) fn since(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < SINCE
            && let Ok(Some(line)) = next(&mut self.0, Some(Duration::ZERO))
        {
            if !line.contains("taints kernel") && !line.contains("tainting kernel") {
                lines.push(line.chars().take(LONG).collect());
            }
        }
        lines
    }
}

/// Reads the log from its first line for as long as the guest lives.
pub(crate) fn watch(port: &Port) {
    if let Err(error) = follow(port) {
        console::say(&format!("landfall-agent: /dev/kmsg: {error}"));
    }
}

fn follow(port: &Port) -> io::Result<()> {
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open("/dev/kmsg")?;
    let mut sense = Sense::default();
    loop {
        if let Some(line) = next(&mut log, None)?
            && sense.begins_fault(&line)
        {
            let lines = rest_of(&mut log, line)?;
            port.send(&FromGuest::Event(Event::KernelFault { lines }));
        }
    }
}

/// The lines after `first` that belong to the same fault.
fn rest_of(log: &mut File, first: String) -> io::Result<Vec<String>> {
    let end = Instant::now() + LONGEST;
    let mut lines = vec![first];
    while lines.len() < MOST_LINES && Instant::now() < end {
        let Some(line) = next(log, Some(QUIET))? else {
            break;
        };
        let last = line.starts_with("---[ end ");
        lines.push(line);
        if last {
            break;
        }
    }
    Ok(lines)
}

/// The next line of the log; `None` if none came within `wait`.
fn next(log: &mut File, wait: Option<Duration>) -> io::Result<Option<String>> {
    let timeout = wait.map_or(PollTimeout::NONE, |wait| {
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    });
    let mut record = [0; RECORD];
    loop {
        match log.read(&mut record) {
            Ok(length) => return Ok(Some(text(record.get(..length).unwrap_or_default()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if poll(&mut [PollFd::new(log.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
                    return Ok(None);
                }
            }
            // EPIPE: records were overwritten before they were read; the next read goes on behind the gap.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The message of a record, `level,sequence,time,flags;message` and perhaps more lines of `KEY=value`.
fn text(record: &[u8]) -> String {
    let record = String::from_utf8_lossy(record);
    let message = record.split_once(';').map_or(&*record, |(_, rest)| rest);
    message.lines().next().unwrap_or_default().to_owned()
}

/// Tells faults from what the kernel tells of memory that it could not give, with a trace, too: that is handled by who asked.
#[derive(Default)]
struct Sense {
    /// The next trace is of such memory.
    refused: bool,
}

impl Sense {
    /// Whether a line begins the report of a fault.
    fn begins_fault(&mut self, line: &str) -> bool {
        // `name: page allocation failure: order:8, mode:0x40dc0(GFP_KERNEL|...), nodemask=(null)`, and all else of `warn_alloc`
        if line.contains(", mode:0x") && line.contains("nodemask=") {
            self.refused = true;
            return false;
        }
        let of_it = line.starts_with(TRACE) && std::mem::take(&mut self.refused);
        !of_it && is_fault(line)
    }
}

/// Whether a line looks like the first of the report of a fault.
fn is_fault(line: &str) -> bool {
    BEGINNINGS
        .iter()
        .any(|beginning| line.starts_with(beginning))
        || WORDS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_reduced_to_its_message() {
        let record = b"4,339,5140900,-;WARNING: at drivers/x.c:1; twice\n SUBSYSTEM=acpi\n";

        assert_eq!(text(record), "WARNING: at drivers/x.c:1; twice");
        assert_eq!(text(b"no head at all"), "no head at all");
    }

    #[test]
    fn memory_that_was_refused_is_no_fault_and_hides_none() {
        let refused = "pci_endpoint_te: page allocation failure: order:8, mode:0x40dc0(GFP_KERNEL|__GFP_ZERO|__GFP_COMP), \
                       nodemask=(null),cpuset=/,mems_allowed=0";
        let mut sense = Sense::default();
        let mut begins = |line: &str| sense.begins_fault(line);
        assert!(begins(TRACE), "of nobody knows what");
        for line in [
            refused,
            "CPU: 0 UID: 0 PID: 116 Comm: pci_endpoint_te",
            TRACE,
        ] {
            assert!(!begins(line), "{line}");
        }
        assert!(begins(TRACE), "the next one is not of it");
        assert!(!begins(refused) && begins("WARNING: at drivers/x.c:1"));
    }

    #[test]
    fn faults_are_told_from_ordinary_lines() {
        for line in [
            "BUG: unable to handle page fault for address: 0000000000001000",
            "Oops: Oops: 0002 [#1] SMP NOPTI",
            "WARNING: CPU: 0 PID: 1 at kernel/x.c:12 y+0x1/0x2",
            "irq 10: nobody cared (try booting with the \"irqpoll\" option)",
            "BUG: KFENCE: out-of-bounds write in f+0x1/0x2",
        ] {
            assert!(is_fault(line), "{line}");
        }
        for line in [
            "landfall_pool: loading out-of-tree module taints kernel.",
            "ACPI BIOS Warning (bug): Incorrect checksum",
            "rcu: Hierarchical RCU implementation.",
            "Spectre V2 : WARNING: Unprivileged eBPF is enabled",
        ] {
            assert!(!is_fault(line), "{line}");
        }
    }
}
