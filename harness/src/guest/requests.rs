// SPDX-License-Identifier: MIT OR Apache-2.0

//! What can be asked of any running guest: modules, files, programs.

use std::time::Duration;

use landfall_agent::protocol::{MAX_DATA, Reply, Request, Timed};

use super::failure::Result;
use super::{Guest, Running, milliseconds, unexpected};

/// What a program in the guest did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Ran {
    /// Exit status; 128 + n if signal n ended it.
    pub status: i32,
    /// The start of its standard output.
    pub stdout: String,
    /// The start of its standard error.
    pub stderr: String,
    /// It was killed because its time was up.
    pub timed_out: bool,
}

impl<Stage: Running> Guest<Stage> {
    /// Loads a module with what it depends on. `name` without `.ko`.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn load_module(&self, name: &str, parameters: &str) -> Result<()> {
        self.ask(Request::LoadModule {
            name: name.to_owned(),
            parameters: parameters.to_owned(),
        })
        .map(|_| ())
    }

    /// Unloads a module.
    ///
    /// # Errors
    /// If the guest refuses, with `EWOULDBLOCK` if it is in use.
    pub fn unload_module(&self, name: &str) -> Result<()> {
        self.ask(Request::UnloadModule {
            name: name.to_owned(),
        })
        .map(|_| ())
    }

    /// Reads a file from its start, at most [`MAX_DATA`] bytes.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        #[expect(clippy::cast_possible_truncation, reason = "the constant is 2 MiB")]
        let max = MAX_DATA as u32;
        self.read_file_at(path, 0, max)
    }

    /// Reads a part of a file.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn read_file_at(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>> {
        match self.ask(Request::ReadFile {
            path: path.to_owned(),
            offset,
            max,
        })? {
            Reply::Data(bytes) => Ok(bytes),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn read_text(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read_file(path)?).into_owned())
    }

    /// Writes a file from its start, in one `write`.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn write_file(&self, path: &str, data: impl AsRef<[u8]>) -> Result<()> {
        self.write_file_at(path, 0, data)
    }

    /// Writes a part of a file, such as a PCI function's configuration space, in one `write`.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn write_file_at(&self, path: &str, offset: u64, data: impl AsRef<[u8]>) -> Result<()> {
        let (path, data) = (path.to_owned(), data.as_ref().to_vec());
        self.ask(Request::WriteFile { path, offset, data })
            .map(|_| ())
    }

    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        match self.ask(Request::ListDirectory {
            path: path.to_owned(),
        })? {
            Reply::Names(names) => Ok(names),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a program to its end, which must come within `limit`.
    ///
    /// # Errors
    /// If it cannot be started. What it answers with is no error.
    pub fn run(&self, argv: &[&str], limit: Duration) -> Result<Ran> {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        let request = Request::Run {
            argv,
            timeout_ms: milliseconds(limit),
        };
        match self.ask_within(request, limit)? {
            Reply::Ran {
                status,
                stdout,
                stderr,
                timed_out,
            } => Ok(Ran {
                status,
                stdout: String::from_utf8_lossy(&stdout).into_owned(),
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
                timed_out,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until a path exists.
    ///
    /// # Errors
    /// If it does not within `limit` (`ETIMEDOUT`).
    pub fn wait_for_path(&self, path: &str, limit: Duration) -> Result<()> {
        let request = Request::WaitForPath {
            path: path.to_owned(),
            timeout_ms: milliseconds(limit),
        };
        self.ask_within(request, limit).map(|_| ())
    }

    /// Takes the time of accesses to a PCI function, or of its interrupts, as user space of the guest sees them; see
    /// [`Request::Time`] for what it takes.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn time(&self, function: &str, what: Timed, count: u32) -> Result<Vec<Duration>> {
        let request = Request::Time {
            function: function.to_owned(),
            what,
            count,
        };
        match self.ask(request)? {
            Reply::Times(times) => Ok(times.into_iter().map(Duration::from_nanos).collect()),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the agent whether it is there.
    ///
    /// # Errors
    /// If it is not.
    pub fn ping(&self) -> Result<()> {
        self.ask(Request::Ping).map(|_| ())
    }
}
