// SPDX-License-Identifier: MIT OR Apache-2.0

//! The set-up as a whole.

mod agent;
pub(crate) mod debug_kernel;
pub(crate) mod doctor;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod kernel_source;
pub(crate) mod options;
pub(crate) mod packages;
pub(crate) mod parts;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod selftest;
pub(crate) mod stamp;
pub(crate) mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::host::namespace::Namespaces;
use crate::host::process::Runner;
use crate::image::embedded::{SOURCES_SHA256, agent_sha256};
use crate::image::files;
use crate::image::initramfs::{self, Contents};
use crate::image::tree;
use crate::kernel;
use crate::kernel::modules::{self, With};
use crate::prepared::Prepared;
use crate::qemu;
use crate::reporter::Reporter;
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::plan::{Plan, identity};
use crate::setup::stamp::{Base, Emulator, Stamp, VIDEO_ARCHIVE};
use crate::setup::work::{Making, Work};
use crate::store::cache::{Cache, Guard, measure};
use crate::store::hash::Key;
use crate::store::lock::Lock;
use crate::store::snapshots::{SNAPSHOT_LIMIT, Snapshots};

/// How long to wait for another set-up of the same cache.
const OTHER: Duration = Duration::from_secs(60 * 60);
/// What is wrong if what was made is not found then.
pub(crate) const GONE: &str = "a part that was just made has gone";
/// Version of [`Lock`].
const LOCK_FORMAT: u32 = 1;

/// Makes sure that everything needed to boot a guest is in the cache, and tells where.
///
/// Warm, it takes a few milliseconds and neither uses the network nor starts a process.
///
/// # Errors
/// See [`SetupError`].
pub fn prepare(
    options: &SetupOptions,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Prepared, SetupError> {
    let plan = Plan::new(options)?;
    let root = std::path::absolute(&options.cache).unwrap_or_else(|_| options.cache.clone());
    let cache = Cache::new(&root);
    let failed = |source| SetupError::Cache {
        path: root.clone(),
        source,
    };
    let writable = cache.writable(options.elsewhere.as_deref());
    let writable = writable.map_err(|source| SetupError::Cache {
        path: options.elsewhere.clone().unwrap_or_default(),
        source,
    })?;
    let ready = |warm| {
        let stamp = Stamp::load(&cache, &plan.key)?;
        let prepared = stamp.prepared(&cache, &plan.key, warm)?;
        let limit = options.snapshot_limit.unwrap_or(SNAPSHOT_LIMIT);
        Some(Prepared {
            snapshots: Snapshots::new(&writable, limit, &stamp.guest()),
            writable: writable.clone(),
            ..prepared
        })
    };
    let file = parts::Parts::path(&cache, &plan.key);
    // What is there, whole and as it was made.
    let whole = || {
        let damaged = parts::damaged(&cache, &file, options.verify);
        let prepared = ready(true).filter(|_| damaged.is_empty() && !options.refresh)?;
        parts::record(&cache, &prepared);
        Some(prepared)
    };
    if let Some(prepared) = whole() {
        return Ok(prepared);
    }

    cache.create().map_err(failed)?;
    let guard = hold(&cache, cancel, on_event)?;
    // The other one may have made just this.
    if let Some(prepared) = whole() {
        return Ok(prepared);
    }
    let damaged = parts::damaged(&cache, &file, options.verify);
    if !damaged.is_empty() {
        on_event(Event::Damaged {
            files: damaged.clone(),
        });
    }
    parts::forget(&cache, &file, &damaged).map_err(failed)?;
    cache.sweep(&guard).map_err(failed)?;

    let runner = Runner::new(cancel, &cache.logs());
    let base = match options.refresh {
        true => None,
        false => Base::load(&cache, &plan.base_key),
    };
    let count = steps(&plan, base.is_some());
    work(&cache, &runner, count, cancel, on_event, |work| {
        work.make(&plan, base, options.mirror.as_deref())
    })?;
    let prepared = ready(false).ok_or_else(|| failed(std::io::Error::other(GONE)))?;
    parts::record(&cache, &prepared);
    Ok(prepared)
}

/// Does a part of a set-up in a thread of its own and passes its events on.
pub(crate) fn work(
    cache: &Cache,
    runner: &Runner,
    steps: usize,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
    body: impl FnOnce(&Work<'_>) -> Result<(), SetupError> + Send,
) -> Result<(), SetupError> {
    let (sender, events) = channel();
    let reporter = Reporter::new(sender, steps);
    let made = thread::scope(|scope| {
        let making = scope.spawn(move || {
            body(&Work {
                cache,
                runner,
                reporter: &reporter,
            })
        });
        for event in events {
            on_event(event);
        }
        making
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    match made {
        Err(error) if cancel.is_cancelled() || error.is_stop() => Err(SetupError::Cancelled),
        other => other,
    }
}

/// Takes the cache's lock, waiting for another set-up that has it.
pub(crate) fn hold(
    cache: &Cache,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Guard, SetupError> {
    let mut holder = String::new();
    let guard = cache.lock(
        OTHER,
        || cancel.is_cancelled(),
        |other| {
            holder.clone_from(&other);
            on_event(Event::Waiting { holder: other });
        },
    );
    let guard = guard.map_err(|source| SetupError::Cache {
        path: cache.root().to_owned(),
        source,
    })?;
    guard.ok_or_else(|| match cancel.is_cancelled() {
        true => SetupError::Cancelled,
        false => SetupError::Busy {
            holder,
            waited: OTHER,
        },
    })
}

/// How many steps will be reported.
fn steps(plan: &Plan, has_base: bool) -> usize {
    let of_debian = !has_base && plan.needs_debian();
    let debian_kernel = of_debian && plan.kernel.is_none();
    [
        of_debian,                                                 // indexes
        of_debian,                                                 // download
        debian_kernel,                                             // toolchain
        debian_kernel,                                             // metadata
        debian_kernel || plan.kernel.is_some(),                    // kernel
        (of_debian && plan.qemu.is_none()) || plan.qemu.is_some(), // QEMU
        plan.builds_modules(),
        !plan.architecture.has_agent(),
        true, // initramfs
    ]
    .into_iter()
    .filter(|step| *step)
    .count()
}

/// The kernel that will be booted.
pub(crate) struct Booted {
    /// Relative to the entries, or absolute.
    pub(crate) vmlinux: PathBuf,
    pub(crate) bzimage: Option<PathBuf>,
    pub(crate) release: String,
    /// Entry, if it has one of its own beyond the base.
    pub(crate) entry: Option<String>,
    /// Its own modules, for what Landfall's depend on.
    pub(crate) stock: Option<PathBuf>,
}

impl Work<'_> {
    fn make(
        &self,
        plan: &Plan,
        base: Option<Base>,
        mirror: Option<&str>,
    ) -> Result<(), SetupError> {
        let base = match base {
            Some(base) => base,
            None if plan.needs_debian() => self.make_base(plan, mirror)?,
            None => Base::default(),
        };
        let (agent, of_agent) = match &base.rust {
            Some(rust) => {
                let (path, entry) = self.agent(plan.architecture, rust)?;
                (Some(path), Some(entry))
            }
            None => (None, None),
        };
        let emulator = self.emulator(plan, &base)?;
        let booted = self.kernel(plan, &base)?;
        let own = self.modules(plan, &base, &booted)?;
        let mut files = match &own {
            Some(entry) => {
                modules::built(&self.cache.entries().join(entry)).map_err(self.cache_failed())?
            }
            None => Vec::new(),
        };
        files.extend(plan.modules.iter().cloned());
        let agent = agent.as_deref();
        let (initramfs, names) =
            self.initramfs(plan, &base, &booted, &files, own.as_deref(), agent)?;

        let warnings = own.as_ref().map(|entry| self.warnings(entry));
        let stamp = Stamp {
            base_key: plan.base_key.clone(),
            architecture: plan.architecture.name.to_owned(),
            lock: Lock {
                format: LOCK_FORMAT,
                series: if plan.kernel.is_some() {
                    "own".to_owned()
                } else {
                    base.series
                },
                kernel_release: booted.release,
                qemu_version: emulator.1,
                rustc_version: base.rustc,
                kmod_sha256: SOURCES_SHA256.to_owned(),
                agent_sha256: agent_sha256(plan.architecture).to_owned(),
                packages: base.packages,
            },
            emulator: emulator.0,
            vmlinux: booted.vmlinux,
            bzimage: booted.bzimage,
            initramfs: PathBuf::from(&initramfs).join("initramfs"),
            entries: [booted.entry, own, of_agent, Some(initramfs)]
                .into_iter()
                .flatten()
                .collect(),
            modules: names,
            module_warnings: warnings.unwrap_or_default(),
            timings: self.reporter.timings(),
            cache_size: measure(self.cache.root()).map_err(self.cache_failed())?,
        };
        stamp
            .save(self.cache, &plan.key)
            .map_err(self.cache_failed())
    }

    /// What the compilers warned of when the modules in this entry were built.
    pub(crate) fn warnings(&self, entry: &str) -> Vec<String> {
        let path = self.cache.entries().join(entry).join("warnings");
        let warnings = fs::read_to_string(path).unwrap_or_default();
        warnings.lines().map(str::to_owned).collect()
    }

    fn emulator(&self, plan: &Plan, base: &Base) -> Result<(Emulator, String), SetupError> {
        match (&plan.qemu, &base.qemu) {
            (None, Some(entry)) => Ok((Emulator::Entry(entry.clone()), base.qemu_version.clone())),
            (own, _) => {
                let program = own.clone().unwrap_or_default();
                let checked =
                    self.reporter
                        .step(Step::Qemu, program.display().to_string(), || {
                            qemu::check(qemu::own(&program), self.runner)
                        })?;
                let sandbox = checked.sandbox;
                Ok((Emulator::Own { program, sandbox }, checked.version))
            }
        }
    }

    fn kernel(&self, plan: &Plan, base: &Base) -> Result<Booted, SetupError> {
        let entries = self.cache.entries();
        let image = match (&plan.kernel, &base.kernel) {
            (None, Some(entry)) => {
                return Ok(Booted {
                    vmlinux: PathBuf::from(entry).join("vmlinux"),
                    bzimage: Some(PathBuf::from(entry).join(kernel::COMPRESSED))
                        .filter(|image| entries.join(image).exists()),
                    release: base.release.clone(),
                    entry: None,
                    stock: Some(entries.join(entry).join("modules")),
                });
            }
            (own, _) => own.clone().unwrap_or_default(),
        };
        self.reporter
            .step(Step::Kernel, image.display().to_string(), || {
                let kernel = kernel::read(&image, plan.architecture)?;
                if let Some(kdir) = &plan.kdir {
                    kernel::check_tree(kdir, &kernel.release)?;
                }
                let (_, identity) = identity(&image).map_err(self.cache_failed())?;
                let entry = self
                    .cache
                    .entry("vmlinux", &Key::new("vmlinux").text(&identity).finish());
                entry
                    .make(|path| Ok::<_, Making>(fs::write(path.join("vmlinux"), kernel.image)?))?;
                Ok(Booted {
                    vmlinux: PathBuf::from(&entry.name).join("vmlinux"),
                    bzimage: kernel.compressed.then_some(image),
                    release: kernel.release,
                    entry: Some(entry.name),
                    stock: None,
                })
            })
    }

    /// Builds Landfall's modules, unless the kernel's own ones replace them; gives the entry's name.
    fn modules(
        &self,
        plan: &Plan,
        base: &Base,
        booted: &Booted,
    ) -> Result<Option<String>, SetupError> {
        if !plan.builds_modules() {
            return Ok(None);
        }
        let entries = self.cache.entries();
        let namespaces;
        let (toolchain, source, build);
        let (with, made_of) = match (&plan.kdir, &base.toolchain, &base.metadata) {
            (None, Some(tree), Some(data)) => {
                namespaces = Namespaces::find(self.runner)?;
                (toolchain, source) = (entries.join(tree), entries.join(data).join("source"));
                build = entries.join(data).join("build");
                let with = With::Debian {
                    namespaces: &namespaces,
                    toolchain: &toolchain,
                    source: &source,
                    build: &build,
                    release: &booted.release,
                    architecture: plan.architecture,
                    rust: plan.series.rust,
                };
                (with, format!("{tree} {data}"))
            }
            (kdir, ..) => {
                let kdir = kdir.as_deref().unwrap_or_else(|| Path::new(""));
                (
                    With::Host { kdir },
                    identity(kdir).map_err(self.cache_failed())?.1,
                )
            }
        };
        self.build_modules(&with, &made_of, &booted.release)
            .map(Some)
    }

    /// Builds Landfall's modules for the kernel `release`; `made_of` names what else they are made of. Gives the
    /// entry's name.
    pub(crate) fn build_modules(
        &self,
        with: &With<'_>,
        made_of: &str,
        release: &str,
    ) -> Result<String, SetupError> {
        let key = Key::new("modules")
            .text(modules::RECIPE)
            .text(SOURCES_SHA256)
            .text(made_of)
            .text(release);
        let entry = self.cache.entry("modules", &key.finish());
        self.reporter
            .step(Step::Modules, format!("for Linux {release}"), || {
                entry.make(|path| {
                    let mut line = |text: &str| self.reporter.line(Step::Modules, text);
                    modules::build(path, with, self.runner, &mut line)
                        .map_err(|error| Making(error.into()))
                })
            })?;
        Ok(entry.name)
    }

    /// Writes the initramfs with these modules; gives the entry's name, and the names of all modules in it.
    pub(crate) fn initramfs(
        &self,
        plan: &Plan,
        base: &Base,
        booted: &Booted,
        modules: &[PathBuf],
        own: Option<&str>,
        agent: Option<&Path>,
    ) -> Result<(String, Vec<String>), SetupError> {
        let busybox = match &base.guest {
            Some(entry) => Some(self.cache.entries().join(entry).join("usr/bin/busybox")),
            None => initramfs::host_busybox(),
        };
        let mut key = Key::new("initramfs")
            .text(initramfs::RECIPE)
            .text(tree::RECIPE)
            .text(agent_sha256(plan.architecture))
            .text(&booted.release);
        let base_parts = [
            base.guest.as_deref(),
            base.video.as_deref(),
            base.kernel.as_deref(),
            own,
        ];
        for part in base_parts {
            key = key.text(part.unwrap_or_default());
        }
        for file in plan.modules.iter().chain(if base.guest.is_none() {
            busybox.as_ref()
        } else {
            None
        }) {
            key = key.text(&identity(file).map_err(self.cache_failed())?.1);
            if let Some(debug) = files::beside(file) {
                key = key.text(&identity(&debug).map_err(self.cache_failed())?.1);
            }
        }
        let entry = self.cache.entry("initramfs", &key.finish());
        let contents = Contents {
            release: &booted.release,
            modules,
            stock: booted.stock.as_deref(),
            agent,
            early: plan.architecture.early,
            busybox: busybox.as_deref(),
        };
        let detail = format!("agent, busybox, {} modules", modules.len());
        self.reporter.step(Step::Initramfs, detail, || {
            entry.make(|path| {
                let names = initramfs::write(&path.join("initramfs"), &contents)
                    .map_err(|error| Making(error.into()))?;
                files::keep(path, modules).map_err(|error| Making(error.into()))?;
                if let (Some(tree), Some(_)) = (&base.video, &booted.stock) {
                    let tree = self.cache.entries().join(tree);
                    tree::write(path, VIDEO_ARCHIVE, &tree)
                        .map_err(|error| Making(error.into()))?;
                }
                Ok::<_, Making>(fs::write(path.join("modules"), names.join("\n"))?)
            })?;
            let names =
                fs::read_to_string(entry.path.join("modules")).map_err(self.cache_failed())?;
            Ok((
                entry.name.clone(),
                names.lines().map(str::to_owned).collect(),
            ))
        })
    }
}
