// SPDX-License-Identifier: MIT OR Apache-2.0

//! Modules that the kernel's source has and the distribution does not build: taken from the very source of the set-up's kernel,
//! as they are.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use lzma_rust2::XzReader;
use tar::{Archive, EntryType};

use crate::debian::packages::PackagesError;
use crate::debian::unpack::unpack;
use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::host::process::Runner;
use crate::prepared::Prepared;
use crate::setup::debug_kernel::{alone, chosen};
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::work::{Making, Work};
use crate::setup::{hold, work};
use crate::store::cache::{Cache, Entry, remove};
use crate::store::hash::Key;
use crate::store::lock::Package;

/// Kind of the entries that hold them.
const KIND: &str = "kernel-source";
/// How many of them are kept.
const KEPT: usize = 16;
/// Changes whenever what is in an entry does.
const RECIPE: &str = "1";
/// Seconds that unpacking takes, as measured.
const SECONDS: u64 = 60;

/// A directory with one file of the kernel's source, such as `drivers/dma/dmatest.c`, the headers beside it and a Kbuild, for
/// [`build_module`](crate::build_module). It is fetched once, and nobody may write there.
///
/// # Errors
/// See [`SetupError`]; [`PackagesError::NoFile`] if the kernel has no such file, or it is not known which source is its.
pub fn kernel_source(
    options: &SetupOptions,
    prepared: &Prepared,
    file: &Path,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<PathBuf, SetupError> {
    let is_source = |package: &&Package| package.used_for.iter().any(|use_| use_ == "source");
    let source = prepared.lock.packages.iter().find(is_source);
    let none = || SetupError::from(PackagesError::NoFile(file.to_owned()));
    let (Some(source), Some(module)) = (source, module(file)) else {
        return Err(none());
    };
    let key = Key::new(KIND)
        .text(RECIPE)
        .text(&source.sha256)
        .text(&file.to_string_lossy());
    let key = key.finish();
    let (whole, cache) = (Cache::new(&prepared.cache), Cache::new(&prepared.writable));
    let entry = cache.entry(KIND, &key);
    let there = [entry.clone(), whole.entry(KIND, &key)];
    if let Some(there) = there.iter().find(|there| there.exists()) {
        there.touch();
        return Ok(there.path.clone());
    }
    let of_cache = |source| SetupError::Cache {
        path: cache.root().to_owned(),
        source,
    };
    cache.create().map_err(of_cache)?;
    let guard = hold(&cache, cancel, on_event)?;
    // The other one may have fetched just this.
    if entry.exists() {
        return Ok(entry.path);
    }
    cache.sweep(&guard).map_err(of_cache)?;
    cache.forget_old(KIND, KEPT).map_err(of_cache)?;
    let runner = Runner::new(cancel, &cache.logs());
    work(&cache, &runner, 3, cancel, on_event, |work| {
        work.kernel_source(&entry, source, file, module, options.mirror.as_deref())
    })?;
    Ok(entry.path)
}

/// The module that a file of the source is; `None`: it is none, or not a path within the source.
fn module(file: &Path) -> Option<&str> {
    let within = |part: Component<'_>| matches!(part, Component::Normal(_));
    let module = file.file_name()?.to_str()?.strip_suffix(".c")?;
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"_-".contains(&letter);
    let sound = !module.is_empty() && module.bytes().all(plain) && file.components().all(within);
    sound.then_some(module)
}

impl Work<'_> {
    fn kernel_source(
        &self,
        entry: &Entry,
        source: &Package,
        file: &Path,
        module: &str,
        mirror: Option<&str>,
    ) -> Result<(), SetupError> {
        let source = chosen(source);
        let disk = 2 * source.size;
        let (archives, _) = self.fetch_source(&source, alone, mirror, disk, SECONDS)?;
        let detail = format!("{} of {} {}", file.display(), source.name, source.version);
        let made = self.reporter.step(Step::Packages, detail, || {
            entry.make(|path| {
                let package = path.join("package");
                fs::create_dir(&package)?;
                let wanted = std::slice::from_ref(&source);
                unpack(wanted, &archives, &package, self.runner, &|_| {})?;
                let archive = format!("usr/src/{}.tar.xz", source.name);
                let archive = XzReader::new(File::open(package.join(archive))?, true);
                if !take(archive, file, path)? {
                    return Err(Making(PackagesError::NoFile(file.to_owned()).into()));
                }
                remove(&package)?;
                Ok(fs::write(
                    path.join("Kbuild"),
                    format!("obj-m := {module}.o\n"),
                )?)
            })
        });
        let _ = remove(&self.cache.apt());
        made.map_err(SetupError::from)
    }
}

/// Takes a file, and the headers beside it, out of an archive of the source in which a folder's files follow each other. False:
/// it is not there.
fn take(archive: impl Read, file: &Path, to: &Path) -> io::Result<bool> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut found = false;
    for entry in Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        // Its topmost directory has the source's name.
        let path: PathBuf = path.components().skip(1).collect();
        if found && !path.starts_with(folder) {
            break;
        }
        let header = path.extension().is_some_and(|extension| extension == "h");
        let wanted = path == file || header && path.parent() == Some(folder);
        if let Some(name) = path.file_name().filter(|_| wanted)
            && entry.header().entry_type() == EntryType::Regular
        {
            found |= path == file;
            io::copy(&mut entry, &mut File::create(to.join(name))?)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    #[test]
    fn only_files_within_the_source_are_modules() {
        assert_eq!(module(Path::new("drivers/dma/dmatest.c")), Some("dmatest"));
        for bad in [
            "", "a.h", "/a/b.c", "../b.c", "a/../b.c", "a/.c", "a/b c.c", "a/$(x).c",
        ] {
            assert_eq!(module(Path::new(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_file_is_taken_with_the_headers_beside_it_and_nothing_else() -> io::Result<()> {
        let mut archive = Builder::new(Vec::new());
        let names = [
            "a/x.c", "d/x.h", "d/e/y.h", "d/x.c", "d/z.h", "d/z.c", "f/x.h",
        ];
        for name in names {
            let mut header = Header::new_gnu();
            header.set_size(name.len() as u64);
            archive.append_data(&mut header, format!("linux/{name}"), name.as_bytes())?;
        }
        let archive = archive.into_inner()?;
        let directory = tempfile::tempdir()?;
        assert!(take(&*archive, Path::new("d/x.c"), directory.path())?);
        let mut taken = Vec::new();
        for file in fs::read_dir(directory.path())? {
            taken.push(fs::read_to_string(file?.path())?);
        }
        taken.sort();
        assert_eq!(taken, ["d/x.c", "d/x.h", "d/z.h"]);
        assert!(!take(&*archive, Path::new("d/y.c"), directory.path())?);
        Ok(())
    }
}
