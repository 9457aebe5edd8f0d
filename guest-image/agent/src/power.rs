// SPDX-License-Identifier: MIT OR Apache-2.0

//! The end of the guest.

use std::thread;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};

use crate::console;

/// Writes back what is dirty and powers the guest off; restarts it if that fails (`-no-reboot` ends QEMU then).
pub(crate) fn off() -> ! {
    nix::unistd::sync();
    for mode in [RebootMode::RB_POWER_OFF, RebootMode::RB_AUTOBOOT] {
        let Err(error) = reboot(mode);
        console::say(&format!("landfall-agent: {mode:?}: {error}"));
    }
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

/// Makes a panic of any thread print its reason on the console and power the guest off.
pub(crate) fn off_when_panicking() {
    std::panic::set_hook(Box::new(|panic| {
        console::say(&format!("landfall-agent: {panic}"));
        if std::process::id() == 1 {
            off();
        }
    }));
}
