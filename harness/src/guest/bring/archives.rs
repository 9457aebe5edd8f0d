// SPDX-License-Identifier: MIT OR Apache-2.0

//! Archives that a guest unpacks over its own files, such as packages of its distribution.

use std::path::PathBuf;
use std::time::Duration;

use landfall_agent::protocol::{Reply, Request};

use super::unreadable;
use crate::guest::failure::Result;
use crate::guest::machine::Machine;
use crate::guest::{Guest, Running, milliseconds, protocol_error, unexpected};

/// Where an archive lies until it is unpacked.
const PLACE: &str = "/tmp/archive.cpio";
/// Time to unpack one, on a busy host.
const UNPACK: Duration = Duration::from_secs(120);

impl Machine {
    /// See [`Guest::unpack`].
    pub(in crate::guest) fn unpack(&mut self, archives: &[PathBuf]) -> Result<()> {
        archives.iter().try_for_each(|path| {
            let archive = std::fs::read(path).map_err(unreadable(path))?;
            self.put_bytes(&archive, PLACE, 0o600)?;
            let script = format!("cpio -idu <{PLACE} && rm {PLACE}");
            let unpack = Request::Run {
                argv: ["/bin/busybox", "sh", "-c", &script]
                    .map(str::to_owned)
                    .to_vec(),
                timeout_ms: milliseconds(UNPACK),
            };
            match self.request(unpack, UNPACK)? {
                Reply::Ran { status: 0, .. } => Ok(()),
                Reply::Ran { status, stderr, .. } => Err(protocol_error(format!(
                    "unpacking {} ended with {status}: {}",
                    path.display(),
                    String::from_utf8_lossy(&stderr).trim()
                ))),
                other => Err(unexpected(&other)),
            }
        })
    }
}

impl<Stage: Running> Guest<Stage> {
    /// Unpacks archives (newc cpio) over the guest's files, in their order: about a second, and twice their size of the
    /// guest's memory, for each 20 MB.
    ///
    /// # Errors
    /// If one cannot be read, or the guest refuses, as for want of memory.
    pub fn unpack(&self, archives: &[PathBuf]) -> Result<()> {
        self.machine().unpack(archives)
    }
}
