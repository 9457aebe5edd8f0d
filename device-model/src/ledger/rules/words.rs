// SPDX-License-Identifier: MIT OR Apache-2.0

//! Words in memory that the card wrote itself, and was then told to use as addresses: class 59.

use super::super::bounded::Recent;
use crate::contract::Direction;
use crate::journal::Bytes;

/// Most words that are remembered.
const MOST_WORDS: usize = 8192;

/// Less than this is a length, a status or nothing, and no address.
const LEAST: u64 = 4096;

/// Words of memory, by address; the oldest go first.
#[derive(Debug, Default)]
pub(in super::super) struct Words {
    /// What the card wrote last, by where it lies.
    written: Recent<u64, u64, MOST_WORDS>,
    /// What it fetched from where it had written it, with where that was.
    fetched: Recent<u64, u64, MOST_WORDS>,
}

impl Words {
    /// The contents of an access of the card's.
    pub(in super::super) fn saw(&mut self, direction: Direction, address: u64, bytes: &Bytes) {
        for (offset, word) in bytes.words() {
            let at = address.wrapping_add(offset);
            match direction {
                Direction::Write if word < LEAST => {
                    self.written.remove(at);
                }
                Direction::Write => {
                    self.written.insert(at, word);
                }
                Direction::Read if self.written.get(at) == Some(&word) => {
                    self.fetched.insert(word, at);
                }
                Direction::Read => {
                    self.written.remove(at);
                    self.fetched.remove(word);
                }
            }
        }
    }

    /// Where the card had written an address that it then fetched and uses; `None`: it had not.
    pub(in super::super) fn origin(&self, address: u64) -> Option<u64> {
        self.fetched.get(address).copied()
    }
}
