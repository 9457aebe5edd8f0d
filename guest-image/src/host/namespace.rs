// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs a script in an unpacked tree as its root directory, without privilege and without a trace on the host.
//!
//! util-linux `unshare` makes mount and process namespaces (an ordinary user gets a user namespace as well);
//! all mounts are made inside and vanish with them, and everything inside dies with its first process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::host::mirror::find_program;
use crate::host::process::{CommandError, Job, Runner};

/// Directories that [`prepare`] makes in a tree for [`Tree::bind`] to mount on.
const MOUNT_POINTS: [&str; 6] = [
    "dev",
    "proc",
    "tmp",
    "work/source",
    "work/build",
    "work/modules",
];

/// First process in the namespaces: `$1` is the tree, `$2` the script, then pairs of what to mount where.
/// A process file system of its own is refused where the host masks parts of /proc; the host's does then.
const ENTER: &str = r#"set -e
tree=$1 script=$2
shift 2
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc" 2>/dev/null || mount --rbind /proc "$tree/proc"
mount -t tmpfs tmpfs "$tree/tmp"
while [ $# -gt 0 ]; do
    mount --bind "$2" "$tree/$3"
    [ "$1" = rw ] || mount -o remount,bind,ro "$tree/$3"
    shift 3
done
exec chroot "$tree" /usr/bin/env -i PATH=/usr/bin:/usr/sbin HOME=/tmp LC_ALL=C.UTF-8 /usr/bin/sh -ec "$script"
"#;

/// No way was found to enter a tree.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// util-linux is not there.
    #[error("this host has no `{0}`, with which the toolchain is run")]
    NoProgram(&'static str),
    /// The kernel or its policy forbids it.
    #[error(
        "this host does not let {} make the namespaces that the toolchain is run in",
        user()
    )]
    Forbidden(#[source] CommandError),
}

/// Who asks, for the error.
fn user() -> &'static str {
    if nix::unistd::geteuid().is_root() {
        "root"
    } else {
        "an ordinary user"
    }
}

/// How this user makes namespaces on this host.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    unshare: PathBuf,
    arguments: Vec<&'static str>,
}

impl Namespaces {
    /// Tries the ways there are, as root first without a user namespace.
    pub(crate) fn find(runner: &Runner) -> Result<Self, NamespaceError> {
        for program in ["unshare", "mount", "chroot"] {
            find_program(program).ok_or(NamespaceError::NoProgram(program))?;
        }
        let unshare = find_program("unshare").ok_or(NamespaceError::NoProgram("unshare"))?;
        let common = [
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ];
        let as_user = [&["--user", "--map-root-user"], common.as_slice()].concat();
        let mut last = None;
        if nix::unistd::geteuid().is_root() {
            let plain = Self {
                unshare: unshare.clone(),
                arguments: common.to_vec(),
            };
            match plain.probe(runner) {
                Ok(()) => return Ok(plain),
                Err(error) => last = Some(error),
            }
        }
        let found = Self {
            unshare,
            arguments: as_user,
        };
        match found.probe(runner) {
            Ok(()) => Ok(found),
            Err(error) => Err(NamespaceError::Forbidden(last.unwrap_or(error))),
        }
    }

    /// Whether the toolchain runs in a user namespace.
    pub(crate) fn is_user(&self) -> bool {
        self.arguments.contains(&"--user")
    }

    fn probe(&self, runner: &Runner) -> Result<(), CommandError> {
        let mut command = self.command();
        command.args(["sh", "-c", "mount -t tmpfs tmpfs /tmp"]);
        let job = Job {
            what: "trying namespaces",
            log: "namespaces",
            limit: Duration::from_secs(20),
        };
        runner.run(&mut command, &job, &mut || {})
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.unshare);
        command
            .args(&self.arguments)
            .arg("--")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Begins a command in `tree`.
    pub(crate) fn tree(&self, tree: &Path) -> Tree {
        Tree {
            namespaces: self.clone(),
            tree: tree.to_owned(),
            binds: Vec::new(),
        }
    }
}

/// Makes the directories to mount on in a tree that is being unpacked.
pub(crate) fn prepare(tree: &Path) -> std::io::Result<()> {
    MOUNT_POINTS
        .iter()
        .try_for_each(|point| std::fs::create_dir_all(tree.join(point)))
}

/// A tree, and what to mount in it.
pub(crate) struct Tree {
    namespaces: Namespaces,
    tree: PathBuf,
    binds: Vec<(&'static str, PathBuf, &'static str)>,
}

impl Tree {
    /// Shows a directory of the host, read-only, at one of the mount points.
    pub(crate) fn show(mut self, directory: &Path, at: &'static str) -> Self {
        self.binds.push(("ro", directory.to_owned(), at));
        self
    }

    /// Lends a directory of the host, writable.
    pub(crate) fn lend(mut self, directory: &Path, at: &'static str) -> Self {
        self.binds.push(("rw", directory.to_owned(), at));
        self
    }

    /// Runs a shell script in the tree.
    pub(crate) fn run(
        &self,
        script: &str,
        runner: &Runner,
        job: &Job<'_>,
        tick: &mut dyn FnMut(),
    ) -> Result<(), CommandError> {
        let mut command = self.namespaces.command();
        command
            .args(["sh", "-c", ENTER, "sh"])
            .arg(&self.tree)
            .arg(script);
        for (mode, directory, at) in &self.binds {
            command.arg(mode).arg(directory).arg(at);
        }
        runner.run(&mut command, job, tick)
    }
}
