// SPDX-License-Identifier: MIT OR Apache-2.0

//! How much memory something may take: not what a peer says, but a multiple of what it sent.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Does something that may take `most` bytes at a time, with all its threads.
///
/// # Panics
/// It took more.
pub fn within<R>(most: usize, what: impl FnOnce() -> R) -> R {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = what();
    let took = MEMORY.peak_usage().saturating_sub(before);
    assert!(took <= most, "{took} bytes were taken, and may be {most}");
    result
}
