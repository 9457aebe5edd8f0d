// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card records, and what it plays.

use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes that a speaker remembers.
const MOST: usize = 16 << 20;

/// Byte number `at` of a recording, from 0 where it began: of words of 16 bits, little-endian, that depend on their number.
pub const fn recorded(at: u64) -> u8 {
    let word = ((at / 2) as u32).wrapping_mul(0x9e37_79b1) >> 16;
    (word >> (8 * (at % 2))) as u8
}

/// What hangs on the card: it remembers what was played, as it was fetched, the first 16 MiB of it. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Speaker(Arc<Mutex<Vec<u8>>>);

impl Speaker {
    /// All that was played so far.
    pub fn heard(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn play(&self, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(heard.len());
        heard.extend(bytes.iter().take(room));
    }
}
