// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a snapshot consists of, in a file that tells whether it is whole.
//!
//! ```text
//! manifest      a line with the XXH3-64 of the rest in 16 hexadecimal digits, then this as JSON
//! state         the machine's state, as QEMU wrote it
//! ram           memory, packed; see `ram.rs`
//! console.log   what the guest said while it booted
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::ram::Piece;
use crate::guest::options::Transport;

pub(super) const MANIFEST: &str = "manifest";
pub(super) const STATE: &str = "state";
pub(super) const RAM: &str = "ram";

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// How memory was saved.
    pub(super) transport: Transport,
    /// Bytes of guest memory.
    pub(super) memory: u64,
    /// XXH3-64 of the state's file.
    pub(super) state: u64,
    /// Pieces of the memory's file; none if memory is in the state's.
    pub(super) ram: Vec<Piece>,
    /// The snapshot whose memory these pieces change; `None`: memory that is zero.
    pub(super) base: Option<Base>,
}

/// A snapshot that another one changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Base {
    /// Its name.
    pub(super) key: String,
    /// XXH3-64 of its manifest: one that was made anew is another.
    pub(super) manifest: u64,
}

/// A snapshot is not as it was made.
#[derive(Debug, thiserror::Error)]
#[error("{file} is damaged")]
pub(super) struct Damaged {
    file: &'static str,
    #[source]
    source: Option<io::Error>,
}

impl Damaged {
    fn new(file: &'static str) -> Self {
        Self { file, source: None }
    }
}

impl Manifest {
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let mut text = format!("{:016x}\n", xxh3_64(&json)).into_bytes();
        text.extend(json);
        fs::write(directory.join(MANIFEST), text)
    }

    pub(super) fn read(path: &Path) -> Result<Self, Damaged> {
        let text = fs::read(path).map_err(|source| Damaged {
            file: MANIFEST,
            source: Some(source),
        })?;
        let parsed = || {
            let (hash, json) = text.split_at_checked(17)?;
            let stated = std::str::from_utf8(hash).ok()?.strip_suffix('\n')?;
            (u64::from_str_radix(stated, 16).ok()? == xxh3_64(json)).then_some(())?;
            serde_json::from_slice(json).ok()
        };
        parsed().ok_or(Damaged::new(MANIFEST))
    }

    /// Compares the state's file with its hash.
    pub(super) fn check_state(&self, path: &Path) -> Result<(), Damaged> {
        match file_hash(path) {
            Ok(hash) if hash == self.state => Ok(()),
            Ok(_) => Err(Damaged::new(STATE)),
            Err(source) => Err(Damaged {
                file: STATE,
                source: Some(source),
            }),
        }
    }
}

/// XXH3-64 of a file's bytes.
pub(super) fn file_hash(path: &Path) -> io::Result<u64> {
    let (mut file, mut hash) = (File::open(path)?, Xxh3::new());
    let mut chunk = vec![0; 256 << 10];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.digest()),
            length => hash.update(chunk.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(directory: &Path) -> Manifest {
        fs::write(directory.join(STATE), "state").unwrap();
        Manifest {
            transport: Transport::Shared,
            memory: 256 << 20,
            state: file_hash(&directory.join(STATE)).unwrap(),
            ram: Vec::new(),
            base: Some(Base {
                key: "base".to_owned(),
                manifest: 7,
            }),
        }
    }

    #[test]
    fn what_was_written_is_read_and_any_changed_byte_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(MANIFEST);
        let written = manifest(directory.path());
        written.write(directory.path()).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), written);

        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(Manifest::read(&path).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            assert!(Manifest::read(&path).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_changed_or_missing_state_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join(STATE);
        let manifest = manifest(directory.path());
        manifest.check_state(&state).unwrap();

        fs::write(&state, "stats").unwrap();
        assert!(manifest.check_state(&state).is_err());
        fs::remove_file(&state).unwrap();
        assert!(manifest.check_state(&state).is_err());
    }
}
