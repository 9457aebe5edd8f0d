// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names for things that follow from what made them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Gathers what makes a thing; [`Key::finish`] gives its name. Parts cannot run into one another.
#[derive(Clone)]
pub(crate) struct Key(Sha256);

impl Key {
    /// Begins the key of one kind of thing.
    pub(crate) fn new(kind: &str) -> Self {
        Self(Sha256::new()).text(kind)
    }

    /// Adds bytes.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds text.
    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// SHA-256 of all of it, 64 hex digits.
    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// How many digits of a key name an entry of the cache.
const SHORT: usize = 16;

/// The beginning of a key, long enough to tell entries apart.
pub(crate) fn short(key: &str) -> &str {
    key.get(..SHORT).unwrap_or(key)
}

/// SHA-256 of a file's bytes, 64 hexadecimal digits.
///
/// # Errors
/// If the file cannot be read.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 256 << 10];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hash.finalize())),
            length => hash.update(chunk.get(..length).unwrap_or_default()),
        }
    }
}

/// Hex digits, two a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_one_another() {
        let one = Key::new("k").text("ab").text("c").finish();
        let other = Key::new("k").text("a").text("bc").finish();

        assert_ne!(one, other);
        assert_eq!(one, Key::new("k").text("ab").text("c").finish());
        assert_eq!(one.len(), 64);
        assert_eq!(short(&one).len(), SHORT);
    }
}
