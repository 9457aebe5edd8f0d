// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! mmap of frames (read-only) and clip masks.

use super::{
    landfall_pool, module_parameters,
    session::Session,
    view::{Part, NEIGHBOUR},
};
use kernel::{
    bindings,
    mm::virt::{flags, VmaNew},
    prelude::*,
};

/// Maps what lies at the area's offset. The mapping holds the buffer, whatever becomes of the file, the
/// configuration or the driver.
pub(crate) fn map(session: &Session, vma: &VmaNew) -> Result {
    let mutant = module_parameters::mutant.value();
    let mut offset = landfall_pool::offset(vma)?;
    if mutant == 6 {
        offset ^= NEIGHBOUR; // cisco/exanic-software #121: the wrong pages
    }
    let found = session.mappable(offset)?;
    match found.part {
        Part::Frame => vma.try_clear_maywrite().map_err(|_| EACCES)?,
        // A private, writable mapping would be a copy that the card does not see.
        Part::Clip if vma.flags() & flags::SHARED == 0 => return Err(EINVAL),
        Part::Clip => {}
    }
    vma.try_clear_mayexec().map_err(|_| EACCES)?;
    // Taken before: clearing the flags does not change it, as the area is not writable then.
    let before = operations(vma);
    found.buffer.map(vma, landfall_pool::protection(vma))?;
    if mutant == 21 {
        let_go(vma, before); // Avnu/OpenAvnu #835, case 2: freed while it is mapped
    }
    Ok(())
}

type Operations = *const bindings::vm_operations_struct;

fn operations(vma: &VmaNew) -> Operations {
    // SAFETY: the area is being set up, and nobody else has it.
    unsafe { (*vma.as_ptr()).vm_ops }
}

/// Only for the mutant: the area keeps its pages, and gives up its hold on them. `before`: its operations before it was
/// mapped.
fn let_go(vma: &VmaNew, before: Operations) {
    // SAFETY: mapping the area succeeded, which gave it these operations.
    let close = unsafe { operations(vma).as_ref() }.and_then(|operations| operations.close);
    if let Some(close) = close {
        // SAFETY: the one hold that mapping took; with its operations gone, none is given up for it again.
        unsafe { close(vma.as_ptr()) };
    }
    // SAFETY: the area is being set up, and nobody else has it.
    unsafe { (*vma.as_ptr()).vm_ops = before };
}
