// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What lies in pool memory that nobody has been lent.
//!
//! The pool fills its region with canary words when it is created and a buffer's pages again when it is
//! freed. Each word depends on its own physical address only, so that a byte that moved, or that a card
//! wrote, is told from one that was left alone, from outside and without knowing the past.

/// Bytes of one canary word. Words lie at multiples of this.
pub const WORD: u64 = 8;

/// Odd, so that multiplying by it is a bijection of the 64-bit integers.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Not a multiple of [`WORD`], so that no aligned address maps to 0.
const OFFSET: u64 = 0x4c46_4341_4e41_5259;

/// Returns the word that belongs at physical address `phys`; in memory it is little endian.
///
/// Only the word that `phys` lies in matters, not the byte in it. Different words give different values,
/// and never 0: each step is a bijection, and 0 would need an address of `OFFSET`, which is not aligned.
#[inline]
pub const fn word(phys: u64) -> u64 {
    let mixed = ((phys & !(WORD - 1)) ^ OFFSET).wrapping_mul(FACTOR);
    mixed ^ (mixed >> 32)
}

/// Returns the byte that belongs at physical address `phys`.
#[inline]
pub const fn byte(phys: u64) -> u8 {
    // CAST: the low byte is what is wanted.
    (word(phys) >> ((phys % WORD) * 8)) as u8
}

/// Returns the offset of the first byte in `bytes` that is not the canary, if any; `bytes[0]` lies at
/// physical address `phys`, which need not be aligned.
pub fn first_difference(bytes: &[u8], phys: u64) -> Option<usize> {
    // CAST: less than 8.
    let head = (phys.wrapping_neg() % WORD) as usize;
    let (head, rest) = bytes.split_at(head.min(bytes.len()));
    let mut offset = 0;
    if let Some(at) = bytewise(head, phys) {
        return Some(at);
    }
    offset += head.len();
    let mut words = rest.chunks_exact(8);
    for chunk in words.by_ref() {
        // CAST: a length is at most 64 bits.
        let here = phys.wrapping_add(offset as u64);
        if chunk != word(here).to_le_bytes() {
            return bytewise(chunk, here).map(|at| offset + at);
        }
        offset += 8;
    }
    bytewise(words.remainder(), phys.wrapping_add(offset as u64)).map(|at| offset + at)
}

/// [`first_difference`], one byte at a time.
fn bytewise(bytes: &[u8], phys: u64) -> Option<usize> {
    let expected = (0..).map(|at| byte(phys.wrapping_add(at)));
    bytes
        .iter()
        .zip(expected)
        .position(|(have, want)| *have != want)
}

/// Fills `words`, the first of which lies at physical address `phys` (a multiple of [`WORD`]).
pub fn fill(words: &mut [u64], phys: u64) {
    let mut at = phys;
    for slot in words {
        *slot = word(at).to_le();
        at = at.wrapping_add(WORD);
    }
}
