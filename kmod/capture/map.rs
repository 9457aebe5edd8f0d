// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! mmap of frames (read-only) and clip masks.
//!
//! Every mapping holds the buffer's memory, so that a page of the pool never goes to someone else while a
//! process can still see it, whatever becomes of the file, the configuration or the driver.

use super::{memory::Memory, session::Session, view::Part};
use kernel::{
    bindings,
    mm::virt::{flags, VmaNew},
    page::{PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
    sync::Arc,
    types::ForeignOwnable,
};

/// The C structure, as a constant that all CPUs may read.
struct Operations(bindings::vm_operations_struct);

// SAFETY: never changed; the pointers in it are null or functions.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(bindings::vm_operations_struct {
    open: Some(open),
    close: Some(close),
    ..pin_init::zeroed()
});

/// Maps what lies at the area's offset.
pub(crate) fn map(session: &Session, vma: &VmaNew) -> Result {
    let area = vma.as_ptr();
    // SAFETY: the area is being set up, and nobody else has it.
    let (page_offset, protection) = unsafe { ((*area).vm_pgoff, (*area).vm_page_prot) };
    let offset = (page_offset as u64)
        .checked_mul(PAGE_SIZE as u64)
        .ok_or(EINVAL)?;
    let found = session.mappable(offset)?;
    let length = vma.end().checked_sub(vma.start()).ok_or(EINVAL)?;
    if length as u64 > found.memory.allocated() {
        return Err(EINVAL);
    }
    match found.part {
        Part::Frame => vma.try_clear_maywrite().map_err(|_| EACCES)?,
        // A private, writable mapping would be a copy that the card does not see.
        Part::Clip if vma.flags() & flags::SHARED == 0 => return Err(EINVAL),
        Part::Clip => {}
    }
    vma.try_clear_mayexec().map_err(|_| EACCES)?;
    let first = c_ulong::try_from(found.memory.phys() >> PAGE_SHIFT)?;
    // SAFETY: the pages are RAM of the pool, which `memory` keeps until `close`, and the area is new.
    kernel::error::to_result(unsafe {
        bindings::remap_pfn_range(area, vma.start(), first, length, protection)
    })?;
    // SAFETY: the area is being set up; on success `close` will be called for it.
    unsafe {
        (*area).vm_private_data = found.memory.into_foreign().cast();
        (*area).vm_ops = &OPERATIONS.0;
    }
    Ok(())
}

/// An area was split or copied: one more holder.
///
/// # Safety
///
/// For the kernel only, on an area that got its operations from [`map`].
unsafe extern "C" fn open(area: *mut bindings::vm_area_struct) {
    // SAFETY: `map` put the memory there, and this area's predecessor holds it.
    let memory = unsafe { <Arc<Memory> as ForeignOwnable>::borrow((*area).vm_private_data.cast()) };
    let one_more: Arc<Memory> = memory.into();
    let _ = one_more.into_foreign();
}

/// An area is gone: one holder less. May sleep.
///
/// # Safety
///
/// As for [`open`], once for each area.
unsafe extern "C" fn close(area: *mut bindings::vm_area_struct) {
    // SAFETY: this area's hold was taken in `map` or `open`, and ends here.
    drop(unsafe { <Arc<Memory> as ForeignOwnable>::from_foreign((*area).vm_private_data.cast()) });
}
