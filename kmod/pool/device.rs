// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `/dev/landfall-pool`: buffers for user space, and the pool's growing and shrinking. What is asked for is in
//! `uapi.rs`.

use super::{
    landfall_pool::{self, Buffer, Request},
    shim,
    source::{Memory, Wanted},
    stats, uapi, LocalModule,
};
use kernel::{
    bindings,
    fs::File,
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    mm::virt::{flags, VmaNew},
    module::this_module,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{Arc, Mutex},
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
};

/// mmap offsets of two buffers differ by this much: no buffer is larger.
const OFFSET_SHIFT: u32 = 40;
/// Buffers of one file at a time.
const MAX_HANDLES: usize = 256;

/// An open file, and what it has taken.
#[pin_data]
pub(crate) struct OpenFile {
    /// Handle n is entry n.
    #[pin]
    buffers: Mutex<KVec<Option<Held>>>,
}

/// One buffer of a file.
#[derive(Clone)]
struct Held {
    buffer: Arc<Buffer>,
    uncached: bool,
}

/// Marks the structures of the ABI for copying from and to user space.
macro_rules! plain {
    ($($structure:ident),*) => {$(
        // SAFETY: `repr(C)`, made of integers, without padding: every bit pattern is valid.
        unsafe impl FromBytes for uapi::$structure {}
        // SAFETY: `repr(C)` without padding: all bytes are initialised.
        unsafe impl AsBytes for uapi::$structure {}
    )*};
}

plain!(Allocate, Handle, Export, Grow, Shrink, Adopt, Measure);

#[vtable]
impl MiscDevice for OpenFile {
    type OwnerModule = LocalModule;
    type Ptr = Pin<KBox<Self>>;

    fn open(_: &File, _: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(OpenFile {
                buffers <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(file: Pin<&Self>, _: &File, command: u32, argument: usize) -> Result<isize> {
        match command {
            uapi::ALLOCATE => answer(argument, |ask| file.allocate(ask))?,
            uapi::FREE => answer(argument, |ask| file.free(ask))?,
            uapi::EXPORT => answer(argument, |ask| file.export(ask))?,
            uapi::GROW => answer(argument, grow)?,
            uapi::SHRINK => answer(argument, shrink)?,
            uapi::ADOPT => answer(argument, adopt)?,
            uapi::MEASURE => answer(argument, measure)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn mmap(file: Pin<&Self>, _: &File, vma: &VmaNew) -> Result {
        if vma.flags() & flags::SHARED == 0 {
            return Err(EINVAL);
        }
        let offset = landfall_pool::offset(vma)?;
        let held = file.held(u32::try_from(offset >> OFFSET_SHIFT)?)?;
        if offset != mmap_offset(u32::try_from(offset >> OFFSET_SHIFT)?) {
            return Err(EINVAL);
        }
        vma.try_clear_mayexec().map_err(|_| EACCES)?;
        let cached = landfall_pool::protection(vma);
        let protection = if held.uncached {
            shim::uncached_protection(cached)
        } else {
            cached
        };
        held.buffer.map(vma, protection)
    }
}

impl OpenFile {
    fn allocate(&self, ask: &mut uapi::Allocate) -> Result {
        if ask.flags & !(uapi::UNCACHED | uapi::BEST_FIT) != 0 || ask.reserved != 0 {
            return Err(EINVAL);
        }
        let request = Request {
            bytes: ask.bytes,
            alignment: ask.alignment,
            boundary: ask.boundary,
            at: ask.at,
            address_bits: if ask.address_bits == 0 {
                64
            } else {
                ask.address_bits
            },
            flags: ask.flags,
        };
        let owner = CString::try_from_fmt(fmt!("pid{}", current!().pid()))?;
        let held = Held {
            buffer: Arc::new(Buffer::new(&owner, &request)?, GFP_KERNEL)?,
            uncached: ask.flags & uapi::UNCACHED != 0,
        };
        (ask.phys, ask.allocated) = (held.buffer.phys(), held.buffer.allocated());
        ask.handle = self.keep(held)?;
        ask.mmap_offset = mmap_offset(ask.handle);
        Ok(())
    }

    /// Puts a buffer into the first free entry.
    fn keep(&self, held: Held) -> Result<u32> {
        let mut buffers = self.buffers.lock();
        let free = buffers.iter().position(Option::is_none);
        let handle = match free {
            Some(handle) => handle,
            None if buffers.len() >= MAX_HANDLES => return Err(ENOSPC),
            None => {
                buffers.push(None, GFP_KERNEL)?;
                buffers.len() - 1
            }
        };
        *buffers.get_mut(handle).ok_or(ENOSPC)? = Some(held);
        Ok(u32::try_from(handle)?)
    }

    fn held(&self, handle: u32) -> Result<Held> {
        let buffers = self.buffers.lock();
        let entry = buffers.get(usize::try_from(handle)?);
        entry.cloned().flatten().ok_or(ENOENT)
    }

    fn free(&self, ask: &mut uapi::Handle) -> Result {
        let mut buffers = self.buffers.lock();
        let entry = buffers.get_mut(usize::try_from(ask.handle)?);
        let held = entry.and_then(Option::take).ok_or(ENOENT)?;
        drop(buffers);
        // Outside of the lock: the pool writes its canary.
        drop(held);
        Ok(())
    }

    fn export(&self, ask: &mut uapi::Export) -> Result {
        let held = self.held(ask.handle)?;
        if held.uncached {
            // Importers map cached.
            return Err(EOPNOTSUPP);
        }
        let owner = this_module::<LocalModule>().as_ptr();
        let made = held.buffer.export(bindings::O_RDWR as c_int, owner)?;
        // SAFETY: just made.
        ask.fd = unsafe { shim::descriptor(made) }?;
        Ok(())
    }
}

fn mmap_offset(handle: u32) -> u64 {
    u64::from(handle) << OFFSET_SHIFT
}

/// Only who may administer the machine changes the pool itself.
fn administrator() -> Result {
    // SAFETY: may be called in process context.
    if unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
        Ok(())
    } else {
        Err(EPERM)
    }
}

/// A zero-padded name.
fn name(padded: &[u8]) -> &[u8] {
    padded.split(|byte| *byte == 0).next().unwrap_or(&[])
}

fn wanted(pages: u64, address_bits: u32) -> Wanted {
    Wanted {
        pages: (pages != 0).then_some(pages),
        address_bits: if address_bits == 0 { 64 } else { address_bits },
    }
}

fn grow(ask: &mut uapi::Grow) -> Result {
    administrator()?;
    let wanted = wanted(ask.pages, ask.address_bits);
    let memory = stats::TAKE
        .time(|| Memory::take(name(&ask.source), &wanted))
        .0?;
    ask.taken = memory.taken;
    ask.region = super::add(memory)?;
    Ok(())
}

fn adopt(ask: &mut uapi::Adopt) -> Result {
    administrator()?;
    let memory = Memory::adopt(ask.address, ask.bytes)?;
    ask.taken = memory.taken;
    ask.region = super::add(memory)?;
    Ok(())
}

fn shrink(ask: &mut uapi::Shrink) -> Result {
    administrator()?;
    let memory = super::remove(ask.region)?;
    ask.given_back = memory.goes_back().into();
    ask.give_ns = super::give_back(memory);
    Ok(())
}

fn measure(ask: &mut uapi::Measure) -> Result {
    administrator()?;
    if !(1..=uapi::MAX_ROUNDS).contains(&ask.rounds) {
        return Err(EINVAL);
    }
    let pairs = size_of::<[u64; 2]>() * usize::try_from(ask.rounds)?;
    let mut writer =
        UserSlice::new(UserPtr::from_addr(usize::try_from(ask.times)?), pairs).writer();
    let wanted = wanted(ask.pages, ask.address_bits);
    for _ in 0..ask.rounds {
        let memory = Memory::take(name(&ask.source), &wanted)?;
        ask.taken = memory.taken;
        let give_ns = super::give_back(memory);
        writer.write(&ask.taken.take_ns)?;
        writer.write(&give_ns)?;
        if current!().signal_pending() {
            return Err(EINTR);
        }
    }
    Ok(())
}

/// Copies an ioctl's argument in, and what was made of it out.
fn answer<T: FromBytes + AsBytes>(argument: usize, work: impl FnOnce(&mut T) -> Result) -> Result {
    let slice = UserSlice::new(UserPtr::from_addr(argument), size_of::<T>());
    let (mut reader, mut writer) = slice.reader_writer();
    let mut ask = reader.read()?;
    work(&mut ask)?;
    writer.write(&ask)
}
