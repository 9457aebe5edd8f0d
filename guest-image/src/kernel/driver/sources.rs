// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sources of somebody's module: taken once, bounded, so that what is built is what was hashed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::image::embedded;
use crate::store::hash::Key;

/// Most bytes of all files together.
const LARGEST: usize = 64 << 20;
/// Most files, and links.
const MOST: usize = 4096;
/// Most directories, one in the other.
const DEEPEST: usize = 32;
/// What leaves marks where there are read barriers, beside the sources.
const MARKS: &str = "landfall_marks.h";

/// A directory cannot be taken for the sources of a module.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A file or directory cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing says what to build.
    #[error(
        "{} has neither a Kbuild nor a Makefile; a Kbuild with the line `obj-m := NAME.o` builds NAME.c", .0.display()
    )]
    NoMakefile(PathBuf),
    /// It is no module's directory.
    #[error("{} holds more than {what}: a module's own directory is wanted", path.display())]
    TooMuch {
        /// The directory.
        path: PathBuf,
        /// What of.
        what: &'static str,
    },
}

/// What a module is built from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: Vec<Source>,
    bytes: usize,
    seen: usize,
    /// Marks are left where there are read barriers.
    marks: bool,
    /// Links that lead out of the directory, or nowhere, or to a directory: these are not followed.
    pub(crate) left_out: Vec<PathBuf>,
}

#[derive(Debug)]
struct Source {
    /// Below the directory.
    path: PathBuf,
    executable: bool,
    bytes: Vec<u8>,
}

impl Sources {
    /// Reads a directory. What a build leaves behind is passed over.
    pub(crate) fn read(directory: &Path) -> Result<Self, SourcesError> {
        let root = fs::canonicalize(directory).map_err(unreadable(directory))?;
        let mut sources = Self::default();
        sources.walk(&root, Path::new(""), 0)?;
        let there = |name: &str| {
            sources
                .files
                .iter()
                .any(|file| file.path == Path::new(name))
        };
        match ["Kbuild", "Makefile"].into_iter().any(there) {
            true => Ok(sources),
            false => Err(SourcesError::NoMakefile(directory.to_owned())),
        }
    }

    fn walk(&mut self, root: &Path, below: &Path, depth: usize) -> Result<(), SourcesError> {
        let too_much = |what| SourcesError::TooMuch {
            path: root.to_owned(),
            what,
        };
        if depth > DEEPEST {
            return Err(too_much("32 directories one in the other"));
        }
        let directory = root.join(below);
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(unreadable(&directory))? {
            names.push(entry.map_err(unreadable(&directory))?.file_name());
            if self.seen + names.len() > MOST {
                return Err(too_much("4096 files"));
            }
        }
        self.seen += names.len();
        names.sort();
        for name in names {
            if is_product(&name.to_string_lossy()) {
                continue;
            }
            let (path, whole) = (below.join(&name), directory.join(&name));
            let kind = fs::symlink_metadata(&whole)
                .map_err(unreadable(&whole))?
                .file_type();
            if kind.is_dir() {
                self.walk(root, &path, depth + 1)?;
            } else if kind.is_file() {
                self.take(path, &whole, &too_much)?;
            } else if kind.is_symlink() {
                let inside = fs::canonicalize(&whole)
                    .ok()
                    .filter(|to| to.starts_with(root) && to.is_file());
                match inside {
                    Some(to) => self.take(path, &to, &too_much)?,
                    None => self.left_out.push(path),
                }
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        path: PathBuf,
        from: &Path,
        too_much: &impl Fn(&'static str) -> SourcesError,
    ) -> Result<(), SourcesError> {
        let open = || {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
                .open(from)?;
            let mut bytes = Vec::new();
            (&file)
                .take((LARGEST - self.bytes) as u64 + 1)
                .read_to_end(&mut bytes)?;
            Ok((executable(&file)?, bytes))
        };
        let (executable, bytes) = open().map_err(unreadable(from))?;
        self.bytes += bytes.len();
        if self.bytes > LARGEST {
            return Err(too_much("64 MiB"));
        }
        self.files.push(Source {
            path,
            executable,
            bytes,
        });
        Ok(())
    }

    /// Adds all of it to a key.
    pub(crate) fn key(&self, key: Key) -> Key {
        self.files.iter().fold(key, |key, file| {
            key.bytes(file.path.as_os_str().as_bytes())
                .text(if file.executable { "x" } else { "" })
                .bytes(&file.bytes)
        })
    }

    /// Has the compiler include [`MARKS`] before all else.
    pub(crate) fn leave_marks(&mut self) {
        self.marks = true;
        self.files.retain(|file| file.path != Path::new(MARKS));
        self.files.push(Source {
            path: MARKS.into(),
            executable: false,
            bytes: embedded::source("kmod/include/landfall_marks.h").to_vec(),
        });
    }

    /// What make is told for that, if they lie at `place`, which ends in `/`.
    pub(crate) fn flag(&self, place: &str) -> Option<String> {
        (self.marks).then(|| format!("KCFLAGS=-include {place}{MARKS}"))
    }

    /// Whether some of it is in Rust.
    pub(crate) fn has_rust(&self) -> bool {
        let is_rust = |file: &Source| file.path.extension().is_some_and(|end| end == "rs");
        self.files.iter().any(is_rust)
    }

    /// Writes all of it below a directory.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        for file in &self.files {
            let path = directory.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, &file.bytes)?;
            if file.executable {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

fn executable(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.permissions().mode() & 0o100 != 0)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> SourcesError {
    let path = path.to_owned();
    move |source| SourcesError::File { path, source }
}

/// What the kernel's build leaves in a module's directory, and what is no source at all.
fn is_product(name: &str) -> bool {
    let ends = [".o", ".ko", ".mod", ".mod.c", ".ko.debug"];
    let names = [".git", ".tmp_versions", "modules.order", "Module.symvers"];
    ends.iter().any(|end| name.ends_with(end))
        || names.contains(&name)
        || (name.starts_with('.') && name.ends_with(".cmd"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    fn paths(sources: &Sources) -> Vec<String> {
        let path = |file: &Source| file.path.display().to_string();
        sources.files.iter().map(path).collect()
    }

    #[test]
    fn marks_are_files_of_their_own_and_another_key() -> Result {
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("Kbuild"), "obj-m := a.o")?;
        fs::write(directory.path().join(MARKS), "somebody's")?;
        let key = |sources: &Sources| sources.key(Key::new("driver")).finish();

        let plain = Sources::read(directory.path())?;
        let mut marked = Sources::read(directory.path())?;
        marked.leave_marks();

        assert_eq!(plain.flag("/there/"), None);
        let flag = "KCFLAGS=-include /there/landfall_marks.h";
        assert_eq!(marked.flag("/there/").as_deref(), Some(flag));
        assert_eq!(paths(&marked), ["Kbuild", MARKS]);
        let header = marked.files.last().map(|file| file.bytes.as_slice());
        assert!(header.is_some_and(|header| header.starts_with(b"/* SPDX")));
        assert_ne!(key(&plain), key(&marked));
        Ok(())
    }

    #[test]
    fn sources_are_taken_and_products_and_links_out_are_not() -> Result {
        let (directory, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let at = |name: &str| directory.path().join(name);
        fs::write(elsewhere.path().join("secret"), "no")?;
        fs::create_dir(at("part"))?;
        for name in [
            "Kbuild",
            "main.c",
            "main.o",
            "main.ko",
            "main.mod.c",
            "part/a.h",
            ".main.o.cmd",
        ] {
            fs::write(at(name), name)?;
        }
        symlink(elsewhere.path().join("secret"), at("out"))?;
        symlink("/no/such/file", at("nowhere"))?;
        symlink("..", at("part/up"))?;
        symlink("part/a.h", at("inside.h"))?;

        let sources = Sources::read(directory.path())?;

        assert_eq!(
            paths(&sources),
            ["Kbuild", "inside.h", "main.c", "part/a.h"]
        );
        let left_out = ["nowhere", "out", "part/up"].map(PathBuf::from);
        assert_eq!(sources.left_out, left_out);
        let copy = tempfile::tempdir()?;
        sources.write(copy.path())?;
        assert_eq!(
            fs::read_to_string(copy.path().join("inside.h"))?,
            "part/a.h"
        );
        Ok(())
    }

    #[test]
    fn the_key_follows_names_bytes_and_nothing_else() -> Result {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let key = || -> Result<String> {
            Ok(Sources::read(directory.path())?.key(Key::new("k")).finish())
        };
        fs::write(at("Makefile"), "obj-m := a.o")?;
        fs::write(at("a.c"), "1")?;
        let first = key()?;
        fs::write(at("a.o"), "built")?;
        assert_eq!(key()?, first);

        fs::write(at("a.c"), "2")?;
        let second = key()?;
        fs::rename(at("a.c"), at("b.c"))?;
        let third = key()?;
        assert!(first != second && second != third && first != third);
        Ok(())
    }

    #[test]
    fn a_directory_that_is_no_modules_is_refused_with_words() -> Result {
        let directory = tempfile::tempdir()?;
        let none = Sources::read(directory.path()).map(|_| ());
        assert!(matches!(none, Err(SourcesError::NoMakefile(_))), "{none:?}");

        fs::write(directory.path().join("Makefile"), "")?;
        for number in 0..MOST {
            fs::write(directory.path().join(number.to_string()), "")?;
        }
        let many = Sources::read(directory.path()).map(|_| ());
        let many = many.err().ok_or("too many")?.to_string();
        assert!(many.contains("4096 files"), "{many}");
        let nowhere = Sources::read(&directory.path().join("no"));
        assert!(matches!(nowhere, Err(SourcesError::File { .. })));
        Ok(())
    }
}
