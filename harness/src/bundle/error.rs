// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a bundle was not written or not read.

use std::io;
use std::path::PathBuf;

use super::manifest::FORMAT;

/// A bundle cannot be written, or is refused. What it says of itself is quoted: it is its word.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Something is at its place that is no bundle.
    #[error("{} is there already, and is no bundle", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("it is no bundle: {0}")]
    Foreign(String),
    /// It has another format.
    #[error(
        "it has format {found}, written by Landfall {landfall:?}; this Landfall reads format {FORMAT}"
    )]
    Format {
        /// Its format.
        found: u32,
        /// Version that wrote it.
        landfall: String,
    },
    /// It takes more than a bundle can.
    #[error("it declares {found} {of}, and at most {limit} are read")]
    TooLarge {
        /// What it declares.
        found: u64,
        /// Of what.
        of: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A file of it is refused.
    #[error("its file {file:?} {why}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong with it.
        why: Refused,
    },
    /// A line of it makes no sense.
    #[error("{file}, line {line}: {why}")]
    Line {
        /// The file.
        file: &'static str,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// What is wrong with a file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its name is not one of a file in a bundle.
    #[error("has a name that no file of a bundle has")]
    Name,
    /// There are two.
    #[error("comes twice")]
    Twice,
    /// It is a directory, a link or something else.
    #[error("is no plain file")]
    Kind,
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// Another one was to come.
    #[error("was not expected: the manifest says {0:?}")]
    Unexpected(String),
    /// It has another size.
    #[error("has not the size that the manifest says")]
    Size,
    /// Its bytes are others.
    #[error("has not the SHA-256 that the manifest says")]
    Checksum,
    /// It is larger than such a file can be.
    #[error("has more than {0} bytes")]
    Large(u64),
    /// It cannot be understood.
    #[error("makes no sense: {0}")]
    Content(String),
}

impl BundleError {
    pub(super) fn file(file: impl Into<String>, why: Refused) -> Self {
        Self::File {
            file: file.into(),
            why,
        }
    }
}
