// SPDX-License-Identifier: MIT OR Apache-2.0

//! Unpacks packages into a tree. No maintainer script is run.

use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::debian::apt::Chosen;
use crate::host::parallel;
use crate::host::process::{CommandError, Job, Runner};
use crate::store::hash::file_sha256;

/// Packages unpacked at a time.
const AT_A_TIME: usize = 2;
/// Time to unpack one package.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// A package could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what the archive's index says.
    #[error("{} has SHA-256 {found}, the mirror's index says {expected}", path.display())]
    WrongChecksum {
        /// The package.
        path: PathBuf,
        /// Of the index.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// `dpkg-deb` failed.
    #[error("a package did not unpack")]
    Command(#[from] CommandError),
}

/// Unpacks packages into `tree`, checking each one's checksum first; `tick` is told how many bytes of packages
/// are done.
pub(crate) fn unpack(
    packages: &[Chosen],
    archives: &Path,
    tree: &Path,
    runner: &Runner,
    tick: &(dyn Fn(u64) + Sync),
) -> Result<(), UnpackError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| UnpackError::File { path, source }
    };
    // Packages hold /bin and /usr/bin paths alike; the links make them one.
    for name in ["bin", "lib", "lib64", "sbin"] {
        std::fs::create_dir_all(tree.join("usr").join(name)).map_err(file(tree))?;
        symlink(Path::new("usr").join(name), tree.join(name)).map_err(file(tree))?;
    }
    let mut order: Vec<&Chosen> = packages.iter().collect();
    order.sort_by_key(|package| std::cmp::Reverse(package.size));
    let done = Mutex::new(0);
    let unpacked = parallel::all(&order, NonZeroUsize::new(AT_A_TIME), |package| {
        unpack_one(package, archives, tree, runner)?;
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += package.size;
        tick(*done);
        Ok(())
    });
    unpacked.map(drop)
}

fn unpack_one(
    package: &Chosen,
    archives: &Path,
    tree: &Path,
    runner: &Runner,
) -> Result<(), UnpackError> {
    let path = archives.join(&package.file);
    let found = file_sha256(&path).map_err(|source| UnpackError::File {
        path: path.clone(),
        source,
    })?;
    if found != package.sha256 {
        // Fetched anew by the next set-up.
        let _ = std::fs::remove_file(&path);
        return Err(UnpackError::WrongChecksum {
            path,
            expected: package.sha256.clone(),
            found,
        });
    }
    let mut command = Command::new("dpkg-deb");
    command
        .arg("--extract")
        .arg(&path)
        .arg(tree)
        .env("LC_ALL", "C.UTF-8");
    let job = Job {
        what: "unpacking a package",
        log: "unpack",
        limit: LIMIT,
    };
    Ok(runner.run(&mut command, &job, &mut || {})?)
}
