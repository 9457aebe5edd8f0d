// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is tried with any bytes: a function for each surface that somebody hostile reaches.
//!
//! `tests/fuzz` puts libFuzzer around each; `tests/corpora.rs` here calls each with its corpus, as a plain test. A function
//! panics when what it tries breaks its promise: to answer or refuse every message, to take no memory by a peer's word, to end
//! in time. That it does not panic by itself goes without saying.
//!
//! libFuzzer, by the crate `libfuzzer-sys`: it is the one whose coverage a stable compiler gives (`-Cpasses=sancov-module`), and
//! cargo alone builds and runs it; AFL and honggfuzz need programs of their own, and unwind what they find less well.

#![forbid(unsafe_code)]

pub mod agent;
pub mod archives;
pub mod bundle;
mod bytes;
pub mod config;
pub mod limit;
pub mod project;
pub mod proxy;
pub mod registers;
pub mod scenario;
pub mod stream;
mod text;
pub mod wire;

/// What is tried, by the name of its fuzzer and of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 10] = [
    ("agent", agent::run),
    ("archives", archives::run),
    ("bundle", bundle::run),
    ("config", config::run),
    ("project", project::run),
    ("proxy", proxy::run),
    ("registers", registers::run),
    ("scenario", scenario::run),
    ("stream", stream::run),
    ("wire", wire::run),
];

/// What has a bug: a fuzzer that does not find it finds nothing.
pub fn control(bytes: &[u8]) {
    if let Some((number, rest)) = bytes.split_first_chunk() {
        // What the compiler does not know it compares by a call, of which the fuzzer hears, wherever this is inlined.
        let word: &[u8] = std::hint::black_box(b"DMA");
        let guessed = u32::from_le_bytes(*number) == 0x1a4d_fa11 && rest.starts_with(word);
        assert!(!guessed, "this is planted");
    }
}
