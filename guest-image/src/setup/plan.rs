// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the caller's options come to: which parts are Debian's, which are brought along.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::architecture::{self, Architecture, Series};
use crate::debian::packages::VIDEO;
use crate::image::embedded::{SOURCES_SHA256, agent_sha256};
use crate::image::files;
use crate::image::initramfs;
use crate::image::tree;
use crate::kernel;
use crate::kernel::headers;
use crate::kernel::metadata;
use crate::kernel::modules;
use crate::setup::options::SetupOptions;
use crate::store::hash::Key;

/// The options do not go together, or name what is not there.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A file that was named cannot be used.
    #[error("{what} {} cannot be used", path.display())]
    File {
        /// Which option.
        what: &'static str,
        /// Its value.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A kernel alone is not enough.
    #[error(
        "a kernel of one's own needs modules: a build tree to build them against (--kdir), or --module"
    )]
    KernelAlone,
    /// There is no such series.
    #[error("there is no kernel series {asked} for {architecture}; there are {}", architecture.series().join(", "))]
    Series {
        /// Which was asked for.
        asked: String,
        /// For what.
        architecture: &'static Architecture,
    },
    /// There is no such architecture.
    #[error("there are no guests of {0}; there are {list}", list = Architecture::names().join(", "))]
    Architecture(String),
    /// A series is one of Debian's.
    #[error("a kernel of one's own (--kernel) is of no series (--kernel-series)")]
    SeriesOfOwn,
    /// A build tree without its kernel.
    #[error("a build tree (--kdir) needs the kernel that was built in it (--kernel)")]
    KdirAlone,
}

/// Version of the files in `CACHE/setups`, in every name of one: a Landfall that writes others neither reads these nor
/// writes over them.
const FORMAT: u32 = 1;

/// Names of the kernel series that can be set up for some architecture, the default first; see
/// [`Architecture::series`].
pub fn kernel_series() -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in architecture::ALL.into_iter().flat_map(Architecture::series) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What to set up. All paths are absolute.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) qemu: Option<PathBuf>,
    pub(crate) architecture: &'static Architecture,
    /// Debian's kernel; of no meaning with one's own.
    pub(crate) series: &'static Series,
    pub(crate) kernel: Option<PathBuf>,
    pub(crate) kdir: Option<PathBuf>,
    pub(crate) modules: Vec<PathBuf>,
    /// Names everything the result depends on but the mirror.
    pub(crate) key: String,
    /// Names what the Debian parts depend on.
    pub(crate) base_key: String,
}

impl Plan {
    pub(crate) fn new(options: &SetupOptions) -> Result<Self, OptionsError> {
        Self::in_format(options, FORMAT)
    }

    fn in_format(options: &SetupOptions, format: u32) -> Result<Self, OptionsError> {
        if options.kernel.is_some() && options.kdir.is_none() && options.modules.is_empty() {
            return Err(OptionsError::KernelAlone);
        }
        if options.kernel.is_none() && options.kdir.is_some() {
            return Err(OptionsError::KdirAlone);
        }
        if options.kernel.is_some() && options.series.is_some() {
            return Err(OptionsError::SeriesOfOwn);
        }
        let architecture = match &options.architecture {
            None => architecture::HOST,
            Some(asked) => {
                Architecture::of(asked).ok_or_else(|| OptionsError::Architecture(asked.clone()))?
            }
        };
        let series = match &options.series {
            None => architecture.first,
            Some(asked) => architecture
                .one(asked)
                .ok_or_else(|| OptionsError::Series {
                    asked: asked.clone(),
                    architecture,
                })?,
        };
        let base = |key: Key| {
            key.text(&format!("files {format}"))
                .text(&format!("{architecture:?}"))
                .text(&format!("{series:?}"))
                .text(VIDEO)
                .text(metadata::RECIPE)
                .text(headers::RECIPE)
                .text(kernel::RECIPE)
                .text(&format!(
                    "{} {}",
                    options.qemu.is_some(),
                    options.kernel.is_some()
                ))
        };
        let mut key = base(Key::new("set-up"))
            .text(initramfs::RECIPE)
            .text(tree::RECIPE)
            .text(modules::RECIPE)
            .text(agent_sha256(architecture))
            .text(SOURCES_SHA256);
        let mut named = |what: &'static str, path: &Path| {
            let (path, identity) = identity(path).map_err(|source| OptionsError::File {
                what,
                path: path.to_owned(),
                source,
            })?;
            key = key.clone().text(what).text(&identity);
            Ok(path)
        };
        let mut optional = |what, path: &Option<PathBuf>| {
            path.as_deref().map(|path| named(what, path)).transpose()
        };
        let qemu = optional("--qemu", &options.qemu)?;
        let kernel = optional("--kernel", &options.kernel)?;
        let kdir = optional("--kdir", &options.kdir)?;
        let modules: Vec<_> = options
            .modules
            .iter()
            .map(|path| named("--module", path))
            .collect::<Result<_, _>>()?;
        for debug in modules.iter().filter_map(|path| files::beside(path)) {
            named("--module", &debug)?;
        }
        Ok(Self {
            qemu,
            architecture,
            series,
            kernel,
            kdir,
            modules,
            key: key.finish(),
            base_key: base(Key::new("base")).finish(),
        })
    }

    /// Whether anything was brought along: its key then names files of this machine.
    pub(crate) fn has_own_parts(&self) -> bool {
        self.qemu.is_some()
            || self.kernel.is_some()
            || self.kdir.is_some()
            || !self.modules.is_empty()
    }

    /// Whether Landfall's own modules are built.
    pub(crate) fn builds_modules(&self) -> bool {
        self.kernel.is_none() || self.kdir.is_some()
    }

    /// Whether anything of Debian's is needed.
    pub(crate) fn needs_debian(&self) -> bool {
        self.qemu.is_none() || self.kernel.is_none()
    }
}

/// The file's absolute path, and what tells it from what was there before.
pub(crate) fn identity(path: &Path) -> io::Result<(PathBuf, String)> {
    let path = fs::canonicalize(path)?;
    // A build tree's own time says little; its symbol table is written at the end of every build.
    let symbols = path.join("Module.symvers");
    let status = fs::metadata(if symbols.is_file() { &symbols } else { &path })?;
    let identity = format!(
        "{} {} {} {}.{:09}",
        path.display(),
        status.ino(),
        status.len(),
        status.mtime(),
        status.mtime_nsec()
    );
    Ok((path, identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An older and a newer Landfall share a cache: neither finds the other's files under its own names.
    #[test]
    fn another_format_has_other_names() -> Result<(), OptionsError> {
        let options = SetupOptions::new("cache");
        let [one, other] = [FORMAT, FORMAT + 1].map(|format| Plan::in_format(&options, format));
        let (one, other) = (one?, other?);
        assert_ne!(one.key, other.key);
        assert_ne!(one.base_key, other.base_key);
        Ok(())
    }

    #[test]
    fn the_key_follows_the_files_and_not_the_mirror() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let module = directory.path().join("x.ko");
        fs::write(&module, "one")?;
        let mut options = SetupOptions::new("cache");
        let plain = Plan::new(&options)?;

        options.mirror = Some("http://mirror.test".to_owned());
        assert_eq!(Plan::new(&options)?.key, plain.key);

        options.modules = vec![module.clone()];
        let first = Plan::new(&options)?;
        fs::write(&module, "longer")?;
        let second = Plan::new(&options)?;
        assert_ne!(first.key, plain.key);
        assert_ne!(first.key, second.key);
        assert_eq!(first.base_key, second.base_key);
        Ok(())
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let with = |kernel: Option<&str>, kdir: Option<&str>| SetupOptions {
            kernel: kernel.map(PathBuf::from),
            kdir: kdir.map(PathBuf::from),
            ..SetupOptions::new("cache")
        };

        assert!(matches!(
            Plan::new(&with(Some("/k"), None)),
            Err(OptionsError::KernelAlone)
        ));
        assert!(matches!(
            Plan::new(&with(None, Some("/b"))),
            Err(OptionsError::KdirAlone)
        ));
        let absent = Plan::new(&with(Some("/no/such/kernel"), Some("/")));
        assert!(matches!(
            absent,
            Err(OptionsError::File {
                what: "--kernel",
                ..
            })
        ));
    }
}
