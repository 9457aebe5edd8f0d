// SPDX-License-Identifier: MIT OR Apache-2.0

//! The modules of a guest, for whoever wants to know more of them than a guest tells: which line of the source an
//! instruction came of.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::cpio;
use super::initramfs::{InitramfsError, LARGEST, file, name_of};
use super::stock::read_module;

/// Beside an initramfs: the modules' debug information, a file of each module's name.
const DIRECTORY: &str = "debug";

/// The modules in an initramfs, and their debug information if it was set apart.
#[derive(Clone, Debug)]
pub struct ModuleFiles {
    initramfs: PathBuf,
    brought: BTreeMap<String, PathBuf>,
}

impl ModuleFiles {
    /// Of this initramfs.
    pub fn new(initramfs: &Path) -> Self {
        Self {
            initramfs: initramfs.to_owned(),
            brought: BTreeMap::new(),
        }
    }

    /// Says that the guest has this file of a module, rather than one of its initramfs.
    pub fn bring(&mut self, module: &str, file: &Path) {
        self.brought.insert(module.to_owned(), file.to_owned());
    }

    /// The file of a module as the guest loads it; `None` if it has none of that name.
    ///
    /// # Errors
    /// If the archive cannot be read.
    pub fn loaded(&self, module: &str) -> io::Result<Option<Vec<u8>>> {
        if let Some(path) = self.brought.get(module) {
            return read_module(path).map(Some);
        }
        let archive = BufReader::new(File::open(&self.initramfs)?);
        let place = format!("/{module}.ko");
        cpio::find(archive, LARGEST, |path| path.ends_with(&place))
    }

    /// The file that has a module's debug information, if it is not in the module itself: of the build that made the
    /// module, or, of one that was brought along, `X.ko.debug` beside it. Whether it is of the same build, only its
    /// build ID tells.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn debug(&self, module: &str) -> io::Result<Option<Vec<u8>>> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !module.bytes().all(plain) {
            return Ok(None); // no name that a guest tells leads elsewhere
        }
        let path = match self.brought.get(module) {
            None => self.initramfs.with_file_name(DIRECTORY).join(module),
            Some(file) => match beside(file) {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        match fs::metadata(&path) {
            Ok(status) if status.len() <= LARGEST => fs::read(path).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where the debug information of a module would be that has none itself: `X.ko.debug`.
pub(crate) fn beside(module: &Path) -> Option<PathBuf> {
    let mut name = module.file_name()?.to_owned();
    name.push(".debug");
    let path = module.with_file_name(name);
    path.is_file().then_some(path)
}

/// Puts what is beside these modules beside the initramfs in `entry`.
pub(crate) fn keep(entry: &Path, modules: &[PathBuf]) -> Result<(), InitramfsError> {
    let directory = entry.join(DIRECTORY);
    fs::create_dir(&directory).map_err(file(&directory))?;
    for module in modules {
        if let Some(path) = beside(module) {
            fs::copy(&path, directory.join(name_of(module))).map_err(file(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::cpio::Archive;

    #[test]
    fn a_module_is_found_as_it_is_loaded_and_what_was_beside_it()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        fs::write(at("my-own.ko"), "stripped")?;
        fs::write(at("my-own.ko.debug"), "lines")?;
        fs::write(at("other.ko"), "whole")?;
        let mut archive = Archive::default();
        archive.file("lib/modules/1/extra/my_own.ko", 0o644, b"stripped");
        archive.file("lib/modules/1/extra/other.ko", 0o644, b"whole");
        fs::write(at("initramfs"), archive.finish())?;

        keep(directory.path(), &[at("my-own.ko"), at("other.ko")])?;

        let files = ModuleFiles::new(&at("initramfs"));
        assert_eq!(files.loaded("my_own")?.as_deref(), Some(&b"stripped"[..]));
        assert_eq!(files.debug("my_own")?.as_deref(), Some(&b"lines"[..]));
        assert_eq!(files.loaded("other")?.as_deref(), Some(&b"whole"[..]));
        assert_eq!(files.debug("other")?, None);
        assert_eq!(files.loaded("own")?, None);
        assert_eq!(files.debug("../initramfs")?, None);

        let mut files = files;
        files.bring("other", &at("my-own.ko"));
        assert_eq!(files.loaded("other")?.as_deref(), Some(&b"stripped"[..]));
        assert_eq!(files.debug("other")?.as_deref(), Some(&b"lines"[..]));
        files.bring("my_own", &at("other.ko"));
        assert_eq!(files.debug("my_own")?, None);
        Ok(())
    }
}
