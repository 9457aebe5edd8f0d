// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is in an archive, and the rules for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::{ArchiveError, ENTRIES, Refused};
use crate::architecture::Architecture;
use crate::image::embedded::{SOURCES_SHA256, agent_sha256};
use crate::setup::stamp::{Emulator, Stamp};

/// Version of the archive's format.
pub(crate) const FORMAT: u32 = 1;
/// Name of the first member.
pub(super) const NAME: &str = "manifest.json";
/// Most bytes of a manifest.
pub(super) const LARGEST_MANIFEST: u64 = 64 << 20;
/// Most bytes of all files; a set-up has about a twentieth of it.
const LARGEST: u64 = 4 << 30;

/// The first member, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// Version of the Landfall that wrote it.
    pub(super) landfall: String,
    /// Key of the set-up.
    pub(super) key: String,
    pub(super) setup: Stamp,
    /// What follows, in order; directories come before what is in them.
    pub(super) members: Vec<Member>,
}

/// What any version of a manifest begins with.
#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    landfall: String,
}

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// `entries/KIND-KEY/...`
    pub(super) path: String,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Directory,
    File {
        size: u64,
        sha256: String,
        executable: bool,
    },
    Link {
        target: String,
    },
}

impl Manifest {
    /// Reads one and checks all of it; after this no member leads out of its entry.
    pub(super) fn parse(bytes: &[u8], key: &str) -> Result<Self, ArchiveError> {
        let foreign = |error: serde_json::Error| ArchiveError::Foreign(error.into());
        let head: Head = serde_json::from_slice(bytes).map_err(foreign)?;
        if head.format != FORMAT {
            return Err(ArchiveError::Format {
                found: head.format,
                landfall: head.landfall,
            });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(foreign)?;
        let lock = &manifest.setup.lock;
        let agent = Architecture::of(&manifest.setup.architecture).map(agent_sha256);
        if manifest.key != key
            || lock.kmod_sha256 != SOURCES_SHA256
            || agent != Some(&*lock.agent_sha256)
        {
            return Err(ArchiveError::OtherSources {
                landfall: manifest.landfall,
            });
        }
        manifest.check_members()?;
        manifest.check_setup()?;
        Ok(manifest)
    }

    /// Bytes of all files.
    pub(super) fn total(&self) -> u64 {
        let size = |member: &Member| match member.what {
            What::File { size, .. } => size,
            What::Directory | What::Link { .. } => 0,
        };
        self.members.iter().map(size).fold(0, u64::saturating_add)
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        let is_file = |member: &&Member| matches!(member.what, What::File { .. });
        self.members.iter().filter(is_file).count()
    }

    /// Names of the entries.
    pub(super) fn entries(&self) -> BTreeSet<&str> {
        let names = self.members.iter().filter_map(|member| member.entry());
        names.map(|(name, _)| name).collect()
    }

    fn check_members(&self) -> Result<(), ArchiveError> {
        if self.total() > LARGEST {
            return Err(ArchiveError::TooLarge {
                found: self.total(),
                of: "bytes",
                limit: LARGEST,
            });
        }
        let mut seen: BTreeMap<&str, &What> = BTreeMap::new();
        for member in &self.members {
            let refuse = |why| Err(ArchiveError::member(&member.path, why));
            let Some((_, within)) = member.entry() else {
                return refuse(Refused::Outside);
            };
            let parent = member
                .path
                .rsplit_once('/')
                .map_or("", |(parent, _)| parent);
            let directory = match within {
                // An entry itself.
                "" => matches!(member.what, What::Directory),
                _ => matches!(seen.get(parent), Some(What::Directory)),
            };
            if !directory {
                return refuse(Refused::NoDirectory);
            }
            if let What::Link { target } = &member.what
                && !stays_inside(within, target)
            {
                return refuse(Refused::Link(target.clone()));
            }
            if seen.insert(&member.path, &member.what).is_some() {
                return refuse(Refused::Twice);
            }
        }
        Ok(())
    }

    /// The set-up consists of just these entries, and what it boots is a file in one of them.
    fn check_setup(&self) -> Result<(), ArchiveError> {
        let used: BTreeSet<&str> = self.setup.entries.iter().map(String::as_str).collect();
        if used != self.entries() {
            return Err(ArchiveError::Incomplete("an entry that it names"));
        }
        match &self.setup.emulator {
            Emulator::Entry(name) if used.contains(name.as_str()) => {}
            Emulator::Entry(_) | Emulator::Own { .. } => {
                return Err(ArchiveError::Incomplete("its emulator"));
            }
        }
        let is_file = |path: &Path| {
            let path = path.to_str().map(|path| format!("{ENTRIES}/{path}"));
            self.members.iter().any(|member| {
                Some(&member.path) == path.as_ref() && matches!(member.what, What::File { .. })
            })
        };
        let images = [Some(&self.setup.vmlinux), self.setup.bzimage.as_ref()];
        if !images.into_iter().flatten().all(|image| is_file(image)) {
            return Err(ArchiveError::Incomplete("its kernel"));
        }
        if !is_file(&self.setup.initramfs) {
            return Err(ArchiveError::Incomplete("its initramfs"));
        }
        Ok(())
    }
}

impl Member {
    /// The entry's name and the path in it; `None` if it is not the name of something in an entry.
    pub(super) fn entry(&self) -> Option<(&str, &str)> {
        let path = self.path.strip_prefix(ENTRIES)?.strip_prefix('/')?;
        let (name, within) = match path.split_once('/') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (path, ""),
        };
        let (kind, key) = name.split_once('-')?;
        let named = !kind.is_empty()
            && kind.bytes().all(|byte| byte.is_ascii_lowercase())
            && !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let normal = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        (named && (within.is_empty() || within.split('/').all(normal))).then_some((name, within))
    }
}

/// Whether a link at `within`, in a real directory of its entry, leads to a place in that entry.
///
/// `..` may only come first: behind a name that is itself a link it would lead where no name tells.
pub(super) fn stays_inside(within: &str, target: &str) -> bool {
    let mut depth = within.split('/').count() - 1;
    let mut named = false;
    for part in Path::new(target).components() {
        match part {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) if !named => depth = less,
                _ => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !target.is_empty() && !target.contains('\0')
}
