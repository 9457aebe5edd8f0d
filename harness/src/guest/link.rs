// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors on the link between a card and its root port.

use std::time::Duration;

use super::failure::Result;
use super::{Guest, GuestFailed, Running, What};
use crate::guest::qemu::qmp::Command;

/// How long the guest may take until it has dealt with an error: two resets and more.
const DEALT_WITH: Duration = Duration::from_secs(20);
/// What the kernel's error reporting says in the end, whether it went well or not (`drivers/pci/pcie/err.c`).
const OVER: &str = "AER: device recovery";

impl<Stage: Running> Guest<Stage> {
    /// Has a card's root port find a fatal error on its link, and waits until the guest's kernel has dealt with it: it
    /// asks the card's driver, resets the link and the card with it, and asks the driver to go on. Whether that went
    /// well is no matter here. Takes a kernel with error reporting (AER), as the stock one is.
    ///
    /// # Errors
    /// If QEMU refuses, as when there is no such port, or the kernel does not deal with it in time.
    pub fn fail_link(&self, card: usize) -> Result<()> {
        let count = format!("dmesg | grep -c '{OVER}'");
        let counted = self.run(&["/bin/busybox", "sh", "-c", &count], DEALT_WITH)?;
        let so_far: u32 = counted.stdout.trim().parse().unwrap_or(0);
        let command = Command::InjectFatalError { index: card };
        let answer = self.monitor(&command)?;
        if !answer.as_str().is_some_and(|words| words.starts_with("OK")) {
            return Err(GuestFailed::early(What::Monitor {
                command: command.line(0).trim().to_owned(),
                description: answer.to_string(),
            }));
        }
        // Reading ends when the kernel has said it once more.
        let times = (so_far + 1).to_string();
        let words = ["/bin/busybox", "grep", "-m", &times, OVER, "/dev/kmsg"];
        match self.run(&words, DEALT_WITH)?.status {
            0 => Ok(()),
            _ => Err(GuestFailed::early(What::TimedOut {
                waiting_for: "the kernel's word that an error on the link was dealt with"
                    .to_owned(),
                waited: DEALT_WITH,
            })),
        }
    }
}
