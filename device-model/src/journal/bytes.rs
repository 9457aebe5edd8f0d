// SPDX-License-Identifier: MIT OR Apache-2.0

//! The contents of a small access.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most bytes of an access whose contents the journal keeps: a descriptor, a command, a completion.
pub const MOST_BYTES: usize = 64;

/// Contents of an access, up to [`MOST_BYTES`]; hexadecimal digits in JSON. Empty: not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(Option<Box<[u8]>>);

impl Bytes {
    /// Keeps `bytes` if they are few.
    pub fn of(bytes: &[u8]) -> Self {
        let few = !bytes.is_empty() && bytes.len() <= MOST_BYTES;
        Self(few.then(|| bytes.into()))
    }

    /// What was kept.
    pub fn get(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether nothing was kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Little-endian words of 8 bytes that begin at a multiple of 4 in it, with where they begin.
    pub fn words(&self) -> impl Iterator<Item = (u64, u64)> {
        let bytes = self.get();
        (0..bytes.len()).step_by(4).filter_map(|at| {
            let word = bytes.get(at..)?.first_chunk::<8>()?;
            Some((at as u64, u64::from_le_bytes(*word)))
        })
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = self.get().iter().map(|byte| format!("{byte:02x}"));
        serializer.serialize_str(&digits.collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom("bytes are up to 64 pairs of hexadecimal digits");
        let digits = text.as_bytes();
        if digits.len() > 2 * MOST_BYTES {
            return Err(wrong());
        }
        let (pairs, rest) = digits.as_chunks::<2>();
        let byte = |pair: &[u8; 2]| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        match bytes.filter(|_| rest.is_empty()) {
            Some(bytes) => Ok(Self::of(&bytes)),
            None => Err(wrong()),
        }
    }
}
