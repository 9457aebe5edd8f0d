// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file systems every guest has.

use std::fs;

use nix::mount::{MsFlags, mount};

use crate::console;

/// Mounts them; a failure is told on the console and is no reason to stop.
pub(crate) fn mount_all() {
    let nodev = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let systems = [
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
        ("proc", "/proc", nodev, ""),
        ("sysfs", "/sys", nodev, ""),
        ("debugfs", "/sys/kernel/debug", nodev, ""),
        ("tracefs", "/sys/kernel/tracing", nodev, ""),
        (
            "devpts",
            "/dev/pts",
            MsFlags::MS_NOSUID,
            "mode=0620,ptmxmode=0666",
        ),
        ("tmpfs", "/dev/shm", nodev, ""),
        ("tmpfs", "/tmp", nodev, ""),
        ("tmpfs", "/run", nodev, "mode=0755"),
    ];
    for (system, target, flags, data) in systems {
        let made = fs::create_dir_all(target);
        let done = mount(Some(system), target, Some(system), flags, Some(data));
        // Optional in the kernel; whoever needs one of them will say so.
        let optional = matches!(system, "tracefs" | "devpts" | "debugfs");
        if let (Err(error), false) = (done, optional) {
            console::say(&format!(
                "landfall-agent: mount {system} on {target}: {error} ({made:?})"
            ));
        }
    }
}
