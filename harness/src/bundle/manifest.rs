// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is in a bundle.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{BundleError, Refused};

/// Version of the format. It grows when a file or a field of one goes or changes its meaning.
pub const FORMAT: u32 = 2;
/// Name of the manifest.
pub(super) const NAME: &str = "manifest.json";
/// Most bytes of a manifest.
pub(super) const LARGEST_MANIFEST: u64 = 64 << 10;
/// Most bytes of all files; a full journal makes a stream of about a quarter of it.
pub(super) const LARGEST: u64 = 1 << 30;
/// Most files.
const MOST_FILES: usize = 64;

/// The list of a bundle's files: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the Landfall that wrote it.
    pub landfall: String,
    /// All files but this one.
    pub files: Vec<Member>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name; there are no directories.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of them, 64 hexadecimal digits.
    pub sha256: String,
}

/// What any version of a manifest begins with.
#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    landfall: String,
}

impl Manifest {
    /// Reads one and checks all of it; after this no name leads out of the bundle.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let foreign =
            |error: serde_json::Error| BundleError::Foreign(format!("its manifest: {error}"));
        let head: Head = serde_json::from_slice(bytes).map_err(foreign)?;
        if head.format != FORMAT {
            return Err(BundleError::Format {
                found: head.format,
                landfall: head.landfall,
            });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(foreign)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), BundleError> {
        let too_large = |found, of, limit| Err(BundleError::TooLarge { found, of, limit });
        if self.files.len() > MOST_FILES {
            return too_large(self.files.len() as u64, "files", MOST_FILES as u64);
        }
        let sizes = self.files.iter().map(|file| file.size);
        let total = sizes.fold(0, u64::saturating_add);
        if total > LARGEST {
            return too_large(total, "bytes", LARGEST);
        }
        let mut seen = BTreeSet::new();
        for file in &self.files {
            let refuse = |why| Err(BundleError::file(&file.name, why));
            if !is_name(&file.name) {
                return refuse(Refused::Name);
            }
            if !seen.insert(&file.name) {
                return refuse(Refused::Twice);
            }
        }
        Ok(())
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&Member> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Whether a name is that of a file in a bundle: it leads to no other place, and is not the manifest's.
fn is_name(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(plain)
        && name != NAME
}
