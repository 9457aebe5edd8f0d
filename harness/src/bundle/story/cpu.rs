// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest's CPUs did, in a line each.

use landfall_device::journal::{CpuAccess, Unordered};

use super::range;

pub(super) fn accessed(access: &CpuAccess) -> String {
    let verb = match access.store {
        true => "stores to",
        false => "loads from",
    };
    let at = range(access.address, access.length);
    format!("{verb} {at}, {} times, pc {:#x}", access.count, access.pc)
}

pub(super) fn unordered(two: &Unordered) -> String {
    let verb = match two.store {
        true => "stores to",
        false => "loads from",
    };
    let at = range(two.address, two.length);
    format!(
        "{verb} {at}, in no order with pc {:#x}, pc {:#x}",
        two.other_pc, two.pc
    )
}
