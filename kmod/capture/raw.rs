// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The few things that Linux 7.3's Rust abstractions do not give: raw pointers of devices, and the calls
//! that need them.

use kernel::{bindings, device, pci, prelude::*};

extern "C" {
    fn landfall_capture_shim_domain(pdev: *const c_void) -> u32;
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
