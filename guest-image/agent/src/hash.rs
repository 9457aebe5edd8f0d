// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames as guest user space sees them, hashed.
//!
//! XXH64, because an emulated CPU is fast at 64-bit words and slow at vectors: under TCG a frame takes a
//! twentieth of what it takes with XXH3 and its SSE2. One frame after the other: with two at once, each unmap
//! interrupts the other CPU, which under TCG costs more than the second CPU brings.

use xxhash_rust::xxh64::Xxh64;

use crate::mapping::Mapping;

/// Bytes copied out of a mapping at a time.
const CHUNK: usize = 16 << 10;

/// XXH64 with seed 0 of all that is mapped.
pub(crate) fn of(mapping: &Mapping) -> u64 {
    let mut hash = Xxh64::new(0);
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let length = mapping.read(offset, &mut chunk);
        if length == 0 {
            return hash.digest();
        }
        hash.update(chunk.get(..length).unwrap_or_default());
        offset += length;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use xxhash_rust::xxh64::xxh64;

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    fn file(bytes: &[u8]) -> File {
        let file = File::from(memfd_create("frames", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn mapping(bytes: &[u8]) -> Mapping {
        Mapping::new(&file(bytes), 0, bytes.len() as u64, false).unwrap()
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let lengths = [
            1,
            7,
            8,
            9,
            4095,
            CHUNK - 1,
            CHUNK,
            CHUNK + 13,
            3 * CHUNK + 5,
        ];
        for frame in lengths.into_iter().map(bytes) {
            assert_eq!(
                of(&mapping(&frame)),
                xxh64(&frame, 0),
                "{} bytes",
                frame.len()
            );
        }
    }

    #[test]
    fn another_byte_anywhere_is_another_hash() {
        let clean = bytes(CHUNK + 21);
        let expected = of(&mapping(&clean));
        for at in [0, 7, 8, CHUNK - 1, CHUNK, CHUNK + 20] {
            let mut wrong = clean.clone();
            wrong[at] ^= 1;
            assert_ne!(of(&mapping(&wrong)), expected, "byte {at}");
        }
    }

    #[test]
    fn a_mapping_reads_the_same_from_any_offset() {
        let all = bytes(4096 + 100);
        let mapping = mapping(&all);
        for offset in [0, 1, 7, 8, 13, 4090, 4195, 4196, 5000] {
            for length in [0, 1, 5, 8, 9, 16, 77] {
                let mut out = vec![0; length];
                let read = mapping.read(offset, &mut out);
                let rest = all.get(offset..).unwrap_or_default();
                assert_eq!(
                    out[..read],
                    rest[..length.min(rest.len())],
                    "{offset}+{length}"
                );
            }
        }
    }
}
