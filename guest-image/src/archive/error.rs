// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a set-up did not travel.

use std::io;

use super::manifest::FORMAT;

/// A set-up cannot be exported or imported. Member names are quoted: they are the archive's word.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The set-up has parts that were brought along.
    #[error(
        "a set-up with parts of your own does not travel: they are known by their paths on this machine"
    )]
    OwnParts,
    /// The archive cannot be written.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
    /// A file of the set-up does not fit the format.
    #[error("{path:?} cannot be exported")]
    Unfit {
        /// The file, in the cache.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be opened.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It ends early, or its bytes are not what was written.
    #[error("it is damaged or cut short, after {after:?}")]
    Damaged {
        /// The last member that was begun.
        after: String,
        /// What was noticed.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("it is no exported set-up")]
    Foreign(#[source] io::Error),
    /// It has another format.
    #[error(
        "it has format {found}, written by Landfall {landfall:?}; this Landfall reads format {FORMAT}"
    )]
    Format {
        /// Format of the archive.
        found: u32,
        /// Version that wrote it.
        landfall: String,
    },
    /// This program would not use it.
    #[error(
        "it is a set-up of other sources, written by Landfall {landfall:?}; this Landfall would not use it"
    )]
    OtherSources {
        /// Version that wrote it.
        landfall: String,
    },
    /// A member is refused.
    #[error("the member {member:?} {why}")]
    Member {
        /// Its name.
        member: String,
        /// What is wrong with it.
        why: Refused,
    },
    /// The archive takes more than a set-up can.
    #[error("it declares {found} {of}, and at most {limit} are read")]
    TooLarge {
        /// What it declares.
        found: u64,
        /// Of what.
        of: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A part that the set-up names is not in the archive.
    #[error("its set-up lacks {0}")]
    Incomplete(&'static str),
}

/// What is wrong with a member of an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its name is not one of a file in an entry.
    #[error("lies outside the entries")]
    Outside,
    /// No directory for it came before.
    #[error("is in no directory that came before it")]
    NoDirectory,
    /// There are two.
    #[error("comes twice")]
    Twice,
    /// A symbolic link that leads out of its entry, or may.
    #[error("is a link to {0:?}, which may lead out of its entry")]
    Link(String),
    /// Neither file, directory nor symbolic link.
    #[error("is neither file, directory nor symbolic link")]
    Kind,
    /// It would run with rights of others.
    #[error("has setuid, setgid or sticky bits (mode {0:o})")]
    Mode(u32),
    /// Another member was to come.
    #[error("was not expected: the manifest says {0:?}")]
    Unexpected(String),
    /// Its header and the manifest disagree.
    #[error("is not what the manifest says")]
    Differs,
    /// Its bytes and the manifest disagree.
    #[error("has not the SHA-256 that the manifest says")]
    Checksum,
    /// The archive ends without it.
    #[error("is missing")]
    Missing,
    /// There is more behind it.
    #[error("should be the last, and more follows")]
    NotLast,
}

impl ArchiveError {
    pub(super) fn member(member: impl Into<String>, why: Refused) -> Self {
        Self::Member {
            member: member.into(),
            why,
        }
    }

    /// What to try.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::OwnParts => {
                "leave out --qemu, --kernel, --kdir and --module; where they are used, give them together with the files"
            }
            Self::Format { .. } | Self::OtherSources { .. } => {
                "export it again with the `landfall` that is to import it, or one built from the same checkout"
            }
            Self::Damaged { .. } | Self::Foreign(_) => "fetch or export the file again",
            _ => return None,
        })
    }
}
