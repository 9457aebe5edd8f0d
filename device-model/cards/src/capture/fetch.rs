// SPDX-License-Identifier: MIT OR Apache-2.0

//! Clip masks that are fetched at the doorbell, to see whether they change before the frame begins.

use std::collections::BTreeMap;

use super::engine::CaptureCard;
use super::fault::Fault;
use super::regs::MAX_CLIP;
use landfall_device::contract::{Declaration, Host, Role, Tag};

/// Masks by slot, with their addresses.
pub(super) type Fetched = BTreeMap<u8, (u64, Vec<u8>)>;

impl CaptureCard {
    /// A slot was queued: with the fault `watch-fetch`, fetches its mask.
    pub(super) fn fetch_at_doorbell(&mut self, number: u8, host: &mut dyn Host) {
        let watch = |fault| (fault == Fault::WatchFetch).then_some(());
        let Some((index, ())) = self.faults.holds(host.now(), watch) else {
            return;
        };
        self.fetched.remove(&number);
        let r = &self.registers;
        let slot = r.slots.get(usize::from(number)).copied();
        let frame = r.picture.frame(r.sequence, number);
        let (Some(slot), Some(frame)) = (slot, frame) else {
            return;
        };
        let length = frame.clip_bytes();
        let fits = length <= slot.clip_size.into() && slot.clip_size <= MAX_CLIP;
        if slot.clip_size == 0 || !fits || host.may_master().is_err() {
            return;
        }
        let tag = Tag::job(slot.job).role(Role::Side);
        // CAST: at most MAX_CLIP.
        let mut mask = vec![0; length as usize];
        if host.dma_read(slot.clip, &mut mask, tag).is_ok() {
            self.faults.count(index);
            self.fetched.insert(number, (slot.clip, mask));
        }
    }

    /// A frame begins, with this mask: notes where it differs from what was fetched at the doorbell.
    pub(super) fn compare_fetched(
        &mut self,
        number: u8,
        address: u64,
        mask: &[u8],
        host: &mut dyn Host,
    ) {
        let Some((was_at, was)) = self.fetched.remove(&number) else {
            return;
        };
        let same_place = was_at == address && was.len() == mask.len();
        let differs = was.iter().zip(mask).position(|(was, is)| was != is);
        if let (true, Some(differs)) = (same_place, differs) {
            let Some(slot) = self.registers.slots.get(usize::from(number)) else {
                return;
            };
            let changed = Declaration::Changed {
                job: slot.job,
                address: address.wrapping_add(differs as u64),
            };
            host.declare_for(slot.queued_by, changed);
        }
    }
}
