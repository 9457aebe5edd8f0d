// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Buffers of the pool that this card can reach.

use super::{
    geometry::Limits,
    landfall_pool::{Buffer, Mapped, Request},
};
use kernel::{device, dma::DataDirection, prelude::*, str::CString, sync::Arc};

/// Where a buffer is to lie; 0 means anywhere.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    /// Physical address.
    pub(crate) phys: u64,
    /// Bus address; the IOMMU has to give it.
    pub(crate) iova: u64,
}

/// Takes `bytes` from the pool and maps them for the card. May sleep.
pub(crate) fn lend(
    device: &device::Device<device::Bound>,
    owner: &CString,
    bytes: u64,
    place: Place,
    limits: &Limits,
    direction: DataDirection,
) -> Result<Mapped> {
    let request = Request {
        bytes,
        alignment: limits.alignment,
        boundary: limits.boundary,
        at: place.phys,
        address_bits: limits.address_bits,
        flags: 0,
    };
    let buffer = Arc::new(Buffer::new(owner, &request)?, GFP_KERNEL)?;
    let mapped = match place.iova {
        0 => Mapped::new(device, buffer, bytes, direction)?,
        iova => Mapped::at(device, buffer, bytes, iova).inspect_err(|_| {
            dev_err!(
                device,
                "no buffer can be mapped at bus address {:#x}\n",
                iova
            );
        })?,
    };
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
