// SPDX-License-Identifier: MIT OR Apache-2.0

//! The virtio-serial port to the harness.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use landfall_agent::protocol::{FromGuest, PORT_NAME, ToGuest, read_frame, write_frame};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often to look for the port, and for the harness at its other end.
const LOOK: Duration = Duration::from_millis(5);
/// Most bytes handed to the kernel at once. It copies them into one piece of memory, and where memory is fragmented there is
/// none of more than a page.
const AT_ONCE: usize = 4096;
/// Most events kept while nobody is connected.
const MOST_WAITING: usize = 64;

/// The sending side, shared by all threads. What is sent before the harness connects is kept for it.
#[derive(Default)]
pub(crate) struct Port {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<Sending>,
    waiting: Vec<FromGuest>,
}

/// The port's file, written to page by page.
struct Sending(File);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes.get(..AT_ONCE).unwrap_or(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The receiving side.
pub(crate) struct Requests(BufReader<File>);

impl Port {
    /// Waits for the port and for the harness, and sends `hello` and whatever waited.
    pub(crate) fn connect(&self, hello: &FromGuest) -> io::Result<Requests> {
        let file = open()?;
        while !connected(&file)? {
            thread::sleep(LOOK);
        }
        let mut state = self.lock();
        let mut sending = Sending(file.try_clone()?);
        write_frame(&mut sending, hello)?;
        for message in state.waiting.drain(..) {
            write_frame(&mut sending, &message)?;
        }
        state.file = Some(sending);
        Ok(Requests(BufReader::new(file)))
    }

    /// Sends a message; keeps an event for later if nobody is there or sending fails.
    pub(crate) fn send(&self, message: &FromGuest) {
        let mut state = self.lock();
        let sent = state
            .file
            .as_mut()
            .is_some_and(|file| write_frame(file, message).is_ok());
        let event = matches!(message, FromGuest::Event(_));
        if event && !sent && state.waiting.len() < MOST_WAITING {
            state.waiting.push(message.clone());
        }
    }

    /// Forgets the port after its other end was closed.
    pub(crate) fn disconnect(&self) {
        self.lock().file = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Requests {
    /// The next request; `None` when the harness has closed its end.
    pub(crate) fn next(&mut self) -> io::Result<Option<ToGuest>> {
        read_frame(&mut self.0)
    }
}

/// Opens the port by its name, waiting for as long as it takes to appear.
fn open() -> io::Result<File> {
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
        {
            let entry = entry?;
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                let device = std::path::Path::new("/dev").join(entry.file_name());
                return OpenOptions::new().read(true).write(true).open(device);
            }
        }
        thread::sleep(LOOK);
    }
}

/// Whether the harness has its end open.
fn connected(file: &File) -> io::Result<bool> {
    let mut ports = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    poll(&mut ports, PollTimeout::ZERO)?;
    let [port] = &ports;
    Ok(!port
        .revents()
        .is_some_and(|events| events.contains(PollFlags::POLLHUP)))
}
