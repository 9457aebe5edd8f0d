// SPDX-License-Identifier: MIT OR Apache-2.0

//! Debian's part of a set-up: from package indexes to entries in the cache.
//!
//! Two chains run side by side. One unpacks the toolchain and builds the kernel's metadata, which takes
//! longest; the other fetches what is still missing, and unpacks the kernel, QEMU and busybox. What the first
//! chain needs is fetched first.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::architecture::Architecture;
use crate::debian::apt::{Apt, Chosen};
use crate::debian::packages::{self, Against, Kernel, Sets};
use crate::debian::unpack::{UnpackError, unpack};
use crate::event::{Event, Step};
use crate::host::mirror;
use crate::host::namespace::Namespaces;
use crate::host::process::Runner;
use crate::kernel;
use crate::kernel::headers;
use crate::kernel::metadata;
use crate::qemu;
use crate::reporter::Reporter;
use crate::setup::error::SetupError;
use crate::setup::plan::Plan;
use crate::setup::stamp::Base;
use crate::store::cache::{Cache, Entry, free};
use crate::store::hash::Key;
use crate::store::lock::Package;

/// What every part of a set-up works with.
pub(crate) struct Work<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) runner: &'a Runner,
    pub(crate) reporter: &'a Reporter,
}

/// A mirror's speed for the estimate, bytes a second.
pub(crate) const MIRROR_SPEED: u64 = 5_000_000;
/// Room that is left to others on the disk.
const SPARE: u64 = 200 << 20;

/// An entry to be made, what of, and what it costs: bytes on disk and seconds on two cores, as measured.
struct Part<'a> {
    entry: Entry,
    packages: Vec<&'a [Chosen]>,
    disk: u64,
    seconds: u64,
}

/// Entries of a Debian kernel.
struct KernelParts<'a> {
    toolchain: Part<'a>,
    /// If it has one beside what modules are built against.
    config: Option<Part<'a>>,
    /// What modules are built against: the source with Rust's metadata, or headers.
    metadata: Part<'a>,
    image: Part<'a>,
}

/// All that is to be made.
struct Parts<'a> {
    architecture: &'static Architecture,
    kernel: Option<KernelParts<'a>>,
    qemu: Option<Part<'a>>,
    guest: Part<'a>,
    rust: Option<Part<'a>>,
    video: Option<Part<'a>>,
}

impl Work<'_> {
    /// Makes all of Debian's entries that are not there yet.
    pub(crate) fn make_base(&self, plan: &Plan, given: Option<&str>) -> Result<Base, SetupError> {
        let series = plan.kernel.is_none().then_some(plan.series);
        let another = series.and_then(|series| series.suite);
        let architecture = plan.architecture;
        let (uri, apt, sets) = self.with_indexes(given, architecture, another, |apt| {
            packages::choose(apt, architecture, series, plan.qemu.is_none())
        })?;
        let namespaces = match sets.kernel {
            Some(_) => Some(Namespaces::find(self.runner)?),
            None => None,
        };
        let parts = Parts::new(&sets, plan.architecture, self.cache);
        self.check_room(&parts, &apt)?;

        let (ready, first) = channel();
        let (kernel, others) = thread::scope(|scope| {
            let others = scope.spawn(|| {
                let done = self.fetch_and_unpack(&parts, &sets, &apt, &uri, ready);
                self.stop_if_failed(done)
            });
            let kernel = self.build(&parts, &sets, namespaces.as_ref(), &apt, &first);
            let kernel = self.stop_if_failed(kernel);
            let others = others
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (kernel, others)
        });
        let (rustc, qemu_version) = match (kernel, others) {
            (Ok(rustc), Ok(version)) => (rustc, version),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => return Err(error),
            // One failed and thereby stopped the other.
            (Err(one), Err(other)) => return Err(if one.is_stop() { other } else { one }),
        };
        let base = parts.base(&sets, rustc, qemu_version);
        base.save(self.cache, &plan.base_key)
            .map_err(self.cache_failed())?;
        // The packages' contents are published, the lock file says which they were, and indexes grow old.
        let _ = crate::store::cache::remove(&self.cache.apt());
        Ok(base)
    }

    /// Fetches the indexes of the given mirror, or the host's, for an architecture of guests, those of `another` suite than the
    /// usual included, and has something chosen from them. Gives the mirror's address, too.
    pub(crate) fn with_indexes<T>(
        &self,
        given: Option<&str>,
        architecture: &Architecture,
        another: Option<&str>,
        choose: impl FnOnce(&Apt) -> Result<T, packages::PackagesError>,
    ) -> Result<(String, Apt, T), SetupError> {
        self.reporter
            .step(Step::Indexes, "apt's indexes, signatures checked", || {
                let mirror = mirror::find(given, self.runner)?;
                let apt = Apt::create(
                    &self.cache.apt(),
                    &mirror,
                    architecture,
                    another,
                    self.runner,
                )
                .map_err(self.cache_failed())?;
                apt.update().map_err(|source| SetupError::Indexes {
                    mirror: mirror.uri.clone(),
                    source,
                })?;
                let chosen = choose(&apt)?;
                Ok((mirror.uri, apt, chosen))
            })
    }

    fn stop_if_failed<T>(&self, result: Result<T, SetupError>) -> Result<T, SetupError> {
        if result.is_err() {
            self.runner.stop_others();
        }
        result
    }

    /// Says what is needed, and refuses if the disk has not got it.
    fn check_room(&self, parts: &Parts<'_>, apt: &Apt) -> Result<(), SetupError> {
        let missing = parts.missing();
        let download = apt.missing(&fetch_order(&missing));
        let whole: u64 = fetch_order(&missing)
            .iter()
            .map(|package| package.size)
            .sum();
        let disk = missing.iter().map(|part| part.disk).sum::<u64>() + whole;
        let seconds =
            missing.iter().map(|part| part.seconds).sum::<u64>() + download / MIRROR_SPEED;
        if missing.is_empty() {
            return Ok(());
        }
        self.check_disk(download, disk, whole - download, seconds)
    }

    /// Says what is needed, and refuses if the disk has not got it: bytes to be fetched, bytes on disk, of those bytes that
    /// are there already, and seconds.
    pub(crate) fn check_disk(
        &self,
        download: u64,
        disk: u64,
        there: u64,
        seconds: u64,
    ) -> Result<(), SetupError> {
        let free = free(self.cache.root()).map_err(self.cache_failed())?;
        self.reporter.send(Event::Needs {
            download,
            disk,
            free,
            about: Duration::from_secs(seconds),
        });
        let need = disk.saturating_sub(there) + SPARE;
        if free < need {
            let path = self.cache.root().to_owned();
            return Err(SetupError::Disk { need, free, path });
        }
        Ok(())
    }

    /// First chain: toolchain and metadata. Gives what `rustc --version` says.
    fn build(
        &self,
        parts: &Parts<'_>,
        sets: &Sets,
        namespaces: Option<&Namespaces>,
        apt: &Apt,
        first: &Receiver<()>,
    ) -> Result<String, SetupError> {
        // An error: the other chain failed before the packages were there.
        first.recv().map_err(|_| SetupError::Cancelled)?;
        let parts_of = parts;
        let (Some(parts), Some(set), Some(namespaces)) = (&parts.kernel, &sets.kernel, namespaces)
        else {
            return Ok(String::new());
        };
        let archives = apt.archives();
        let total = set.toolchain.iter().map(|package| package.size).sum();
        let detail = format!("{} packages", set.toolchain.len());
        self.reporter.step(Step::Unpack, detail, || {
            parts.toolchain.entry.make(|tree| {
                let tick = |done| self.reporter.bytes(Step::Unpack, done, total);
                unpack(&set.toolchain, &archives, tree, self.runner, &tick)?;
                metadata::finish_toolchain(tree)?;
                metadata::compile_stand_in(tree, parts_of.architecture, namespaces, self.runner)?;
                Ok::<_, Making>(())
            })
        })?;
        let (config, source, config_part) = match (&set.against, &parts.config) {
            (Against::Source { config, source }, Some(part)) => (config, source, part),
            (
                Against::Source {
                    config: packages, ..
                }
                | Against::Headers(packages),
                _,
            ) => {
                let detail = format!("headers of Linux {}", set.release);
                self.reporter.step(Step::Metadata, detail, || {
                    parts.metadata.entry.make(|entry| {
                        headers::make(entry, packages, &set.release, &archives, self.runner)
                            .map_err(|error| Making(error.into()))
                    })
                })?;
                return Ok(String::new());
            }
        };
        config_part.entry.make(|entry| {
            kernel::make_config(entry, config, &set.release, &archives, self.runner)
                .map_err(|error| Making(error.into()))
        })?;
        let config = &config_part.entry.path;
        self.reporter
            .step(Step::Metadata, format!("of Linux {}", set.release), || {
                parts.metadata.entry.make(|entry| {
                    let inputs = metadata::Inputs {
                        toolchain: &parts.toolchain.entry.path,
                        kernel: config,
                        source,
                        archives: &archives,
                        release: &set.release,
                        architecture: parts_of.architecture,
                        namespaces,
                    };
                    let mut line = |text: &str| self.reporter.line(Step::Metadata, text);
                    metadata::build(entry, &inputs, self.runner, &mut line)
                        .map_err(|error| Making(error.into()))
                })
            })?;
        let configuration =
            std::fs::read_to_string(config.join("config")).map_err(self.cache_failed())?;
        Ok(metadata::compiler(&configuration).to_owned())
    }

    /// Second chain: packages, kernel, QEMU, busybox. Gives QEMU's version.
    fn fetch_and_unpack(
        &self,
        parts: &Parts<'_>,
        sets: &Sets,
        apt: &Apt,
        uri: &str,
        ready: Sender<()>,
    ) -> Result<String, SetupError> {
        let missing = parts.missing();
        let all = fetch_order(&missing);
        let total = all.iter().map(|package| package.size).sum();
        let first = fetch_order(&parts.first());
        let detail = format!("{} packages from {uri}", all.len());
        self.reporter.step(Step::Download, detail, || {
            let failed = |source| SetupError::Download {
                mirror: uri.to_owned(),
                source,
            };
            let mut tick = || {
                self.reporter
                    .bytes(Step::Download, apt.fetched(&all), total)
            };
            apt.fetch(&first, &mut tick).map_err(failed)?;
            // Nobody listening: the first chain has failed, and this one is about to be stopped.
            let _ = ready.send(());
            apt.fetch(&all, &mut tick).map_err(failed)
        })?;
        let archives = apt.archives();
        if let (Some(kernel), Some(set)) = (&parts.kernel, &sets.kernel) {
            self.reporter
                .step(Step::Kernel, format!("Linux {}", set.release), || {
                    kernel.image.entry.make(|entry| {
                        kernel::make_image(
                            entry,
                            &set.image,
                            &set.release,
                            parts.architecture,
                            &archives,
                            self.runner,
                        )
                        .map_err(|error| Making(error.into()))
                    })
                })?;
        }
        parts.guest.entry.make(|tree| {
            Ok::<_, Making>(unpack(&sets.guest, &archives, tree, self.runner, &|_| {})?)
        })?;
        if let Some(part) = &parts.rust {
            part.entry.make(|tree| {
                unpack(&sets.agent, &archives, tree, self.runner, &|_| {})?;
                metadata::finish_toolchain(tree)?;
                Ok::<_, Making>(())
            })?;
        }
        if let Some(part) = &parts.video {
            part.entry.make(|tree| {
                unpack(&sets.video, &archives, tree, self.runner, &|_| {})?;
                qemu::trim(tree);
                Ok::<_, Making>(())
            })?;
        }
        let Some(part) = &parts.qemu else {
            return Ok(String::new());
        };
        self.reporter
            .step(Step::Qemu, format!("{} packages", sets.qemu.len()), || {
                part.entry.make(|tree| {
                    unpack(&sets.qemu, &archives, tree, self.runner, &|_| {})?;
                    qemu::trim(tree);
                    Ok::<_, Making>(())
                })?;
                Ok({
                    let qemu = qemu::in_tree(&part.entry.path, parts.architecture);
                    qemu::check(qemu, self.runner)?.version
                })
            })
    }

    /// Words an error of the cache's file system.
    pub(crate) fn cache_failed(&self) -> impl Fn(io::Error) -> SetupError {
        let path = self.cache.root().to_owned();
        move |source| SetupError::Cache {
            path: path.clone(),
            source,
        }
    }
}

/// An error while an entry was made; file errors are the cache's.
pub(crate) struct Making(pub(crate) SetupError);

impl From<io::Error> for Making {
    fn from(source: io::Error) -> Self {
        let path = std::path::PathBuf::from("entries");
        Self(SetupError::Cache { path, source })
    }
}

impl From<UnpackError> for Making {
    fn from(error: UnpackError) -> Self {
        Self(error.into())
    }
}

impl From<crate::host::process::CommandError> for Making {
    fn from(error: crate::host::process::CommandError) -> Self {
        Self(SetupError::Toolchain(UnpackError::Command(error)))
    }
}

impl From<Making> for SetupError {
    fn from(making: Making) -> Self {
        making.0
    }
}

impl<'a> Parts<'a> {
    fn new(sets: &'a Sets, architecture: &'static Architecture, cache: &Cache) -> Self {
        let part =
            |kind: &str, packages: Vec<&'a [Chosen]>, recipe: &str, disk_mb: u64, seconds: u64| {
                let key = packages
                    .iter()
                    .copied()
                    .flatten()
                    .fold(Key::new(kind).text(recipe), |key, package| {
                        key.text(&package.sha256)
                    });
                Part {
                    entry: cache.entry(kind, &key.finish()),
                    packages,
                    disk: disk_mb << 20,
                    seconds,
                }
            };
        let kernel = |kernel: &'a Kernel| {
            let toolchain = part(
                "toolchain",
                vec![&kernel.toolchain],
                metadata::RECIPE,
                1300,
                35,
            );
            let (config, metadata) = match &kernel.against {
                Against::Headers(headers) => {
                    let recipe = headers::RECIPE;
                    (None, part("headers", vec![headers], recipe, 100, 5))
                }
                Against::Source { config, source } => {
                    let config = part("config", vec![config], "1", 5, 1);
                    let recipe = format!(
                        "{} {:?} {} {}",
                        metadata::RECIPE,
                        architecture.source,
                        toolchain.entry.name,
                        config.entry.name
                    );
                    let metadata = part("metadata", vec![source], &recipe, 600, 120);
                    (Some(config), metadata)
                }
            };
            KernelParts {
                metadata,
                image: part("kernel", vec![&kernel.image], kernel::RECIPE, 200, 5),
                toolchain,
                config,
            }
        };
        Self {
            architecture,
            kernel: sets.kernel.as_ref().map(kernel),
            qemu: (!sets.qemu.is_empty()).then(|| part("qemu", vec![&sets.qemu], "1", 200, 5)),
            guest: part("busybox", vec![&sets.guest], "1", 3, 1),
            rust: (!sets.agent.is_empty())
                .then(|| part("rust", vec![&sets.agent], metadata::RECIPE, 1200, 35)),
            video: (!sets.video.is_empty()).then(|| part("video", vec![&sets.video], "1", 60, 2)),
        }
    }

    fn all(&self) -> Vec<&Part<'a>> {
        let kernel = self.kernel.iter().flat_map(|kernel| {
            let to_build = kernel.to_build();
            to_build.chain([&kernel.image])
        });
        let others = kernel.chain(&self.qemu).chain([&self.guest]);
        others.chain(&self.rust).chain(&self.video).collect()
    }

    fn missing(&self) -> Vec<&Part<'a>> {
        self.all()
            .into_iter()
            .filter(|part| !part.entry.exists())
            .collect()
    }

    /// What the first chain needs.
    fn first(&self) -> Vec<&Part<'a>> {
        let kernel = self.kernel.iter().flat_map(KernelParts::to_build);
        kernel.filter(|part| !part.entry.exists()).collect()
    }

    fn base(&self, sets: &Sets, rustc: String, qemu_version: String) -> Base {
        let name = |part: &Part<'_>| part.entry.name.clone();
        let packages = sets.all().into_iter().map(|(package, used_for)| Package {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            sha256: package.sha256.clone(),
            size: package.size,
            used_for: used_for.into_iter().map(str::to_owned).collect(),
        });
        let mut packages: Vec<Package> = packages.collect();
        packages.sort();
        Base {
            series: sets
                .kernel
                .as_ref()
                .map_or_else(String::new, |kernel| kernel.series.name.to_owned()),
            release: sets
                .kernel
                .as_ref()
                .map_or_else(String::new, |kernel| kernel.release.clone()),
            rustc,
            packages,
            kernel: self.kernel.as_ref().map(|kernel| name(&kernel.image)),
            toolchain: self.kernel.as_ref().map(|kernel| name(&kernel.toolchain)),
            config: self
                .kernel
                .as_ref()
                .and_then(|kernel| kernel.config.as_ref().map(name)),
            metadata: self.kernel.as_ref().map(|kernel| name(&kernel.metadata)),
            qemu: self.qemu.as_ref().map(name),
            qemu_version,
            guest: Some(name(&self.guest)),
            rust: self.rust.as_ref().map(name),
            video: self.video.as_ref().map(name),
        }
    }
}

impl<'a> KernelParts<'a> {
    fn to_build(&self) -> impl Iterator<Item = &Part<'a>> {
        let first = [&self.toolchain].into_iter().chain(&self.config);
        first.chain([&self.metadata])
    }
}

/// The packages of these parts, once each.
fn fetch_order(parts: &[&Part<'_>]) -> Vec<Chosen> {
    let mut order: Vec<Chosen> = Vec::new();
    for package in parts
        .iter()
        .flat_map(|part| part.packages.iter().copied().flatten())
    {
        if !order.contains(package) {
            order.push(package.clone());
        }
    }
    order
}
