// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest needs to use video devices as any Debian does: v4l-utils with their libraries. An archive of its own,
//! unpacked in the guests that ask for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::image::cpio::Archive;
use crate::image::initramfs::{self, InitramfsError};

/// Changes whenever the archive's contents do by other means than what [`write`] is given.
pub(crate) const RECIPE: &str = "3";
/// Programs of the package.
const PROGRAMS: [&str; 2] = ["v4l2-compliance", "v4l2-ctl"];
/// The loader, where every program expects it.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
/// Where the libraries are.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Writes the archive to `path`. `tree` has the package with its dependencies.
pub(crate) fn write(path: &Path, tree: &Path) -> Result<(), InitramfsError> {
    let mut archive = Archive::default();
    let mut programs = Vec::new();
    for program in PROGRAMS {
        let name = format!("usr/bin/{program}");
        let bytes = initramfs::read(&tree.join(&name))?;
        archive.file(&name, 0o755, &bytes);
        programs.push(bytes);
    }
    archive.file(LOADER, 0o755, &initramfs::read(&tree.join(LOADER))?);
    for (name, bytes) in libraries(&tree.join(LIBRARIES), programs)? {
        archive.file(&format!("{LIBRARIES}/{name}"), 0o644, &bytes);
    }
    fs::write(path, archive.finish()).map_err(initramfs::file(path))
}

/// The libraries of a directory that programs need, and those that these need, by name.
///
/// A program names its libraries among its strings. What is named there for another reason comes along too: that
/// costs room and breaks nothing.
fn libraries(
    directory: &Path,
    programs: Vec<Vec<u8>>,
) -> Result<Vec<(String, Vec<u8>)>, InitramfsError> {
    let mut known = BTreeSet::new();
    let entries = fs::read_dir(directory).map_err(initramfs::file(directory))?;
    for entry in entries {
        let name = entry.map_err(initramfs::file(directory))?.file_name();
        known.extend(name.into_string().ok().filter(|name| is_library(name)));
    }
    let mut found = Vec::new();
    let mut open = programs;
    while let Some(bytes) = open.pop() {
        let strings: BTreeSet<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        let (needed, others) = known
            .into_iter()
            .partition(|name| strings.contains(name.as_bytes()));
        known = others;
        for name in BTreeSet::into_iter(needed) {
            let bytes = initramfs::read(&directory.join(&name))?;
            open.push(bytes.clone());
            found.push((name, bytes));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is called as programs call the libraries that they need: `libX.so.1`.
fn is_library(name: &str) -> bool {
    name.starts_with("lib") && name.contains(".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_comes_if_a_program_or_another_library_names_it()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let put = |name: &str, bytes: &str| fs::write(directory.path().join(name), bytes);
        put("liba.so.1", "\0libb.so.2\0")?;
        put("libb.so.2", "\0liba.so.1\0")?;
        put("libc.so.6", "\0libb.so.2\0")?;
        put("liba.so", "")?;

        let found = libraries(
            directory.path(),
            vec![b"\x7fELF\0liba.so.1\0xlibc.so.6\0liba.so\0".to_vec()],
        )?;

        let names: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["liba.so.1", "libb.so.2"]);
        Ok(())
    }
}
