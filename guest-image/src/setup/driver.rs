// SPDX-License-Identifier: MIT OR Apache-2.0

//! Anybody's module, built for the kernel of a set-up's guests.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::host::namespace::Namespaces;
use crate::host::process::{CommandError, Runner};
use crate::kernel;
use crate::kernel::driver::{self, Built, DriverError, Sources};
use crate::kernel::modules::With;
use crate::prepared::{Kernel, Prepared};
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::plan::{Plan, identity};
use crate::setup::stamp::Base;
use crate::setup::{GONE, debug_kernel, hold};
use crate::store::cache::{Cache, Entry};
use crate::store::hash::Key;

/// Somebody's module was not built. `Display` is the whole story: for what a compiler refused, its own words.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailed {
    /// The flag was set.
    #[error("the build was cancelled")]
    Cancelled,
    /// The set-up was imported: it has no toolchain.
    #[error(
        "this set-up cannot build modules: it was imported, and so has no toolchain; `landfall setup --refresh` makes one \
         that can"
    )]
    NoToolchain,
    /// The kernel was brought along without its build tree.
    #[error("a kernel of one's own takes modules that were built against its build tree (--kdir)")]
    NoTree,
    /// The module.
    #[error("{}: {source}", directory.display())]
    Driver {
        /// Where its sources are.
        directory: PathBuf,
        /// What is wrong.
        #[source]
        source: DriverError,
    },
    /// The cache, or the toolchain.
    #[error("{}", chain(.0))]
    SetUp(#[from] SetupError),
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Builds the module in `directory`, a Kbuild or Makefile with its sources in C or Rust, for the kernel of guests of
/// `prepared`, which [`prepare`](crate::prepare) or [`prepare_debug`](crate::prepare_debug) gave for these options.
///
/// What is there is copied and built in the toolchain's tree, without privilege; nothing is written to `directory`, and
/// no link out of it is followed. What was built before of the same sources is found again in milliseconds.
///
/// # Errors
/// See [`BuildFailed`].
pub fn build_module(
    options: &SetupOptions,
    prepared: &Prepared,
    directory: &Path,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Built, BuildFailed> {
    let failed = |source: DriverError| match source {
        DriverError::Command(CommandError::Cancelled) => BuildFailed::Cancelled,
        source => BuildFailed::Driver {
            directory: directory.to_owned(),
            source,
        },
    };
    let mut sources = Sources::read(directory).map_err(|error| failed(error.into()))?;
    if options.marks {
        sources.leave_marks();
    }
    let plan = Plan::new(options).map_err(SetupError::from)?;
    let (whole, cache) = (Cache::new(&prepared.cache), Cache::new(&prepared.writable));
    let against = Against::of(&plan, prepared, &whole)?;
    let entry = against.entry(&sources, &cache);
    if let Some(built) = found(&entry).or_else(|| found(&against.entry(&sources, &whole))) {
        return Ok(built);
    }

    let of_cache = |source| {
        BuildFailed::SetUp(SetupError::Cache {
            path: cache.root().to_owned(),
            source,
        })
    };
    cache.create().map_err(of_cache)?;
    let guard = hold(&cache, cancel, on_event).map_err(|error| match error {
        SetupError::Cancelled => BuildFailed::Cancelled,
        error => error.into(),
    })?;
    // The other one may have built just this.
    if let Some(built) = found(&entry) {
        return Ok(built);
    }
    cache.sweep(&guard).map_err(of_cache)?;
    cache
        .forget_old(driver::KIND, driver::KEPT)
        .map_err(of_cache)?;
    let runner = Runner::new(cancel, &cache.logs());
    let step = Step::Modules;
    let began = Instant::now();
    on_event(Event::StepStarted {
        step,
        detail: format!("{} for Linux {}", directory.display(), against.release),
        index: 1,
        of: 1,
    });
    let mut line = |text: &str| {
        let text = text.trim().to_owned();
        on_event(Event::Line { step, text });
    };
    let namespaces;
    let with = match &against.tools {
        Tools::Debian {
            toolchain,
            source,
            build,
        } => {
            namespaces = Namespaces::find(&runner).map_err(SetupError::from)?;
            With::Debian {
                namespaces: &namespaces,
                toolchain,
                source,
                build,
                release: &against.release,
                architecture: plan.architecture,
                rust: prepared.kernel == Kernel::Stock && plan.series.rust,
            }
        }
        Tools::Host { kdir } => With::Host { kdir },
    };
    let release = &against.release;
    entry
        .make(|path| driver::build(path, &sources, &with, release, &runner, &mut line))
        .map_err(failed)?;
    on_event(Event::StepDone {
        step,
        elapsed: began.elapsed(),
    });
    found(&entry).ok_or_else(|| of_cache(std::io::Error::other(GONE)))
}

/// What was built before; an entry that cannot be read is as good as none.
fn found(entry: &Entry) -> Option<Built> {
    let built = driver::read(&entry.path).ok()?;
    entry.touch();
    Some(built)
}

/// The kernel that modules are built against, and with what.
struct Against {
    tools: Tools,
    release: String,
    /// Names all of it.
    made_of: String,
}

enum Tools {
    Debian {
        toolchain: PathBuf,
        source: PathBuf,
        build: PathBuf,
    },
    Host {
        kdir: PathBuf,
    },
}

impl Against {
    fn of(plan: &Plan, prepared: &Prepared, cache: &Cache) -> Result<Self, BuildFailed> {
        let base = || Base::load(cache, &plan.base_key).ok_or(BuildFailed::NoToolchain);
        let entries = cache.entries();
        let debian = |base: &Base, source, build, release, kernel: &str| {
            let toolchain = base.toolchain.as_ref().ok_or(BuildFailed::NoToolchain)?;
            Ok(Self {
                made_of: format!("{toolchain} {kernel}"),
                release,
                tools: Tools::Debian {
                    toolchain: entries.join(toolchain),
                    source,
                    build,
                },
            })
        };
        if prepared.kernel == Kernel::Debug {
            let base = base()?;
            let parts = debug_kernel::to_build_against(&base, cache);
            let (source, build, release, kernel) = parts.ok_or(BuildFailed::NoToolchain)?;
            return debian(&base, source, build, release, &kernel);
        }
        let release = prepared.kernel_release.clone();
        if let Some(kdir) = &plan.kdir {
            kernel::check_tree(kdir, &release).map_err(SetupError::from)?;
            let identity =
                identity(kdir).map_err(|error| SetupError::from(kernel::KernelError::from(error)));
            return Ok(Self {
                tools: Tools::Host { kdir: kdir.clone() },
                release,
                made_of: identity?.1,
            });
        }
        if plan.kernel.is_some() {
            return Err(BuildFailed::NoTree);
        }
        let base = base()?;
        let metadata = base.metadata.clone().ok_or(BuildFailed::NoToolchain)?;
        let (source, build) = (
            entries.join(&metadata).join("source"),
            entries.join(&metadata).join("build"),
        );
        debian(&base, source, build, release, &metadata)
    }

    /// The entry of what is built of these sources.
    fn entry(&self, sources: &Sources, cache: &Cache) -> Entry {
        let key = Key::new(driver::KIND)
            .text(driver::RECIPE)
            .text(&self.made_of)
            .text(&self.release);
        cache.entry(driver::KIND, &sources.key(key).finish())
    }
}
