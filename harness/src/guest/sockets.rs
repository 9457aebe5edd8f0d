// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the cards of a guest are served, and how its QEMU finds them.
//!
//! A QEMU that runs as nobody cannot look into the run's directory, which is root's alone. It has the directory of
//! the sockets open instead, and that is its own; anybody else of that user would have to go through root's.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::PathBuf;

use nix::fcntl::OFlag;

use crate::guest::qemu::command;
use crate::guest::run_directory::RunDirectory;

/// Name of their directory in a run's.
const SOCKETS: &str = "cards";

#[derive(Debug)]
pub(super) struct Sockets {
    directory: PathBuf,
    /// As QEMU opens it.
    seen: PathBuf,
    owner: Option<u32>,
}

impl Sockets {
    /// Makes their directory, for a QEMU that runs as `owner`, or as this process does. With it, what that QEMU must
    /// inherit.
    pub(super) fn new(
        run: &RunDirectory,
        owner: Option<u32>,
    ) -> io::Result<(Self, Option<OwnedFd>)> {
        let directory = run.file(SOCKETS);
        DirBuilder::new().mode(0o700).create(&directory)?;
        let Some(owner) = owner else {
            let seen = directory.clone();
            return Ok((
                Self {
                    directory,
                    seen,
                    owner: None,
                },
                None,
            ));
        };
        chown(&directory, Some(owner), Some(owner))?;
        let open = File::options()
            .read(true)
            .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
            .open(&directory)?;
        let seen = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let sockets = Self {
            directory,
            seen,
            owner: Some(owner),
        };
        Ok((sockets, Some(open.into())))
    }

    /// Where card `index` is to be served.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        self.directory.join(command::card(index))
    }

    /// Where QEMU finds card `index`, which is served.
    pub(super) fn for_qemu(&self, index: usize) -> io::Result<PathBuf> {
        let path = self.path(index);
        // One that leads elsewhere is not ours to give away.
        if self.owner.is_some() && !fs::symlink_metadata(&path)?.is_symlink() {
            chown(&path, self.owner, self.owner)?;
        }
        Ok(self.seen.join(command::card(index)))
    }

    /// Whether QEMU can go where it is led outside of their directory.
    pub(super) fn leads_elsewhere(&self) -> bool {
        self.owner.is_none()
    }
}
