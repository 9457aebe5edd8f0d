// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that is watched from boot, and buffers that are placed to order.

use landfall::guest::{GuestOptions, PoolOptions, Start, What};
use landfall::run::CapturePlan;
use landfall_tests::{Result, boot_loaded, capture_clean};

const MIB: u64 = 1 << 20;

/// From before the guest's first instruction until the pool is loaded, nobody writes to memory of `reserve_mem=`.
#[test]
fn reserved_memory_is_untouched_from_boot() -> Result {
    let guest = boot_loaded(GuestOptions {
        watch_from_boot: true,
        ..GuestOptions::default()
    })?;

    assert_eq!(guest.watched(), Some(PoolOptions::default().size));
    capture_clean(&guest, &guest.open_card(0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}
