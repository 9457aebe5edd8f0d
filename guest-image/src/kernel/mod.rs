// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel: Debian's packages, or an image brought along.

pub(crate) mod driver;
pub(crate) mod headers;
pub(crate) mod metadata;
pub(crate) mod modules;
pub(crate) mod vmlinux;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::architecture::Architecture;
use crate::debian::apt::Chosen;
use crate::debian::unpack::{UnpackError, unpack};
use crate::host::process::Runner;
use crate::kernel::vmlinux::VmlinuxError;
use crate::store::cache::remove;

/// Changes whenever the entry that [`make_image`] makes does.
pub(crate) const RECIPE: &str = "2";

/// The kernel cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The image is not one.
    #[error("{} is no kernel that can be booted", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VmlinuxError,
    },
    /// The image is one of another architecture than guests are to be.
    #[error("{} is a kernel for {found}, and guests are to be {wanted} (--arch)", path.display())]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What guests are to be.
        wanted: &'static str,
        /// What it is for.
        found: &'static str,
    },
    /// The packages did not unpack.
    #[error("the kernel's packages did not unpack")]
    Unpack(#[from] UnpackError),
    /// A file cannot be read or written.
    #[error("a file of the kernel cannot be used")]
    File(#[from] io::Error),
    /// The build tree is none, or was never built.
    #[error("{} is no kernel build tree with a `include/config/kernel.release` in it", path.display())]
    Tree {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The image and the packages it came with disagree.
    #[error("the kernel says it is {found}, its package or build tree says {expected}")]
    OtherRelease {
        /// Of the package or build tree.
        expected: String,
        /// Of the image.
        found: String,
    },
}

/// Makes the entry that builds need: `config` and `Module.symvers`.
pub(crate) fn make_config(
    entry: &Path,
    packages: &[Chosen],
    release: &str,
    archives: &Path,
    runner: &Runner,
) -> Result<(), KernelError> {
    let tree = entry.join("tree");
    unpack(packages, archives, &tree, runner, &|_| {})?;
    fs::rename(
        tree.join("usr/lib/modules").join(release).join("config"),
        entry.join("config"),
    )?;
    let headers = tree.join(format!("usr/src/linux-headers-{release}"));
    fs::rename(headers.join("Module.symvers"), entry.join("Module.symvers"))?;
    Ok(remove(&tree)?)
}

/// Name of the image as it came, in the entry that [`make_image`] makes, if that is not what is booted.
pub(crate) const COMPRESSED: &str = "bzImage";

/// Makes the entry that guests need: `vmlinux`, the image that this came from if it was compressed, and the kernel's own
/// modules in `modules`.
pub(crate) fn make_image(
    entry: &Path,
    packages: &[Chosen],
    release: &str,
    architecture: &Architecture,
    archives: &Path,
    runner: &Runner,
) -> Result<(), KernelError> {
    let tree = entry.join("tree");
    unpack(packages, archives, &tree, runner, &|_| {})?;
    let modules = entry.join("modules");
    // Older ones are not in /usr.
    let places = [tree.join("usr/lib/modules"), tree.join("lib/modules")];
    let place = places.iter().find(|place| place.is_dir());
    let place = place.unwrap_or(&tree);
    fs::rename(place.join(release), &modules)?;
    let beside = modules.join("vmlinuz");
    let image = match beside.exists() {
        true => beside,
        false => tree.join(format!("boot/vmlinuz-{release}")),
    };
    let kernel = read(&image, architecture)?;
    if kernel.release != release {
        return Err(KernelError::OtherRelease {
            expected: release.to_owned(),
            found: kernel.release,
        });
    }
    fs::write(entry.join("vmlinux"), kernel.image)?;
    match kernel.compressed {
        true => fs::rename(&image, entry.join(COMPRESSED))?,
        false => remove(&image)?,
    }
    Ok(remove(&tree)?)
}

/// Refuses a build tree that is not this kernel's.
pub(crate) fn check_tree(kdir: &Path, release: &str) -> Result<(), KernelError> {
    let path = kdir.join("include/config/kernel.release");
    let expected = fs::read_to_string(&path).map_err(|source| KernelError::Tree {
        path: kdir.to_owned(),
        source,
    })?;
    if expected.trim() == release {
        Ok(())
    } else {
        Err(KernelError::OtherRelease {
            expected: expected.trim().to_owned(),
            found: release.to_owned(),
        })
    }
}

/// Reads an image, which must be one of the architecture.
pub(crate) fn read(
    image: &Path,
    architecture: &Architecture,
) -> Result<vmlinux::Vmlinux, KernelError> {
    let kernel = vmlinux::read(fs::read(image)?).map_err(|source| KernelError::Image {
        path: image.to_owned(),
        source,
    })?;
    match kernel.machine == architecture.machine {
        true => Ok(kernel),
        false => Err(KernelError::OtherMachine {
            path: image.to_owned(),
            wanted: architecture.name,
            found: Architecture::of_machine(kernel.machine).map_or("another", |found| found.name),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_tree_must_be_that_of_the_kernel() -> io::Result<()> {
        let tree = tempfile::tempdir()?;
        let none = check_tree(tree.path(), "7.3.4");
        fs::create_dir_all(tree.path().join("include/config"))?;
        fs::write(tree.path().join("include/config/kernel.release"), "7.3.4\n")?;

        assert!(matches!(none, Err(KernelError::Tree { .. })));
        assert!(check_tree(tree.path(), "7.3.4").is_ok());
        let other = check_tree(tree.path(), "7.3.5");
        assert!(matches!(other, Err(KernelError::OtherRelease { .. })));
        Ok(())
    }
}
