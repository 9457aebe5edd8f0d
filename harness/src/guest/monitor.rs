// SPDX-License-Identifier: MIT OR Apache-2.0

//! A running guest's monitor: what QEMU is told, and what it answers.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::Value;

use super::failure::{GuestFailed, Result, What};
use super::inbox::Heard;
use super::machine::Machine;
use crate::guest::qemu::qmp::{self, Message};

impl Machine {
    pub(super) fn greet_monitor(&mut self) -> Result<()> {
        let limit = self.options.deadlines.monitor;
        self.wait_for("QEMU's monitor", limit, |message| match message {
            Heard::Monitor(Message::Greeting) => Some(()),
            _ => None,
        })?;
        self.monitor(&qmp::Command::Capabilities).map(|_| ())
    }

    /// Does a monitor command and returns what QEMU answers.
    pub(crate) fn monitor(&mut self, command: &qmp::Command) -> Result<Value> {
        self.command(command, None)
    }

    fn command(&mut self, command: &qmp::Command, file: Option<BorrowedFd<'_>>) -> Result<Value> {
        let (id, line) = self.tell_monitor(command, file)?;
        let limit = self.options.deadlines.monitor;
        let answer = self.wait_for("QEMU's monitor", limit, |message| match message {
            Heard::Monitor(Message::Return {
                id: Some(of),
                value,
            }) if of == id => Some(Ok(value)),
            Heard::Monitor(Message::Error {
                id: of,
                description,
            }) if of.is_none_or(|of| of == id) => Some(Err(description)),
            _ => None,
        })?;
        answer.map_err(|description| {
            let command = line.trim().to_owned();
            GuestFailed::early(What::Monitor {
                command,
                description,
            })
        })
    }

    /// Hands QEMU an open file, which it may not be able to open itself; gives the name under which it opens it.
    pub(super) fn lend(&mut self, file: &File) -> Result<PathBuf> {
        let answer = self.command(&qmp::Command::AddFile, Some(file.as_fd()))?;
        qmp::lent(&answer).ok_or_else(|| {
            let detail = format!("it answered {answer} to a file that it was given");
            self.fail(What::Protocol {
                who: "QEMU's monitor",
                detail,
            })
        })
    }

    /// Sends a monitor command, with an open file if one goes with it; gives its number and its line.
    pub(super) fn tell_monitor(
        &mut self,
        command: &qmp::Command,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(u64, String)> {
        self.check()?;
        let id = u64::from(self.next_id);
        self.next_id += 1;
        let line = command.line(id);
        match send(&mut self.monitor, line.as_bytes(), file) {
            Ok(()) => Ok((id, line)),
            Err(source) => Err(self.broken(What::Host {
                doing: "write to QEMU's monitor",
                source,
            })),
        }
    }

    /// Waits for a monitor event that `wanted` picks, those that came before included.
    pub(crate) fn event(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&qmp::Event) -> bool,
    ) -> Result<qmp::Event> {
        if let Some(at) = self.events.iter().position(&wanted)
            && let Some(event) = self.events.remove(at)
        {
            return Ok(event);
        }
        self.wait_for(what, limit, |message| match message {
            Heard::Monitor(Message::Event(event)) if wanted(&event) => Some(event),
            _ => None,
        })
    }
}

/// Writes a line, with an open file beside its first bytes.
fn send(stream: &mut UnixStream, line: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let Some(file) = file else {
        return stream.write_all(line);
    };
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(line)],
        &[ControlMessage::ScmRights(&[file.as_raw_fd()])],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    stream.write_all(line.get(sent..).unwrap_or_default())
}
