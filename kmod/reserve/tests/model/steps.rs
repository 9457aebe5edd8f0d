// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Random things to do to an allocator, for the tests that compare it with the model.

use landfall_reserve::allocator::{Fit, Request, PAGE};
use proptest::prelude::*;

/// Where the region begins: it straddles 16 MiB.
pub(crate) const BASE: u64 = (1 << 24) - 24 * PAGE;
/// How long it is.
pub(crate) const PAGES: usize = 64;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Allocate(Request),
    /// Frees the n-th buffer that is lent.
    Free(prop::sample::Index),
    /// A wrong free: some address and size that nobody was given.
    FreeWrongly(u64, u64),
    /// Makes a hole.
    Exclude(u64, u64),
}

/// A request that makes sense, mostly.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let bytes = 1..10 * PAGE;
    let bits = prop_oneof![Just(24u32), Just(25), Just(64)];
    let at = prop_oneof![4 => Just(None), 1 => (0..66u64).prop_map(Some)];
    let fit = prop_oneof![Just(Fit::First), Just(Fit::Best)];
    let boundary = prop_oneof![Just(None), (0u32..4).prop_map(Some)];
    (bytes, bits, 0u32..5, boundary, at, fit).prop_map(
        |(bytes, address_bits, align, boundary, at, fit)| Request {
            bytes,
            address_bits,
            alignment: PAGE << align,
            boundary: boundary.map_or(0, |shift| bytes.next_power_of_two().max(PAGE) << shift),
            at: at.map(|page| BASE + page * PAGE),
            fit,
        },
    )
}
