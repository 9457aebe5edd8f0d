// SPDX-License-Identifier: MIT OR Apache-2.0

//! Modules that the kernel's source has and the distribution does not build: taken from the very source of the set-up's kernel,
//! as they are.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

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
const RECIPE: &str = "3";
/// Seconds that unpacking takes, as measured.
const SECONDS: u64 = 60;

/// A directory with one file of the kernel's source, such as `drivers/dma/dmatest.c`, the headers beside it and a Kbuild, for
/// [`build_module`](crate::build_module); or with the files of a folder, such as `drivers/media/pci/zoran`, whose own Makefile builds
/// all that its own Kconfig offers. Either as the kernel is configured, but for `choices`. It is fetched once, and nobody may write
/// there.
///
/// # Errors
/// See [`SetupError`]; [`PackagesError::NoFile`] if the kernel has no such file, or folder with a Makefile and a Kconfig, or it is
/// not known which source is its.
pub fn kernel_source(
    options: &SetupOptions,
    prepared: &Prepared,
    file: &Path,
    choices: &[Choice],
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<PathBuf, SetupError> {
    let is_source = |package: &&Package| package.used_for.iter().any(|use_| use_ == "source");
    let source = prepared.lock.packages.iter().find(is_source);
    let none = || SetupError::from(PackagesError::NoFile(file.to_owned()));
    let (Some(source), Some(what)) = (source, What::of(file)) else {
        return Err(none());
    };
    let wanted = Wanted {
        file,
        what,
        choices,
    };
    let key = Key::new(KIND)
        .text(RECIPE)
        .text(&source.sha256)
        .text(&file.to_string_lossy());
    let key = choices
        .iter()
        .fold(key, |key, choice| key.text(&choice.to_string()));
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
        work.kernel_source(&entry, source, wanted, options.mirror.as_deref())
    })?;
    Ok(entry.path)
}

/// How a symbol of the kernel's configuration is chosen where a module of its source is built, in words `CONFIG_NAME=y`, `=m` or
/// `=n`. What other modules and the kernel itself are built with does not change by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    symbol: String,
    chosen: Chosen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Yes,
    Module,
    No,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
        let sound = |name: &&str| !name.is_empty() && name.bytes().all(plain);
        let parts = given
            .strip_prefix("CONFIG_")
            .and_then(|rest| rest.split_once('='));
        let chosen = match parts {
            Some((_, "y")) => Some(Chosen::Yes),
            Some((_, "m")) => Some(Chosen::Module),
            Some((_, "n")) => Some(Chosen::No),
            _ => None,
        };
        let symbol = parts.map(|(symbol, _)| symbol).filter(sound);
        match (symbol, chosen) {
            (Some(symbol), Some(chosen)) => Ok(Self {
                symbol: symbol.to_owned(),
                chosen,
            }),
            _ => Err(format!(
                "{given:?} chooses nothing: say CONFIG_NAME=y, =m or =n"
            )),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = match self.chosen {
            Chosen::Yes => "y",
            Chosen::Module => "m",
            Chosen::No => "n",
        };
        write!(f, "CONFIG_{}={chosen}", self.symbol)
    }
}

impl Choice {
    /// What a Makefile is told.
    fn assignment(&self) -> String {
        let Self { symbol, chosen } = self;
        let value = match chosen {
            Chosen::Yes => "y",
            Chosen::Module => "m",
            Chosen::No => "",
        };
        format!("CONFIG_{symbol} := {value}\n")
    }

    /// What the code is told.
    fn directives(&self) -> String {
        let Self { symbol, chosen } = self;
        let undefined = format!("#undef CONFIG_{symbol}\n#undef CONFIG_{symbol}_MODULE\n");
        match chosen {
            Chosen::Yes => undefined + &format!("#define CONFIG_{symbol} 1\n"),
            Chosen::Module => undefined + &format!("#define CONFIG_{symbol}_MODULE 1\n"),
            Chosen::No => undefined,
        }
    }
}

/// What is built of the source.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    file: &'a Path,
    what: What<'a>,
    choices: &'a [Choice],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What<'a> {
    /// A module of one file, by its name.
    Module(&'a str),
    /// What a folder's Makefile says.
    Folder,
}

impl<'a> What<'a> {
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
}

/// What the code is told of the choices, beside the Kbuild.
const CHOICES: &str = "landfall_choices.h";

impl Wanted<'_> {
    /// Whether a file of the source belongs to it.
    fn takes(&self, path: &Path) -> bool {
        match self.what {
            What::Module(_) => {
                let header = path.extension().is_some_and(|extension| extension == "h");
                path == self.file || header && path.parent() == self.file.parent()
            }
            What::Folder => path.parent() == Some(self.file),
        }
    }

    /// Writes how it is built to where its files are. False: its folder says not what is built.
    fn write(&self, to: &Path) -> io::Result<bool> {
        let mut kbuild: String = self.choices.iter().map(Choice::assignment).collect();
        if !self.choices.is_empty() {
            let directives: String = self.choices.iter().map(Choice::directives).collect();
            fs::write(to.join(CHOICES), directives)?;
            kbuild += &format!("ccflags-y += -include $(src)/{CHOICES}\n");
        }
        kbuild += &match self.what {
            What::Module(module) => format!("obj-m := {module}.o\n"),
            What::Folder => match fs::read_to_string(to.join("Kconfig")) {
                Ok(kconfig) if to.join("Makefile").exists() => offered(&kconfig, self.choices),
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            },
        };
        fs::write(to.join("Kbuild"), kbuild)?;
        Ok(true)
    }
}

/// A Kbuild before a folder's Makefile: what can be chosen in its Kconfig is, but what the kernel, or somebody, has chosen already.
/// What the code itself asks for is a macro.
fn offered(kconfig: &str, choices: &[Choice]) -> String {
    let mut kbuild = String::new();
    let mut symbol = None;
    for line in kconfig.lines() {
        let mut words = line.split_whitespace();
        let (how, macro_) = match (words.next(), words.next()) {
            (Some("config" | "menuconfig"), Some(name)) => {
                let plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
                let chosen = choices.iter().any(|choice| choice.symbol == name);
                symbol = (name.bytes().all(plain) && !chosen).then_some(name);
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
        wanted: Wanted<'_>,
        mirror: Option<&str>,
    ) -> Result<(), SetupError> {
        let source = chosen(source);
        let disk = 2 * source.size;
        let (archives, _) = self.fetch_source(&source, alone, mirror, disk, SECONDS)?;
        let file = wanted.file;
        let detail = format!("{} of {} {}", file.display(), source.name, source.version);
        let made = self.reporter.step(Step::Packages, detail, || {
            entry.make(|path| {
                let package = path.join("package");
                fs::create_dir(&package)?;
                let packages = std::slice::from_ref(&source);
                unpack(packages, &archives, &package, self.runner, &|_| {})?;
                let archive = format!("usr/src/{}.tar.xz", source.name);
                let archive = XzReader::new(File::open(package.join(archive))?, true);
                if !take(archive, &wanted, path)? || !wanted.write(path)? {
                    return Err(Making(PackagesError::NoFile(file.to_owned()).into()));
                }
                Ok(remove(&package)?)
            })
        });
        let _ = remove(&self.cache.apt());
        made.map_err(SetupError::from)
    }
}

/// Takes what is wanted out of an archive of the source in which a folder's files follow each other. False: it is not there.
fn take(archive: impl Read, wanted: &Wanted<'_>, to: &Path) -> io::Result<bool> {
    let folder = match wanted.what {
        What::Module(_) => wanted.file.parent().unwrap_or(Path::new("")),
        What::Folder => wanted.file,
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
        if let Some(name) = path.file_name().filter(|_| wanted.takes(&path))
            && entry.header().entry_type() == EntryType::Regular
        {
            found |= wanted.what == What::Folder || path == wanted.file;
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
        let of = |path| What::of(Path::new(path));
        assert_eq!(of("drivers/dma/dmatest.c"), Some(What::Module("dmatest")));
        assert_eq!(of("drivers/media/pci/zoran"), Some(What::Folder));
        for bad in [
            "", "a.h", "/a/b.c", "../b.c", "a/../b.c", "a/.c", "a/b c.c", "a/$(x).c", "/a/b",
            "a/..", "..", "a/b c",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_chosen_is_a_word_that_is_written_as_it_was_read() {
        for sound in ["CONFIG_DYNAMIC_DEBUG=n", "CONFIG_A_1=y", "CONFIG_b=m"] {
            let choice: Result<Choice, _> = sound.parse();
            assert_eq!(
                choice.map(|choice| choice.to_string()).as_deref(),
                Ok(sound)
            );
        }
        for bad in [
            "CONFIG_A",
            "CONFIG_=y",
            "A=y",
            "CONFIG_A=yes",
            "CONFIG_A =y",
            "CONFIG_$(x)=y",
            "CONFIG_A=\n",
        ] {
            assert!(bad.parse::<Choice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn choices_are_told_to_the_makefile_and_to_the_code() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let choices = ["CONFIG_A=n", "CONFIG_B=m"].map(|word| word.parse().expect("a choice"));
        let wanted = Wanted {
            file: Path::new("d/x.c"),
            what: What::Module("x"),
            choices: &choices,
        };
        assert!(wanted.write(directory.path())?);
        let read = |name| fs::read_to_string(directory.path().join(name));
        assert_eq!(
            read("Kbuild")?,
            "CONFIG_A := \nCONFIG_B := m\nccflags-y += -include $(src)/landfall_choices.h\nobj-m := x.o\n"
        );
        assert_eq!(
            read("landfall_choices.h")?,
            "#undef CONFIG_A\n#undef CONFIG_A_MODULE\n#undef CONFIG_B\n#undef CONFIG_B_MODULE\n#define CONFIG_B_MODULE 1\n"
        );
        let folder = Wanted {
            file: Path::new("d"),
            what: What::Folder,
            choices: &[],
        };
        assert!(!folder.write(directory.path())?, "it has no Kconfig");
        Ok(())
    }

    #[test]
    fn what_a_folder_offers_is_chosen_unless_somebody_has() {
        let kconfig = "# SPDX\nmenuconfig A_B\n\ttristate \"A\"\n\tdepends on PCI\n\thelp\n\t  bool of all\nconfig C\n\tbool\n\nconfig D\n\tint \"n\"\n\
                       config E$(x)\n\tbool\nconfig F\n\tbool\n";
        assert_eq!(
            offered(kconfig, &["CONFIG_F=n".parse().expect("a choice")]),
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
            let wanted = Wanted {
                file,
                what: What::of(file).expect("within the source"),
                choices: &[],
            };
            if !take(&*archive, &wanted, directory.path())? {
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
