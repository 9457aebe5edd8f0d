// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What user space is told: the card, its buffers, what is lent, and what an mmap offset names.

use super::{
    landfall_pool::{Buffer, Mapped},
    raw, regs,
    session::{slot, SelfTest, Session},
    uapi,
};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};

/// Which memory an mmap offset names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Frame,
    Clip,
}

/// What an mmap needs to know.
pub(crate) struct Mappable {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) part: Part,
}

/// mmap offsets of two parts differ by at least this much.
const OFFSET_SHIFT: u32 = 33;
/// The bit in which the mmap offsets of two neighbours differ.
pub(crate) const NEIGHBOUR: u64 = 2 << OFFSET_SHIFT;

fn mmap_offset(index: u32, part: Part) -> u64 {
    let part = match part {
        Part::Frame => 0,
        Part::Clip => 1,
    };
    (u64::from(index) * 2 + part) << OFFSET_SHIFT
}

impl Session {
    pub(crate) fn info(&self) -> Result<uapi::Info> {
        let state = self.state.lock();
        let self_test = state.self_test.as_ref().ok_or(ENODEV)?;
        Ok(uapi::Info {
            layout: regs::LAYOUT.into(),
            interrupt: self.interrupt,
            address_bits: self.limits.address_bits,
            alignment: u32::try_from(self.limits.alignment)?,
            boundary: self.limits.boundary,
            max_frame: self.limits.max_frame,
            selftest_dma: self_test.area.dma(),
            selftest_phys: self_test.area.buffer().phys(),
            selftest_nonce: self_test.nonce,
            interrupts: self.line.taken.load(Relaxed),
            pci_address: raw::pci_address(&self.pdev),
            reserved: 0,
        })
    }

    /// As `enum landfall_statistic` has them.
    pub(crate) fn statistic(&self, which: u32) -> u64 {
        match which {
            0 => self.frames.load(Relaxed),
            1 => self.failed_frames.load(Relaxed),
            2 => self.line.taken.load(Relaxed),
            _ => self.interrupt.into(),
        }
    }

    pub(crate) fn buffer(&self, index: u32) -> Result<uapi::Buffer> {
        let mut state = self.state.lock();
        state.bound()?;
        let buffer = state.buffer(index)?;
        let out = self.line.shared.lock().ring.is_out(slot(index)?);
        let memory = buffer.frame.buffer();
        let clip = buffer.clip.as_ref();
        Ok(uapi::Buffer {
            index,
            queued: out.into(),
            dma: buffer.frame.dma(),
            phys: memory.phys(),
            length: buffer.frame.length(),
            allocated: memory.allocated(),
            mmap_offset: mmap_offset(index, Part::Frame),
            clip_dma: clip.map_or(0, Mapped::dma),
            clip_phys: clip.map_or(0, |clip| clip.buffer().phys()),
            clip_length: clip.map_or(0, Mapped::length),
            clip_mmap_offset: if clip.is_some() {
                mmap_offset(index, Part::Clip)
            } else {
                0
            },
        })
    }

    /// Calls `each` for everything that is mapped for the card now.
    pub(crate) fn lends(&self) -> Result<KVec<uapi::Lend>> {
        let state = self.state.lock();
        state.bound()?;
        let mut lends = KVec::with_capacity(uapi::MAX_LENDS, GFP_KERNEL)?;
        for (index, buffer) in (0..).zip(state.buffers()) {
            let lend = |kind, direction, lent: &Mapped| uapi::Lend {
                kind,
                index,
                direction,
                queued: buffer.queued,
                dma: lent.dma(),
                phys: lent.buffer().phys(),
                length: lent.length(),
            };
            let frame = lend(uapi::LEND_FRAME, uapi::DIRECTION_FROM_DEVICE, &buffer.frame);
            lends.push(frame, GFP_KERNEL)?;
            if let Some(clip) = &buffer.clip {
                let clip = lend(uapi::LEND_CLIP, uapi::DIRECTION_TO_DEVICE, clip);
                lends.push(clip, GFP_KERNEL)?;
            }
        }
        if let Some(SelfTest { area, .. }) = &state.self_test {
            let lend = uapi::Lend {
                kind: uapi::LEND_SELFTEST,
                index: 0,
                direction: uapi::DIRECTION_BOTH,
                queued: 0,
                dma: area.dma(),
                phys: area.buffer().phys(),
                length: area.length(),
            };
            lends.push(lend, GFP_KERNEL)?;
        }
        Ok(lends)
    }

    /// What lies at `offset` of the file, for mmap.
    pub(crate) fn mappable(&self, offset: u64) -> Result<Mappable> {
        let mut state = self.state.lock();
        state.bound()?;
        let index = u32::try_from(offset >> (OFFSET_SHIFT + 1))?;
        let buffer = state.buffer(index)?;
        let (part, lent) = if offset == mmap_offset(index, Part::Frame) {
            (Part::Frame, Some(&buffer.frame))
        } else if offset == mmap_offset(index, Part::Clip) {
            (Part::Clip, buffer.clip.as_ref())
        } else {
            return Err(EINVAL);
        };
        let buffer = lent.ok_or(EINVAL)?.buffer().clone();
        Ok(Mappable { buffer, part })
    }
}
