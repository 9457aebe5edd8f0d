// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long a function's registers and interrupts take, as user space of the guest sees it.
//!
//! Registers are reached through sysfs (`resource0`), interrupts through the stock kernel's `uio_pci_generic`, so that
//! any function can be measured in the same way, whoever emulates it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use landfall_agent::protocol::{MAX_TIMES, RegisterWrite, Reply, Timed};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::mapping::Mapping;
use crate::{Outcome, failed, refused};

/// Bytes of BAR 0 that are mapped: a page has every register that is timed.
const BAR: u64 = 4096;
/// Offset of `COMMAND` in configuration space, and its bit that silences INTx.
const COMMAND: u64 = 4;
const INTX_DISABLE: u16 = 1 << 10;
/// How long an interrupt may take, milliseconds.
const INTERRUPT: u16 = 5000;
/// Posted writes in a row that are timed as one.
const WRITES: u32 = 64;

/// Does `what` over and over with the function at this PCI address; one time for each.
pub(crate) fn time(function: &str, what: &Timed, count: u32) -> Outcome<Reply> {
    let operation = || format!("time {what:?} of {function}");
    if count as usize > MAX_TIMES {
        return Err(refused(operation(), Errno::EINVAL, "too many"));
    }
    let times = measure(function, what, count).map_err(|error| failed(operation(), error))?;
    Ok(Reply::Times(times))
}

fn measure(function: &str, what: &Timed, count: u32) -> io::Result<Vec<u64>> {
    let directory = format!("/sys/bus/pci/devices/{function}");
    let file = |name: &str| {
        let path = format!("{directory}/{name}");
        OpenOptions::new().read(true).write(true).open(path)
    };
    let mut bar = Mapping::new(&file("resource0")?, 0, BAR, true)?;
    match what {
        Timed::Read { offset } => repeat(count, |_| {
            let began = Instant::now();
            bar.read_register(*offset)?;
            Ok(nanoseconds(began))
        }),
        Timed::Write(write) => repeat(count, |_| {
            let began = Instant::now();
            for _ in 0..WRITES {
                bar.write_register(write.offset, write.value)?;
            }
            let each = nanoseconds(began) / u64::from(WRITES);
            // Posted ones have arrived when a read has come back.
            bar.read_register(write.offset)?;
            Ok(each)
        }),
        Timed::Interrupt {
            trigger,
            acknowledge,
        } => {
            let mut line = Line::open(&directory, file("config")?)?;
            repeat(count, |_| line.time(&mut bar, trigger, acknowledge))
        }
    }
}

fn repeat(count: u32, once: impl FnMut(u32) -> io::Result<u64>) -> io::Result<Vec<u64>> {
    (0..count).map(once).collect()
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A function's interrupt line, by way of `uio_pci_generic`, which silences it whenever it was asserted.
struct Line {
    uio: File,
    config: File,
}

impl Line {
    fn open(directory: &str, config: File) -> io::Result<Self> {
        let mut devices = std::fs::read_dir(format!("{directory}/uio"))?;
        let device = devices.next().ok_or(io::ErrorKind::NotFound)??.file_name();
        let uio = File::open(std::path::Path::new("/dev").join(device))?;
        Ok(Self { uio, config })
    }

    /// From the register write that causes an interrupt to user space that was woken by it.
    fn time(
        &mut self,
        bar: &mut Mapping,
        trigger: &RegisterWrite,
        acknowledge: &RegisterWrite,
    ) -> io::Result<u64> {
        self.listen()?;
        let began = Instant::now();
        bar.write_register(trigger.offset, trigger.value)?;
        let ready = poll(
            &mut [PollFd::new(self.uio.as_fd(), PollFlags::POLLIN)],
            INTERRUPT,
        )?;
        let elapsed = nanoseconds(began);
        if ready == 0 {
            return Err(Errno::ETIMEDOUT.into());
        }
        self.uio.read_exact(&mut [0; 4])?;
        bar.write_register(acknowledge.offset, acknowledge.value)?;
        bar.read_register(acknowledge.offset)?;
        Ok(elapsed)
    }

    fn listen(&self) -> io::Result<()> {
        let mut command = [0; 2];
        self.config.read_exact_at(&mut command, COMMAND)?;
        let command = u16::from_le_bytes(command) & !INTX_DISABLE;
        self.config.write_all_at(&command.to_le_bytes(), COMMAND)
    }
}
