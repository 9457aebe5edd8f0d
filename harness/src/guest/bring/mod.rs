// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest's image has not: modules and programs of the user's, and stock modules, brought when they are asked for.

mod archives;
mod listed;
mod modules;
mod programs;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_agent::protocol::{GuestError, Request};
use landfall_guest::NotAModule;

use super::failure::{GuestFailed, Result, What};
use super::machine::Machine;
use super::{Guest, Running};

/// Bytes of one piece on the way into the guest.
const PIECE: usize = 1 << 20;

/// A module or a program was not brought into the guest; `Display` says all of it.
#[derive(Debug, thiserror::Error)]
pub enum NotBrought {
    /// A file of the host's cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no module.
    #[error("{} cannot be loaded: {source}", path.display())]
    NotAModule {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: NotAModule,
    },
    /// The module is another kernel's.
    #[error(
        "{} was built for Linux {wants}, and the guest runs {runs}: it has to be built for that", path.display()
    )]
    OtherKernel {
        /// The file.
        path: PathBuf,
        /// The module's `vermagic`.
        wants: String,
        /// The guest's `uname -r`.
        runs: String,
    },
    /// There is a module of that name.
    #[error("the guest has a module {name} {how}", how = match built_in {
        true => "built into its kernel",
        false => "loaded already; unload it first",
    })]
    There {
        /// Its name.
        name: String,
        /// It cannot be unloaded.
        built_in: bool,
    },
    /// The module has no such parameter; the kernel would only have logged that.
    #[error("module {module} has no parameter {given}; {}", known(parameters))]
    Parameter {
        /// The module.
        module: String,
        /// What was given.
        given: String,
        /// What it has.
        parameters: Vec<String>,
    },
    /// Another module is needed, and nowhere.
    #[error(
        "module {module} needs {needs}, which is neither in the guest nor beside it nor among the kernel's own modules"
    )]
    Missing {
        /// The module.
        module: String,
        /// What it needs.
        needs: String,
    },
    /// The kernel's package has no such module.
    #[error("there is no stock module {name}: {why}")]
    NotStock {
        /// What was asked for.
        name: String,
        /// Why not.
        why: String,
    },
    /// The guest's kernel refused the module.
    #[error("the guest's kernel, Linux {runs}, refused module {module}: {}", error.message)]
    Kernel {
        /// The module.
        module: String,
        /// The guest's `uname -r`.
        runs: String,
        /// What the kernel logged, and the errno.
        #[source]
        error: GuestError,
    },
    /// A program would not start.
    #[error("{} cannot run in the guest: {why}", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
}

fn known(parameters: &[String]) -> String {
    match parameters {
        [] => "it has none".to_owned(),
        some => format!("it has {}", some.join(", ")),
    }
}

/// The guest goes on.
fn not(why: NotBrought) -> GuestFailed {
    GuestFailed::early(What::NotBrought(why))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> GuestFailed {
    let path = path.to_owned();
    move |source| not(NotBrought::File { path, source })
}

impl Machine {
    /// See [`Guest::put_bytes`].
    pub(super) fn put_bytes(&mut self, bytes: &[u8], path: &str, mode: u32) -> Result<()> {
        let path = path.to_owned();
        let make = Request::MakeFile {
            path: path.clone(),
            mode,
        };
        self.request(make, Duration::ZERO)?;
        for (number, piece) in bytes.chunks(PIECE).enumerate() {
            let write = Request::WriteFile {
                path: path.clone(),
                offset: (number * PIECE) as u64,
                data: piece.to_vec(),
            };
            self.request(write, Duration::ZERO)?;
        }
        Ok(())
    }
}

impl<Stage: Running> Guest<Stage> {
    /// Makes a file in the guest, and the directories that it is in, in place of what has that path. `mode` are its
    /// permissions, such as `0o755`.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn put_bytes(&self, bytes: &[u8], path: &str, mode: u32) -> Result<()> {
        self.machine().put_bytes(bytes, path, mode)
    }
}
