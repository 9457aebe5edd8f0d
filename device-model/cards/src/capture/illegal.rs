// SPDX-License-Identifier: MIT OR Apache-2.0

//! Register writes that come at the wrong time. The card does what it is told all the same, and notes it.

use super::engine::CaptureCard;
use super::registers::slot_register;
use super::regs::{self, FORMAT, GEOMETRY, SLOT_STATUS, STRIDE};
use landfall_device::contract::{Declaration, Host};

impl CaptureCard {
    /// Notes a write that must not come now: of the picture's parameters while a frame is written, or of a slot's
    /// registers while it is queued or served.
    pub(super) fn note_illegal(
        &self,
        offset: usize,
        register_write: Option<u64>,
        host: &mut dyn Host,
    ) {
        let Some(why) = self.illegal(offset) else {
            return;
        };
        let name = landfall_device::contract::lookup(regs::REGISTERS, offset as u64);
        let name = name.map_or_else(String::new, |name| name.to_string());
        let why = format!("{name} was written while {why}").into();
        host.declare_for(register_write, Declaration::NotNow { why });
    }

    fn illegal(&self, offset: usize) -> Option<String> {
        let r = &self.registers;
        if matches!(offset, FORMAT::OFFSET | GEOMETRY::OFFSET | STRIDE::OFFSET) {
            let job = r.job.as_ref()?;
            return Some(format!("job {} was in work", job.number));
        }
        let (slot, register) = slot_register(offset)?;
        // What the card records there is read-only.
        if register >= SLOT_STATUS::OFFSET {
            return None;
        }
        let slot = u8::try_from(slot).ok()?;
        if r.queue.contains(&slot) {
            return Some(format!("slot {slot} was queued"));
        }
        let serving = r.job.as_ref().filter(|job| job.slot == slot)?;
        Some(format!(
            "slot {slot} was in work, by job {}",
            serving.number
        ))
    }
}
