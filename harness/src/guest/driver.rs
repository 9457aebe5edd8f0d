// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver of a guest's card, before it is loaded.

use std::fmt;
use std::path::{Path, PathBuf};

/// A driver: where its module comes from, and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Where it comes from.
    pub source: DriverSource,
    /// Its parameters, as on insmod's command line.
    pub parameters: String,
}

/// Where a driver's module comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverSource {
    /// The guest's image has it, by that name.
    Image(String),
    /// The distribution's kernel has it, by that name.
    Stock(String),
    /// A file, `X.ko`, for the guest's kernel.
    File(PathBuf),
    /// A directory with a Kbuild or a Makefile, which is built for the guest's kernel.
    Directory(PathBuf),
}

impl Driver {
    fn new(source: DriverSource) -> Self {
        Self {
            source,
            parameters: String::new(),
        }
    }

    /// One that the guest's image has.
    pub fn image(name: impl Into<String>) -> Self {
        Self::new(DriverSource::Image(name.into()))
    }

    /// One of the distribution's own.
    pub fn stock(name: impl Into<String>) -> Self {
        Self::new(DriverSource::Stock(name.into()))
    }

    /// One from a file, `X.ko`.
    pub fn module(path: impl AsRef<Path>) -> Self {
        Self::new(DriverSource::File(path.as_ref().to_owned()))
    }

    /// One that is built from a directory with a Kbuild or a Makefile.
    pub fn build(directory: impl AsRef<Path>) -> Self {
        Self::new(DriverSource::Directory(directory.as_ref().to_owned()))
    }

    /// The same with parameters, as on insmod's command line.
    #[must_use]
    pub fn with(self, parameters: impl Into<String>) -> Self {
        Self {
            parameters: parameters.into(),
            ..self
        }
    }
}

/// What it was asked for by: a name or a path.
impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            DriverSource::Image(name) | DriverSource::Stock(name) => f.write_str(name),
            DriverSource::File(path) | DriverSource::Directory(path) => path.display().fmt(f),
        }
    }
}
