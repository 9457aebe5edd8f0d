// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is tried with any bytes: a function for each surface that somebody hostile reaches, and the corpora that belong to it.
//!
//! `tests/fuzz` puts libFuzzer around each; `tests/corpora.rs` here calls each with its corpus, as a plain test. A function
//! panics when what it tries breaks its promise: to answer or refuse every message, to take no memory by a peer's word, to end
//! in time. That it does not panic by itself goes without saying.

#![forbid(unsafe_code)]

mod bytes;
pub mod wire;

/// What is tried, with the name of its fuzzer and of its corpus.
pub const TARGETS: [(&str, fn(&[u8])); 1] = [("wire", wire::run)];

/// What has a bug: a fuzzer that does not find it finds nothing.
pub fn control(bytes: &[u8]) {
    if let Some((number, rest)) = bytes.split_first_chunk() {
        let guessed = u32::from_le_bytes(*number) == 0x1a4d_fa11 && rest.starts_with(b"DMA");
        assert!(!guessed, "this is planted");
    }
}
