// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What lies in memory that was not lent.

use landfall_reserve::canary;
use std::collections::HashSet;

const PHYS: u64 = 0x1_0a20_1000;

fn filled(words: usize, phys: u64) -> Vec<u8> {
    let mut memory = vec![0u64; words];
    canary::fill(&mut memory, phys);
    memory.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn words_differ_from_each_other_and_from_zero() {
    let words: HashSet<u64> = (0..100_000).map(|n| canary::word(PHYS + n * 8)).collect();

    assert_eq!(words.len(), 100_000);
    assert!(!words.contains(&0));
    assert_ne!(
        canary::word(PHYS),
        canary::word(PHYS & 0xffff_ffff),
        "the upper half counts"
    );
}

#[test]
fn the_word_is_part_of_the_format() {
    // The kernel writes these and the harness expects them: a change breaks one without the other.
    assert_eq!(canary::word(0), 0x2d49_c050_2eb1_1d1d);
    assert_eq!(
        canary::word(0x0a20_0000),
        canary::word(0x0a20_0007),
        "one word, whichever byte is asked for"
    );
}

#[test]
fn untouched_memory_has_no_difference_at_any_offset() {
    let memory = filled(64, PHYS);

    for skip in 0..20 {
        assert_eq!(
            canary::first_difference(&memory[skip..], PHYS + skip as u64),
            None
        );
        assert_eq!(canary::first_difference(&memory[..skip], PHYS), None);
    }
}

#[test]
fn one_changed_byte_is_found_where_it_lies() {
    for at in 0..64 {
        let mut memory = filled(8, PHYS);
        memory[at] ^= 1;

        for skip in 0..=at {
            let found = canary::first_difference(&memory[skip..], PHYS + skip as u64);
            assert_eq!(found, Some(at - skip), "byte {at}, looked at from {skip}");
        }
    }
}

#[test]
fn a_canary_of_another_address_is_a_difference() {
    let moved = filled(512, PHYS + 4096);

    assert_eq!(canary::first_difference(&moved, PHYS), Some(0));
}
