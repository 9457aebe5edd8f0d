// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files of the host's into a guest, programs with the libraries that they need.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use landfall_guest::{Architecture, Dynamic};

use super::{NotBrought, Result, not, unreadable};
use crate::guest::{Guest, Running};

/// Largest file.
const LARGEST: u64 = 1 << 30;
/// Most libraries of one program.
const LIBRARIES: usize = 512;
/// Where Debian's loader looks for libraries besides the directories of its architecture, of which the first has the guest's.
const OF_DEBIAN: [&str; 2] = ["/usr/lib", "/lib"];
/// Where other hosts have theirs besides.
const OF_OTHERS: [&str; 3] = ["/usr/lib64", "/lib64", "/usr/local/lib"];

impl<Stage: Running> Guest<Stage> {
    /// Puts a file of the host's into the guest, with these permissions, such as `0o755`. If it may be run, it comes with
    /// the dynamic loader and the libraries that it needs and the guest has not, from where the host has them.
    ///
    /// # Errors
    /// [`NotBrought`] if it cannot be read, or needs a loader, an interpreter or a library that neither has.
    pub fn put(&self, host: &Path, guest: &str, mode: u32) -> Result<()> {
        let bytes = read(host)?;
        if mode & 0o111 != 0 {
            self.bring_what_runs_it(host, &bytes)?;
        }
        self.put_bytes(&bytes, guest, mode)
    }

    fn bring_what_runs_it(&self, host: &Path, bytes: &[u8]) -> Result<()> {
        let cannot = |why: String| {
            not(NotBrought::Program {
                path: host.to_owned(),
                why,
            })
        };
        if let Some(interpreter) = interpreter(bytes) {
            return match self.has(&interpreter)? {
                true => Ok(()),
                false => Err(cannot(format!(
                    "it is a script for {interpreter}, which the guest has not"
                ))),
            };
        }
        let Some(program) = Dynamic::read(bytes) else {
            return Err(cannot(
                "it is neither a script nor a 64-bit program".to_owned(),
            ));
        };
        let architecture = self.machine().options.board.architecture;
        if program
            .architecture
            .is_none_or(|of| of.name != architecture)
        {
            let of = program.architecture.map_or("another machine", |of| of.name);
            return Err(cannot(format!(
                "it is a program for {of}, and the guest is {architecture}"
            )));
        }
        let Some(loader) = program.loader.clone() else {
            return Ok(());
        };
        let loader_is_there = self.has(&loader)?;
        if !loader_is_there {
            let why = || {
                cannot(format!(
                    "its dynamic loader {loader} is neither in the guest nor on the host"
                ))
            };
            let bytes = read(Path::new(&loader)).map_err(|_| why())?;
            self.put_bytes(&bytes, &loader, 0o755)?;
        }
        let looked_at = looked_at(program.architecture);
        let own = looked_at.first().cloned().unwrap_or_default();
        let mut there = self.libraries(&looked_at)?;
        let mut open = vec![(host.to_owned(), program)];
        let mut brought = 0;
        while let Some((of, needs)) = open.pop() {
            for name in &needs.libraries {
                if there.contains(name) || loader.ends_with(&format!("/{name}")) {
                    continue;
                }
                let missing = || {
                    cannot(format!(
                        "{} needs the library {name}, which is neither in the guest nor where this host has its libraries; \
                         a program that is linked statically needs none",
                        of.display()
                    ))
                };
                let path = find(name, &of, &needs.search, &looked_at).ok_or_else(missing)?;
                let bytes = read(&path)?;
                let place = match (loader_is_there, path.parent().and_then(Path::to_str)) {
                    (false, Some(parent)) if looked_at.iter().any(|path| path == parent) => parent,
                    _ => &*own,
                };
                self.put_bytes(&bytes, &format!("{place}/{name}"), 0o755)?;
                there.insert(name.clone());
                brought += 1;
                if brought > LIBRARIES {
                    return Err(cannot(format!("it needs more than {LIBRARIES} libraries")));
                }
                open.push((path, Dynamic::read(&bytes).unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Names in the directories of libraries of the guest's.
    fn libraries(&self, directories: &[String]) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for directory in directories {
            match self.list(directory) {
                Ok(found) => names.extend(found),
                Err(failed) if failed.errno().is_some() => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(names)
    }

    fn has(&self, path: &str) -> Result<bool> {
        match self.wait_for_path(path, std::time::Duration::ZERO) {
            Ok(()) => Ok(true),
            Err(failed) if failed.errno().is_some() => Ok(false),
            Err(failed) => Err(failed),
        }
    }
}

/// Where loaders of an architecture look for libraries, the guest's own place first.
fn looked_at(architecture: Option<&Architecture>) -> Vec<String> {
    let own = architecture.into_iter().flat_map(|of| {
        let triple = of.triple;
        [format!("/usr/lib/{triple}"), format!("/lib/{triple}")]
    });
    let others = OF_DEBIAN.iter().chain(&OF_OTHERS);
    own.chain(others.map(|path| (*path).to_owned())).collect()
}

/// The program that a script is for.
fn interpreter(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line.get(..256).unwrap_or(line)).into_owned();
    line.split_ascii_whitespace().next().map(str::to_owned)
}

/// The host's file of a library: where the file that needs it says, or where libraries are.
fn find(name: &str, of: &Path, search: &[String], looked_at: &[String]) -> Option<PathBuf> {
    if name.contains('/') {
        return None;
    }
    let origin = fs::canonicalize(of).ok()?;
    let origin = origin.parent()?.display().to_string();
    let own = search.iter().flat_map(|paths| paths.split(':'));
    let own = own.map(|path| {
        path.replace("${ORIGIN}", &origin)
            .replace("$ORIGIN", &origin)
    });
    own.chain(looked_at.iter().cloned())
        .map(|directory| Path::new(&directory).join(name))
        .find(|path| path.is_absolute() && path.is_file())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        let read = File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
        match read as u64 <= LARGEST {
            true => Ok(bytes),
            false => Err(std::io::Error::other("it is larger than 1 GiB")),
        }
    };
    read().map_err(unreadable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_tells_its_interpreter() {
        assert_eq!(
            interpreter(b"#! /usr/bin/env python3\n").as_deref(),
            Some("/usr/bin/env")
        );
        assert_eq!(interpreter(b"#!/bin/sh").as_deref(), Some("/bin/sh"));
        assert_eq!(interpreter(b"\x7fELF"), None);
    }

    #[test]
    fn a_library_is_looked_for_beside_the_program_if_that_says_so() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let program = directory.path().join("program");
        fs::create_dir(directory.path().join("lib"))?;
        for path in [&program, &directory.path().join("lib/libown.so.1")] {
            fs::write(path, "")?;
        }
        let search = ["/no/such:$ORIGIN/lib".to_owned()];

        let found = find("libown.so.1", &program, &search, &[]);
        assert!(found.is_some_and(|path| path.ends_with("lib/libown.so.1")));
        assert_eq!(find("libown.so.1", &program, &[], &looked_at(None)), None);
        assert_eq!(find("../lib/libown.so.1", &program, &search, &[]), None);
        Ok(())
    }
}
