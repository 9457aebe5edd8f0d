// SPDX-License-Identifier: MIT OR Apache-2.0

//! The emulator: Debian's, run from its unpacked tree by the tree's own loader, or one brought along.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::architecture::Architecture;
use crate::debian::packages::numbers;
use crate::host::process::{CommandError, Job, Runner};
use crate::prepared::Qemu;
use crate::store::cache;

/// First version with `vfio-user-pci`.
const OLDEST: (u64, u64) = (10, 1);

/// The emulator cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It does not run, or says nothing of use.
    #[error("{} did not tell its version", program.display())]
    NoVersion {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: Option<CommandError>,
    },
    /// It is too old.
    #[error("{} is QEMU {version}; vfio-user needs {}.{} or newer", program.display(), OLDEST.0, OLDEST.1)]
    TooOld {
        /// The program.
        program: PathBuf,
        /// What it is.
        version: String,
    },
    /// It was built without vfio-user.
    #[error("{} (QEMU {version}) has no device `vfio-user-pci`", program.display())]
    NoVfioUser {
        /// The program.
        program: PathBuf,
        /// What it is.
        version: String,
        /// What it said.
        #[source]
        source: CommandError,
    },
}

/// How to run Debian's from its unpacked tree; `version` is empty.
pub(crate) fn in_tree(tree: &Path, architecture: &Architecture) -> Qemu {
    let firmware = architecture.firmware.iter().flat_map(|name| {
        let data = tree.join("usr/share").join(name).into_os_string();
        [OsString::from("-L"), data]
    });
    let emulator = tree.join("usr/bin").join(architecture.emulator.1);
    let arguments = [
        OsString::from("--library-path"),
        tree.join("usr/lib/x86_64-linux-gnu").into_os_string(),
        emulator.into_os_string(),
    ];
    Qemu {
        program: tree.join("usr/lib64/ld-linux-x86-64.so.2"),
        arguments: arguments.into_iter().chain(firmware).collect(),
        version: String::new(),
        sandbox: true,
    }
}

/// One that was brought along and not looked at yet.
pub(crate) fn own(program: &Path) -> Qemu {
    Qemu {
        program: program.to_owned(),
        arguments: Vec::new(),
        version: String::new(),
        sandbox: false,
    }
}

/// Removes what no run needs from a tree that is being made.
pub(crate) fn trim(tree: &Path) {
    for unused in [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/info",
    ] {
        let _ = cache::remove(&tree.join(unused));
    }
}

/// Runs it to learn its version, and whether it has what Landfall needs.
pub(crate) fn check(mut qemu: Qemu, runner: &Runner) -> Result<Qemu, QemuError> {
    let program = emulator(&qemu);
    let job = Job {
        what: "asking QEMU for its version",
        log: "qemu",
        limit: Duration::from_secs(60),
    };
    let told = runner
        .output(
            Command::new(&qemu.program)
                .args(&qemu.arguments)
                .arg("--version"),
            &job,
        )
        .map_err(|source| QemuError::NoVersion {
            program: program.clone(),
            source: Some(source),
        })?;
    let version = version(&told).ok_or_else(|| QemuError::NoVersion {
        program: program.clone(),
        source: None,
    })?;
    if !new_enough(&version) {
        return Err(QemuError::TooOld { program, version });
    }
    let job = Job {
        what: "looking for vfio-user in QEMU",
        ..job
    };
    let mut command = Command::new(&qemu.program);
    command
        .args(&qemu.arguments)
        .args(["-device", "vfio-user-pci,help"]);
    if let Err(source) = runner.run(&mut command, &job, &mut || {}) {
        return Err(QemuError::NoVfioUser {
            program,
            version,
            source,
        });
    }
    let job = Job {
        what: "looking for libseccomp in QEMU",
        ..job
    };
    command.args(["-sandbox", "on"]);
    qemu.sandbox = runner.run(&mut command, &job, &mut || {}).is_ok();
    qemu.version = version;
    Ok(qemu)
}

/// The emulator itself, for messages; the program may be a loader.
pub(crate) fn emulator(qemu: &Qemu) -> PathBuf {
    qemu.arguments
        .get(2)
        .map_or_else(|| qemu.program.clone(), PathBuf::from)
}

/// `11.1.3` of `QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)`.
fn version(told: &str) -> Option<String> {
    let rest = told.lines().find_map(|line| {
        line.split_once("QEMU emulator version ")
            .map(|(_, rest)| rest)
    })?;
    rest.split_ascii_whitespace().next().map(str::to_owned)
}

fn new_enough(version: &str) -> bool {
    matches!(numbers(version).as_slice(), [major, minor, ..] if (*major, *minor) >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_and_compared_as_numbers() {
        let told = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright (c) 2003-2026\n";

        assert_eq!(version(told).as_deref(), Some("11.1.3"));
        for (version, enough) in [
            ("11.1.3", true),
            ("10.1.0", true),
            ("10.0.9", false),
            ("9.2", false),
            ("", false),
        ] {
            assert_eq!(new_enough(version), enough, "{version}");
        }
    }
}
