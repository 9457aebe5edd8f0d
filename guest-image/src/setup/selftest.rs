// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's own selftests: built from the very source of the set-up's kernel, as they are, for guests.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};
use std::time::Duration;

use crate::architecture::HOST;
use crate::debian::apt::Chosen;
use crate::debian::packages;
use crate::debian::unpack::{UnpackError, unpack};
use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::host::follow::Follow;
use crate::host::namespace::Namespaces;
use crate::host::process::{CommandError, Job, Runner};
use crate::image::tree;
use crate::kernel::metadata::extract;
use crate::prepared::Prepared;
use crate::setup::debug_kernel::chosen;
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::packages::{Packages, finish, gone, read};
use crate::setup::plan::Plan;
use crate::setup::stamp::Base;
use crate::setup::work::{Making, Work};
use crate::setup::{hold, work};
use crate::store::cache::{Cache, Entry, remove};
use crate::store::hash::Key;
use crate::store::lock::Package;

/// Kind of the entries that hold them.
const KIND: &str = "selftest";
/// How many of them are kept.
const KEPT: usize = 16;
/// Changes whenever what is in an entry does.
const RECIPE: &str = "1";
/// Bytes on disk while one is built, seconds on two cores; as measured.
const DISK: u64 = 250 << 20;
const SECONDS: u64 = 30;
/// Time to build one.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const LOG: &str = "selftest";

/// Where a guest has a selftest: a directory of its name below this one.
pub const SELFTESTS: &str = "/opt/kselftest";

/// What of the source the set-up has not kept: the tests themselves, and what links in them lead to.
const PARTS: [&str; 3] = [
    "drivers/dma/*.h",
    "drivers/net/ethernet/intel/igb/*.h",
    "tools/testing/selftests/*",
];
/// Debian packages with libraries that tests are linked with, besides the C library.
const LIBRARIES: [&str; 1] = ["uuid-dev"];

/// `make install` of a test calls rsync, which the toolchain lacks, to copy files into a directory; with `-R` with their paths.
const RSYNC: &str = r#"#!/usr/bin/sh
paths=
while :; do
    case $1 in
        --*) ;;
        -*R*) paths=--parents ;;
        -*) ;;
        *) break ;;
    esac
    shift
done
exec cp --recursive --dereference --preserve=mode $paths "$@"
"#;

/// A selftest was not built.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The set-up was imported, or has a kernel that was brought along.
    #[error("this set-up has neither the source of its guests' kernel nor a toolchain")]
    NoSource,
    /// They are not built for these guests.
    #[error("selftests are built for {HOST} alone so far, and guests are {0}")]
    Architecture(&'static str),
    /// There is none.
    #[error(
        "the kernel's source has no selftest {0}: one is a directory of tools/testing/selftests with a Makefile"
    )]
    Unknown(String),
    /// What is behind its name is none.
    #[error(
        "behind a selftest's name comes a variable for its make, such as EXTRA_CFLAGS=-g, and not {0}"
    )]
    Variable(String),
    /// It was not built as it should be.
    #[error("the selftest {name} did not build")]
    Command {
        /// Its name.
        name: String,
        /// What failed.
        #[source]
        source: CommandError,
    },
}

/// Builds these selftests of the kernel's, directories below `tools/testing/selftests` such as `pci_endpoint`, with the set-up's
/// toolchain, and linked statically, so that they need nothing of the guest: it has what their `make install` installs, each in
/// its directory below [`SELFTESTS`]. What was built before is there at once, without network. Behind a name, and a space, may be
/// a variable for its make, in one line: `NAME VARIABLE=VALUE`.
///
/// # Errors
/// See [`SetupError`] and [`SelftestError`].
pub fn selftests(
    options: &SetupOptions,
    prepared: &Prepared,
    names: &[String],
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Packages, SetupError> {
    let mut all = Packages::default();
    for name in names {
        all = all.with(selftest(options, prepared, name, cancel, on_event)?);
    }
    Ok(all)
}

fn selftest(
    options: &SetupOptions,
    prepared: &Prepared,
    wanted: &str,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Packages, SetupError> {
    let asked = Asked::parse(wanted)?;
    let (whole, cache) = (Cache::new(&prepared.cache), Cache::new(&prepared.writable));
    let plan = Plan::new(options)?;
    if plan.architecture.is_foreign() {
        return Err(SelftestError::Architecture(plan.architecture.name).into());
    }
    let made_of = MadeOf::find(&plan, prepared, &whole).ok_or(SelftestError::NoSource)?;
    let entry = made_of.entry(&cache, wanted);
    let there = [&entry, &made_of.entry(&whole, wanted)];
    if let Some((there, packages)) = there.iter().find_map(|it| Some((it, read(it)?))) {
        there.touch();
        return Ok(packages);
    }
    let of_cache = |source| SetupError::Cache {
        path: cache.root().to_owned(),
        source,
    };
    cache.create().map_err(of_cache)?;
    let guard = hold(&cache, cancel, on_event)?;
    // The other one may have built just this.
    if let Some(packages) = read(&entry) {
        return Ok(packages);
    }
    cache.sweep(&guard).map_err(of_cache)?;
    cache.forget_old(KIND, KEPT).map_err(of_cache)?;
    let runner = Runner::new(cancel, &cache.logs());
    work(&cache, &runner, 3, cancel, on_event, |work| {
        work.selftest(&entry, &made_of, &whole, asked, options.mirror.as_deref())
    })?;
    read(&entry).ok_or_else(|| gone(prepared))
}

/// Which test, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked<'a> {
    name: &'a str,
    /// `VARIABLE=VALUE`, for its make.
    variable: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn parse(wanted: &'a str) -> Result<Self, SelftestError> {
        let (name, variable) = match wanted.split_once(' ') {
            Some((name, variable)) => (name, Some(variable)),
            None => (wanted, None),
        };
        if !is_name(name) {
            return Err(SelftestError::Unknown(name.to_owned()));
        }
        match variable.filter(|variable| !is_variable(variable)) {
            Some(other) => Err(SelftestError::Variable(other.to_owned())),
            None => Ok(Self { name, variable }),
        }
    }
}

/// Whether it is a variable for make, in one line.
fn is_variable(given: &str) -> bool {
    let letter = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    let (variable, value) = given.split_once('=').unwrap_or_default();
    !variable.is_empty() && variable.bytes().all(letter) && !value.contains(['\0', '\n'])
}

/// Whether the source could have a test of that name: a path within it.
fn is_name(name: &str) -> bool {
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"_-./".contains(&letter);
    let within = |part: Component<'_>| matches!(part, Component::Normal(_));
    let path = Path::new(name);
    !name.is_empty() && name.bytes().all(plain) && path.components().all(within)
}

/// What tests are built from, and with.
struct MadeOf {
    /// The package of the source.
    source: Chosen,
    /// Entries: the toolchain, and the parts of the source that the set-up keeps.
    toolchain: String,
    metadata: String,
}

impl MadeOf {
    fn find(plan: &Plan, prepared: &Prepared, cache: &Cache) -> Option<Self> {
        let is_source = |package: &&Package| package.used_for.iter().any(|use_| use_ == "source");
        let base = Base::load(cache, &plan.base_key)?;
        Some(Self {
            source: chosen(prepared.lock.packages.iter().find(is_source)?),
            toolchain: base.toolchain?,
            metadata: base.metadata?,
        })
    }

    fn entry(&self, cache: &Cache, wanted: &str) -> Entry {
        let key = Key::new(KIND)
            .text(RECIPE)
            .text(tree::RECIPE)
            .text(&self.source.sha256)
            .text(&self.toolchain)
            .text(&self.metadata)
            .text(wanted);
        cache.entry(KIND, &key.finish())
    }
}

/// An error while an entry was made.
struct Failed(SetupError);

impl From<io::Error> for Failed {
    fn from(source: io::Error) -> Self {
        Self(Making::from(source).into())
    }
}

impl From<UnpackError> for Failed {
    fn from(source: UnpackError) -> Self {
        Self(source.into())
    }
}

impl Work<'_> {
    fn selftest(
        &self,
        entry: &Entry,
        made_of: &MadeOf,
        whole: &Cache,
        asked: Asked<'_>,
        mirror: Option<&str>,
    ) -> Result<(), SetupError> {
        let namespaces = Namespaces::find(self.runner)?;
        let source = &made_of.source;
        let names = LIBRARIES.map(str::to_owned);
        let beside = |apt: &_| packages::look_up(apt, &names);
        let disk = DISK + source.size;
        let (archives, libraries) = self.fetch_source(source, beside, mirror, disk, SECONDS)?;
        let detail = format!("{} of {} {}", asked.name, source.name, source.version);
        let made = self.reporter.step(Step::Selftest, detail, || {
            entry.make(|path| {
                let tree = path.join("tree");
                fs::create_dir(&tree)?;
                let building = Building {
                    namespaces: &namespaces,
                    toolchain: &whole.entries().join(&made_of.toolchain),
                    kept: &whole.entries().join(&made_of.metadata).join("source"),
                    tree: &tree,
                    asked,
                };
                building.unpack(source, &libraries, &archives, self.runner)?;
                let mut line = |text: &str| self.reporter.line(Step::Selftest, text);
                building.build(self.runner, &mut line)?;
                let files = tree.join("files");
                let source = std::slice::from_ref(source);
                finish(path, &files, source, true).map_err(|error| Failed(error.into()))?;
                Ok::<_, Failed>(remove(&tree)?)
            })
        });
        let _ = remove(&self.cache.apt());
        made.map_err(|Failed(error)| error)
    }
}

struct Building<'a> {
    namespaces: &'a Namespaces,
    toolchain: &'a Path,
    kept: &'a Path,
    tree: &'a Path,
    asked: Asked<'a>,
}

impl Building<'_> {
    fn job(&self, what: &'static str) -> Job<'static> {
        Job {
            what,
            log: LOG,
            limit: LIMIT,
        }
    }

    fn failed(&self, source: CommandError) -> Failed {
        let name = self.asked.name.to_owned();
        Failed(SelftestError::Command { name, source }.into())
    }

    /// Unpacks what is to be built, and what with.
    fn unpack(
        &self,
        source: &Chosen,
        libraries: &[Chosen],
        archives: &Path,
        runner: &Runner,
    ) -> Result<(), Failed> {
        let (package, into) = (self.tree.join("package"), self.tree.join("source"));
        for directory in ["package", "source", "libraries", "bin"] {
            fs::create_dir(self.tree.join(directory))?;
        }
        unpack(
            std::slice::from_ref(source),
            archives,
            &package,
            runner,
            &|_| {},
        )?;
        let parts = |top: &str| PARTS.map(|part| format!("'{top}/{part}'")).join(" ");
        self.namespaces
            .tree(self.toolchain)
            .lend(&into, "work/source")
            .show(&package, "work/modules")
            .run(
                &extract(&package, parts)?,
                runner,
                &self.job("unpacking the kernel's source"),
                &mut || {},
            )
            .map_err(|error| self.failed(error))?;
        remove(&package)?;
        let name = self.asked.name;
        let test = into.join("tools/testing/selftests").join(name);
        if !test.join("Makefile").is_file() {
            return Err(Failed(SelftestError::Unknown(name.to_owned()).into()));
        }
        link_rest(self.kept, &into, Path::new("/work/source"))?;
        unpack(
            libraries,
            archives,
            &self.tree.join("libraries"),
            runner,
            &|_| {},
        )?;
        let rsync = self.tree.join("bin/rsync");
        fs::write(&rsync, RSYNC)?;
        Ok(fs::set_permissions(
            &rsync,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    fn build(&self, runner: &Runner, line: &mut dyn FnMut(&str)) -> Result<(), Failed> {
        let mut follow = Follow::new(&runner.log(LOG));
        let built = self
            .namespaces
            .tree(self.toolchain)
            .show(self.kept, "work/source")
            .lend(self.tree, "work/modules")
            .run(
                &script(self.asked),
                runner,
                &self.job("building a selftest"),
                &mut || follow.tell(line),
            );
        follow.tell(line);
        built.map_err(|error| self.failed(error))
    }
}

/// Whatever is in `from`, and not in `to`, is linked there, to where `from` is shown.
fn link_rest(from: &Path, to: &Path, shown: &Path) -> io::Result<()> {
    for file in fs::read_dir(from)? {
        let file = file?;
        let (name, here) = (file.file_name(), to.join(file.file_name()));
        match fs::symlink_metadata(&here) {
            Err(_) => symlink(shown.join(name), here)?,
            Ok(status) if status.is_dir() => link_rest(&file.path(), &here, &shown.join(name))?,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The kernel's headers for programs come first, which the tests include.
fn script(asked: Asked<'_>) -> String {
    let Asked { name, variable } = asked;
    let quoted = |word: &str| format!(" '{}'", word.replace('\'', r"'\''"));
    let variable = variable.map_or_else(String::new, quoted);
    let with = "CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 -j$(nproc)";
    let libraries = "/work/modules/libraries/usr";
    format!(
        "export PATH=/work/modules/bin:$PATH\n\
         make -s -C /work/source O=/work/modules/headers {with} headers\n\
         mkdir -p /work/modules/built /work/modules/files{SELFTESTS}/{name}\n\
         make -C /work/modules/source/tools/testing/selftests/{name} {with} \
         KHDR_INCLUDES='-isystem /work/modules/headers/usr/include' \
         USERCFLAGS='-isystem {libraries}/include' USERLDFLAGS='-static -L{libraries}/lib/x86_64-linux-gnu' \
         OUTPUT=/work/modules/built INSTALL_PATH=/work/modules/files{SELFTESTS}/{name}{variable} install"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_directories_within_the_tests_are_names() {
        for good in ["pci_endpoint", "vfio", "drivers/dma-buf"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "/vfio", "../vfio", "a/../b", "a b", "$(x)", "a;b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn behind_a_name_is_a_variable_for_make_or_nothing() {
        let said = |given| Asked::parse(given).map(|asked| (asked.name, asked.variable));
        let is = |given, name, variable| {
            assert_eq!(said(given).ok(), Some((name, variable)));
        };
        is("vfio", "vfio", None);
        is("a/b X=", "a/b", Some("X="));
        is("a X_1=-D'y=\"z\"' -g", "a", Some("X_1=-D'y=\"z\"' -g"));
        for bad in [
            "vfio ",
            "vfio x",
            "vfio =1",
            "vfio  X=1",
            "vfio X-Y=1",
            "vfio X=1\nY",
        ] {
            assert!(
                matches!(said(bad), Err(SelftestError::Variable(_))),
                "{bad}"
            );
        }
        let asked = Asked::parse("a X='y'").expect("it is one");
        assert!(script(asked).ends_with(r"/opt/kselftest/a 'X='\''y'\''' install"));
    }

    #[test]
    fn what_the_set_up_has_kept_is_linked_beside_what_was_unpacked() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let (kept, new) = (directory.path().join("kept"), directory.path().join("new"));
        for file in [
            "Makefile",
            "tools/include/a.h",
            "tools/testing/old",
            "include/b.h",
        ] {
            let path = kept.join(file);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, file)?;
        }
        fs::create_dir_all(new.join("tools/testing"))?;
        fs::write(new.join("tools/testing/old"), "new")?;
        link_rest(&kept, &new, &kept)?;
        let read = |file: &str| fs::read_to_string(new.join(file));
        assert_eq!(read("tools/testing/old")?, "new");
        for file in ["Makefile", "tools/include/a.h", "include/b.h"] {
            assert_eq!(read(file)?, file);
        }
        assert!(new.join("include").is_symlink() && !new.join("tools").is_symlink());
        Ok(())
    }

    #[test]
    fn what_stands_for_rsync_copies_files_and_where_asked_their_paths() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        for file in ["a", "d/b"] {
            fs::create_dir_all(at.join("d"))?;
            fs::write(at.join(file), file)?;
        }
        for (to, options) in [
            ("one", &["-a", "--copy-unsafe-links"][..]),
            ("two", &["-aR"]),
        ] {
            fs::create_dir(at.join(to))?;
            let mut rsync = Command::new("sh");
            rsync
                .current_dir(at)
                .args(["-c", RSYNC, "rsync"])
                .args(options);
            assert!(rsync.args(["a", "d/b", to]).status()?.success());
        }
        assert_eq!(fs::read_to_string(at.join("one/b"))?, "d/b");
        assert_eq!(fs::read_to_string(at.join("two/d/b"))?, "d/b");
        assert_eq!(fs::read_to_string(at.join("one/a"))?, "a");
        Ok(())
    }
}
