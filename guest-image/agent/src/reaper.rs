// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every process without a parent becomes PID 1's child; someone has to wait for it.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

/// Waits for all children and tells those who started one how it ended.
///
/// Processes must be started through [`Reaper::spawn`] only: its lock keeps a child from being reaped
/// before someone listens for it.
#[derive(Default)]
pub(crate) struct Reaper {
    listeners: Mutex<HashMap<i32, Sender<i32>>>,
    started: Condvar,
}

impl Reaper {
    /// Starts a program. The channel gives its exit status, or 128 + n if signal n ended it.
    ///
    /// Do not wait on the returned child; take its pipes.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<(Child, Receiver<i32>)> {
        let mut listeners = self.lock();
        let child = command.spawn()?;
        let (sender, receiver) = channel();
        if let Ok(pid) = i32::try_from(child.id()) {
            listeners.insert(pid, sender);
        }
        self.started.notify_all();
        Ok((child, receiver))
    }

    /// Reaps for ever.
    pub(crate) fn run(&self) -> ! {
        loop {
            // Only looks (WNOWAIT): the reaping happens under the lock, where `spawn` cannot be half-way.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(_) | Err(Errno::EINTR) => self.reap(),
                Err(_) => {
                    let nobody = self.lock();
                    let _ = self.started.wait_timeout(nobody, Duration::from_secs(1));
                }
            }
        }
    }

    fn reap(&self) {
        let mut listeners = self.lock();
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, code) = match status {
                WaitStatus::Exited(pid, code) => (pid, code),
                WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32),
                WaitStatus::StillAlive => break,
                _ => continue,
            };
            if let Some(listener) = listeners.remove(&pid.as_raw()) {
                let _ = listener.send(code);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Sender<i32>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
