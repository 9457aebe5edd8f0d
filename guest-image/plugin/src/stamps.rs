// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file in which what the cards write to the guest's memory is stamped, before it is written: the harness makes and stamps it, the
//! plugin looks. All words are little-endian, of 8 bytes.
//!
//! | at | what |
//! |---|---|
//! | [`MAGIC_AT`] | [`MAGIC`] |
//! | [`CLOCK_AT`] | accesses that were stamped, of all cards |
//! | [`KIND_AT`] | how code shows its barriers: [`Kind`] |
//! | [`RAMS_AT`] | [`RAMS`] ranges of RAM, three words each: first physical address, first after it, where it begins in the memory file |
//! | [`MODULES_AT`] | [`MODULES`] ranges of virtual addresses, two words each: code of modules with marks that were there before |
//! | [`INTERRUPTS_AT`] | a word for each card: what the clock was when it last interrupted |
//! | [`PAGES_AT`] | a stamp for each page of the memory file |
//! | [`words_at`] | a stamp for each 8 bytes of it |
//!
//! What was written last to 8 bytes is the newer of their own stamp and their page's. A stamp of zero says nothing.

use crate::echo::PAGE;

/// First word of the file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"LFSTMP\0\x01");
/// See the table.
pub const MAGIC_AT: usize = 0;
/// See the table.
pub const CLOCK_AT: usize = 8;
/// See the table.
pub const KIND_AT: usize = 16;
/// See the table.
pub const RAMS_AT: usize = 64;
/// See the table.
pub const RAMS: usize = 4;
/// See the table.
pub const MODULES_AT: usize = 256;
/// See the table.
pub const MODULES: usize = 16;
/// See the table.
pub const INTERRUPTS_AT: usize = 1024;
/// See the table.
pub const PAGES_AT: usize = 4096;

/// Bytes that have a stamp of their own.
pub const WORD: u64 = 8;

/// How code shows the barriers that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not at all: no order is looked at.
    None,
    /// By the marks of `kmod/include/landfall_marks.h`, in modules that were built with them; elsewhere it is not known.
    Marks,
    /// By the instructions of 64-bit Arm.
    Arm64,
}

impl Kind {
    /// As it stands in the file.
    pub const fn word(self) -> u64 {
        self as u64
    }

    /// What the file says.
    pub const fn of(word: u64) -> Self {
        match word {
            1 => Self::Marks,
            2 => Self::Arm64,
            _ => Self::None,
        }
    }
}

/// Where the stamps of single words begin, for a memory file of so many bytes.
pub const fn words_at(memory: u64) -> u64 {
    PAGES_AT as u64 + (memory / PAGE * WORD).next_multiple_of(PAGE)
}

/// Bytes of the file, for a memory file of so many. It has holes where nothing was written.
pub const fn size(memory: u64) -> u64 {
    words_at(memory) + memory
}

/// When the card wrote something, and for which job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// What the clock was; from 1, 0: never.
    pub clock: u32,
    /// The card.
    pub card: u32,
    /// The job, below [`Stamp::JOBS`].
    pub job: u32,
}

impl Stamp {
    /// Jobs that can be told apart.
    pub const JOBS: u64 = 1 << 26;

    /// As it stands in the file.
    pub const fn word(self) -> u64 {
        (self.clock as u64) << 32
            | (self.card as u64 & 0x3f) << 26
            | self.job as u64 & (Self::JOBS - 1)
    }

    /// What the file says.
    pub const fn of(word: u64) -> Self {
        Self {
            clock: (word >> 32) as u32,
            card: (word >> 26 & 0x3f) as u32,
            job: (word & (Self::JOBS - 1)) as u32,
        }
    }
}

const _: () = assert!(RAMS_AT + 24 * RAMS <= MODULES_AT);
const _: () = assert!(MODULES_AT + 16 * MODULES <= INTERRUPTS_AT);
const _: () = assert!(INTERRUPTS_AT + 8 * 64 <= PAGES_AT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_as_it_was() {
        let stamp = Stamp {
            clock: u32::MAX,
            card: 63,
            job: 0x3ff_fffe,
        };
        assert_eq!(Stamp::of(stamp.word()), stamp);
        assert_eq!(Stamp::of(0), Stamp::default());
    }

    #[test]
    fn each_page_and_each_word_of_memory_has_its_place() {
        for memory in [0, PAGE, 1 << 20, 6 << 30] {
            let pages = memory / PAGE;
            assert!(words_at(memory) >= PAGES_AT as u64 + pages * 8);
            assert!(words_at(memory).is_multiple_of(PAGE));
            assert_eq!(size(memory) - words_at(memory), memory / WORD * 8);
        }
    }
}
