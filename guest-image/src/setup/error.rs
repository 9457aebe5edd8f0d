// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a set-up failed, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::archive::ArchiveError;
use crate::debian::packages::PackagesError;
use crate::debian::unpack::UnpackError;
use crate::host::mirror::MirrorError;
use crate::host::namespace::NamespaceError;
use crate::host::process::{CommandError, FailedRun};
use crate::image::initramfs::InitramfsError;
use crate::kernel::KernelError;
use crate::kernel::metadata::MetadataError;
use crate::kernel::modules::ModulesError;
use crate::qemu::QemuError;
use crate::setup::agent::AgentError;
use crate::setup::debug_kernel::DebugKernelError;
use crate::setup::plan::OptionsError;
use crate::setup::selftest::SelftestError;

/// A set-up failed.
///
/// `Display` says what; `source` why; [`SetupError::log`] where the evidence is; [`SetupError::hint`] what to try.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The flag was set. What was finished stays.
    #[error("the set-up was cancelled; the next one goes on from here")]
    Cancelled,
    /// The options are wrong.
    #[error("the set-up cannot begin")]
    Options(#[from] OptionsError),
    /// The cache cannot be written, or its lock not be taken.
    #[error("the cache {} cannot be used", path.display())]
    Cache {
        /// Its directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another set-up did not end.
    #[error("another set-up ({holder}) still holds the cache after {} s", waited.as_secs())]
    Busy {
        /// What is known of it.
        holder: String,
        /// How long this one waited.
        waited: Duration,
    },
    /// There is not enough room.
    #[error("the cache needs {} MB more, and {} has {} MB free", need >> 20, path.display(), free >> 20)]
    Disk {
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
        /// The cache.
        path: PathBuf,
    },
    /// No mirror.
    #[error("it is not known where to get packages from")]
    Mirror(#[from] MirrorError),
    /// The toolchain cannot be run.
    #[error("the kernel's toolchain cannot be run")]
    Namespaces(#[from] NamespaceError),
    /// The indexes did not come.
    #[error("the package indexes could not be fetched from {mirror}")]
    Indexes {
        /// The mirror.
        mirror: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// The packages could not be chosen.
    #[error("the packages could not be chosen")]
    Packages(#[from] PackagesError),
    /// The packages did not come.
    #[error("the packages could not be fetched from {mirror}; those that came stay")]
    Download {
        /// The mirror.
        mirror: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// The toolchain did not unpack.
    #[error("the toolchain could not be set up")]
    Toolchain(#[from] UnpackError),
    /// The metadata did not build.
    #[error("the modules have nothing to be built against")]
    Metadata(#[from] MetadataError),
    /// The emulator.
    #[error("there is no QEMU to run the guest")]
    Qemu(#[from] QemuError),
    /// The kernel.
    #[error("there is no kernel to boot")]
    Kernel(#[from] KernelError),
    /// The modules.
    #[error("there are no modules for the guest")]
    Modules(#[from] ModulesError),
    /// The debug kernel.
    #[error("there is no debug kernel")]
    DebugKernel(#[from] DebugKernelError),
    /// A selftest of the kernel's.
    #[error("there is no such selftest for guests")]
    Selftest(#[from] SelftestError),
    /// The agent.
    #[error("there is no agent for the guest")]
    Agent(#[from] AgentError),
    /// The initramfs.
    #[error("the guest's file system could not be written")]
    Initramfs(#[from] InitramfsError),
    /// The set-up was not exported; the file is as it was.
    #[error("the set-up cannot be exported to {}", file.display())]
    Export {
        /// Where to.
        file: PathBuf,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// The file was not imported; the set-ups in the cache are as they were.
    #[error("{} cannot be imported", file.display())]
    Import {
        /// The archive.
        file: PathBuf,
        /// Why.
        #[source]
        source: ArchiveError,
    },
}

const OWN: &str = "bring your own: --qemu PATH, --kernel BZIMAGE_OR_VMLINUX with --kdir BUILD_TREE or --module KO";

impl SetupError {
    /// The program that failed, if one did.
    fn command(&self) -> Option<&CommandError> {
        let mut error: Option<&(dyn Error + 'static)> = self.source();
        while let Some(cause) = error {
            if let Some(command) = cause.downcast_ref() {
                return Some(command);
            }
            error = cause.source();
        }
        None
    }

    /// Whether a program was stopped rather than failed.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Cancelled) || matches!(self.command(), Some(CommandError::Cancelled))
    }

    fn failed_run(&self) -> Option<&FailedRun> {
        match self.command()? {
            CommandError::Failed { run, .. } | CommandError::TimedOut { run, .. } => Some(run),
            _ => None,
        }
    }

    /// The log of the program that failed, if one did.
    pub fn log(&self) -> Option<&PathBuf> {
        self.failed_run().map(|run| &run.log)
    }

    /// The last lines of what the failing program said; error lines alone if it said any.
    pub fn last_lines(&self) -> &[String] {
        self.failed_run().map_or(&[], |run| &run.last_lines)
    }

    /// What to try, as a sentence or a command.
    pub fn hint(&self) -> Option<String> {
        let said = |words: &[&str]| {
            let lines = self.last_lines();
            words
                .iter()
                .any(|word| lines.iter().any(|line| line.contains(word)))
        };
        Some(match self {
            Self::Mirror(MirrorError::NotDebian { .. }) => {
                format!("name a Debian mirror with --mirror URL or LANDFALL_MIRROR; or {OWN}")
            }
            Self::Mirror(MirrorError::NoApt(program)) => {
                format!("install `{program}` (apt and dpkg run on most distributions); or {OWN}")
            }
            Self::Mirror(MirrorError::NoKeyring(_)) => "apt-get install debian-archive-keyring".to_owned(),
            Self::Namespaces(_) => namespaces_cure(),
            Self::Indexes { .. } if said(&["NO_PUBKEY", "not signed", "EXPKEYSIG"]) => {
                "the archive's keyring is too old: apt-get install --only-upgrade debian-archive-keyring".to_owned()
            }
            Self::Indexes { .. } if said(&["not valid yet", "is expired"]) => {
                "this machine's clock and the mirror disagree: set the clock, or take another mirror with --mirror"
                    .to_owned()
            }
            Self::Indexes { .. } | Self::Download { .. } => {
                "try again: what was fetched is kept; or take another mirror with --mirror URL".to_owned()
            }
            Self::Packages(PackagesError::NoSeries { .. }) => {
                format!("update Landfall, whose newer versions know newer kernels; or {OWN}")
            }
            Self::DebugKernel(DebugKernelError::NoToolchain) | Self::Selftest(SelftestError::NoSource) => {
                "`landfall setup --refresh`, without a kernel of your own, makes one that can build".to_owned()
            }
            Self::Disk { .. } => "free some room, or move the cache with LANDFALL_CACHE".to_owned(),
            Self::Qemu(_) => "leave --qemu out to use Debian's, or give one of 10.1 or newer with vfio-user".to_owned(),
            Self::Export { source, .. } | Self::Import { source, .. } => source.hint()?.to_owned(),
            _ => return None,
        })
    }
}

/// What to do where namespaces are forbidden.
pub(crate) fn namespaces_cure() -> String {
    "allow user namespaces: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), \
     `sysctl -w kernel.unprivileged_userns_clone=1` (older Debian), `--security-opt seccomp=unconfined` or \
     `--privileged` (Docker); or run as root"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_debian_mirror_is_told_both_ways_out() {
        let error = SetupError::Mirror(MirrorError::NotDebian {
            host: "Ubuntu 24.04".to_owned(),
        });

        let hint = error.hint().unwrap_or_default();
        for word in [
            "--mirror",
            "LANDFALL_MIRROR",
            "--qemu",
            "--kernel",
            "--kdir",
            "--module",
        ] {
            assert!(hint.contains(word), "{word} is not in: {hint}");
        }
    }

    #[test]
    fn the_log_of_the_program_at_the_bottom_is_found() {
        let run = FailedRun {
            what: "choosing packages".to_owned(),
            program: "apt-get".to_owned(),
            log: PathBuf::from("apt.log"),
            last_lines: vec!["E: no".to_owned()],
        };
        let error = SetupError::Packages(PackagesError::Command(CommandError::TimedOut {
            limit: Duration::from_secs(1),
            run: Box::new(run),
        }));

        assert_eq!(error.log(), Some(&PathBuf::from("apt.log")));
        assert_eq!(error.last_lines(), ["E: no"]);
    }
}
