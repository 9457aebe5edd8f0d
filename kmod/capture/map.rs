// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! mmap of frames (read-only) and clip masks.

use super::{landfall_pool, session::Session, view::Part};
use kernel::{
    mm::virt::{flags, VmaNew},
    prelude::*,
};

/// Maps what lies at the area's offset. The mapping holds the buffer, whatever becomes of the file, the
/// configuration or the driver.
pub(crate) fn map(session: &Session, vma: &VmaNew) -> Result {
    let found = session.mappable(landfall_pool::offset(vma)?)?;
    match found.part {
        Part::Frame => vma.try_clear_maywrite().map_err(|_| EACCES)?,
        // A private, writable mapping would be a copy that the card does not see.
        Part::Clip if vma.flags() & flags::SHARED == 0 => return Err(EINVAL),
        Part::Clip => {}
    }
    vma.try_clear_mayexec().map_err(|_| EACCES)?;
    // Taken before: clearing the flags does not change it, as the area is not writable then.
    found.buffer.map(vma, landfall_pool::protection(vma))
}
