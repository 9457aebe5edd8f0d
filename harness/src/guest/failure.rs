// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a guest can fail.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{fs, io};

use landfall_agent::protocol::GuestError;
use landfall_device::serve::ServeError;
use landfall_guest::Prepared;

use super::bring::NotBrought;
use super::budget::NoPlace;
use super::server::NotMade;
use super::watch::Touched;
use crate::guest::memory::MemoryError;

/// A guest, or a request to it, failed.
///
/// `Display` is what happened; [`GuestFailed::kernel_line`] the line of the kernel's log that names the
/// culprit; [`GuestFailed::evidence`] the directory that holds the logs.
#[derive(Debug)]
pub struct GuestFailed {
    /// What happened.
    pub what: Box<What>,
    /// The last telling line of the console or QEMU's log, if there is one.
    pub kernel_line: Option<String>,
    /// Where console, QEMU's log, command line and journals were left.
    pub evidence: Option<PathBuf>,
    /// Where the bundle of the run was left.
    pub bundle: Option<PathBuf>,
}

impl GuestFailed {
    /// Removes [`GuestFailed::evidence`]: the failure was expected, and nobody is to look for its reason.
    pub fn forget_evidence(&mut self) {
        if let Some(directory) = self.evidence.take() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

impl std::fmt::Display for GuestFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.what.fmt(f)
    }
}

impl std::error::Error for GuestFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.what)
    }
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum What {
    /// The guest's kernel panicked.
    #[error("the guest's kernel panicked")]
    Panicked {
        /// The line that says so.
        line: String,
    },
    /// The guest's kernel logged an oops, a BUG, a warning or a lockup.
    #[error("the guest's kernel reported a fault")]
    KernelFault {
        /// What it logged.
        lines: Vec<String>,
    },
    /// QEMU ended without having been asked.
    #[error("QEMU ended unasked ({status}{})", because(reason))]
    QemuEnded {
        /// How.
        status: ExitStatus,
        /// QEMU's word for the reason, such as `guest-reset` or `host-signal`, if it gave one.
        reason: Option<String>,
    },
    /// Something did not happen in time.
    #[error("{waiting_for} did not come within {} s", waited.as_secs())]
    TimedOut {
        /// What was waited for.
        waiting_for: String,
        /// How long.
        waited: Duration,
    },
    /// The agent did what was asked, and the guest's kernel refused.
    #[error("the guest refused a request")]
    Refused(#[source] GuestError),
    /// The agent or the monitor answered something else than was asked.
    #[error("{who} does not keep to the protocol: {detail}")]
    Protocol {
        /// The agent, or QEMU's monitor.
        who: &'static str,
        /// What it said.
        detail: String,
    },
    /// QEMU's monitor refused a command.
    #[error("QEMU refused `{command}`: {description}")]
    Monitor {
        /// Which.
        command: String,
        /// QEMU's words.
        description: String,
    },
    /// The run was cancelled.
    #[error("interrupted")]
    Interrupted,
    /// The guest failed before.
    #[error("the guest is gone: {earlier}")]
    Gone {
        /// How it failed then.
        earlier: String,
        /// The host, or the set-up, was to blame.
        hosts: bool,
    },
    /// QEMU could not be started.
    #[error("cannot start QEMU at {}", program.display())]
    Start {
        /// What was to be executed.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The host could not give what a guest needs.
    #[error("cannot {doing}")]
    Host {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What the guest's console shows could not be written down.
    #[error("cannot write {}", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Guest memory could not be made.
    #[error("no memory for the guest")]
    Memory(#[source] MemoryError),
    /// A card could not be served.
    #[error("cannot serve card {index}")]
    Card {
        /// Which.
        index: usize,
        /// Why not.
        #[source]
        source: ServeError,
    },
    /// A card's model was not made.
    #[error("there is no card {index}")]
    NoCard {
        /// Which.
        index: usize,
        /// Why not.
        #[source]
        source: NotMade,
    },
    /// Memory that was kept from the kernel and firmware was written before the pool was loaded.
    #[error(transparent)]
    Touched(#[from] Touched),
    /// A module or a program could not be brought into the guest, which goes on.
    #[error(transparent)]
    NotBrought(#[from] NotBrought),
    /// No guest starts, since the set-up is damaged.
    #[error(
        "parts of the set-up are damaged, and are made anew by the next run: {}",
        list(files)
    )]
    Damaged {
        /// Which.
        files: Vec<PathBuf>,
        /// What became of the guest.
        #[source]
        then: Box<What>,
    },
    /// The guest is to have a module that is not built for its kernel.
    #[error("there is no module {module} for Linux {kernel}")]
    NoModule {
        /// Its name.
        module: String,
        /// `uname -r`.
        kernel: String,
    },
    /// The options make no guest.
    #[error("{0}")]
    Options(String),
}

fn because(reason: &Option<String>) -> String {
    let reason = reason.as_ref();
    reason.map_or_else(String::new, |reason| format!(", {reason}"))
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(", ")
}

impl From<NoPlace> for What {
    fn from(error: NoPlace) -> Self {
        match error {
            NoPlace::Late { waited, .. } => Self::TimedOut {
                waiting_for: error.to_string(),
                waited,
            },
            NoPlace::Cancelled => Self::Interrupted,
            NoPlace::Places(source) => Self::Host {
                doing: "take a place among the guests of this machine",
                source,
            },
        }
    }
}

impl What {
    /// Whether the host or the set-up is to blame, rather than the guest.
    pub fn is_hosts(&self) -> bool {
        match self {
            Self::Start { .. }
            | Self::Host { .. }
            | Self::Log { .. }
            | Self::Memory(_)
            | Self::Damaged { .. }
            | Self::NoModule { .. }
            | Self::Card { .. } => true,
            Self::Gone { hosts, .. } => *hosts,
            Self::NotBrought(why) => !matches!(why, NotBrought::Kernel { .. }),
            _ => false,
        }
    }
}

impl GuestFailed {
    /// A failure that left no evidence.
    pub fn early(what: What) -> Self {
        Self {
            what: Box::new(what),
            kernel_line: None,
            evidence: None,
            bundle: None,
        }
    }

    /// The same, or, if the guest failed and what it booted from is damaged, that.
    pub(super) fn or_damaged(mut self, prepared: &Prepared) -> Self {
        if self.is_guests() {
            let files = landfall_guest::recheck(prepared);
            if !files.is_empty() {
                let then = self.what;
                self.what = Box::new(What::Damaged { files, then });
            }
        }
        self
    }

    /// Whether the guest was powered off, as by a program in it, and QEMU ended well.
    pub fn is_power_off(&self) -> bool {
        match &*self.what {
            What::QemuEnded { status, reason } => {
                status.success() && reason.as_deref() == Some("guest-shutdown")
            }
            _ => false,
        }
    }

    /// The guest's errno, if it refused a request.
    pub fn errno(&self) -> Option<i32> {
        match &*self.what {
            What::Refused(error) | What::NotBrought(NotBrought::Kernel { error, .. }) => {
                Some(error.errno)
            }
            _ => None,
        }
    }
}

/// Result of anything asked of a guest.
pub type Result<T> = std::result::Result<T, GuestFailed>;

impl GuestFailed {
    /// Whether the guest itself failed, rather than the host or the user.
    pub fn is_guests(&self) -> bool {
        let users = matches!(*self.what, What::Interrupted | What::Options(_));
        !self.what.is_hosts() && !users
    }
}
