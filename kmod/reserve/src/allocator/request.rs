// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a buffer must be like, and where in a gap it goes.

use super::errors::AllocateError;
use super::PAGE;

/// Which of the gaps that fit is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// The one at the lowest address.
    #[default]
    First,
    /// The shortest; of several as short, the one at the lowest address.
    Best,
}

/// What a buffer must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes, at least 1; whole pages are taken.
    pub bytes: u64,
    /// How many address bits the card drives, 1 to 64: the last page must end at or below `2^address_bits`.
    pub address_bits: u32,
    /// The base is a multiple of this: a power of two, bytes. Less than a page means a page.
    pub alignment: u64,
    /// The bytes do not cross a multiple of this: a power of two, bytes; 0: no such limit.
    pub boundary: u64,
    /// The base is exactly this, if given; all else must hold there too.
    pub at: Option<u64>,
    /// Which gap is taken; of no effect with `at`.
    pub fit: Fit,
}

impl Request {
    /// Asks for `bytes` anywhere, first fit.
    pub const fn anywhere(bytes: u64) -> Self {
        Request {
            bytes,
            address_bits: 64,
            alignment: PAGE,
            boundary: 0,
            at: None,
            fit: Fit::First,
        }
    }

    /// The lowest base in the free range from `start` up to `end` that suits, without guard pages. `None`
    /// if there is none, or if the request makes no sense.
    pub fn place(&self, start: u64, end: u64) -> Option<u64> {
        let wish = Wish::new(self, 0).ok()?;
        let Some(at) = self.at else {
            return wish.place(start, end);
        };
        let (first, after) = wish.footprint(at)?;
        (wish.allows(at) && first >= start && after <= end).then_some(at)
    }
}

/// A request that makes sense, in the form that the search uses.
pub(super) struct Wish {
    pub(super) bytes: u64,
    pub(super) pages: u64,
    /// Bytes of `pages`.
    length: u64,
    guard: u64,
    alignment: u64,
    boundary: u64,
    /// The last byte of the last page lies at or below this.
    pub(super) limit: u64,
    /// Bytes of `pages` and of the guards: no shorter gap can do.
    pub(super) need: u64,
}

impl Wish {
    /// Checks `request`, whose buffer gets `guard` bytes on each side.
    pub(super) fn new(request: &Request, guard: u64) -> Result<Self, AllocateError> {
        let bytes = request.bytes;
        if bytes == 0 {
            return Err(AllocateError::Empty);
        }
        let spare = 64u32
            .checked_sub(request.address_bits)
            .ok_or(AllocateError::AddressBits)?;
        let limit = u64::MAX
            .checked_shr(spare)
            .ok_or(AllocateError::AddressBits)?;
        if !request.alignment.is_power_of_two() {
            return Err(AllocateError::Alignment);
        }
        let boundary = request.boundary;
        if boundary != 0 && (!boundary.is_power_of_two() || boundary < bytes) {
            return Err(AllocateError::Boundary);
        }
        let pages = bytes.div_ceil(PAGE);
        let length = pages.checked_mul(PAGE).ok_or(AllocateError::NoRoom)?;
        let need = guard
            .checked_mul(2)
            .and_then(|guards| guards.checked_add(length))
            .ok_or(AllocateError::NoRoom)?;
        Ok(Wish {
            bytes,
            pages,
            length,
            guard,
            alignment: request.alignment.max(PAGE),
            boundary,
            limit,
            need,
        })
    }

    /// The same without the address limit.
    pub(super) fn unlimited(&self) -> Self {
        Wish {
            limit: u64::MAX,
            ..*self
        }
    }

    /// The lowest base in the gap from `start` to `end` that fits, guards included.
    pub(super) fn place(&self, start: u64, end: u64) -> Option<u64> {
        let mut base = start
            .checked_add(self.guard)?
            .checked_next_multiple_of(self.alignment)?;
        if self.crosses(base)? {
            // Both are powers of two, so the greater is a multiple of the lesser; and from a multiple of
            // the boundary the bytes cannot cross the next one.
            base = base.checked_next_multiple_of(self.boundary.max(self.alignment))?;
        }
        let (_, after) = self.footprint(base)?;
        (after <= end && self.is_below_limit(base)).then_some(base)
    }

    /// Whether the bytes at `base` are aligned, cross no boundary and lie below the limit.
    pub(super) fn allows(&self, base: u64) -> bool {
        base & self.alignment.saturating_sub(1) == 0
            && self.crosses(base) == Some(false)
            && self.is_below_limit(base)
    }

    /// What a buffer at `base` takes, guards included: first byte and the byte after.
    pub(super) fn footprint(&self, base: u64) -> Option<(u64, u64)> {
        let start = base.checked_sub(self.guard)?;
        Some((start, start.checked_add(self.need)?))
    }

    fn is_below_limit(&self, base: u64) -> bool {
        let last = base.checked_add(self.length.saturating_sub(1));
        last.is_some_and(|last| last <= self.limit)
    }

    /// Whether the bytes at `base` cross a multiple of the boundary.
    fn crosses(&self, base: u64) -> Option<bool> {
        let last = base.checked_add(self.bytes.checked_sub(1)?)?;
        let block = |address: u64| address.checked_div(self.boundary);
        Some(block(base) != block(last))
    }
}
