// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which packages a set-up is made of.

use std::path::PathBuf;

use crate::debian::apt::{Apt, BACKPORTS, Chosen, RELEASE};
use crate::host::process::CommandError;

/// Kernel series that the modules were shown to build against and run on, best first.
pub(crate) const SERIES: [&str; 1] = ["7.3"];

/// What the modules are built with. All of it comes from [`RELEASE`], above all rustc: the kernel was built
/// with that one, and Rust's metadata is tied to the compiler.
const TOOLCHAIN: [&str; 24] = [
    "bash",
    "bc",
    "bindgen",
    "bison",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "flex",
    "gawk",
    "gcc-14",
    "grep",
    "gzip",
    "libelf-dev",
    "libssl-dev",
    "make",
    // The kernel's configuration asks for it: without it types of the kernel come out with another layout.
    "pahole",
    "perl-base",
    "python3-minimal",
    "rust-src",
    "rustc",
    "sed",
    "tar",
    "xz-utils",
];
/// The emulator.
const QEMU: &str = "qemu-system-x86";
/// The guest's shell and tools.
const GUEST: &str = "busybox-static";
/// What uses video devices in a guest that asks for it.
pub(crate) const VIDEO: &str = "v4l-utils";

/// The packages could not be chosen.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The mirror has no kernel of a series that the modules are known to work with.
    #[error(
        "the mirror has no kernel of series {}; it has {}",
        SERIES.join(", "),
        if there.is_empty() { "none at all".to_owned() } else { there.join(", ") }
    )]
    NoSeries {
        /// Series that it has.
        there: Vec<String>,
    },
    /// There are no packages of these names.
    #[error("Debian has no package {} in {RELEASE}, main", .0.join(", "))]
    Unknown(Vec<String>),
    /// It is not one that a module can be built from.
    #[error(
        "the package {package} has {found} directories with a Kbuild or a Makefile in /usr/src, and just one is wanted"
    )]
    NoSource {
        /// Its name.
        package: String,
        /// How many.
        found: usize,
    },
    /// The kernel's source has no module of one file there, or it is not known which source the kernel has.
    #[error("the kernel's source has no module {}", .0.display())]
    NoFile(PathBuf),
    /// More than any guest should hold in memory.
    #[error("the packages take {} MB in a guest, and {} MB are the most", bytes >> 20, most >> 20)]
    TooLarge {
        /// Bytes of their files.
        bytes: u64,
        /// The most.
        most: u64,
    },
    /// apt chose a package but does not know its checksum.
    #[error("the mirror's index has no SHA-256 for {0}")]
    NoChecksum(String),
    /// apt said no.
    #[error("apt could not choose the packages")]
    Command(#[from] CommandError),
}

/// Packages by what they are for. A package may be in several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sets {
    pub(crate) kernel: Option<Kernel>,
    pub(crate) qemu: Vec<Chosen>,
    pub(crate) guest: Vec<Chosen>,
    /// Empty without a kernel of Debian's, whose drivers it is for.
    pub(crate) video: Vec<Chosen>,
}

/// A kernel of Debian's, what it was built from, and what it was built with.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) series: String,
    /// `uname -r`.
    pub(crate) release: String,
    /// Configuration and symbol table, which builds need.
    pub(crate) config: Vec<Chosen>,
    /// Image and modules, which guests need.
    pub(crate) image: Vec<Chosen>,
    /// The source.
    pub(crate) source: Vec<Chosen>,
    pub(crate) toolchain: Vec<Chosen>,
}

impl Sets {
    /// Each package once, with what it is used for; what is needed first comes first.
    pub(crate) fn all(&self) -> Vec<(&Chosen, Vec<&'static str>)> {
        let mut all: Vec<(&Chosen, Vec<&'static str>)> = Vec::new();
        for (set, used_for) in self.sets() {
            for package in set {
                match all.iter_mut().find(|(known, _)| *known == package) {
                    Some((_, uses)) => uses.push(used_for),
                    None => all.push((package, vec![used_for])),
                }
            }
        }
        all
    }

    fn sets(&self) -> Vec<(&[Chosen], &'static str)> {
        let mut sets: Vec<(&[Chosen], &'static str)> = Vec::new();
        if let Some(kernel) = &self.kernel {
            sets.push((&kernel.toolchain, "toolchain"));
            sets.push((&kernel.source, "source"));
            sets.push((&kernel.config, "kernel"));
            sets.push((&kernel.image, "kernel"));
        }
        sets.push((&self.qemu, "qemu"));
        sets.push((&self.guest, "guest"));
        sets.push((&self.video, "video"));
        sets
    }
}

/// Chooses the newest versions that the mirror has.
pub(crate) fn choose(apt: &Apt, kernel: bool, qemu: bool) -> Result<Sets, PackagesError> {
    Ok(Sets {
        kernel: kernel.then(|| choose_kernel(apt)).transpose()?,
        qemu: if qemu {
            closure(apt, BACKPORTS, &[QEMU])?
        } else {
            Vec::new()
        },
        guest: closure(apt, RELEASE, &[GUEST])?,
        video: if kernel {
            closure(apt, RELEASE, &[VIDEO])?
        } else {
            Vec::new()
        },
    })
}

fn choose_kernel(apt: &Apt) -> Result<Kernel, PackagesError> {
    for series in SERIES {
        let names = apt.names(&format!("linux-binary-{series}."))?;
        let releases = releases(&names);
        let binaries: Vec<String> = releases
            .iter()
            .map(|release| format!("linux-binary-{release}"))
            .collect();
        let versions = apt.versions(&binaries)?;
        let source = format!("linux-source-{series}");
        let sources = apt.versions(std::slice::from_ref(&source))?;
        for (release, binary) in releases.into_iter().zip(&binaries) {
            let Some(version) = versions.get(binary).and_then(|versions| versions.first()) else {
                continue;
            };
            // The source must be that of this very kernel.
            if !sources
                .get(&source)
                .is_some_and(|sources| sources.contains(version))
            {
                continue;
            }
            let parts =
                |names: [&str; 2]| names.map(|name| format!("linux-{name}-{release}={version}"));
            return Ok(Kernel {
                series: series.to_owned(),
                config: look_up(apt, &parts(["base", "headers"]))?,
                image: look_up(apt, &parts(["binary", "modules"]))?,
                source: look_up(apt, &[format!("{source}={version}")])?,
                toolchain: closure(apt, RELEASE, &TOOLCHAIN)?,
                release,
            });
        }
    }
    let names = apt.names("linux-source-")?;
    let versions = apt.versions(&names)?;
    let there = names
        .iter()
        .filter(|name| versions.contains_key(*name))
        .filter_map(|name| name.strip_prefix("linux-source-"))
        .map(str::to_owned)
        .collect();
    Err(PackagesError::NoSeries { there })
}

/// Releases of the plain amd64 kernels among `linux-binary-RELEASE` names, newest first.
fn releases(names: &[String]) -> Vec<String> {
    let mut releases: Vec<(Vec<u64>, String)> = names
        .iter()
        .filter_map(|name| name.strip_prefix("linux-binary-"))
        .filter(|release| release.ends_with("-amd64") && release.matches('-').count() == 1)
        .map(|release| (numbers(release), release.to_owned()))
        .collect();
    releases.sort();
    releases
        .into_iter()
        .rev()
        .map(|(_, release)| release)
        .collect()
}

/// The numbers in a version, in order: `7.3.4+deb13` is 7, 3, 4, 13.
pub(crate) fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// These packages, and all that they need.
pub(crate) fn closure(
    apt: &Apt,
    suite: &str,
    packages: &[&str],
) -> Result<Vec<Chosen>, PackagesError> {
    look_up(apt, &apt.closure(suite, packages)?)
}

/// Of these packages (`name` or `name=version`) what apt knows of them.
pub(crate) fn look_up(apt: &Apt, packages: &[String]) -> Result<Vec<Chosen>, PackagesError> {
    let chosen = apt.look_up(packages)?;
    match chosen.iter().find(|package| package.sha256.len() != 64) {
        Some(package) => Err(PackagesError::NoChecksum(package.name.clone())),
        None => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_plain_kernel_comes_first() {
        let names = [
            "linux-binary-7.3.4+deb13-amd64",
            "linux-binary-7.3.12+deb13-amd64",
            "linux-binary-7.3.12+deb13-rt-amd64",
            "linux-binary-7.3.12+deb13-cloud-amd64",
            "linux-binary-unsigned-7.3.12+deb13-amd64",
            "linux-binary-7.3.12+deb13-arm64",
        ];

        let releases = releases(&names.map(str::to_owned));

        assert_eq!(releases, ["7.3.12+deb13-amd64", "7.3.4+deb13-amd64"]);
    }

    #[test]
    fn a_package_used_twice_is_listed_once() {
        let package = Chosen {
            name: "libc6".to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            file: "libc6_1_amd64.deb".to_owned(),
            size: 1,
            sha256: "0".repeat(64),
        };
        let sets = Sets {
            kernel: None,
            qemu: vec![package.clone()],
            guest: vec![package.clone()],
            video: Vec::new(),
        };

        assert_eq!(sets.all(), [(&package, vec!["qemu", "guest"])]);
    }

    #[test]
    fn the_error_names_the_series_that_are_there() {
        let error = PackagesError::NoSeries {
            there: vec!["6.12".to_owned(), "7.2".to_owned()],
        };

        assert_eq!(
            error.to_string(),
            "the mirror has no kernel of series 7.3; it has 6.12, 7.2"
        );
    }
}
