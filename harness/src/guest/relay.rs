// SPDX-License-Identifier: MIT OR Apache-2.0

//! A console that somebody will read, and nobody reads yet.
//!
//! QEMU writes byte by byte, and a socket takes some hundred such writes: after that the guest's kernel would wait for
//! each character of what it logs, and be slow at all it does meanwhile. So it is read at once, and kept.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Most bytes that are kept; beyond that the guest does wait.
const KEPT: usize = 1 << 20;

/// What was said and not read, and whether there will be no more.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    said: Mutex<Said>,
    changed: Condvar,
}

impl Shared {
    /// Waits until something is as it is not while `waits`.
    fn when_not(&self, waits: impl FnMut(&mut Said) -> bool) -> MutexGuard<'_, Said> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = self.changed.wait_while(said, waits);
        said.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands in for a console's socket: reads it at once, and passes on both ways.
pub(super) fn relay(console: UnixStream) -> io::Result<UnixStream> {
    let (near, theirs) = UnixStream::pair()?;
    let shared = Arc::new(Shared::default());
    let (mut typed, mut to_guest) = (near.try_clone()?, console.try_clone()?);
    let reading = Arc::clone(&shared);
    // They end when either side closes; nobody waits for them.
    thread::spawn(move || read(console, &reading));
    thread::spawn(move || write(near, &shared));
    thread::spawn(move || io::copy(&mut typed, &mut to_guest));
    Ok(theirs)
}

fn read(mut console: UnixStream, shared: &Shared) {
    let mut buffer = [0; 4096];
    loop {
        let count = match console.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(count) => count,
            Err(_) => 0,
        };
        let mut said = shared.when_not(|said| said.bytes.len() >= KEPT && !said.closed);
        said.closed |= count == 0;
        said.bytes
            .extend_from_slice(buffer.get(..count).unwrap_or_default());
        let closed = said.closed;
        drop(said);
        shared.changed.notify_all();
        if closed {
            return;
        }
    }
}

fn write(mut near: UnixStream, shared: &Shared) {
    loop {
        let mut said = shared.when_not(|said| said.bytes.is_empty() && !said.closed);
        let bytes = std::mem::take(&mut said.bytes);
        drop(said);
        shared.changed.notify_all();
        if bytes.is_empty() || near.write_all(&bytes).is_err() {
            break;
        }
    }
    // Who reads it sees the end, and so does who may still wait for room.
    let _ = near.shutdown(Shutdown::Both);
    shared.when_not(|_| false).closed = true;
    shared.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A socket alone takes a fraction of this.
    #[test]
    fn what_nobody_reads_yet_holds_nobody_up_and_is_not_lost() {
        let (mut qemu, console) = UnixStream::pair().unwrap();
        let mut near = relay(console).unwrap();
        qemu.set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let all: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        for byte in &all {
            qemu.write_all(&[*byte]).unwrap();
        }
        near.write_all(b"typed").unwrap();
        let mut typed = [0; 5];
        qemu.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"typed");
        drop(qemu);

        let mut read = Vec::new();
        near.read_to_end(&mut read).unwrap();
        assert_eq!(read, all);
    }

    #[test]
    fn without_a_relay_a_socket_would_be_full() {
        let (mut qemu, _console) = UnixStream::pair().unwrap();
        qemu.set_nonblocking(true).unwrap();
        let taken = (0..100_000).take_while(|_| qemu.write_all(b"x").is_ok());
        assert!(taken.count() < 10_000);
    }
}
