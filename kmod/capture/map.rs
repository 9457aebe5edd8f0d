// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! mmap of frames and clip masks. A mapping holds the buffer, whatever becomes of the file, the stream or the driver.

use super::{
    landfall_pool::{self, Buffer},
    memory::Memory,
    module_parameters,
    session::Session,
    view,
};
use kernel::{
    bindings,
    mm::virt::{flags, VmaNew},
    prelude::*,
    sync::Arc,
};

/// Shows a frame.
pub(crate) fn frame(session: &Session, memory: &Memory, area: &VmaNew) -> Result {
    match neighbour(memory.index) {
        index if index == memory.index => show(memory.frame.buffer(), area),
        index => {
            let state = session.state.lock();
            let other = state.lent(index)?.memory.frame.buffer().clone();
            drop(state);
            show(&other, area)
        }
    }
}

/// Shows the clip mask at the area's offset.
pub(crate) fn clip(session: &Session, area: &VmaNew) -> Result {
    // A private, writable mapping would be a copy that the card does not see.
    if area.flags() & flags::SHARED == 0 {
        return Err(EINVAL);
    }
    let index = view::clip_at(landfall_pool::offset(area)?)?;
    let state = session.state.lock();
    state.bound()?;
    let lent = state.lent(neighbour(index))?;
    let mask = lent.memory.clip.as_ref().ok_or(EINVAL)?.buffer().clone();
    drop(state);
    area.try_clear_mayexec().map_err(|_| EACCES)?;
    show(&mask, area)
}

/// That buffer; for the mutant another one.
fn neighbour(index: u32) -> u32 {
    match module_parameters::mutant.value() {
        6 => index ^ 1, // cisco/exanic-software #121: the wrong pages
        _ => index,
    }
}

fn show(buffer: &Arc<Buffer>, area: &VmaNew) -> Result {
    let before = operations(area);
    buffer.map(area, landfall_pool::protection(area))?;
    if module_parameters::mutant.value() == 21 {
        let_go(area, before); // Avnu/OpenAvnu #835, case 2: freed while it is mapped
    }
    Ok(())
}

type Operations = *const bindings::vm_operations_struct;

fn operations(area: &VmaNew) -> Operations {
    // SAFETY: the area is being set up, and nobody else has it.
    unsafe { (*area.as_ptr()).vm_ops }
}

/// Only for the mutant: the area keeps its pages, and gives up its hold on them. `before`: its operations before it was
/// mapped.
fn let_go(area: &VmaNew, before: Operations) {
    // SAFETY: mapping the area succeeded, which gave it these operations.
    let close = unsafe { operations(area).as_ref() }.and_then(|operations| operations.close);
    if let Some(close) = close {
        // SAFETY: the one hold that mapping took; with its operations gone, none is given up for it again.
        unsafe { close(area.as_ptr()) };
    }
    // SAFETY: the area is being set up, and nobody else has it.
    unsafe { (*area.as_ptr()).vm_ops = before };
}
