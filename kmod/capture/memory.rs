// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Buffers of the pool that this card can reach.

use super::{
    geometry::Limits,
    landfall_pool::{Buffer, Mapped, Request},
};
use kernel::{device, dma::DataDirection, prelude::*, str::CString, sync::Arc};

/// Where a buffer is to lie; 0 means anywhere.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
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

/// Memory of one buffer.
pub(crate) struct Memory {
    /// Which buffer.
    pub(crate) index: u32,
    pub(crate) frame: Mapped,
    /// Its clip mask, all ones at first.
    pub(crate) clip: Option<Mapped>,
}

impl Memory {
    /// Takes a buffer of `bytes`, and a clip mask unless that has no bytes, and maps them for the card. May sleep.
    pub(crate) fn lend(
        device: &device::Device<device::Bound>,
        index: u32,
        bytes: u64,
        clip_bytes: u64,
        place: Place,
        limits: &Limits,
    ) -> Result<Self> {
        let name = device.name();
        let owner = CString::try_from_fmt(fmt!("{}/frame{}", name, index))?;
        let frame = lend(
            device,
            &owner,
            bytes,
            place,
            limits,
            DataDirection::FromDevice,
        )?;
        let clip = if clip_bytes == 0 {
            None
        } else {
            let owner = CString::try_from_fmt(fmt!("{}/clip{}", name, index))?;
            let anywhere = Place::default();
            let clip = lend(
                device,
                &owner,
                clip_bytes,
                anywhere,
                limits,
                DataDirection::ToDevice,
            )?;
            // Its user's, who fills it, while the card has not got the buffer.
            clip.to_cpu();
            clip.buffer().fill(clip_bytes, 0xff)?;
            Some(clip)
        };
        Ok(Memory { index, frame, clip })
    }

    /// To call when the card is done with it.
    pub(crate) fn to_cpu(&self) {
        self.frame.to_cpu();
        if let Some(clip) = &self.clip {
            clip.to_cpu();
        }
    }

    /// To call before the card gets it.
    pub(crate) fn to_card(&self) {
        self.frame.to_card();
        if let Some(clip) = &self.clip {
            clip.to_card();
        }
    }
}
