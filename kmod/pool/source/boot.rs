// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Memory that was kept from the kernel at boot. It never goes back.

use super::super::{module_parameters, shim};
use super::{Backing, Carveout, Memory, Taken, Wanted, PAGE};
use kernel::{bindings, prelude::*};

/// What the boot option `reserve_mem=` kept.
pub(super) fn reserve(wanted: &Wanted) -> Result<Memory> {
    let name = shim::reserve_name();
    let (mut base, mut bytes) = (0, 0);
    // SAFETY: the name is a terminated string, and the other two are ours to write.
    let found =
        unsafe { bindings::reserve_mem_find_by_name(name.as_char_ptr(), &mut base, &mut bytes) };
    if found == 0 {
        pr_err!(
            "no memory was reserved at boot under the name {}: boot with reserve_mem=<size>:4096:{}, or pass source=contig\n",
            name,
            name
        );
        return Err(ENODEV);
    }
    if base % PAGE != 0 || bytes % PAGE != 0 || bytes == 0 {
        pr_err!(
            "reserve_mem region {} ({:#x}, {} bytes) is not page aligned: boot with reserve_mem=<size>:4096:{}\n",
            name, base, bytes, name
        );
        return Err(EINVAL);
    }
    let all = bytes / PAGE;
    let pages = wanted.pages_or(all);
    if pages > all {
        pr_err!(
            "pages={} asked for, but reserve_mem region {} has {}\n",
            pages,
            name,
            all
        );
        return Err(EINVAL);
    }
    Memory::whole("reserve", base, pages, 0, Backing::Kept)
}

/// A range that the boot options `mem=` or `memmap=` kept the kernel from knowing as RAM. Which, the kernel
/// cannot tell: the parameters do.
pub(super) fn carveout(wanted: &Wanted) -> Result<Memory> {
    let base = module_parameters::carveout_base.value();
    let (Some(pages), false) = (wanted.pages, base == 0) else {
        pr_err!(
            "source=carveout needs carveout_base=<address> and pages=<number>: the range that mem= or memmap=<size>$<address> kept\n"
        );
        return Err(EINVAL);
    };
    let bytes = pages
        .checked_mul(PAGE)
        .filter(|bytes| base.checked_add(*bytes).is_some());
    let Some(bytes) = bytes.filter(|_| base % PAGE == 0) else {
        pr_err!(
            "carveout_base={:#x} pages={} is no range of whole pages\n",
            base,
            pages
        );
        return Err(EINVAL);
    };
    let carveout = Carveout::map(base, bytes).inspect_err(|error| {
        let why = match *error {
            EEXIST => "is the kernel's own RAM, wholly or in part",
            EBUSY => "belongs to a device or to another driver, wholly or in part",
            ENXIO => "is no RAM",
            _ => "could not be mapped",
        };
        pr_err!(
            "carveout_base={:#x} pages={}: the range {}: boot with memmap={:#x}${:#x}, or with mem= at most {:#x} and a range above that\n",
            base, pages, why, bytes, base, base
        );
    })?;
    Ok(Memory {
        source: "carveout",
        taken: Taken {
            base,
            span: bytes,
            pages,
            waste: 0,
            pieces: 1,
            longest: pages,
            touched: pages,
            take_ns: 0,
        },
        holes: VVec::new(),
        virt: carveout.address(),
        backing: Backing::Carveout(carveout),
    })
}
