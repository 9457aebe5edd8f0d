// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arguments of what tries anybody's card and driver: `exec`, `shell`, `test`, `build-module`, `init`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use landfall::guest::{Accelerator, Driver, DriverSource};
use landfall::judge::Leg;

use super::{GuestArguments, PartArguments, ViewArguments, parse_accelerator, parse_size};

/// Cards, drivers, and what programs need.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What is tried")]
pub(crate) struct SubjectArguments {
    /// One of Landfall's cards (repeatable)
    #[arg(long = "card", visible_alias = "device", value_name = "NAME", value_parser = landfall_cards::NAMES)]
    pub(crate) cards: Vec<String>,
    /// A card of a vfio-user server that listens at PATH (repeatable)
    #[arg(long = "card-socket", value_name = "PATH")]
    pub(crate) card_sockets: Vec<PathBuf>,
    /// A card of a vfio-user server that this command line starts; {socket} in it is where to listen (repeatable)
    #[arg(long = "card-command", value_name = "COMMAND")]
    pub(crate) card_commands: Vec<String>,
    /// What the registers of such a card are called, in TOML: [bar0] CONTROL = 0x0
    #[arg(long, value_name = "FILE")]
    pub(crate) registers: Option<PathBuf>,
    /// Let such a server map the guest's memory, with nothing of ours in between: its card is not judged then
    #[arg(long)]
    pub(crate) unjudged: bool,
    /// A driver: stock:NAME of the guest's kernel, a directory with a Kbuild, package:NAME to build from a Debian package,
    /// kernel:FILE.c or kernel:FOLDER to build from the kernel's source, or an X.ko; behind it, in the same argument, its
    /// parameters (repeatable) [default: what the card is usually tried with]
    #[arg(long = "driver", value_name = "DRIVER")]
    pub(crate) drivers: Vec<Driver>,
    /// A Debian package for the guest, with all that it needs (repeatable)
    #[arg(long = "package", value_name = "NAME")]
    pub(crate) packages: Vec<String>,
    /// A selftest of the kernel's, such as pci_endpoint, which is built; the guest has it in /opt/kselftest/NAME; behind the name, in
    /// the same argument, a variable for its make (repeatable)
    #[arg(long = "selftest", value_name = "NAME")]
    pub(crate) selftests: Vec<String>,
    /// A file of the host's for the guest (repeatable)
    #[arg(long = "file", value_name = "SRC:DST", value_parser = file)]
    pub(crate) files: Vec<(PathBuf, String)>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExecArguments {
    #[command(flatten)]
    pub(crate) subject: SubjectArguments,
    /// Platforms, separated by commas: plain, iommu, iommu-lazy, swiotlb, high, fragmented, debug, cpu (plain, and --watch-cpu)
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "plain"
    )]
    pub(crate) legs: Vec<Leg>,
    /// Seconds that the program may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// A program of the guest's with its arguments, run while the drivers are loaded; a relative path, such as ./my-test, is
    /// brought from the host. Without one the drivers bind and unbind
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) program: Vec<String>,
    #[command(flatten)]
    pub(crate) machine: MachineArguments,
    /// Write what came of it as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) views: ViewArguments,
    /// Where a platform that fails leaves its bundle: beside PATH, with words for platform and card at the end of the name; one
    /// file if that ends in .tar.zst [default: new directories where logs go]
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

impl ExecArguments {
    /// Whether all that takes part is Landfall's or the distribution's: nothing that somebody could have put on this machine.
    pub(crate) fn is_of_ours(&self) -> bool {
        let program = self.program.first();
        self.subject.is_of_ours()
            && program.is_none_or(|name| !name.contains('/') || name.starts_with('/'))
            && self.machine.qemu_arguments.is_empty()
    }
}

impl SubjectArguments {
    /// As [`ExecArguments::is_of_ours`].
    pub(crate) fn is_of_ours(&self) -> bool {
        let of_kernel = |driver: &Driver| {
            matches!(
                driver.source,
                DriverSource::Stock(_)
                    | DriverSource::Image(_)
                    | DriverSource::Package(_)
                    | DriverSource::Kernel { .. }
            )
        };
        self.card_sockets.is_empty()
            && self.card_commands.is_empty()
            && self.drivers.iter().all(of_kernel)
            && self.files.is_empty()
    }
}

/// What the guest is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Guest")]
pub(crate) struct MachineArguments {
    /// Guest memory, besides what packages take [default: 256M; at least 512M on the platforms high and debug]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// Append to the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub(crate) append: String,
    /// One more argument for QEMU (repeatable)
    #[arg(long = "qemu-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) qemu_arguments: Vec<OsString>,
    /// What executes the guests: auto (KVM if a guest really boots under it), kvm or tcg
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = parse_accelerator)]
    pub(crate) accel: Accelerator,
    /// Most guests at once on this machine; further ones wait [default: number of CPUs]
    #[arg(long, value_name = "N", env = "LANDFALL_JOBS", hide_env_values = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Judge what the guest's CPUs do with memory that is the card's, too; needs TCG, and guests that are restored
    #[arg(long, conflicts_with = "qemu_arguments")]
    pub(crate) watch_cpu: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ShellArguments {
    #[command(flatten)]
    pub(crate) subject: SubjectArguments,
    /// Where the bundle goes if something is wrong [default: a new directory where logs go]
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
    #[command(flatten)]
    pub(crate) guest: GuestArguments,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TestArguments {
    /// Only tests with this in their names (repeatable)
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
    /// The project's file; paths in it are below its directory
    #[arg(long, value_name = "FILE", default_value = "landfall.toml")]
    pub(crate) project: PathBuf,
    /// On these platforms, whatever the file says [default: plain and cpu]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) legs: Vec<Leg>,
    /// Write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Tell the results as KTAP (Documentation/dev-tools/ktap.rst of the kernel)
    #[arg(long)]
    pub(crate) ktap: bool,
    /// Tell what fails as annotations of GitHub's, too
    #[arg(long, conflicts_with = "ktap")]
    pub(crate) github: bool,
    /// Where what fails leaves its bundles: beside PATH [default: new directories where logs go]
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) views: ViewArguments,
    #[command(flatten)]
    pub(crate) machine: MachineArguments,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BuildModuleArguments {
    /// Directory with a Kbuild or a Makefile, and sources in C or Rust [default: .]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Take the source from this Debian package, such as one for DKMS
    #[arg(long, value_name = "NAME", conflicts_with = "directory")]
    pub(crate) package: Option<String>,
    /// Where the modules go
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct InitArguments {
    /// Where landfall.toml goes
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,
}

fn file(given: &str) -> Result<(PathBuf, String), String> {
    landfall_suite::project::file(given)
}
