// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which packages a set-up is made of.

use std::path::PathBuf;

use crate::architecture::{Architecture, Series};
use crate::debian::apt::{Apt, BACKPORTS, Chosen, RELEASE};
use crate::host::process::CommandError;

/// What the modules are built with besides a compiler for C. All of it comes from [`RELEASE`], above all rustc: the kernel was built
/// with that one, and Rust's metadata is tied to the compiler.
const TOOLCHAIN: [&str; 23] = [
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
/// What programs in Rust for guests are built with, by a compiler that is new enough for this workspace.
const RUST: [&str; 7] = ["cargo", "coreutils", "dash", "gcc-14", "gzip", "sed", "tar"];
/// Rust's own library, which is there for each architecture.
const RUST_LIBRARY: &str = "libstd-rust-dev";
/// The guest's shell and tools.
const GUEST: &str = "busybox-static";
/// What uses video devices in a guest that asks for it.
pub(crate) const VIDEO: &str = "v4l-utils";

/// The packages could not be chosen.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The mirror has no kernel of the series.
    #[error(
        "the mirror has no kernel of series {series}; it has {}",
        if there.is_empty() { "none at all".to_owned() } else { there.join(", ") }
    )]
    NoSeries {
        /// Which.
        series: &'static str,
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
    /// The kernel's source has no module of one file, or folder with a Makefile and a Kconfig, there, or it is not known which source the kernel has.
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
    /// What the agent is built with; empty if it is there.
    pub(crate) agent: Vec<Chosen>,
    /// Empty without a kernel of Debian's, whose drivers it is for.
    pub(crate) video: Vec<Chosen>,
}

/// A kernel of Debian's, what it was built from, and what it was built with.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) series: &'static Series,
    /// `uname -r`.
    pub(crate) release: String,
    /// What modules are built against.
    pub(crate) against: Against,
    /// Image and modules, which guests need.
    pub(crate) image: Vec<Chosen>,
    pub(crate) toolchain: Vec<Chosen>,
}

/// What modules are built against.
#[derive(Clone, Debug)]
pub(crate) enum Against {
    /// The kernel's source, and its configuration and symbol table: Rust's metadata is made of them.
    Source {
        config: Vec<Chosen>,
        source: Vec<Chosen>,
    },
    /// The distribution's headers, which are enough for modules in C.
    Headers(Vec<Chosen>),
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
            match &kernel.against {
                Against::Source { config, source } => {
                    sets.push((source, "source"));
                    sets.push((config, "kernel"));
                }
                Against::Headers(headers) => sets.push((headers, "kernel")),
            }
            sets.push((&kernel.image, "kernel"));
        }
        sets.push((&self.qemu, "qemu"));
        sets.push((&self.guest, "guest"));
        sets.push((&self.agent, "agent"));
        sets.push((&self.video, "video"));
        sets
    }
}

/// Chooses the newest versions that the mirror has.
pub(crate) fn choose(
    apt: &Apt,
    architecture: &Architecture,
    kernel: Option<&'static Series>,
    qemu: bool,
) -> Result<Sets, PackagesError> {
    let of_guest = |name| closure(apt, RELEASE, &[&architecture.package(name)]);
    Ok(Sets {
        kernel: kernel
            .map(|series| choose_kernel(apt, architecture, series))
            .transpose()?,
        qemu: match qemu {
            true => closure(apt, BACKPORTS, &[architecture.emulator.0])?,
            false => Vec::new(),
        },
        guest: of_guest(GUEST)?,
        agent: match architecture.has_agent() {
            true => Vec::new(),
            false => choose_rust(apt, architecture)?,
        },
        video: match kernel {
            Some(_) => of_guest(VIDEO)?,
            None => Vec::new(),
        },
    })
}

/// What programs in Rust are built with for an architecture: of Rust's library there its own files alone, none that would run.
fn choose_rust(apt: &Apt, architecture: &Architecture) -> Result<Vec<Chosen>, PackagesError> {
    let programs = RUST.iter().chain(architecture.compiler);
    let programs: Vec<&str> = programs.chain(architecture.libc).copied().collect();
    let mut chosen = closure(apt, BACKPORTS, &programs)?;
    let version = chosen.iter().find(|package| package.name == RUST_LIBRARY);
    let version = version.map_or_else(String::new, |package| format!("={}", package.version));
    let library = architecture.package(RUST_LIBRARY);
    chosen.extend(look_up(apt, &[library + &version])?);
    Ok(chosen)
}

fn choose_kernel(
    apt: &Apt,
    architecture: &Architecture,
    series: &'static Series,
) -> Result<Kernel, PackagesError> {
    let names = apt.names(&format!("{HEADERS}{}.", series.name))?;
    let releases = releases(&names, architecture);
    let plain = |part: &str, release: &String| format!("linux-{part}-{release}");
    let whole = |part: &str, release: &String| architecture.package(&plain(part, release));
    let parts = |part| releases.iter().map(move |release| whole(part, release));
    let versions = apt.versions(
        &parts("headers")
            .chain(parts("binary"))
            .collect::<Vec<String>>(),
    )?;
    let source = format!("linux-source-{}", series.name);
    let sources = apt.versions(std::slice::from_ref(&source))?;
    for release in &releases {
        let Some(version) = versions
            .get(&plain("headers", release))
            .and_then(|versions| versions.first())
        else {
            continue;
        };
        // The source must be that of this very kernel.
        let has_source = sources
            .get(&source)
            .is_some_and(|sources| sources.contains(version));
        if series.rust && !has_source {
            continue;
        }
        let exactly = |parts: &[&str]| -> Vec<String> {
            let exact = |part: &&str| format!("{}={version}", whole(part, release));
            parts.iter().map(exact).collect()
        };
        // Newer kernels come in parts.
        let image: &[&str] = match versions.contains_key(&plain("binary", release)) {
            true => &["binary", "modules"],
            false => &["image"],
        };
        return Ok(Kernel {
            series,
            against: match series.rust {
                true => Against::Source {
                    config: look_up(apt, &exactly(&["base", "headers"]))?,
                    source: look_up(apt, &[format!("{source}={version}")])?,
                },
                false => Against::Headers(headers(apt, &whole("headers", release))?),
            },
            image: look_up(apt, &exactly(image))?,
            toolchain: {
                let programs = TOOLCHAIN.iter().chain(architecture.compiler);
                closure(apt, RELEASE, &programs.copied().collect::<Vec<_>>())?
            },
            release: release.clone(),
        });
    }
    let names = apt.names("linux-source-")?;
    let versions = apt.versions(&names)?;
    let there = names
        .iter()
        .filter(|name| versions.contains_key(*name))
        .filter_map(|name| name.strip_prefix("linux-source-"))
        .map(str::to_owned)
        .collect();
    Err(PackagesError::NoSeries {
        series: series.name,
        there,
    })
}

/// How the packages of headers begin.
const HEADERS: &str = "linux-headers-";

/// The headers of a kernel: its own, those of all kernels of its version, and the programs that build with them.
fn headers(apt: &Apt, package: &str) -> Result<Vec<Chosen>, PackagesError> {
    let mut all = apt.closure(RELEASE, &[package])?;
    all.retain(|name| name.starts_with(HEADERS) || name.starts_with("linux-kbuild-"));
    look_up(apt, &all)
}

/// Releases of an architecture's plain kernels among names of packages of headers, newest first.
fn releases(names: &[String], architecture: &Architecture) -> Vec<String> {
    let flavour = format!("-{architecture}");
    let mut releases: Vec<(Vec<u64>, String)> = names
        .iter()
        .filter_map(|name| name.strip_prefix(HEADERS))
        .filter(|release| {
            // Version, and perhaps the number of its binary interface: no flavour.
            let plain = |part: &str| part.starts_with(|first: char| first.is_ascii_digit());
            let version = release.strip_suffix(&*flavour);
            version.is_some_and(|version| version.split('-').all(plain))
        })
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

/// Of these packages (`name`, with `:architecture` and `=version` or not) what apt knows of them.
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
    use crate::architecture::HOST;

    #[test]
    fn the_newest_plain_kernel_comes_first() {
        let names = [
            "linux-headers-7.3.4+deb13-amd64",
            "linux-headers-7.3.12+deb13-amd64",
            "linux-headers-7.3.12+deb13-rt-amd64",
            "linux-headers-7.3.12+deb13-cloud-amd64",
            "linux-headers-7.3.12+deb13-common",
            "linux-headers-7.3.12+deb13-arm64",
        ];

        let releases = releases(&names.map(str::to_owned), HOST);

        assert_eq!(releases, ["7.3.12+deb13-amd64", "7.3.4+deb13-amd64"]);
        let names = [
            "linux-headers-6.1.0-9-amd64",
            "linux-headers-6.1.0-50-amd64",
        ];
        let releases = super::releases(&names.map(str::to_owned), HOST);
        assert_eq!(releases, ["6.1.0-50-amd64", "6.1.0-9-amd64"]);
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
            agent: Vec::new(),
            video: Vec::new(),
        };

        assert_eq!(sets.all(), [(&package, vec!["qemu", "guest"])]);
    }

    #[test]
    fn the_error_names_the_series_that_are_there() {
        let error = PackagesError::NoSeries {
            series: "7.3",
            there: vec!["6.12".to_owned(), "7.2".to_owned()],
        };

        assert_eq!(
            error.to_string(),
            "the mirror has no kernel of series 7.3; it has 6.12, 7.2"
        );
    }
}
