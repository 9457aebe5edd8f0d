// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interactive shell's terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use landfall_guest::Cancel;
use nix::sys::termios::{self, SetArg, Termios};

use crate::failure::Failure;

/// The key that leaves: Ctrl-].
const ESCAPE: u8 = 0x1d;
/// How often a wait for the guest looks up.
const TICK: Duration = Duration::from_millis(100);
/// How long a console that does not fall silent is shown after the end.
const LAST: Duration = Duration::from_secs(2);

/// The terminal in raw mode, until this is dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> io::Result<Self> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(Self(None));
        }
        let before = termios::tcgetattr(&input)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&input, SetArg::TCSANOW, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Nothing better can be done if it fails.
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// Connects this process's standard streams to the guest's console until the guest ends, Ctrl-] is typed, or
/// the run is cancelled.
pub(crate) fn attach(
    console: UnixStream,
    mut has_ended: impl FnMut() -> bool,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::host("cannot connect the terminal to the guest", &error);
    let left = Cancel::default();
    let _raw = Raw::enter().map_err(failed)?;
    let typing = console.try_clone().map_err(failed)?;
    let leave = left.clone();
    // Not joined: it may sit in a read of the keyboard, and ends with the process.
    std::thread::spawn(move || type_into(typing, &leave));
    console.set_read_timeout(Some(TICK)).map_err(failed)?;
    show(console, || {
        has_ended() || left.is_cancelled() || cancel.is_cancelled()
    })
    .map_err(failed)
}

/// Copies the keyboard to the console. At the end of input the console stays: the guest may still speak.
fn type_into(mut console: UnixStream, leave: &Cancel) {
    let mut input = io::stdin().lock();
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = input.read(&mut bytes) {
        let typed = bytes.get(..count).unwrap_or_default();
        if typed.contains(&ESCAPE) {
            leave.cancel();
            return;
        }
        if console.write_all(typed).is_err() {
            return;
        }
    }
}

/// Copies the console to the screen. What was written before the end may come after the word of it.
fn show(mut console: UnixStream, mut ended: impl FnMut() -> bool) -> io::Result<()> {
    let mut screen = io::stdout();
    let mut bytes = [0; 4096];
    let mut last: Option<Instant> = None;
    loop {
        match console.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                screen.write_all(bytes.get(..count).unwrap_or_default())?;
                screen.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if last.is_some() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
        match last {
            Some(last) if last.elapsed() >= LAST => return Ok(()),
            None if ended() => last = Some(Instant::now()),
            _ => {}
        }
    }
}
