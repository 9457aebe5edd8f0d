// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Buffers of the pool that this card can reach.

use super::{
    geometry::Limits,
    landfall_pool::{Buffer, Mapped, Request},
};
use kernel::{device, dma::DataDirection, prelude::*, str::CString, sync::Arc};

/// Takes `bytes` from the pool, at physical address `at` unless that is 0, and maps them for the card. May
/// sleep.
pub(crate) fn lend(
    device: &device::Device<device::Bound>,
    owner: &CString,
    bytes: u64,
    at: u64,
    limits: &Limits,
    direction: DataDirection,
) -> Result<Mapped> {
    let request = Request {
        bytes,
        alignment: limits.alignment,
        boundary: limits.boundary,
        at,
        address_bits: limits.address_bits,
        flags: 0,
    };
    let buffer = Arc::new(Buffer::new(owner, &request)?, GFP_KERNEL)?;
    let mapped = Mapped::new(device, buffer, bytes, direction)?;
    if !limits.accepts(mapped.dma(), mapped.length()) {
        dev_err!(
            device,
            "bus address {:#x}, {} bytes, is not for this card\n",
            mapped.dma(),
            bytes
        );
        return Err(ERANGE);
    }
    Ok(mapped)
}
