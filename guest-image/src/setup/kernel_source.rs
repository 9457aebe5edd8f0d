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
const RECIPE: &str = "2";
/// Seconds that unpacking takes, as measured.
const SECONDS: u64 = 60;

/// A directory with one file of the kernel's source, such as `drivers/dma/dmatest.c`, the headers beside it and a Kbuild, for
/// [`build_module`](crate::build_module); or with the files of a folder, such as `drivers/media/pci/zoran`, whose own Makefile builds
/// all that its own Kconfig offers. It is fetched once, and nobody may write there.
///
/// # Errors
/// See [`SetupError`]; [`PackagesError::NoFile`] if the kernel has no such file, or folder with a Makefile and a Kconfig, or it is
/// not known which source is its.
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
    let (Some(source), Some(wanted)) = (source, Wanted::of(file)) else {
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
        work.kernel_source(&entry, source, file, wanted, options.mirror.as_deref())
    })?;
    Ok(entry.path)
}

/// What is built of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted<'a> {
    /// A module of one file, by its name.
    Module(&'a str),
    /// What a folder's Makefile says.
    Folder,
}

impl<'a> Wanted<'a> {
    /// Of a path within the source; `None`: it is none.
    fn of(path: &'a Path) -> Option<Self> {
        let within = |part: Component<'_>| matches!(part, Component::Normal(_));
        let name = path.file_name()?.to_str()?;
        let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"_-".contains(&letter);
        let sound = |name: &str| !name.is_empty() && name.bytes().all(plain);
        if !path.components().all(within) {
            return None;
        }
        match name.strip_suffix(".c") {
            Some(module) => sound(module).then_some(Self::Module(module)),
            None => sound(name).then_some(Self::Folder),
        }
    }

    /// Whether a file beside others in `folder` belongs to it.
    fn takes(self, path: &Path, wanted: &Path) -> bool {
        match self {
            Self::Module(_) => {
                let header = path.extension().is_some_and(|extension| extension == "h");
                path == wanted || header && path.parent() == wanted.parent()
            }
            Self::Folder => path.parent() == Some(wanted),
        }
    }

    /// The Kbuild; `None`: the folder that was taken says not what is built.
    fn kbuild(self, taken: &Path) -> io::Result<Option<String>> {
        match self {
            Self::Module(module) => Ok(Some(format!("obj-m := {module}.o\n"))),
            Self::Folder => match fs::read_to_string(taken.join("Kconfig")) {
                Ok(kconfig) if taken.join("Makefile").exists() => Ok(Some(chosen_all(&kconfig))),
                Ok(_) => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }
}

/// A Kbuild before a folder's Makefile: what can be chosen in its Kconfig is, but what the kernel has chosen already. What the code
/// itself asks for is a macro.
fn chosen_all(kconfig: &str) -> String {
    let mut kbuild = String::new();
    let mut symbol = None;
    for line in kconfig.lines() {
        let mut words = line.split_whitespace();
        let (how, macro_) = match (words.next(), words.next()) {
            (Some("config" | "menuconfig"), Some(name)) => {
                let plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
                symbol = name.bytes().all(plain).then_some(name);
                continue;
            }
            (Some("tristate"), _) => ("m", "_MODULE"),
            (Some("bool"), _) => ("y", ""),
            _ => continue,
        };
        if let Some(name) = symbol.take() {
            kbuild += &format!(
                "ifndef CONFIG_{name}\nCONFIG_{name} := {how}\nccflags-y += -DCONFIG_{name}{macro_}=1\nendif\n"
            );
        }
    }
    kbuild + "include $(src)/Makefile\n"
}

impl Work<'_> {
    fn kernel_source(
        &self,
        entry: &Entry,
        source: &Package,
        file: &Path,
        wanted: Wanted<'_>,
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
                let packages = std::slice::from_ref(&source);
                unpack(packages, &archives, &package, self.runner, &|_| {})?;
                let archive = format!("usr/src/{}.tar.xz", source.name);
                let archive = XzReader::new(File::open(package.join(archive))?, true);
                let found = take(archive, file, wanted, path)?;
                let Some(kbuild) = wanted.kbuild(path)?.filter(|_| found) else {
                    return Err(Making(PackagesError::NoFile(file.to_owned()).into()));
                };
                remove(&package)?;
                Ok(fs::write(path.join("Kbuild"), kbuild)?)
            })
        });
        let _ = remove(&self.cache.apt());
        made.map_err(SetupError::from)
    }
}

/// Takes what is wanted out of an archive of the source in which a folder's files follow each other. False: it is not there.
fn take(archive: impl Read, file: &Path, wanted: Wanted<'_>, to: &Path) -> io::Result<bool> {
    let folder = match wanted {
        Wanted::Module(_) => file.parent().unwrap_or(Path::new("")),
        Wanted::Folder => file,
    };
    let mut found = false;
    for entry in Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        // Its topmost directory has the source's name.
        let path: PathBuf = path.components().skip(1).collect();
        if found && !path.starts_with(folder) {
            break;
        }
        if let Some(name) = path.file_name().filter(|_| wanted.takes(&path, file))
            && entry.header().entry_type() == EntryType::Regular
        {
            found |= wanted == Wanted::Folder || path == file;
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
    fn only_files_and_folders_within_the_source_are_built() {
        let of = |path| Wanted::of(Path::new(path));
        assert_eq!(of("drivers/dma/dmatest.c"), Some(Wanted::Module("dmatest")));
        assert_eq!(of("drivers/media/pci/zoran"), Some(Wanted::Folder));
        for bad in [
            "", "a.h", "/a/b.c", "../b.c", "a/../b.c", "a/.c", "a/b c.c", "a/$(x).c", "/a/b",
            "a/..", "..", "a/b c",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_folder_offers_is_chosen_unless_the_kernel_has() {
        let kconfig = "# SPDX\nmenuconfig A_B\n\ttristate \"A\"\n\tdepends on PCI\n\thelp\n\t  bool of all\nconfig C\n\tbool\n\nconfig D\n\tint \"n\"\n\
                       config E$(x)\n\tbool\n";
        assert_eq!(
            chosen_all(kconfig),
            "ifndef CONFIG_A_B\nCONFIG_A_B := m\nccflags-y += -DCONFIG_A_B_MODULE=1\nendif\n\
             ifndef CONFIG_C\nCONFIG_C := y\nccflags-y += -DCONFIG_C=1\nendif\ninclude $(src)/Makefile\n"
        );
    }

    #[test]
    fn a_file_is_taken_with_the_headers_beside_it_or_a_folder_and_nothing_else() -> io::Result<()> {
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
        let taken = |file: &str| -> io::Result<Option<Vec<String>>> {
            let directory = tempfile::tempdir()?;
            let file = Path::new(file);
            let wanted = Wanted::of(file).expect("within the source");
            if !take(&*archive, file, wanted, directory.path())? {
                return Ok(None);
            }
            let files = fs::read_dir(directory.path())?;
            let mut taken = files
                .map(|file| fs::read_to_string(file?.path()))
                .collect::<io::Result<Vec<_>>>()?;
            taken.sort();
            Ok(Some(taken))
        };
        let words = |text: &str| Some(text.split(' ').map(str::to_owned).collect());
        assert_eq!(taken("d/x.c")?, words("d/x.c d/x.h d/z.h"));
        assert_eq!(taken("d/y.c")?, None);
        assert_eq!(taken("d")?, words("d/x.c d/x.h d/z.c d/z.h"));
        assert_eq!(taken("g")?, None);
        Ok(())
    }
}
