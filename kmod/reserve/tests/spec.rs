// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The words of `source=`.

use landfall_reserve::spec::{alternatives, choice, regions, Choice, SpecError};

#[test]
fn regions_are_joined_by_plus_and_alternatives_by_commas() {
    let words = b"carveout+contig:750:24,exact::24";
    let all: Vec<Vec<_>> = regions(words)
        .map(|region| alternatives(region).map(Result::unwrap).collect())
        .collect();

    let of = |name: &'static str, pages, address_bits| Choice {
        name: name.as_bytes(),
        pages,
        address_bits,
    };
    assert_eq!(
        all,
        [
            vec![of("carveout", None, None)],
            vec![
                of("contig", Some(750), Some(24)),
                of("exact", None, Some(24))
            ]
        ]
    );
}

#[test]
fn words_that_make_no_sense_say_why() {
    assert_eq!(choice(b""), Err(SpecError::Empty));
    assert_eq!(choice(b":5"), Err(SpecError::Empty));
    assert_eq!(choice(b"contig:many"), Err(SpecError::Pages));
    assert_eq!(choice(b"contig:-1"), Err(SpecError::Pages));
    assert_eq!(
        choice(b"contig:18446744073709551616"),
        Err(SpecError::Pages)
    );
    assert_eq!(choice(b"contig:1:4294967296"), Err(SpecError::Bits));
    assert_eq!(choice(b"contig:1:24:x"), Err(SpecError::TooMany));
    assert!(alternatives(b"contig,,buddy").any(|choice| choice == Err(SpecError::Empty)));
}
