// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the host has, lacks and would use.

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;

use crate::architecture::{self, Architecture};
use crate::host::cancel::Cancel;
use crate::host::mirror::{self, MirrorError, find_program, os_release};
use crate::host::namespace::Namespaces;
use crate::host::privilege::RunAs;
use crate::host::process::Runner;
use crate::qemu;
use crate::setup::error::SetupError;
use crate::setup::error::namespaces_cure;
use crate::setup::options::SetupOptions;
use crate::setup::plan::Plan;
use crate::setup::stamp::{Base, Stamp};
use crate::store::cache::{Cache, free, size};

/// Room that a first set-up takes on disk, packages included, bytes.
const DISK: u64 = 3 << 30;
/// Memory that building the kernel's metadata and running a guest take, bytes.
const MEMORY: u64 = 2 << 30;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, but something is worth knowing.
    Warns,
    /// A set-up cannot succeed without it.
    Lacks,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or three.
    pub what: String,
    /// How it is to be taken.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it; a command where there is one.
    pub cure: Option<String>,
}

fn finding(what: &str, status: Status, detail: impl Into<String>, cure: Option<&str>) -> Finding {
    Finding {
        what: what.to_owned(),
        status,
        detail: detail.into(),
        cure: cure.map(str::to_owned),
    }
}

/// Which kernel series there are for an architecture, which of them are set up, and what is built for each.
fn kernels(options: &SetupOptions, architecture: &Architecture, cache: &Cache) -> Finding {
    let mut missing = false;
    let told = architecture.series().into_iter().map(|series| {
        let plan = Plan::new(&SetupOptions {
            architecture: Some(architecture.name.to_owned()),
            series: Some(series.to_owned()),
            ..options.clone()
        });
        let base = plan.as_ref().ok();
        let base = base.and_then(|plan| Base::load(cache, &plan.base_key));
        missing |= base.is_none();
        let there = base.map_or_else(|| "not set up".to_owned(), |base| base.release);
        let modules = match plan.is_ok_and(|plan| plan.series.rust) {
            true => "C and Rust",
            false => "C",
        };
        format!("{series} ({there}; modules in {modules})")
    });
    let told: Vec<_> = told.collect();
    let command = match architecture.is_foreign() {
        true => format!("landfall setup --kernels --arch {architecture}"),
        false => "landfall setup --kernels".to_owned(),
    };
    let cure = missing.then_some(&*command);
    let what = format!("kernel series, {architecture}");
    finding(&what, Status::Ok, told.join(", "), cure)
}

/// Looks at the host and the cache; changes neither. Takes up to a few seconds, uses no network.
pub fn doctor(options: &SetupOptions) -> Vec<Finding> {
    let mut findings = vec![machine()];
    let logs = tempfile::tempdir();
    let debian = options.qemu.is_none() || options.kernel.is_none();
    match &logs {
        Ok(logs) => {
            let runner = Runner::new(&Cancel::default(), logs.path());
            if debian {
                findings.push(packages(options, &runner));
            }
            if options.kernel.is_none() {
                findings.push(namespaces(&runner));
            } else if options.kdir.is_some() {
                findings.push(program("make", "the modules are built with it"));
            }
            if let Some(own) = &options.qemu {
                findings.push(own_qemu(own, &runner));
            }
        }
        Err(error) => {
            let cure = Some("set TMPDIR to a directory that can be written");
            findings.push(finding(
                "temporary files",
                Status::Lacks,
                error.to_string(),
                cure,
            ));
        }
    }
    findings.extend([
        privilege(&RunAs::of_this_process()),
        kvm(Path::new("/dev/kvm")),
        memory(),
        processors(),
    ]);
    let cache =
        Cache::new(&std::path::absolute(&options.cache).unwrap_or_else(|_| options.cache.clone()));
    let plan = Plan::new(options);
    let ready = plan
        .as_ref()
        .ok()
        .and_then(|plan| Stamp::load(&cache, &plan.key)?.prepared(&cache, &plan.key, true));
    if options.kernel.is_none() {
        let of = |architecture| kernels(options, architecture, &cache);
        findings.extend(architecture::ALL.map(of));
    }
    findings.push(disk(&cache, ready.is_some()));
    findings.push(cache_size(&cache));
    findings.push(match (plan, ready) {
        (Err(error), _) => finding("options", Status::Lacks, with_sources(&error), None),
        (Ok(_), Some(ready)) => {
            let detail = format!(
                "Linux {}, QEMU {}, {}; lock file {}",
                ready.kernel_release,
                ready.qemu.version,
                if ready.lock.rustc_version.is_empty() {
                    "own modules"
                } else {
                    &ready.lock.rustc_version
                },
                ready.lock_file.display()
            );
            finding("set-up", Status::Ok, detail, None)
        }
        (Ok(plan), None) => match Base::load(&cache, &plan.base_key) {
            Some(base) => {
                let detail = format!(
                    "Linux {} is there; modules or guest are to be rebuilt (seconds)",
                    base.release
                );
                finding("set-up", Status::Ok, detail, None)
            }
            None => finding(
                "set-up",
                Status::Warns,
                "nothing is set up yet",
                Some("landfall setup"),
            ),
        },
    });
    findings
}

fn machine() -> Finding {
    let machine =
        nix::sys::utsname::uname().map(|names| names.machine().to_string_lossy().into_owned());
    match machine {
        Ok(machine) if machine == "x86_64" => finding("machine", Status::Ok, machine, None),
        other => {
            let cure = Some("use an x86-64 Linux machine; the tools are for those");
            finding("machine", Status::Lacks, other.unwrap_or_default(), cure)
        }
    }
}

fn packages(options: &SetupOptions, runner: &Runner) -> Finding {
    let (_, host) = os_release();
    match mirror::find(options.mirror.as_deref(), runner) {
        Ok(mirror) => {
            let detail = format!("{host}; {} with {}", mirror.uri, mirror.keyring.display());
            finding("packages", Status::Ok, detail, None)
        }
        Err(error) => {
            let detail = with_sources(&error);
            let cure = match error {
                MirrorError::Command(_) => {
                    Some("look at what `apt-get indextargets` says".to_owned())
                }
                error => SetupError::Mirror(error).hint(),
            };
            finding("packages", Status::Lacks, detail, cure.as_deref())
        }
    }
}

fn namespaces(runner: &Runner) -> Finding {
    match Namespaces::find(runner) {
        Ok(found) => {
            let how = if found.is_user() {
                "user namespaces work"
            } else {
                "works as root"
            };
            finding("toolchain's chroot", Status::Ok, how, None)
        }
        Err(error) => finding(
            "toolchain's chroot",
            Status::Lacks,
            with_sources(&error),
            Some(&namespaces_cure()),
        ),
    }
}

fn program(name: &str, why: &str) -> Finding {
    match find_program(name) {
        Some(path) => finding(name, Status::Ok, path.display().to_string(), None),
        None => finding(
            name,
            Status::Lacks,
            format!("not found; {why}"),
            Some("install it"),
        ),
    }
}

fn privilege(run_as: &RunAs) -> Finding {
    let (status, detail) = match run_as {
        RunAs::Self_ => (Status::Ok, "as this user".to_owned()),
        RunAs::Nobody(user) => (Status::Ok, format!("as user {user}, who owns nothing")),
        RunAs::Root(why) => (Status::Warns, format!("as root: {why}")),
    };
    let cure = match status {
        Status::Ok => None,
        _ => Some("run Landfall as an ordinary user"),
    };
    finding("QEMU runs", status, detail, cure)
}

fn own_qemu(own: &Path, runner: &Runner) -> Finding {
    match qemu::check(qemu::own(own), runner) {
        Ok(qemu) => finding(
            "QEMU",
            Status::Ok,
            format!(
                "{} {}{}",
                own.display(),
                qemu.version,
                if qemu.sandbox {
                    ""
                } else {
                    ", without libseccomp: not sandboxed"
                }
            ),
            None,
        ),
        Err(error) => {
            let detail = with_sources(&error);
            finding(
                "QEMU",
                Status::Lacks,
                detail,
                SetupError::Qemu(error).hint().as_deref(),
            )
        }
    }
}

fn kvm(device: &Path) -> Finding {
    let what = "KVM";
    if !device.exists() {
        let cure = Some("none needed: guests run under TCG, some seconds slower to boot");
        return finding(
            what,
            Status::Warns,
            format!("{} is not there", device.display()),
            cure,
        );
    }
    match File::options().read(true).write(true).open(device) {
        Ok(_) => {
            let detail = format!(
                "{} opens; whether it works is tried with a real boot",
                device.display()
            );
            finding(what, Status::Ok, detail, None)
        }
        Err(error) => {
            let cure =
                Some("usermod -aG kvm $USER, and log in again; guests run under TCG until then");
            finding(
                what,
                Status::Warns,
                format!("{}: {error}", device.display()),
                cure,
            )
        }
    }
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = available(&text);
    let detail = format!("{} MB available", free >> 20);
    if free >= MEMORY {
        finding("memory", Status::Ok, detail, None)
    } else {
        let cure = Some("end other programs; a set-up takes up to 2 GB, a guest 0.4 GB");
        finding("memory", Status::Warns, detail, cure)
    }
}

/// `MemAvailable` of `/proc/meminfo`, bytes.
fn available(text: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0)
        << 10
}

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    if count >= 2 {
        finding("processors", Status::Ok, count.to_string(), None)
    } else {
        let cure = Some("none needed: a first set-up takes about twice as long");
        finding("processors", Status::Warns, count.to_string(), cure)
    }
}

fn disk(cache: &Cache, ready: bool) -> Finding {
    match free(cache.root()) {
        Ok(free) => {
            let detail = format!("{} MB free for {}", free >> 20, cache.root().display());
            if ready || free >= DISK {
                finding("disk", Status::Ok, detail, None)
            } else {
                let cure = format!(
                    "free {} MB, or move the cache with LANDFALL_CACHE",
                    DISK >> 20
                );
                finding("disk", Status::Lacks, detail, Some(&cure))
            }
        }
        Err(error) => finding("disk", Status::Warns, error.to_string(), None),
    }
}

fn cache_size(cache: &Cache) -> Finding {
    match size(cache.root()) {
        Ok(size) => {
            let detail = format!("{}, {} MB", cache.root().display(), size.total >> 20);
            finding("cache", Status::Ok, detail, None)
        }
        Err(error) => {
            let cure = Some("make it readable, or choose another with LANDFALL_CACHE");
            finding(
                "cache",
                Status::Lacks,
                format!("{}: {error}", cache.root().display()),
                cure,
            )
        }
    }
}

/// An error and what lies below it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lack_has_a_cure_and_the_set_up_is_named() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let options = SetupOptions {
            mirror: Some("nonsense".to_owned()),
            ..SetupOptions::new(directory.path().join("cache"))
        };

        let findings = doctor(&options);

        let packages = findings.iter().find(|finding| finding.what == "packages");
        assert_eq!(
            packages.map(|finding| finding.status),
            Some(Status::Lacks),
            "{findings:?}"
        );
        assert!(
            findings
                .iter()
                .any(|finding| finding.what == "set-up" && finding.status == Status::Warns)
        );
        assert!(
            !directory.path().join("cache").exists(),
            "the doctor changes nothing"
        );
        Ok(())
    }

    #[test]
    fn missing_kvm_is_a_warning() {
        assert_eq!(kvm(Path::new("/dev/no-such-kvm")).status, Status::Warns);
    }

    #[test]
    fn available_memory_is_read() {
        assert_eq!(
            available("MemTotal: 8 kB\nMemAvailable:   2048 kB\n"),
            2 << 20
        );
        assert_eq!(available(""), 0);
    }
}
