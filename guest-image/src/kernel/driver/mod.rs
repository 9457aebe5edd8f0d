// SPDX-License-Identifier: MIT OR Apache-2.0

//! Builds anybody's module against a guest's kernel, as Landfall's own are built.

mod said;
mod sources;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use sources::SourcesError;

use super::modules::{With, uses_clang};
use crate::architecture::Architecture;
use crate::host::follow::Follow;
use crate::host::process::{CommandError, Job, Runner};
use crate::image::modinfo::{ModuleInfo, NotAModule};
use crate::store::cache::remove;
use said::Said;
pub(crate) use sources::Sources;

/// Changes whenever the recipe below does.
pub(crate) const RECIPE: &str = "1";
/// Kind of the entries that hold such modules.
pub(crate) const KIND: &str = "driver";
/// How many of them are kept.
pub(crate) const KEPT: usize = 64;
/// Time to build one.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const LOG: &str = "driver";
/// Where the sources are while they are built, in the toolchain's tree.
const PLACE: &str = "/work/modules/driver/";

/// A module that was built, and those that its directory makes besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its file, in the cache. `X.ko.debug` beside it has the lines of its source.
    pub ko: PathBuf,
    /// Its name.
    pub name: String,
    /// Files of all modules that the directory makes, each before those that need it. `ko` is the last: with several
    /// that nobody needs, the last by name.
    pub all: Vec<PathBuf>,
    /// What the compilers warned of, each with the lines that belong to it.
    pub warnings: Vec<String>,
}

/// A module did not build, in words for whoever wrote it.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The directory.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// A file in the cache.
    #[error("a file in the cache cannot be used: {0}")]
    File(#[from] io::Error),
    /// No program failed, but could not be run to its end.
    #[error(transparent)]
    Command(CommandError),
    /// The compiler, or make, refused it.
    #[error("it does not build against Linux {release}:\n{}", lines(said, hints))]
    Refused {
        /// `uname -r`.
        release: String,
        /// What compiler, modpost or make said; paths are relative to the directory.
        said: Vec<String>,
        /// What may be the reason.
        hints: Vec<String>,
        /// All that was said.
        log: PathBuf,
    },
    /// Nothing failed, and there is no module.
    #[error("nothing was built: `obj-m` in its Kbuild or Makefile has to name a module")]
    Nothing,
    /// What was built is no module.
    #[error("{file} was built, and is no module: {source}")]
    NotAModule {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        source: NotAModule,
    },
}

fn lines(said: &[String], hints: &[String]) -> String {
    let hints = hints.iter().map(|hint| format!("({hint})"));
    let all: Vec<String> = said.iter().cloned().chain(hints).collect();
    all.join("\n")
}

/// Builds into `entry`, which gets the modules, their debug information, and what the compilers warned of.
pub(crate) fn build(
    entry: &Path,
    sources: &Sources,
    with: &With<'_>,
    release: &str,
    runner: &Runner,
    line: &mut dyn FnMut(&str),
) -> Result<(), DriverError> {
    let tree = entry.join("tree");
    let directory = tree.join("driver");
    fs::create_dir_all(&directory)?;
    sources.write(&directory)?;
    let of_host = format!("{}/", directory.display());
    let place = match with {
        With::Debian { .. } => PLACE,
        With::Host { .. } => &of_host,
    };
    let mut said = Said::new(place);
    let mut hear = |text: &str| {
        line(text);
        said.hear(text);
    };
    let mut follow = Follow::new(&runner.log(LOG));
    let job = Job {
        what: "building a module",
        log: LOG,
        limit: LIMIT,
    };
    let takes_rust = matches!(with, With::Debian { rust: true, .. } | With::Host { .. });
    let made = match with {
        With::Debian {
            namespaces,
            toolchain,
            source,
            build,
            architecture,
            rust,
            ..
        } => namespaces
            .tree(toolchain)
            .show(source, "work/source")
            .show(build, "work/build")
            .lend(&tree, "work/modules")
            .run(
                &script(release, architecture, *rust, sources.flag(PLACE).as_deref()),
                runner,
                &job,
                &mut || follow.tell(&mut hear),
            ),
        With::Host { kdir } => {
            let mut make = Command::new("make");
            make.arg("-C").arg(kdir);
            make.arg(format!("M={}", directory.display()));
            make.args(sources.flag(&of_host));
            if uses_clang(kdir) {
                make.arg("LLVM=1");
            }
            make.arg("modules");
            runner.run(&mut make, &job, &mut || follow.tell(&mut hear))
        }
    };
    follow.tell(&mut hear);
    match made {
        Ok(()) => {}
        Err(CommandError::Failed { .. }) => {
            let mut hints = Vec::new();
            if sources.has_rust() && !takes_rust {
                hints.push("this kernel takes no modules in Rust".to_owned());
            }
            for path in &sources.left_out {
                let path = path.display();
                hints.push(format!(
                    "the link {path} was left out: it does not lead to a file in the directory"
                ));
            }
            return Err(DriverError::Refused {
                release: release.to_owned(),
                said: said.errors(),
                hints,
                log: runner.log(LOG),
            });
        }
        Err(other) => return Err(DriverError::Command(other)),
    }
    let built = collect(&directory, entry)?;
    if built == 0 {
        return Err(DriverError::Nothing);
    }
    let warnings = serde_json::to_vec(&said.warnings()).map_err(io::Error::from)?;
    fs::write(entry.join("warnings"), warnings)?;
    remove(&tree)?;
    // Nothing of a module that nobody could use is kept.
    read(entry).map(|_| ())
}

/// Debug information goes beside each module, and does not travel into the guest.
fn script(release: &str, architecture: &Architecture, rust: bool, flag: Option<&str>) -> String {
    let Architecture { make, triple, .. } = architecture;
    let of = match rust {
        true => "RUSTC=rustc BINDGEN=bindgen",
        false => "",
    };
    let flag = flag.map_or_else(String::new, |flag| format!("'{flag}'"));
    format!(
        "make -C /work/source O=/work/build {make} {of} {flag} \
         CONFIG_DEBUG_INFO_BTF= CONFIG_DEBUG_INFO_BTF_MODULES= KERNELRELEASE='{release}' -j$(nproc) \
         M={PLACE} modules\n\
         find {PLACE} -name '*.ko' | while read -r module; do\n\
         {triple}-objcopy --only-keep-debug \"$module\" \"$module.debug\"\n\
         {triple}-strip --strip-debug \"$module\"\n\
         done"
    )
}

/// Moves all modules below a directory into the entry; gives their number.
fn collect(directory: &Path, entry: &Path) -> io::Result<usize> {
    let mut built = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for file in fs::read_dir(directory)? {
            let file = file?;
            let path = file.path();
            let is = |end: &str| file.file_name().to_string_lossy().ends_with(end);
            if file.file_type()?.is_dir() {
                open.push(path);
            } else if file.file_type()?.is_file() && (is(".ko") || is(".ko.debug")) {
                fs::rename(&path, entry.join(file.file_name()))?;
                built += usize::from(is(".ko"));
            }
        }
    }
    Ok(built)
}

/// What an entry holds that [`build`] made.
pub(crate) fn read(entry: &Path) -> Result<Built, DriverError> {
    let mut modules = Vec::new();
    for file in fs::read_dir(entry)? {
        let path = file?.path();
        if path.extension().is_some_and(|end| end == "ko") {
            let info = ModuleInfo::read(&fs::read(&path)?).map_err(|source| {
                let file = path.file_name().unwrap_or_default();
                let file = file.to_string_lossy().into_owned();
                DriverError::NotAModule { file, source }
            })?;
            modules.push((info, path));
        }
    }
    modules.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    // Each behind those of the others that it needs; what is in a circle keeps its place.
    let mut all: Vec<(ModuleInfo, PathBuf)> = Vec::new();
    while !modules.is_empty() {
        let ready = |(info, _): &(ModuleInfo, PathBuf)| {
            !modules
                .iter()
                .any(|(other, _)| other.name != info.name && info.depends.contains(&other.name))
        };
        let next = modules.iter().position(ready).unwrap_or(0);
        all.push(modules.remove(next));
    }
    let (info, ko) = all.last().cloned().ok_or(DriverError::Nothing)?;
    let warnings = fs::read(entry.join("warnings"))?;
    Ok(Built {
        ko,
        name: info.name,
        all: all.into_iter().map(|(_, path)| path).collect(),
        warnings: serde_json::from_slice(&warnings).map_err(io::Error::from)?,
    })
}
