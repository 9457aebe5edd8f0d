// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of a Landfall guest.
//!
//! It mounts what a kernel needs, tells of kernel faults as they are logged, and does what the harness asks
//! over a virtio-serial port (`landfall_agent::protocol`). It never returns: it powers the guest off when
//! asked to, and when it panics.
//!
//! `landfall.console=NAME` on the kernel's command line names the device in `/dev` that the interactive shell uses
//! (default `ttyS0`).
//!
//! Threads: the main one reaps children; `requests` serves the port; `kmsg` watches the kernel log. An oops
//! inside a request kills that thread alone, so the fault still gets told.

mod card;
mod console;
mod exec;
mod files;
mod hash;
mod ioctl;
mod kmsg;
mod mapping;
mod modules;
mod mounts;
mod pool;
#[path = "../../../kmod/pool/uapi.rs"]
mod pool_uapi;
mod port;
mod power;
mod reaper;
mod resume;
mod serve;
mod timing;
#[path = "../../../kmod/capture/uapi.rs"]
mod uapi;
mod v4l2;

use std::sync::Arc;
use std::thread;

use landfall_agent::protocol::GuestError;

/// What every request gives.
type Outcome<T> = Result<T, GuestError>;

fn main() {
    if let Some(status) = pool::holder::main(std::env::args().skip(1)) {
        std::process::exit(status);
    }
    power::off_when_panicking();
    if std::process::id() != 1 {
        console::say("landfall-agent is the first process of a guest; it does nothing here");
        return;
    }
    mounts::mount_all();
    modules::load_for_port();
    let reaper = Arc::new(reaper::Reaper::default());
    let port = Arc::new(port::Port::default());

    let watching = Arc::clone(&port);
    start("kmsg", move || kmsg::watch(&watching));
    let serving = Arc::clone(&reaper);
    start("requests", move || serve::serve(&port, &serving));
    reaper.run()
}

/// Starts a thread that lives as long as the guest.
fn start(name: &str, body: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(body) {
        console::say(&format!(
            "landfall-agent: cannot start thread {name}: {error}"
        ));
        power::off();
    }
}

/// Words a failed system call for the harness.
fn failed(operation: impl Into<String>, error: impl Into<std::io::Error>) -> GuestError {
    let error = error.into();
    GuestError {
        operation: operation.into(),
        errno: error.raw_os_error().unwrap_or(0),
        message: error.to_string(),
    }
}

/// Words a refusal of the agent's own.
fn refused(operation: impl Into<String>, errno: nix::errno::Errno, message: &str) -> GuestError {
    GuestError {
        operation: operation.into(),
        errno: errno as i32,
        message: message.to_owned(),
    }
}
