// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest and QEMU said, in a run's directory.

use std::fs;
use std::path::Path;

/// Name of the console's log in a run's directory.
pub(super) const CONSOLE_LOG: &str = "console.log";
/// Name of QEMU's log.
pub(super) const QEMU_LOG: &str = "qemu.log";
/// Name of the console's log of the boot, in a restored guest's directory.
pub(super) const BOOT_LOG: &str = "console-boot.log";

/// The logs in a run's directory, or in one that holds its evidence; QEMU's without its warnings.
pub fn logs_in(directory: &Path) -> Vec<(&'static str, String)> {
    let log = |name| {
        let text = read_lossy(&directory.join(name));
        match name == QEMU_LOG {
            true => (name, without_warnings(&text)),
            false => (name, text),
        }
    };
    let logs = [BOOT_LOG, CONSOLE_LOG, QEMU_LOG].map(log);
    logs.into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

pub(super) fn without_warnings(log: &str) -> String {
    let lines = log.split_inclusive('\n');
    lines.filter(|line| !line.contains(": warning: ")).collect()
}

pub(super) fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
