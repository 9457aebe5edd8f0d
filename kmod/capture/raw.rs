// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The few things that Linux 7.3's Rust abstractions do not give: raw pointers of devices, and the calls
//! that need them.

use super::stream::Video;
use core::ptr::NonNull;
use kernel::{
    bindings, device, pci,
    prelude::*,
    sync::{
        atomic::{Atomic, Full},
        Arc,
    },
    types::ForeignOwnable,
};

extern "C" {
    fn landfall_capture_shim_domain(pdev: *const c_void) -> u32;
    fn landfall_capture_shim_register(
        pdev: *mut c_void,
        core: *mut c_void,
        slots: u32,
    ) -> *mut c_void;
    fn landfall_capture_shim_unregister(video: *mut c_void);
    fn landfall_capture_shim_number(video: *const c_void) -> u32;
    fn landfall_capture_shim_done(
        vb: *mut c_void,
        outcome: c_uint,
        bytes: u32,
        sequence: u32,
        monotonic_ns: u64,
    );
    fn landfall_capture_shim_begun(vb: *mut c_void, sequence: u32);
    fn landfall_capture_shim_fail(vb: *mut c_void);
}

fn pci_dev(pdev: &pci::Device) -> *mut bindings::pci_dev {
    // `pci::Device` is a transparent wrapper of `struct pci_dev`.
    core::ptr::from_ref(pdev).cast_mut().cast()
}

/// PCI address as `uapi::Info` has it: domain << 16 | bus << 8 | device << 3 | function.
pub(crate) fn pci_address(pdev: &pci::Device) -> u32 {
    // SAFETY: the device is valid as long as the reference.
    let domain = unsafe { landfall_capture_shim_domain(pci_dev(pdev).cast()) };
    domain << 16 | u32::from(pdev.dev_id())
}

/// Lets the card begin transfers. Only while the driver is bound.
pub(crate) fn set_master(pdev: &pci::Device) {
    // SAFETY: the device is valid as long as the reference; the caller is its bound driver.
    unsafe { bindings::pci_set_master(pci_dev(pdev)) };
}

/// Keeps the card from beginning transfers. Only while the driver is bound.
pub(crate) fn clear_master(pdev: &pci::Device) {
    // SAFETY: as in `set_master`.
    unsafe { bindings::pci_clear_master(pci_dev(pdev)) };
}

/// The device's decoders, switched on; off again, with bus mastering, when this is dropped.
pub(crate) struct Enabled<'bound>(&'bound pci::Device);

impl<'bound> Enabled<'bound> {
    /// Switches the device's memory decoder and bus mastering on.
    pub(crate) fn new(pdev: &'bound pci::Device<device::Core<'_>>) -> Result<Self> {
        pdev.enable_device_mem()?;
        pdev.set_master();
        Ok(Enabled(pdev))
    }
}

impl Drop for Enabled<'_> {
    fn drop(&mut self) {
        clear_master(self.0);
        // SAFETY: the device is valid as long as the reference, and was enabled in `new`.
        unsafe { bindings::pci_disable_device(pci_dev(self.0)) };
    }
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: may be called anywhere once the system runs.
    let now = unsafe { bindings::ktime_get() };
    u64::try_from(now).unwrap_or(0)
}

/// `/dev/videoN`; unregistered when this is dropped, or before.
pub(crate) struct VideoDevice {
    raw: NonNull<c_void>,
    number: u32,
    registered: Atomic<bool>,
}

// SAFETY: the C side locks, and belongs to no thread.
unsafe impl Send for VideoDevice {}
// SAFETY: as above.
unsafe impl Sync for VideoDevice {}

impl VideoDevice {
    /// Registers it. The driver is bound, and stays so until it is unregistered.
    pub(crate) fn new(pdev: &pci::Device, video: Arc<Video>, slots: u32) -> Result<Self> {
        let core = video.into_foreign().cast();
        // SAFETY: the device is valid; `core` is handed over, and comes back to `landfall_capture_core_release` on error, too.
        let raw = unsafe { landfall_capture_shim_register(pci_dev(pdev).cast(), core, slots) };
        let raw = NonNull::new(kernel::error::from_err_ptr(raw)?).ok_or(ENOMEM)?;
        Ok(VideoDevice {
            raw,
            // SAFETY: it was just registered.
            number: unsafe { landfall_capture_shim_number(raw.as_ptr()) },
            registered: Atomic::new(true),
        })
    }

    /// N of `/dev/videoN`.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Ends its stream and every sleep in it. Files stay open, and their calls fail.
    pub(crate) fn unregister(&self) {
        if self.registered.cmpxchg(true, false, Full).is_ok() {
            // SAFETY: it was registered until now, and nobody uses the pointer again.
            unsafe { landfall_capture_shim_unregister(self.raw.as_ptr()) };
        }
    }
}

impl Drop for VideoDevice {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// What becomes of a buffer of the queue's.
pub(crate) enum Outcome {
    /// The card is done with it: a frame of so many bytes, 0: none, with this number.
    Frame { bytes: u32, sequence: u32 },
    /// It was given up.
    Failed,
    /// It stays queued: the start failed.
    NotStarted,
}

/// A buffer that videobuf2 has given us until it is done.
pub(crate) struct VideoBuffer(NonNull<c_void>);

// SAFETY: it is the driver's, and belongs to no thread.
unsafe impl Send for VideoBuffer {}

impl VideoBuffer {
    /// # Safety
    ///
    /// A `struct vb2_buffer` that was queued to the driver just now.
    pub(crate) unsafe fn new(raw: NonNull<c_void>) -> Self {
        VideoBuffer(raw)
    }

    /// Gives it back.
    pub(crate) fn done(self, outcome: &Outcome) {
        let (how, bytes, sequence) = match *outcome {
            Outcome::Frame { bytes: 0, sequence } => (1, 0, sequence),
            Outcome::Frame { bytes, sequence } => (0, bytes, sequence),
            Outcome::Failed => (1, 0, 0),
            Outcome::NotStarted => (2, 0, 0),
        };
        // SAFETY: it is the driver's until this call, which takes it.
        unsafe {
            landfall_capture_shim_done(self.0.as_ptr(), how, bytes, sequence, monotonic_ns());
        }
    }

    /// Tells that a frame of its queue's stream has begun.
    pub(crate) fn begun(&self, sequence: u32) {
        // SAFETY: it is the driver's, and so the queue is there.
        unsafe { landfall_capture_shim_begun(self.0.as_ptr(), sequence) };
    }

    /// Wakes whoever waits for its queue, with `EIO`.
    pub(crate) fn fail_queue(&self) {
        // SAFETY: it is the driver's, and so the queue is there.
        unsafe { landfall_capture_shim_fail(self.0.as_ptr()) };
    }
}
