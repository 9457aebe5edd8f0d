// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a person reads: words, in which nothing steers a terminal, and no value as Rust writes it.

/// Longest refusal.
const LONGEST: usize = 64 << 10;

/// Checks what is said of bytes that are nobody's words: there is no value in it as Rust writes it.
///
/// # Panics
/// There is.
pub(crate) fn plain_words(said: &dyn std::error::Error) {
    words(said);
    let text = said.to_string();
    let form = ['{', '}'].iter().any(|brace| text.contains(*brace)) || text.contains("Error(");
    assert!(!form, "{text}");
}

/// Checks what is said when something is refused.
///
/// # Panics
/// It is no words.
pub(crate) fn words(said: &dyn std::error::Error) {
    let mut next = Some(said);
    while let Some(error) = next {
        let text = error.to_string();
        assert!(!text.trim().is_empty(), "it says nothing: {error:?}");
        assert!(text.len() <= LONGEST, "{} bytes", text.len());
        next = error.source();
    }
}
