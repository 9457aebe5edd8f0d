// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `/dev/landfall-captureN`: open, close, ioctl, mmap.

use super::{
    map,
    session::{Session, User},
    uapi, LocalModule,
};
use kernel::{
    fs::File,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Release},
        Arc,
    },
    transmute::{AsBytes, FromBytes},
    uaccess::{UserPtr, UserSlice},
};

/// The devices' names: as many cards as there are names can be bound at a time.
const NAMES: [&CStr; 8] = [
    c"landfall-capture0",
    c"landfall-capture1",
    c"landfall-capture2",
    c"landfall-capture3",
    c"landfall-capture4",
    c"landfall-capture5",
    c"landfall-capture6",
    c"landfall-capture7",
];

/// Which of them are in use.
static TAKEN: [Atomic<bool>; NAMES.len()] = [const { Atomic::new(false) }; NAMES.len()];

/// A name that belongs to one card until this is dropped.
struct Number(usize);

impl Number {
    fn take() -> Result<Self> {
        let free = TAKEN
            .iter()
            .position(|taken| taken.cmpxchg(false, true, Full).is_ok());
        free.map(Number).ok_or(ENOSPC)
    }

    fn name(&self) -> Result<&'static CStr> {
        NAMES.get(self.0).copied().ok_or(ENOSPC)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        if let Some(taken) = TAKEN.get(self.0) {
            taken.store(false, Release);
        }
    }
}

/// A card's device node.
#[pin_data]
pub(crate) struct Node {
    #[pin]
    misc: MiscDeviceRegistration<OpenFile>,
    session: Arc<Session>,
    number: Number,
}

impl Node {
    pub(crate) fn new(session: Arc<Session>) -> impl PinInit<Self, Error> {
        try_pin_init!(Node {
            number: Number::take()?,
            session,
            misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: number.name()? }),
        })
    }

    /// N of `/dev/landfall-captureN`.
    pub(crate) fn number(&self) -> usize {
        self.number.0
    }
}

/// An open file.
pub(crate) struct OpenFile(Arc<Session>);

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.let_go();
    }
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

plain!(Info, Configure, Buffer, Queue, Completion, Lend);

#[vtable]
impl MiscDevice for OpenFile {
    type OwnerModule = LocalModule;
    type Ptr = KBox<Self>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        // SAFETY: every registration of this type is the field `misc` of a `Node`, which is not dropped
        // before the registration is, and so not during this call.
        let node = unsafe { &*kernel::container_of!(core::ptr::from_ref(misc), Node, misc) };
        let place = KBox::<Self>::new_uninit(GFP_KERNEL)?;
        node.session.claim(User::File(None))?;
        Ok(place.write(OpenFile(node.session.clone())))
    }

    fn ioctl(file: &Self, _: &File, command: u32, argument: usize) -> Result<isize> {
        let session = &*file.0;
        match command {
            uapi::INFO => give(argument, &session.info()?)?,
            uapi::CONFIGURE => give(argument, &session.configure(ask(argument)?)?)?,
            uapi::BUFFER => give(
                argument,
                &session.buffer(ask::<uapi::Buffer>(argument)?.index)?,
            )?,
            uapi::QUEUE => session.queue(ask::<uapi::Queue>(argument)?.index)?,
            uapi::START => session.start()?,
            uapi::STOP => session.stop()?,
            uapi::WAIT => {
                let timeout_ms = ask::<uapi::Completion>(argument)?.timeout_ms;
                give(
                    argument,
                    &uapi::Completion {
                        timeout_ms,
                        ..session.wait(timeout_ms)?
                    },
                )?;
            }
            uapi::RELEASE => session.release()?,
            uapi::LENDS => give_lends(argument, &session.lends()?)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }

    fn mmap(file: &Self, _: &File, vma: &VmaNew) -> Result {
        map::map(&file.0, vma)
    }
}

/// Copies the argument of an ioctl from user space.
fn ask<T: FromBytes>(argument: usize) -> Result<T> {
    UserSlice::new(UserPtr::from_addr(argument), size_of::<T>())
        .reader()
        .read()
}

/// Copies the argument of an ioctl to user space.
fn give<T: AsBytes>(argument: usize, value: &T) -> Result {
    UserSlice::new(UserPtr::from_addr(argument), size_of::<T>())
        .writer()
        .write(value)
}

/// Copies a `uapi::Lends` to user space; the entries past `count` are left as they are.
fn give_lends(argument: usize, lends: &[uapi::Lend]) -> Result {
    let all = UserSlice::new(UserPtr::from_addr(argument), size_of::<uapi::Lends>());
    let mut writer = all.writer();
    writer.write(&u32::try_from(lends.len())?)?;
    writer.write(&0u32)?;
    lends.iter().try_for_each(|lend| writer.write(lend))
}
