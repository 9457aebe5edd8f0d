// SPDX-License-Identifier: MIT OR Apache-2.0

//! Unpacked packages as archives that a guest unpacks over its own files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::image::cpio::Archive;
use crate::image::initramfs::{self, InitramfsError};

/// Changes whenever the archives' contents do by other means than what [`write`] is given.
pub(crate) const RECIPE: &str = "4";
/// Bytes from which on a further archive begins: one lies in the guest's memory while it is unpacked.
const LARGE: usize = 32 << 20;
/// What programs do not need in order to run. Of character sets the C library has UTF-8 by itself.
const UNUSED: [&str; 7] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/aarch64-linux-gnu/gconv",
];
/// Directories that hold programs and libraries in packages of all ages. In a tree they are links into `usr`; a guest has
/// directories of these names.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// What is looked for under a path of before they were merged: the dynamic loader, and what scripts name.
const OLD_PATHS: [&str; 3] = [
    "lib64/ld-linux-x86-64.so.2",
    "lib/ld-linux-aarch64.so.1",
    "bin/bash",
];

/// Writes what guests need of `tree` as archives to `directory`, called `NAME-0`, `NAME-1` and so on. Gives the bytes
/// that they take unpacked.
pub(crate) fn write(directory: &Path, name: &str, tree: &Path) -> Result<u64, InitramfsError> {
    let mut writing = Writing {
        directory,
        name,
        archive: Archive::default(),
        number: 0,
        bytes: 0,
    };
    for path in OLD_PATHS {
        if tree.join("usr").join(path).exists() {
            writing
                .archive
                .symlink(path, &Path::new("/usr").join(path).to_string_lossy());
        }
    }
    writing.below(tree, "")?;
    writing.close()?;
    Ok(writing.bytes)
}

/// The archives of that name in a directory, in their order.
pub(crate) fn archives(directory: &Path, name: &str) -> Vec<PathBuf> {
    (0..)
        .map(|number| directory.join(format!("{name}-{number}")))
        .take_while(|path| path.is_file())
        .collect()
}

struct Writing<'a> {
    directory: &'a Path,
    name: &'a str,
    archive: Archive,
    number: usize,
    bytes: u64,
}

impl Writing<'_> {
    /// Adds what is below `path` of the tree.
    fn below(&mut self, tree: &Path, path: &str) -> Result<(), InitramfsError> {
        let directory = tree.join(path);
        let entries = fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(initramfs::file(&directory))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else {
                continue; // no package has such a file
            };
            let below = match path {
                "" => name,
                path => format!("{path}/{name}"),
            };
            let place = entry.path();
            let status = entry.metadata().map_err(initramfs::file(&place))?;
            if UNUSED.contains(&&*below) || (status.is_symlink() && MERGED.contains(&&*below)) {
                continue;
            }
            if status.is_symlink() {
                let target = fs::read_link(&place).map_err(initramfs::file(&place))?;
                self.archive.symlink(&below, &target.to_string_lossy());
            } else if status.is_dir() {
                self.archive.directory(&below);
                self.below(tree, &below)?;
            } else if status.is_file() {
                let bytes = initramfs::read(&place)?;
                let mode = status.permissions().mode() & 0o7777;
                self.archive.file(&below, mode, &bytes);
                self.bytes += bytes.len().next_multiple_of(4096) as u64;
                if self.archive.length() >= LARGE {
                    self.close()?;
                }
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), InitramfsError> {
        let path = self
            .directory
            .join(format!("{}-{}", self.name, self.number));
        let archive = std::mem::take(&mut self.archive);
        fs::write(&path, archive.finish()).map_err(initramfs::file(&path))?;
        self.number += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_guest_gets_what_runs_and_not_what_is_read() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join("tree");
        for (path, bytes) in [
            ("usr/bin/program", "it runs"),
            ("usr/lib64/ld-linux-x86-64.so.2", "it loads"),
            ("usr/share/doc/program/copyright", "it is read"),
            ("etc/program.conf", "it is set"),
        ] {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, bytes)?;
        }
        symlink("usr/bin", tree.join("bin"))?;
        symlink("program", tree.join("usr/bin/other-name"))?;

        let bytes = write(directory.path(), "some", &tree)?;

        assert_eq!(bytes, 3 * 4096);
        let [archive] = &archives(directory.path(), "some")[..] else {
            panic!("one archive");
        };
        let text = String::from_utf8_lossy(&fs::read(archive)?).into_owned();
        for there in ["it runs", "it loads", "it is set", "usr/bin/other-name\0"] {
            assert!(text.contains(there), "{there}");
        }
        assert!(text.contains("/usr/lib64/ld-linux-x86-64.so.2"));
        assert!(!text.contains("it is read"));
        assert!(!text.contains("\0bin\0") && !text.contains("bash"));
        Ok(())
    }

    #[test]
    fn what_is_large_comes_in_several_pieces() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join("tree");
        fs::create_dir(&tree)?;
        for name in ["a", "b", "c"] {
            fs::write(tree.join(name), vec![0; LARGE / 2])?;
        }

        write(directory.path(), "some", &tree)?;

        assert_eq!(archives(directory.path(), "some").len(), 2);
        assert_eq!(archives(directory.path(), "other").len(), 0);
        Ok(())
    }
}
