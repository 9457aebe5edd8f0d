// SPDX-License-Identifier: MIT OR Apache-2.0

//! Processes that have a buffer of the pool, and nothing else to do: this program, started once more.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use landfall_agent::protocol::pool::{PoolReply, PoolWanted, held_word};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pause};

use crate::mapping::Mapping;
use crate::reaper::Reaper;
use crate::{Outcome, failed, refused};

/// The first argument that makes this program a holder.
const HOLD: &str = "hold-a-pool-buffer";
/// How long a holder may take to fill its buffer, and to be gone when it was killed.
const LIMIT: Duration = Duration::from_secs(30);

/// The holders that live; each with the channel that gives its exit status.
#[derive(Default)]
pub(super) struct Holders(HashMap<i32, Receiver<i32>>);

impl Holders {
    /// Starts one and waits until it has its buffer.
    pub(super) fn start(
        &mut self,
        bytes: u64,
        uncached: bool,
        reaper: &Reaper,
    ) -> Outcome<PoolReply> {
        let operation = "hold a buffer of the pool";
        let mut command = Command::new("/proc/self/exe");
        command
            .args([HOLD, &bytes.to_string(), &u8::from(uncached).to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (mut child, status) = reaper
            .spawn(&mut command)
            .map_err(|error| failed(operation, error))?;
        let process = i32::try_from(child.id()).unwrap_or(i32::MAX);
        self.0.insert(process, status);

        let (told, says) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let mut line = String::new();
                let read = BufReader::new(stdout).read_line(&mut line);
                let _ = told.send(read.map(|_| line));
            });
        }
        match says.recv_timeout(LIMIT) {
            Ok(Ok(line)) => {
                if let Some((phys, allocated)) = has(&line) {
                    return Ok(PoolReply::Held {
                        process,
                        phys,
                        allocated,
                    });
                }
                self.kill(process)?;
                let errno = line.trim().parse().map_or(Errno::EPROTO, Errno::from_raw);
                Err(failed(operation, errno))
            }
            Ok(Err(error)) => Err(failed(operation, error)),
            Err(_) => {
                self.kill(process)?;
                let message = "the process did not say that it has one";
                Err(refused(operation, Errno::ETIMEDOUT, message))
            }
        }
    }

    /// Kills one and waits until it is gone.
    pub(super) fn kill(&mut self, process: i32) -> Outcome<PoolReply> {
        let operation = || format!("kill process {process}");
        let unknown = || refused(operation(), Errno::ESRCH, "it holds no buffer");
        let status = self.0.remove(&process).ok_or_else(unknown)?;
        match kill(Pid::from_raw(process), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {} // it may have ended by itself
            Err(error) => return Err(failed(operation(), error)),
        }
        let ended = status.recv_timeout(LIMIT);
        let late = |_| refused(operation(), Errno::ETIMEDOUT, "it is still there");
        ended.map(PoolReply::Ended).map_err(late)
    }
}

/// What a holder says when it has its buffer.
fn has(line: &str) -> Option<(u64, u64)> {
    let (phys, allocated) = line.trim().strip_prefix("has ")?.split_once(' ')?;
    Some((phys.parse().ok()?, allocated.parse().ok()?))
}

/// If these are a holder's arguments, does what it does and gives its exit status; it ends only if it fails, or by a
/// signal. It says on its standard output what it has, or an errno.
pub(crate) fn main(mut arguments: impl Iterator<Item = String>) -> Option<i32> {
    if arguments.next()? != HOLD {
        return None;
    }
    let bytes = arguments.next().and_then(|bytes| bytes.parse().ok());
    let uncached = arguments.next().is_some_and(|flag| flag == "1");
    let held = hold(bytes.unwrap_or(0), uncached);
    let errno = held.err().and_then(|error| error.raw_os_error());
    let _ = writeln!(io::stdout(), "{}", errno.unwrap_or(Errno::EIO as i32));
    Some(1)
}

fn hold(bytes: u64, uncached: bool) -> io::Result<()> {
    let file = super::open()?;
    let wanted = PoolWanted {
        bytes,
        uncached,
        ..PoolWanted::default()
    };
    let (buffer, place) = super::allocate(&file, &wanted)?;
    let mut mapping = Mapping::new(&file, place.offset, place.bytes, true)?;
    let words = (0..bytes / 8).flat_map(|index| held_word(buffer.phys, index).to_le_bytes());
    mapping.write(0, &words.collect::<Vec<u8>>())?;
    writeln!(io::stdout(), "has {} {}", buffer.phys, buffer.allocated)?;
    loop {
        pause();
    }
}
