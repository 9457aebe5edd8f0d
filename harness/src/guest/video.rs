// SPDX-License-Identifier: MIT OR Apache-2.0

//! Video devices in a guest, used as any Debian uses them: by v4l-utils.

use std::time::Duration;

use landfall_agent::protocol::{Reply, Request};
use landfall_guest::Prepared;

use super::failure::{GuestFailed, Result, What};
use super::machine::Machine;
use super::{Guest, Running, milliseconds, protocol_error, unexpected};

/// Where the archive lies until it is unpacked.
const ARCHIVE: &str = "/tmp/video.cpio";
/// Time to unpack it, on a busy host.
const UNPACK: Duration = Duration::from_secs(60);

impl Machine {
    /// See [`Guest::add_video`].
    pub(super) fn add_video(&mut self, prepared: &Prepared) -> Result<()> {
        let Some(path) = &prepared.video else {
            let why = "only a set-up with Debian's kernel has v4l-utils";
            return Err(GuestFailed::early(What::Options(why.to_owned())));
        };
        let archive = std::fs::read(path).map_err(|source| {
            GuestFailed::early(What::Host {
                doing: "read the archive for video devices",
                source,
            })
        })?;
        self.put_bytes(&archive, ARCHIVE, 0o600)?;
        let script = format!("cpio -idu <{ARCHIVE} && rm {ARCHIVE}");
        let unpack = Request::Run {
            argv: ["/bin/busybox", "sh", "-c", &script]
                .map(str::to_owned)
                .to_vec(),
            timeout_ms: milliseconds(UNPACK),
        };
        match self.request(unpack, UNPACK)? {
            Reply::Ran { status: 0, .. } => Ok(()),
            Reply::Ran { status, stderr, .. } => Err(protocol_error(format!(
                "unpacking the archive for video devices ended with {status}: {}",
                String::from_utf8_lossy(&stderr).trim()
            ))),
            other => Err(unexpected(&other)),
        }
    }
}

impl<Stage: Running> Guest<Stage> {
    /// Brings [`Prepared::video`] into the guest: `v4l2-ctl` and `v4l2-compliance`. Takes about a second, and some 20 MB of
    /// the guest's memory.
    ///
    /// # Errors
    /// If the set-up has none, its kernel not being Debian's; or the guest refuses.
    pub fn add_video(&self, prepared: &Prepared) -> Result<()> {
        self.machine().add_video(prepared)
    }
}
