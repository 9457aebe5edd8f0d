// SPDX-License-Identifier: MIT OR Apache-2.0

//! The distribution's headers, which are all that modules in C are built against.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::debian::apt::Chosen;
use crate::debian::unpack::unpack;
use crate::host::process::Runner;
use crate::kernel::KernelError;
use crate::store::cache::remove;

/// Changes whenever the entry that [`make`] makes does.
pub(crate) const RECIPE: &str = "1";

/// Makes `source` and `build`, as [`super::metadata::build`] does: what all kernels of the version have and the programs
/// that build with it, and what is this one's alone.
pub(crate) fn make(
    entry: &Path,
    packages: &[Chosen],
    release: &str,
    archives: &Path,
    runner: &Runner,
) -> Result<(), KernelError> {
    let tree = entry.join("tree");
    unpack(packages, archives, &tree, runner, &|_| {})?;
    let (source, build) = (entry.join("source"), entry.join("build"));
    let headers = tree.join("usr/src");
    fs::rename(headers.join(format!("linux-headers-{release}")), &build)?;
    fs::rename(one(&headers, |name| name.ends_with("-common"))?, &source)?;
    let programs = one(&tree.join("usr/lib"), |name| {
        name.starts_with("linux-kbuild-")
    })?;
    // Links to where the packages would be installed.
    for part in ["scripts", "tools"] {
        remove(&source.join(part))?;
        remove(&build.join(part))?;
        fs::rename(programs.join(part), source.join(part))?;
        symlink(Path::new("../source").join(part), build.join(part))?;
    }
    Ok(remove(&tree)?)
}

/// The one directory with such a name.
fn one(within: &Path, is: impl Fn(&str) -> bool) -> io::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(within)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        if path.is_dir() && name.is_some_and(&is) {
            found.push(path);
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => Ok(path),
        _ => Err(io::Error::other(
            "the packages of headers have another form",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_directory_is_taken() -> io::Result<()> {
        let tree = tempfile::tempdir()?;
        let is = |name: &str| name.ends_with("-common");
        assert!(one(tree.path(), is).is_err());
        fs::create_dir(tree.path().join("linux-headers-6.12-common"))?;
        fs::create_dir(tree.path().join("linux-headers-6.12-amd64"))?;
        fs::write(tree.path().join("file-common"), "")?;
        assert!(one(tree.path(), is)?.ends_with("linux-headers-6.12-common"));
        fs::create_dir(tree.path().join("linux-headers-7.2-common"))?;
        assert!(one(tree.path(), is).is_err());
        Ok(())
    }
}
