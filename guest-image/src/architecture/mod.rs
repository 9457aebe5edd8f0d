// SPDX-License-Identifier: MIT OR Apache-2.0

//! The architectures that guests may be of: a file each, with what their parts are called and made with. All tools run on
//! the host.

mod amd64;
mod arm64;

/// What a guest's processor is, and what its kernel, programs and modules are made with.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Debian's name, such as `amd64`; the command's, too.
    pub name: &'static str,
    /// Most bytes of the kernel's command line: its `COMMAND_LINE_SIZE` without its last.
    pub most_words: usize,
    /// Series of Debian's kernels that the modules were shown to build against and to run on, the default first.
    pub(crate) first: &'static Series,
    pub(crate) others: &'static [Series],
    /// The emulator's package, and its program.
    pub(crate) emulator: (&'static str, &'static str),
    /// Directories of the emulator's tree in which it finds firmware.
    pub(crate) firmware: &'static [&'static str],
    /// What compiler and binutils are called by, and the directory of its libraries in Debian.
    pub triple: &'static str,
    /// Packages of that compiler.
    pub(crate) compiler: &'static [&'static str],
    /// What the kernel's `make` is told of all this.
    pub(crate) make: &'static str,
    /// What of the kernel's source is needed besides what all need, to configure it and to build metadata and modules.
    pub(crate) source: &'static [&'static str],
    /// Options of the configuration that come out otherwise here than where the kernel was built, and change no type and no
    /// code of a module.
    pub(crate) harmless: &'static [&'static str],
    /// What it is called by `uname` and by Rust.
    pub(crate) uname: &'static str,
    /// `e_machine` of its ELF files.
    pub(crate) machine: u16,
    /// Modules of the kernel's that have to be there before any device is looked for, as far as it has them.
    pub(crate) early: &'static [&'static str],
    /// What rustc calls it.
    pub(crate) target: &'static str,
    /// What the agent is linked with, if it is built at set-up.
    pub(crate) libc: &'static [&'static str],
}

/// A series of the distribution's kernels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// Such as `7.3`.
    pub(crate) name: &'static str,
    /// Modules in Rust are built for it: it takes them, and its source is a package.
    pub(crate) rust: bool,
    /// The suite that it is in, if that is none of those that everything else comes from.
    pub(crate) suite: Option<&'static str>,
}

/// One of them.
const fn series(name: &'static str, rust: bool, suite: Option<&'static str>) -> Series {
    Series { name, rust, suite }
}

/// What rustc calls the target that the agent was built for.
const AGENT_TARGET: &str = env!("LANDFALL_AGENT_TARGET");

/// All there are, the default first.
pub(crate) static ALL: [&Architecture; 2] = [&amd64::AMD64, &arm64::ARM64];

/// The architecture whose programs the host runs: that of all tools.
pub(crate) static HOST: &Architecture = &amd64::AMD64;

impl Architecture {
    /// The one of a name.
    pub fn of(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|one| one.name == name)
    }

    /// Names of all there are, the default first.
    pub fn names() -> Vec<&'static str> {
        ALL.into_iter().map(|one| one.name).collect()
    }

    /// The one whose ELF files have this `e_machine`.
    pub(crate) fn of_machine(machine: u16) -> Option<&'static Self> {
        ALL.into_iter().find(|one| one.machine == machine)
    }

    /// Whether this host's processor is one.
    pub fn is_hosts(&self) -> bool {
        self.uname == std::env::consts::ARCH
    }

    /// Whether it is not the tools' own.
    pub(crate) fn is_foreign(&self) -> bool {
        self != HOST
    }

    /// Whether this Landfall was built with its agent; else that is built at set-up.
    pub(crate) fn has_agent(&self) -> bool {
        self.target == AGENT_TARGET
    }

    /// Names of its kernel series, the default first.
    pub fn series(&self) -> Vec<&'static str> {
        let series = [self.first].into_iter().chain(self.others);
        series.map(|series| series.name).collect()
    }

    /// A kernel series of its.
    pub(crate) fn one(&self, name: &str) -> Option<&'static Series> {
        let mut series = [self.first].into_iter().chain(self.others);
        series.find(|series| series.name == name)
    }

    /// The name of one of its packages, as apt takes it.
    pub(crate) fn package(&self, name: &str) -> String {
        match self.is_foreign() {
            true => format!("{name}:{}", self.name),
            false => name.to_owned(),
        }
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name)
    }
}

impl serde::Serialize for Architecture {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}
