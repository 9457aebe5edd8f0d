// SPDX-License-Identifier: MIT OR Apache-2.0

//! Builds Landfall's modules: in Debian's toolchain, or with the host's `make` against a tree brought along.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::architecture::Architecture;
use crate::host::follow::Follow;
use crate::host::namespace::Namespaces;
use crate::host::process::{CommandError, Job, Runner};
use crate::image::embedded;

/// Time to build them: a few seconds.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const LOG: &str = "modules";
/// Changes whenever the recipe below does, so that modules made by older ones are not used.
pub(crate) const RECIPE: &str = "2";

/// The modules were not built.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file cannot be read or written.
    #[error("a file of the modules cannot be used")]
    File(#[from] io::Error),
    /// `make` failed.
    #[error("the modules did not build")]
    Command(#[from] CommandError),
    /// `make` was content but there is no module.
    #[error("the build made no module; its words are in {}", log.display())]
    Nothing {
        /// The log.
        log: PathBuf,
    },
}

/// What to build with.
pub(crate) enum With<'a> {
    /// Debian's toolchain, and source and build directory of a kernel of its release.
    Debian {
        namespaces: &'a Namespaces,
        toolchain: &'a Path,
        source: &'a Path,
        build: &'a Path,
        release: &'a str,
        architecture: &'a Architecture,
        /// The kernel takes modules in Rust; else those in C are built alone.
        rust: bool,
    },
    /// The host's `make` and compilers, and a kernel build tree.
    Host { kdir: &'a Path },
}

/// Builds into `entry`, which gets the `.ko` files, with Debian's toolchain also `X.ko.debug` with the lines of the source,
/// which stay on the host, and `warnings`, the compilers' warnings a line each.
pub(crate) fn build(
    entry: &Path,
    with: &With<'_>,
    runner: &Runner,
    line: &mut dyn FnMut(&str),
) -> Result<(), ModulesError> {
    let tree = entry.join("tree");
    embedded::write_sources(&tree)?;
    let mut follow = Follow::new(&runner.log(LOG));
    let mut warnings = String::new();
    let mut hear = |said: &str| {
        if said.contains("warning:") || said.starts_with("WARNING: ") {
            warnings.push_str(said);
            warnings.push('\n');
        }
        line(said);
    };
    let job = Job {
        what: "building the modules",
        log: LOG,
        limit: LIMIT,
    };
    match with {
        With::Debian {
            namespaces,
            toolchain,
            source,
            build,
            release,
            architecture,
            rust,
        } => namespaces
            .tree(toolchain)
            .show(source, "work/source")
            .show(build, "work/build")
            .lend(&tree, "work/modules")
            .run(
                &script(release, architecture, *rust),
                runner,
                &job,
                &mut || follow.tell(&mut hear),
            )?,
        With::Host { kdir } => {
            runner.run(&mut host_make(kdir, &tree), &job, &mut || {
                follow.tell(&mut hear)
            })?;
        }
    }
    follow.tell(&mut hear);

    let mut built = 0;
    for file in fs::read_dir(tree.join("kmod"))? {
        let path = file?.path();
        let (Some(name), Some(end)) = (path.file_name(), path.extension()) else {
            continue;
        };
        if end == "ko" || end == "debug" {
            fs::rename(&path, entry.join(name))?;
            built += usize::from(end == "ko");
        }
    }
    if built == 0 {
        return Err(ModulesError::Nothing {
            log: runner.log(LOG),
        });
    }
    fs::write(entry.join("warnings"), warnings)?;
    Ok(crate::store::cache::remove(&tree)?)
}

fn script(release: &str, architecture: &Architecture, rust: bool) -> String {
    let Architecture { make, triple, .. } = architecture;
    let of = match rust {
        true => "RUSTC=rustc BINDGEN=bindgen",
        false => "",
    };
    // Lines and inlined functions are all that is asked for: a sixth of all debug information.
    let lines = match rust {
        true => "KCFLAGS=-g1 KRUSTFLAGS=-Cdebuginfo=line-tables-only",
        false => "KCFLAGS=-g1",
    };
    format!(
        "make -C /work/source O=/work/build {make} {of} \
         {lines} CONFIG_DEBUG_INFO_BTF= CONFIG_DEBUG_INFO_BTF_MODULES= KERNELRELEASE='{release}' -j$(nproc) \
         M=/work/modules/kmod modules\n\
         for module in /work/modules/kmod/*.ko; do\n\
         {triple}-objcopy --only-keep-debug $module $module.debug\n\
         {triple}-strip --strip-debug $module\n\
         done"
    )
}

fn host_make(kdir: &Path, tree: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(kdir)
        .arg(format!("M={}", tree.join("kmod").display()));
    if uses_clang(kdir) {
        make.arg("LLVM=1");
    }
    make.arg("modules");
    make
}

/// Whether the kernel of a build tree was built with clang: its modules have to be, then.
pub(crate) fn uses_clang(kdir: &Path) -> bool {
    let configuration = fs::read_to_string(kdir.join(".config")).unwrap_or_default();
    configuration.contains("CONFIG_CC_IS_CLANG=y")
}

/// The modules in an entry that [`build`] made, sorted.
pub(crate) fn built(entry: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(entry)? {
        let path = file?.path();
        if path.extension().is_some_and(|end| end == "ko") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
