// SPDX-License-Identifier: MIT OR Apache-2.0

//! Unpacks zstd, whoever made the bytes. The library's errors are Rust's Debug form where they are of several layers; ours are
//! what is innermost, which is words.

use std::error::Error;
use std::io::{self, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// What a zstd stream unpacks to.
pub struct Zstd<R: Read>(StreamingDecoder<R, FrameDecoder>);

impl<R: Read> std::fmt::Debug for Zstd<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd").finish_non_exhaustive()
    }
}

impl<R: Read> Zstd<R> {
    /// Reads the head of a stream.
    ///
    /// # Errors
    /// If it is none, or cannot be read.
    pub fn new(packed: R) -> io::Result<Self> {
        let stream = StreamingDecoder::new(packed);
        stream.map(Self).map_err(|error| in_words(&error))
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| match error.get_ref() {
            Some(inner) => in_words(inner),
            None => error,
        })
    }
}

fn in_words(error: &(dyn Error + 'static)) -> io::Error {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let kind = innermost.downcast_ref().map(io::Error::kind);
    let kind = kind.unwrap_or(io::ErrorKind::InvalidData);
    io::Error::new(kind, format!("zstd: {innermost}"))
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Zstd::new(packed)?.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whichever byte is damaged, and wherever the stream is cut.
    #[test]
    fn damage_is_told_in_words() {
        let text: String = (0..200).map(|n| format!("{} {} ", n, n * n % 97)).collect();
        let whole = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        assert_eq!(unpack(&whole).ok(), Some(text.into_bytes()));
        let cut = (0..whole.len() - 4).map(|end| whole[..end].to_vec());
        let turned = (0..whole.len()).flat_map(|at| {
            let whole = &whole;
            [1, 0x10, 0xff].map(move |bits| {
                let mut damaged = whole.clone();
                damaged[at] ^= bits;
                damaged
            })
        });
        let mut refused = 0;
        for damaged in cut.chain(turned) {
            let Err(error) = unpack(&damaged) else {
                continue;
            };
            refused += 1;
            let said = error.to_string();
            assert!(said.starts_with("zstd: "), "{said}");
            assert!(!said.contains(['{', '}']), "{said}");
            let named = said
                .split('(')
                .next()
                .and_then(|head| head.split(' ').next_back());
            let variant = |word: &str| word.chars().filter(char::is_ascii_uppercase).count() > 1;
            assert!(!said.contains('(') || !named.is_some_and(variant), "{said}");
        }
        assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());
    }
}
