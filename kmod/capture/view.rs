// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What user space is told: the card, its buffers, what is lent, and which mmap offset names a clip mask.

use super::{
    landfall_pool::Mapped,
    raw, regs,
    session::{slot, SelfTest, Session},
    uapi,
};
use kernel::{prelude::*, sync::atomic::Relaxed};

/// mmap offsets of clip masks are at least this; those of frames, which videobuf2 gives, are below. `LANDFALL_CLIPS` of
/// `capture_shim.h`.
const CLIPS: u64 = 1 << 40;
/// Those of two masks differ by at least this much.
const CLIP_SHIFT: u32 = 32;

fn clip_offset(index: u32) -> u64 {
    CLIPS | u64::from(index) << CLIP_SHIFT
}

/// Which buffer's clip mask that is; `EINVAL` if none could be there.
pub(crate) fn clip_at(offset: u64) -> Result<u32> {
    let index = offset.checked_sub(CLIPS).ok_or(EINVAL)? >> CLIP_SHIFT;
    let index = u32::try_from(index)?;
    if clip_offset(index) == offset {
        Ok(index)
    } else {
        Err(EINVAL)
    }
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
        let state = self.state.lock();
        state.bound()?;
        let memory = &state.lent(index)?.memory;
        let out = self.line.shared.lock().ring.is_out(slot(index)?);
        let clip = memory.clip.as_ref();
        Ok(uapi::Buffer {
            index,
            queued: out.into(),
            dma: memory.frame.dma(),
            phys: memory.frame.buffer().phys(),
            length: memory.frame.length(),
            allocated: memory.frame.buffer().allocated(),
            clip_dma: clip.map_or(0, Mapped::dma),
            clip_phys: clip.map_or(0, |clip| clip.buffer().phys()),
            clip_length: clip.map_or(0, Mapped::length),
            clip_mmap_offset: clip.map_or(0, |_| clip_offset(index)),
        })
    }

    /// What the card said of a buffer.
    pub(crate) fn record(&self, index: u32) -> Result<uapi::Record> {
        let state = self.state.lock();
        let done = state.lent(index)?.last.ok_or(EINVAL)?;
        Ok(uapi::Record {
            index,
            result: done.record.result.into(),
            sequence: done.record.sequence,
            bytes: done.record.bytes,
            card_time_ns: done.record.card_time_ns,
            guest_time_ns: done.guest_time_ns,
        })
    }

    /// Everything that is mapped for the card now.
    pub(crate) fn lends(&self) -> Result<KVec<uapi::Lend>> {
        let state = self.state.lock();
        state.bound()?;
        let mut lends = KVec::with_capacity(uapi::MAX_LENDS, GFP_KERNEL)?;
        for lent in state.lent.iter().flatten() {
            let memory = &lent.memory;
            let lend = |kind, direction, mapped: &Mapped| uapi::Lend {
                kind,
                index: memory.index,
                direction,
                queued: lent.queued,
                dma: mapped.dma(),
                phys: mapped.buffer().phys(),
                length: mapped.length(),
            };
            let frame = lend(uapi::LEND_FRAME, uapi::DIRECTION_FROM_DEVICE, &memory.frame);
            lends.push(frame, GFP_KERNEL)?;
            if let Some(clip) = &memory.clip {
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
}
