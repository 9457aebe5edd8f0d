// SPDX-License-Identifier: MIT OR Apache-2.0

//! The debug kernel: the distribution's source, small, with the kernel's own checks built in.
//!
//! `guest-image/debug.config` says what is in it. It is built on demand only, with the toolchain of the set-up, from the
//! source that the set-up was made of, which is fetched again: of that only parts are kept. It takes no modules in
//! Rust, so that its guests have Landfall's C modules alone, and no pool.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::architecture::HOST;
use crate::debian::apt::{Apt, Chosen};
use crate::debian::packages::PackagesError;
use crate::debian::unpack::{UnpackError, unpack};
use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::host::follow::Follow;
use crate::host::namespace::Namespaces;
use crate::host::process::{CommandError, Job, Runner};
use crate::kernel::metadata::extract;
use crate::kernel::modules::{self, With};
use crate::prepared::{Kernel, Prepared};
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::parts;
use crate::setup::plan::Plan;
use crate::setup::stamp::{self, Base};
use crate::setup::work::{MIRROR_SPEED, Making, Work};
use crate::setup::{Booted, GONE, hold, work};
use crate::store::cache::{Cache, Entry, remove};
use crate::store::hash::Key;
use crate::store::lock::Package;
use crate::store::snapshots::{SNAPSHOT_LIMIT, Snapshots};

/// What is configured; all else is as `make allnoconfig` leaves it.
const CONFIGURATION: &str = include_str!("../../debug.config");
/// Changes whenever the recipe below does, so that kernels made by older ones are not used.
const RECIPE: &str = "1";
/// Time to build it: minutes on two cores.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
const LOG: &str = "debug-kernel";
/// Bytes on disk while it is built, seconds on two cores; as measured.
const DISK: u64 = 2600 << 20;
const SECONDS: u64 = 10 * 60;

/// The debug kernel was not built.
#[derive(Debug, thiserror::Error)]
pub enum DebugKernelError {
    /// A file cannot be read or written.
    #[error("a file of the debug kernel cannot be used")]
    File(#[from] io::Error),
    /// The set-up was imported, or has a kernel that was brought along: there is no source and no toolchain.
    #[error("this set-up has no toolchain to build it with")]
    NoToolchain,
    /// The source's package did not unpack.
    #[error("the kernel's source did not unpack")]
    Unpack(#[from] UnpackError),
    /// It is not built for these guests.
    #[error("it is built for {HOST} alone so far, and guests are to be {0}")]
    Architecture(&'static str),
    /// A program failed.
    #[error("the debug kernel did not build")]
    Command(#[from] CommandError),
    /// This kernel's source has another configuration than `debug.config` asks for.
    #[error("the configuration came out without {}", options.join(", "))]
    Configuration {
        /// Lines that were asked for.
        options: Vec<String>,
    },
}

/// Whether the debug kernel of these options has been built. Then [`prepare_debug`] takes seconds, else minutes.
pub fn debug_kernel_is_there(options: &SetupOptions) -> bool {
    let Ok(plan) = Plan::new(options) else {
        return false;
    };
    let cache = Cache::new(&options.cache);
    let base = Base::load(&cache, &plan.base_key);
    base.and_then(|base| Parts::of(&base, &cache))
        .is_some_and(|parts| parts.entry.exists())
}

/// Makes sure that the debug kernel is in the cache, and gives what its guests are made of: that of `prepared`, which
/// [`prepare`](crate::prepare) gave for the same options, with another kernel, its modules and its initramfs.
///
/// Warm, it takes milliseconds. The kernel is built once for each source, toolchain and configuration; other modules
/// take seconds. Two at once share one, and what is half-made is never used.
///
/// # Errors
/// See [`SetupError`]; [`DebugKernelError::NoToolchain`] with a set-up that was imported or has its own kernel.
pub fn prepare_debug(
    options: &SetupOptions,
    prepared: &Prepared,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Prepared, SetupError> {
    let plan = Plan::new(options)?;
    if plan.architecture.is_foreign() {
        return Err(DebugKernelError::Architecture(plan.architecture.name).into());
    }
    let root = std::path::absolute(&options.cache).unwrap_or_else(|_| options.cache.clone());
    let cache = Cache::new(&root);
    let failed = |source| SetupError::Cache {
        path: root.clone(),
        source,
    };
    let limit = options.snapshot_limit.unwrap_or(SNAPSHOT_LIMIT);
    let file = parts::Parts::path(&cache, &DebugStamp::parts_key(&plan.key));
    let ready = |warm| {
        let stamp = DebugStamp::load(&cache, &plan.key)?;
        let ready = stamp.prepared(prepared, &cache, limit, warm)?;
        let parts_file = file.clone();
        Some(Prepared {
            parts_file,
            ..ready
        })
    };
    let damaged = || parts::damaged(&cache, &file, options.verify);
    let whole = || {
        let ready = ready(true).filter(|_| damaged().is_empty())?;
        parts::record(&cache, &ready);
        Some(ready)
    };
    if let Some(ready) = whole() {
        return Ok(ready);
    }
    cache.create().map_err(failed)?;
    let guard = hold(&cache, cancel, on_event)?;
    // The other one may have made just this.
    if let Some(ready) = whole() {
        return Ok(ready);
    }
    let files = damaged();
    if !files.is_empty() {
        on_event(Event::Damaged {
            files: files.clone(),
        });
    }
    parts::forget(&cache, &file, &files).map_err(failed)?;
    cache.sweep(&guard).map_err(failed)?;
    let none = || SetupError::from(DebugKernelError::NoToolchain);
    let base = Base::load(&cache, &plan.base_key).ok_or_else(none)?;
    let made_of = Parts::of(&base, &cache).ok_or_else(none)?;

    let runner = Runner::new(cancel, &cache.logs());
    // Indexes, download and kernel; modules and initramfs.
    let steps = if made_of.entry.exists() { 2 } else { 5 };
    work(&cache, &runner, steps, cancel, on_event, |work| {
        work.debug_kernel(&plan, &base, &made_of, options.mirror.as_deref())
    })?;
    let ready = ready(false).ok_or_else(|| failed(io::Error::other(GONE)))?;
    parts::record(&cache, &ready);
    Ok(ready)
}

/// Which entries a debug kernel's guests are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DebugStamp {
    release: String,
    kernel: String,
    modules: String,
    initramfs: String,
    module_names: Vec<String>,
    module_warnings: Vec<String>,
    timings: Vec<(Step, Duration)>,
}

impl DebugStamp {
    pub(crate) fn load(cache: &Cache, key: &str) -> Option<Self> {
        stamp::load(&Self::path(cache, key))
    }

    pub(crate) fn path(cache: &Cache, key: &str) -> PathBuf {
        cache.setups().join(format!("debug-{key}.json"))
    }

    /// What its parts are remembered by.
    pub(crate) fn parts_key(key: &str) -> String {
        format!("debug-{key}")
    }

    pub(crate) fn entries(&self) -> [String; 3] {
        [&self.kernel, &self.modules, &self.initramfs].map(String::clone)
    }

    /// Names what a guest boots, for snapshots of it.
    pub(crate) fn guest(&self) -> String {
        format!("{} {}", self.kernel, self.initramfs)
    }

    /// What the caller gets; `None` if a part of it has gone.
    fn prepared(&self, of: &Prepared, cache: &Cache, limit: u64, warm: bool) -> Option<Prepared> {
        let entries = cache.entries();
        let prepared = Prepared {
            kernel: Kernel::Debug,
            vmlinux: entries.join(&self.kernel).join("vmlinux"),
            bzimage: None,
            stock: None,
            kernel_release: self.release.clone(),
            initramfs: entries.join(&self.initramfs).join("initramfs"),
            modules: self.module_names.clone(),
            module_warnings: self.module_warnings.clone(),
            timings: if warm {
                Vec::new()
            } else {
                self.timings.clone()
            },
            warm,
            snapshots: Snapshots::new(&of.writable, limit, &self.guest()),
            ..of.clone()
        };
        let there = prepared.vmlinux.is_file() && prepared.initramfs.is_file();
        there.then_some(prepared)
    }
}

/// The name of the entry that has, or would have, the debug kernel for this base.
pub(crate) fn entry_name(base: &Base, cache: &Cache) -> Option<String> {
    Some(Parts::of(base, cache)?.entry.name)
}

/// What modules for the debug kernel are built against: the source's parts, the kernel's build, its release and the name
/// of its entry. `None` if it is not there.
pub(crate) fn to_build_against(
    base: &Base,
    cache: &Cache,
) -> Option<(PathBuf, PathBuf, String, String)> {
    let parts = Parts::of(base, cache).filter(|parts| parts.entry.exists())?;
    let build = parts.entry.path.join("build");
    Some((parts.headers, build, parts.release, parts.entry.name))
}

/// What the kernel is made of.
struct Parts {
    entry: Entry,
    /// The package of its source.
    source: Chosen,
    toolchain: PathBuf,
    /// The parts of the source that modules need.
    headers: PathBuf,
    /// `uname -r`.
    release: String,
}

impl Parts {
    /// `None` if the set-up has no toolchain or no source.
    fn of(base: &Base, cache: &Cache) -> Option<Self> {
        let toolchain = base.toolchain.as_ref()?;
        let is_source = |package: &&Package| package.used_for.iter().any(|use_| use_ == "source");
        let source = chosen(base.packages.iter().find(is_source)?);
        let key = Key::new("debug-kernel")
            .text(RECIPE)
            .text(CONFIGURATION)
            .text(&source.sha256)
            .text(toolchain)
            .text(&base.release);
        let entries = cache.entries();
        Some(Self {
            entry: cache.entry("debug-kernel", &key.finish()),
            source,
            toolchain: entries.join(toolchain),
            headers: entries.join(base.metadata.as_ref()?).join("source"),
            release: format!("{}-debug", base.release),
        })
    }
}

/// Beside the source nothing is fetched.
pub(super) fn alone(_: &Apt) -> Result<Vec<Chosen>, PackagesError> {
    Ok(Vec::new())
}

/// A package as apt names it.
pub(super) fn chosen(package: &Package) -> Chosen {
    let version = package.version.replace(':', "%3a");
    Chosen {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        file: format!("{}_{version}_{}.deb", package.name, package.architecture),
        size: package.size,
        sha256: package.sha256.clone(),
    }
}

impl Work<'_> {
    fn debug_kernel(
        &self,
        plan: &Plan,
        base: &Base,
        parts: &Parts,
        mirror: Option<&str>,
    ) -> Result<(), SetupError> {
        let namespaces = Namespaces::find(self.runner)?;
        if !parts.entry.exists() {
            let source = &parts.source;
            let disk = DISK + source.size;
            let (archives, _) = self.fetch_source(source, alone, mirror, disk, SECONDS)?;
            self.reporter.step(
                Step::DebugKernel,
                format!("Linux {}", parts.release),
                || {
                    parts.entry.make(|entry| {
                        let mut line = |text: &str| self.reporter.line(Step::DebugKernel, text);
                        build(entry, parts, &archives, &namespaces, self.runner, &mut line)
                            .map_err(|error| Making(error.into()))
                    })
                },
            )?;
            let _ = remove(&self.cache.apt());
        }
        let build = parts.entry.path.join("build");
        let with = With::Debian {
            namespaces: &namespaces,
            toolchain: &parts.toolchain,
            source: &parts.headers,
            build: &build,
            release: &parts.release,
            architecture: plan.architecture,
            rust: false,
        };
        let modules = self.build_modules(&with, &parts.entry.name, &parts.release)?;
        let files =
            modules::built(&self.cache.entries().join(&modules)).map_err(self.cache_failed())?;
        let booted = Booted {
            vmlinux: PathBuf::from(&parts.entry.name).join("vmlinux"),
            bzimage: None,
            release: parts.release.clone(),
            entry: Some(parts.entry.name.clone()),
            stock: None,
        };
        let (initramfs, names) =
            self.initramfs(plan, base, &booted, &files, Some(&modules), None)?;
        let made = DebugStamp {
            release: parts.release.clone(),
            kernel: parts.entry.name.clone(),
            module_warnings: self.warnings(&modules),
            modules,
            initramfs,
            module_names: names,
            timings: self.reporter.timings(),
        };
        stamp::save(&DebugStamp::path(self.cache, &plan.key), &made).map_err(self.cache_failed())
    }

    /// Fetches the source's package, and those that `beside` chooses; gives the directory that they are in, and these. What is
    /// made of them takes so many bytes on disk, and seconds.
    pub(super) fn fetch_source(
        &self,
        source: &Chosen,
        beside: impl FnOnce(&Apt) -> Result<Vec<Chosen>, PackagesError>,
        mirror: Option<&str>,
        disk: u64,
        seconds: u64,
    ) -> Result<(PathBuf, Vec<Chosen>), SetupError> {
        let (uri, apt, beside) = self.with_indexes(mirror, HOST, None, beside)?;
        let wanted: Vec<Chosen> = beside.iter().chain([source]).cloned().collect();
        let total: u64 = wanted.iter().map(|package| package.size).sum();
        let missing = apt.missing(&wanted);
        let seconds = seconds + missing / MIRROR_SPEED;
        self.check_disk(missing, disk, total - missing, seconds)?;
        let detail = format!("{} {} from {uri}", source.name, source.version);
        self.reporter.step(Step::Download, detail, || {
            let mut tick = || {
                let fetched = apt.fetched(&wanted);
                self.reporter.bytes(Step::Download, fetched, total);
            };
            apt.fetch(&wanted, &mut tick)
                .map_err(|source| SetupError::Download {
                    mirror: uri.clone(),
                    source,
                })
        })?;
        Ok((apt.archives(), beside))
    }
}

/// Words for `tar` that leave out what this kernel surely does not need, two thirds of the source.
fn without(top: &str) -> String {
    let left_out = [
        "Documentation/*/*",
        "arch/[!x]*/*.[chS]",
        "drivers/gpu/*.[ch]",
        "drivers/infiniband/*.[ch]",
        "drivers/media/*.[ch]",
        "drivers/net/*.[ch]",
        "drivers/staging/*.[ch]",
        "net/*.[ch]",
        "sound/*.[ch]",
        "tools/perf/*",
        "tools/testing/*",
    ];
    let left_out = left_out.map(|part| format!("'--exclude={top}/{part}'"));
    format!("--anchored {}", left_out.join(" "))
}

/// `make` for this kernel. Who built it, and where, is not to be in it. Without `KASAN_SANITIZE_string.o` the PVH entry
/// calls an instrumented `memcmp` before KASAN has its shadow, and the guest dies at once.
fn make(release: &str) -> String {
    format!(
        "make -C /work/source O=/work/build CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 KERNELRELEASE='{release}' \
         KBUILD_BUILD_USER=landfall KBUILD_BUILD_HOST=landfall KASAN_SANITIZE_string.o=n"
    )
}

/// Keeps what modules are built with, and the kernel without its symbols; the table of addresses stays beside it.
const KEEP: &str = "cd /work/build\n\
    x86_64-linux-gnu-strip --strip-all -o /work/modules/vmlinux vmlinux\n\
    cp .config /work/modules/config\n\
    cp System.map /work/modules/System.map\n\
    find . -path ./scripts -prune -o -path ./tools -prune -o -type f \
        \\( -name '*.o' -o -name '*.a' -o -name '*.cmd' \\) -exec rm {} +\n\
    rm -f vmlinux vmlinux.* .tmp_vmlinux* System.map";

/// Builds the kernel into `entry`, which gets `vmlinux`, `config`, `System.map` and `build`.
fn build(
    entry: &Path,
    parts: &Parts,
    archives: &Path,
    namespaces: &Namespaces,
    runner: &Runner,
    line: &mut dyn FnMut(&str),
) -> Result<(), DebugKernelError> {
    let directory = |name: &str| {
        let path = entry.join(name);
        fs::create_dir(&path).map(|()| path)
    };
    let (source, build, package) = (
        directory("source")?,
        directory("build")?,
        directory("package")?,
    );
    let job = |what| Job {
        what,
        log: LOG,
        limit: LIMIT,
    };
    let wanted = std::slice::from_ref(&parts.source);
    unpack(wanted, archives, &package, runner, &|_| {})?;
    let unpacking = job("unpacking the kernel's source");
    namespaces
        .tree(&parts.toolchain)
        .lend(&source, "work/source")
        .show(&package, "work/modules")
        .run(&extract(&package, without)?, runner, &unpacking, &mut || {})?;
    remove(&package)?;

    fs::write(build.join("debug.config"), CONFIGURATION)?;
    let mut log = Follow::new(&runner.log(LOG));
    let building = job("building the debug kernel");
    let mut run = |script: &str| {
        namespaces
            .tree(&parts.toolchain)
            .show(&source, "work/source")
            .lend(&build, "work/build")
            .lend(entry, "work/modules")
            .run(script, runner, &building, &mut || log.tell(line))
    };
    let make = make(&parts.release);
    run(&format!(
        "{make} KCONFIG_ALLCONFIG=/work/build/debug.config allnoconfig"
    ))?;
    let options = lacking(CONFIGURATION, &fs::read_to_string(build.join(".config"))?);
    if !options.is_empty() {
        return Err(DebugKernelError::Configuration { options });
    }
    run(&format!("{make} -j$(nproc) vmlinux modules"))?;
    run(KEEP)?;
    Ok(remove(&source)?)
}

/// Lines of a configuration that another lacks.
fn lacking(wanted: &str, got: &str) -> Vec<String> {
    let there: std::collections::BTreeSet<&str> = got.lines().collect();
    let wanted = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
    wanted
        .filter(|line| !there.contains(line))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_kernel_has_the_checks_and_no_rust() {
        let lines: Vec<_> = CONFIGURATION.lines().collect();
        for check in ["KASAN", "KFENCE", "DMA_API_DEBUG", "PROVE_LOCKING"] {
            assert!(
                lines.contains(&format!("CONFIG_{check}=y").as_str()),
                "{check}"
            );
        }
        assert!(!CONFIGURATION.contains("CONFIG_RUST"));
    }

    #[test]
    fn an_option_that_is_not_there_is_named() {
        let got = "CONFIG_KASAN=y\n# CONFIG_KFENCE is not set\n";

        assert_eq!(
            lacking("# why\nCONFIG_KASAN=y\nCONFIG_KFENCE=y\n", got),
            ["CONFIG_KFENCE=y"]
        );
        assert_eq!(lacking("CONFIG_KASAN=y\n", got), [""; 0]);
    }

    fn base(cache: &Cache) -> Base {
        let source = Package {
            name: "linux-source-7.3".to_owned(),
            version: "1:7.3.4-1".to_owned(),
            architecture: "all".to_owned(),
            sha256: "ab".to_owned(),
            size: 1,
            used_for: vec!["source".to_owned()],
        };
        let base = Base {
            release: "7.3.4-amd64".to_owned(),
            packages: vec![source],
            toolchain: Some("toolchain-1".to_owned()),
            metadata: Some("metadata-1".to_owned()),
            ..Base::default()
        };
        for entry in base.entries() {
            fs::create_dir_all(cache.entries().join(entry)).unwrap();
        }
        base
    }

    #[test]
    fn the_kernel_is_named_by_source_and_toolchain() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let base = base(&cache);
        let name = |base: &Base| Parts::of(base, &cache).map(|parts| parts.entry.name);

        let parts = Parts::of(&base, &cache).unwrap();
        assert_eq!(parts.source.file, "linux-source-7.3_1%3a7.3.4-1_all.deb");
        assert_eq!(parts.release, "7.3.4-amd64-debug");
        let mut other = base.clone();
        other.toolchain = Some("toolchain-2".to_owned());
        assert_ne!(name(&base), name(&other));
        other.toolchain = None;
        assert_eq!(name(&other), None);
    }

    #[test]
    fn it_is_there_only_when_it_was_built() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        cache.create().unwrap();
        let options = SetupOptions::new(directory.path());
        let base = base(&cache);
        let plan = Plan::new(&options).unwrap();
        base.save(&cache, &plan.base_key).unwrap();
        assert!(!debug_kernel_is_there(&options));

        let parts = Parts::of(&base, &cache).unwrap();
        fs::create_dir(&parts.entry.path).unwrap();
        assert!(debug_kernel_is_there(&options));
    }
}
