// SPDX-License-Identifier: MIT OR Apache-2.0

//! A private apt root: indexes and packages in the cache, nothing of the host but its mirror and keyring.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::architecture::{Architecture, HOST};
use crate::host::mirror::Mirror;
use crate::host::process::{CommandError, Job, Runner};

/// The release that QEMU's dependencies and the toolchain come from.
pub(crate) const RELEASE: &str = "trixie";
/// Where QEMU and the kernel come from.
pub(crate) const BACKPORTS: &str = "trixie-backports";

/// Time for one question to apt's own indexes.
const ASK: Duration = Duration::from_secs(120);
/// Time to fetch the indexes: 12 MB.
const UPDATE: Duration = Duration::from_secs(15 * 60);
/// Time to fetch the packages: 600 MB.
const FETCH: Duration = Duration::from_secs(3 * 60 * 60);

/// A package that apt has chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// Name of the `.deb` in the archives.
    pub(crate) file: String,
    pub(crate) size: u64,
    /// Hex; empty as long as apt was not asked for it.
    pub(crate) sha256: String,
}

impl Chosen {
    /// This very one, as apt takes it.
    fn exactly(&self) -> String {
        let (name, version) = (&self.name, &self.version);
        match &*self.architecture {
            "all" => format!("{name}={version}"),
            architecture => format!("{name}:{architecture}={version}"),
        }
    }
}

/// The private root.
#[derive(Clone, Debug)]
pub(crate) struct Apt {
    root: PathBuf,
    runner: Runner,
}

impl Apt {
    /// Writes the root's configuration, for the host's packages and those of an architecture of guests, with `another` suite
    /// than the usual ones if there is one; what was fetched before stays.
    pub(crate) fn create(
        root: &Path,
        mirror: &Mirror,
        architecture: &Architecture,
        another: Option<&str>,
        runner: &Runner,
    ) -> io::Result<Self> {
        for directory in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "none/partial",
            "var/lib/dpkg",
        ] {
            fs::create_dir_all(root.join(directory))?;
        }
        fs::write(root.join("var/lib/dpkg/status"), "")?;
        let (uri, keyring) = (&mirror.uri, mirror.keyring.display());
        let mut architectures = vec![HOST.name];
        architectures.extend(architecture.is_foreign().then_some(architecture.name));
        let list = architectures.join(",");
        let line =
            |suite: &str| format!("deb [signed-by={keyring} arch={list}] {uri} {suite} main\n");
        let suites = [RELEASE, BACKPORTS].into_iter().chain(another);
        let lines: String = suites.map(line).collect();
        fs::write(root.join("etc/apt/sources.list"), lines)?;
        fs::write(
            root.join("apt.conf"),
            configuration(root, mirror, &architectures),
        )?;
        Ok(Self {
            root: root.to_owned(),
            runner: runner.clone(),
        })
    }

    /// Where fetched packages lie.
    pub(crate) fn archives(&self) -> PathBuf {
        self.root.join("var/cache/apt/archives")
    }

    /// Fetches the indexes and checks their signatures.
    pub(crate) fn update(&self) -> Result<(), CommandError> {
        let mut command = self.command("apt-get");
        // A fetch that failed is an error, not a warning with old indexes.
        command.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        let job = job("fetching package indexes", UPDATE);
        self.runner.run(&mut command, &job, &mut || {})
    }

    /// Versions that the indexes have of each of these packages, newest first as apt lists them; the names without their
    /// architecture.
    pub(crate) fn versions(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, Vec<String>>, CommandError> {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if names.is_empty() {
            return Ok(versions);
        }
        let mut command = self.command("apt-cache");
        command.arg("madison").args(names);
        let told = self
            .runner
            .output(&mut command, &job("asking for versions", ASK))?;
        for line in told.lines().filter(|line| line.ends_with(" Packages")) {
            if let [name, version, ..] = line
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .as_slice()
            {
                let name = name.split(':').next().unwrap_or(name);
                versions
                    .entry(name.to_owned())
                    .or_default()
                    .push((*version).to_owned());
            }
        }
        Ok(versions)
    }

    /// Names of packages that begin so; some may be mentioned only and not there (see [`Apt::versions`]).
    pub(crate) fn names(&self, beginning: &str) -> Result<Vec<String>, CommandError> {
        let mut command = self.command("apt-cache");
        command.args(["pkgnames", beginning]);
        let told = self
            .runner
            .output(&mut command, &job("asking for package names", ASK))?;
        let mut names: Vec<String> = told.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// These packages and all they depend on, as `name=version`, preferring versions of `suite`.
    pub(crate) fn closure(
        &self,
        suite: &str,
        packages: &[&str],
    ) -> Result<Vec<String>, CommandError> {
        let mut command = self.command("apt-get");
        command
            .args([
                "install",
                "--yes",
                "--no-install-recommends",
                "--print-uris",
                "-t",
                suite,
            ])
            .args(packages);
        let told = self
            .runner
            .output(&mut command, &job("choosing packages", ASK))?;
        Ok(chosen(&told)
            .into_iter()
            .map(|package| package.exactly())
            .collect())
    }

    /// Size and checksum of each of these packages (`name:architecture=version`).
    pub(crate) fn look_up(&self, packages: &[String]) -> Result<Vec<Chosen>, CommandError> {
        let mut command = self.command("apt-get");
        command.args(["download", "--print-uris"]).args(packages);
        let told = self
            .runner
            .output(&mut command, &job("asking for checksums", ASK))?;
        Ok(chosen(&told))
    }

    /// Fetches packages that are not there yet. `tick` is called meanwhile.
    pub(crate) fn fetch(
        &self,
        packages: &[Chosen],
        tick: &mut dyn FnMut(),
    ) -> Result<(), CommandError> {
        let archives = self.archives();
        let wanted: Vec<String> = packages
            .iter()
            .filter(|package| !is_there(&archives, package))
            .map(Chosen::exactly)
            .collect();
        if !wanted.is_empty() {
            let mut command = self.command("apt-get");
            command.arg("download").args(wanted).current_dir(&archives);
            let job = job("fetching packages", FETCH);
            self.runner.run(&mut command, &job, tick)?;
        }
        tick();
        Ok(())
    }

    /// Bytes of these packages that are there, those of half-fetched ones included.
    pub(crate) fn fetched(&self, packages: &[Chosen]) -> u64 {
        let archives = self.archives();
        let there = |package: &Chosen| length(&archives.join(&package.file)).min(package.size);
        packages.iter().map(there).sum()
    }

    /// Bytes of these packages that are still to be fetched.
    pub(crate) fn missing(&self, packages: &[Chosen]) -> u64 {
        let archives = self.archives();
        let missing = packages
            .iter()
            .filter(|package| !is_there(&archives, package));
        missing.map(|package| package.size).sum()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // The configuration file names the private root before apt would look at the host's.
        command
            .env("APT_CONFIG", self.root.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

fn job(what: &'static str, limit: Duration) -> Job<'static> {
    Job {
        what,
        log: "apt",
        limit,
    }
}

/// apt's configuration. `Dir::Cache::Archives` is an empty directory, so that apt names every package when it
/// is asked for what it would fetch; `download` puts packages into the working directory instead.
fn configuration(root: &Path, mirror: &Mirror, architectures: &[&str]) -> String {
    let architectures: String = architectures
        .iter()
        .map(|name| format!("\"{name}\"; "))
        .collect();
    let settings = &mirror.settings;
    let root = root.display();
    format!(
        r#"Dir "{root}/";
Dir::Etc "{root}/etc/apt/";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Cache::Archives "{root}/none/";
Debug::NoLocking "true";
APT::Architecture "{HOST}";
APT::Architectures {{ {architectures}}};
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "60";
Acquire::https::Timeout "60";
{settings}"#
    )
}

/// Reads `'URI' file size HASH:hex` lines.
fn chosen(told: &str) -> Vec<Chosen> {
    let mut packages: Vec<Chosen> = told
        .lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| {
            let (_, rest) = line.split_once("' ")?;
            let mut words = rest.split_ascii_whitespace();
            let (file, size, hash) = (words.next()?, words.next()?, words.next().unwrap_or(""));
            let mut parts = file.strip_suffix(".deb")?.splitn(3, '_');
            Some(Chosen {
                name: parts.next()?.to_owned(),
                version: parts.next()?.replace("%3a", ":"),
                architecture: parts.next()?.to_owned(),
                file: file.to_owned(),
                size: size.parse().ok()?,
                sha256: hash.strip_prefix("SHA256:").unwrap_or("").to_owned(),
            })
        })
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

fn is_there(archives: &Path, package: &Chosen) -> bool {
    length(&archives.join(&package.file)) == package.size
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |status| status.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_is_read_epoch_and_all() {
        let told = "Reading package lists...\n\
            'http://mirror.test/pool/q_1.deb' qemu_1%3a11.1.3+ds-1_amd64.deb 10377056 SHA256:ab01\n\
            'http://mirror.test/pool/r.deb' rust-src_1.85.1_all.deb 46863940 MD5Sum:a2\n\
            'http://mirror.test/broken' nonsense\n";

        let packages = chosen(told);

        let [qemu, rust] = packages.as_slice() else {
            panic!("{packages:?}");
        };
        assert_eq!(
            (qemu.name.as_str(), qemu.version.as_str()),
            ("qemu", "1:11.1.3+ds-1")
        );
        assert_eq!((qemu.size, qemu.sha256.as_str()), (10_377_056, "ab01"));
        assert_eq!(
            (rust.architecture.as_str(), rust.sha256.as_str()),
            ("all", "")
        );
    }
}
