// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What landfall_pool offers to Rust drivers: the calls of `landfall_pool.h`, as values that clean up after
//! themselves.
//!
//! Mount this file by `#[path]`. A [`Buffer`] goes back to the pool when its last holder lets go: a mapping
//! for a card ([`Mapped`]) is one, every mmap of user space another.

use core::ptr::NonNull;
use kernel::{
    bindings, device,
    dma::DataDirection,
    mm::virt::VmaNew,
    page::{PAGE_SHIFT, PAGE_SIZE},
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc,
    },
    types::ForeignOwnable,
};

/// `struct landfall_pool_request`.
#[repr(C)]
pub(crate) struct RawRequest {
    pub(crate) owner: *const c_char,
    pub(crate) bytes: u64,
    pub(crate) alignment: u64,
    pub(crate) boundary: u64,
    pub(crate) at: u64,
    pub(crate) address_bits: u32,
    pub(crate) flags: u32,
}

/// `struct landfall_pool_buffer`.
#[repr(C)]
pub(crate) struct RawBuffer {
    pub(crate) phys: u64,
    pub(crate) bytes: u64,
    pub(crate) allocated: u64,
    pub(crate) virt: *mut c_void,
}

extern "C" {
    fn landfall_pool_allocate(request: *const RawRequest, buffer: *mut RawBuffer) -> c_int;
    fn landfall_pool_free(buffer: *const RawBuffer) -> c_int;
    fn landfall_pool_export(
        buffer: *const RawBuffer,
        flags: c_int,
        owner: *mut c_void,
        release: unsafe extern "C" fn(hold: *mut c_void),
        hold: *mut c_void,
    ) -> *mut c_void;
}

/// What a buffer must be like; the fields are those of `struct landfall_pool_request`.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// Bytes, at least 1.
    pub(crate) bytes: u64,
    /// A power of two, bytes; 0: a page.
    pub(crate) alignment: u64,
    /// A power of two, bytes, that is not crossed; 0: none.
    pub(crate) boundary: u64,
    /// Physical address; 0: anywhere.
    pub(crate) at: u64,
    /// 1 to 64.
    pub(crate) address_bits: u32,
    /// `LANDFALL_POOL_*`.
    pub(crate) flags: u32,
}

/// A buffer of the pool; it goes back when this is dropped, which may sleep.
pub(crate) struct Buffer {
    raw: RawBuffer,
    /// Areas of processes, and dma-bufs, that show it.
    shown: Atomic<u32>,
}

// SAFETY: the buffer belongs to no thread; its bytes are only reached through raw pointers.
unsafe impl Send for Buffer {}
// SAFETY: as above; nothing changes through `&Buffer`.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Takes a buffer. Sleeps only if it is to be uncached.
    pub(crate) fn new(owner: &CString, request: &Request) -> Result<Self> {
        let request = RawRequest {
            owner: owner.as_char_ptr(),
            bytes: request.bytes,
            alignment: request.alignment,
            boundary: request.boundary,
            at: request.at,
            address_bits: request.address_bits,
            flags: request.flags,
        };
        let mut buffer = RawBuffer {
            phys: 0,
            bytes: 0,
            allocated: 0,
            virt: core::ptr::null_mut(),
        };
        // SAFETY: both point to what the header asks for, and the owner is a terminated string.
        kernel::error::to_result(unsafe { landfall_pool_allocate(&request, &mut buffer) })?;
        Ok(Buffer {
            raw: buffer,
            shown: Atomic::new(0),
        })
    }

    /// How many areas of processes, and dma-bufs, show it.
    pub(crate) fn shown(&self) -> u32 {
        self.shown.load(Relaxed)
    }

    /// One more holder, which shows it to others.
    fn show(self: &Arc<Self>) -> *mut c_void {
        self.shown.fetch_add(1, Relaxed);
        self.clone().into_foreign().cast()
    }

    /// That holder lets go. May sleep.
    ///
    /// # Safety
    ///
    /// `hold` came from [`Buffer::show`], and is used no more.
    unsafe fn let_go(hold: *mut c_void) {
        // SAFETY: the caller's promise.
        let buffer = unsafe { <Arc<Buffer> as ForeignOwnable>::from_foreign(hold.cast()) };
        buffer.shown.fetch_sub(1, Relaxed);
    }

    /// Makes a dma-buf of its pages, which holds it and the module `owner`. `EOPNOTSUPP` if they have no page structures.
    pub(crate) fn export(
        self: &Arc<Self>,
        flags: c_int,
        owner: *mut bindings::module,
    ) -> Result<NonNull<bindings::dma_buf>> {
        let hold = self.show();
        // SAFETY: `hold` keeps the buffer until `exported_free` is called, once.
        let made =
            unsafe { landfall_pool_export(&self.raw, flags, owner.cast(), exported_free, hold) };
        let made = kernel::error::from_err_ptr(made);
        made.and_then(|made| NonNull::new(made.cast()).ok_or(ENOMEM))
            .inspect_err(|_| {
                // SAFETY: not taken over.
                unsafe { Self::let_go(hold) }
            })
    }

    /// CPU physical address.
    pub(crate) fn phys(&self) -> u64 {
        self.raw.phys
    }

    /// Bytes of its pages.
    pub(crate) fn allocated(&self) -> u64 {
        self.raw.allocated
    }

    /// Where the kernel sees it, as 8-byte words; valid as long as this. A card or a user may write there
    /// at any time, so no reference to it may be made.
    pub(crate) fn words(&self) -> Result<NonNull<u64>> {
        NonNull::new(self.raw.virt.cast()).ok_or(EFAULT)
    }

    /// Sets the first `bytes` to `value`. Before it is handed to anyone.
    pub(crate) fn fill(&self, bytes: u64, value: u8) -> Result {
        let bytes = usize::try_from(bytes.min(self.allocated()))?;
        // SAFETY: so many bytes are mapped there.
        unsafe {
            self.words()?
                .cast::<u8>()
                .as_ptr()
                .write_bytes(value, bytes)
        };
        Ok(())
    }

    /// Shows it to user space in an area that is being set up, from its first byte on. The area, and every
    /// copy of it, holds the buffer: a page of the pool never goes to someone else while a process can see it.
    ///
    /// `EINVAL` if the area is longer than the buffer's pages.
    pub(crate) fn map(self: &Arc<Self>, vma: &VmaNew, protection: bindings::pgprot_t) -> Result {
        let length = vma.end().checked_sub(vma.start()).ok_or(EINVAL)?;
        if length as u64 > self.allocated() {
            return Err(EINVAL);
        }
        let area = vma.as_ptr();
        let first = c_ulong::try_from(self.phys() >> PAGE_SHIFT)?;
        // SAFETY: the pages are memory of the pool, which this buffer keeps until `close`, and the area is new.
        kernel::error::to_result(unsafe {
            bindings::remap_pfn_range(area, vma.start(), first, length, protection)
        })?;
        // SAFETY: the area is being set up; on success `close` will be called for it.
        unsafe {
            (*area).vm_private_data = self.show();
            (*area).vm_ops = &OPERATIONS.0;
        }
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the pool gave us this buffer; nobody uses it any more, as this was the last holder. A
        // refusal was reported by the pool.
        unsafe { landfall_pool_free(&self.raw) };
    }
}

/// Where in its file an area begins, in bytes.
pub(crate) fn offset(vma: &VmaNew) -> Result<u64> {
    // SAFETY: the area is being set up, and nobody else has it.
    let pages = unsafe { (*vma.as_ptr()).vm_pgoff } as u64;
    pages.checked_mul(PAGE_SIZE as u64).ok_or(EINVAL)
}

/// The protection that an area asks for.
pub(crate) fn protection(vma: &VmaNew) -> bindings::pgprot_t {
    // SAFETY: the area is being set up, and nobody else has it.
    unsafe { (*vma.as_ptr()).vm_page_prot }
}

/// The C structure, as a constant that all CPUs may read.
struct Operations(bindings::vm_operations_struct);

// SAFETY: never changed; the pointers in it are null or functions.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(bindings::vm_operations_struct {
    open: Some(open),
    close: Some(close),
    ..pin_init::zeroed()
});

/// An area was split or copied: one more holder.
///
/// # Safety
///
/// For the kernel only, on an area that got its operations from [`Buffer::map`].
unsafe extern "C" fn open(area: *mut bindings::vm_area_struct) {
    // SAFETY: `map` put the buffer there, and this area's predecessor holds it.
    let buffer = unsafe { <Arc<Buffer> as ForeignOwnable>::borrow((*area).vm_private_data.cast()) };
    let buffer: Arc<Buffer> = buffer.into();
    buffer.show();
}

/// An area is gone: one holder less. May sleep.
///
/// # Safety
///
/// As for [`open`], once for each area.
unsafe extern "C" fn close(area: *mut bindings::vm_area_struct) {
    // SAFETY: this area's hold was taken in `map` or `open`, and ends here.
    unsafe { Buffer::let_go((*area).vm_private_data) };
}

/// A dma-buf is gone: likewise.
///
/// # Safety
///
/// `hold` is what [`Buffer::export`] gave, once.
unsafe extern "C" fn exported_free(hold: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { Buffer::let_go(hold) };
}

/// The `struct device` behind a device. It is valid as long as the reference.
fn as_raw(device: &device::Device) -> *mut bindings::device {
    // `device::Device` is a transparent wrapper of `struct device`.
    core::ptr::from_ref(device).cast_mut().cast()
}

/// A buffer that is mapped for a card; the mapping ends when this is dropped, the card being idle.
pub(crate) struct Mapped {
    buffer: Arc<Buffer>,
    device: ARef<device::Device>,
    by: Mapper,
    dma: u64,
    bytes: usize,
}

/// Who made a mapping, and so ends it.
#[derive(Clone, Copy)]
enum Mapper {
    /// The DMA API.
    Dma(DataDirection),
    /// The IOMMU's domain, directly.
    Iommu(NonNull<bindings::iommu_domain>),
}

// SAFETY: a domain lives as long as the device's group, which the mapping's device keeps, and belongs to no thread.
unsafe impl Send for Mapper {}
// SAFETY: as above; the kernel's calls lock.
unsafe impl Sync for Mapper {}

impl Mapped {
    /// Maps the first `bytes` of a buffer through the DMA API. `EIO` if it cannot.
    pub(crate) fn new(
        device: &device::Device<device::Bound>,
        buffer: Arc<Buffer>,
        bytes: u64,
        direction: DataDirection,
    ) -> Result<Self> {
        let bytes = usize::try_from(bytes.min(buffer.allocated()))?;
        let raw = as_raw(device);
        // SAFETY: the device is bound, and the range is memory that `buffer` keeps.
        let dma = unsafe { bindings::dma_map_phys(raw, buffer.phys(), bytes, direction.into(), 0) };
        // What `dma_mapping_error` tests: `DMA_MAPPING_ERROR`.
        if dma == u64::MAX {
            dev_err!(
                device,
                "the DMA API cannot map {:#x}, {} bytes\n",
                buffer.phys(),
                bytes
            );
            return Err(EIO);
        }
        Ok(Mapped {
            buffer,
            device: device.into(),
            by: Mapper::Dma(direction),
            dma,
            bytes,
        })
    }

    /// Maps a buffer at the bus address `iova`, page aligned, past the DMA API: that gives no address of one's
    /// choice, nor one across a multiple of the buffer's size, such as 4 GiB. For coherent devices. `EOPNOTSUPP`
    /// without an IOMMU that translates for this one, `EBUSY` if something is mapped there. May sleep.
    pub(crate) fn at(
        device: &device::Device<device::Bound>,
        buffer: Arc<Buffer>,
        bytes: u64,
        iova: u64,
    ) -> Result<Self> {
        let bytes = usize::try_from(bytes.min(buffer.allocated()))?;
        let whole = usize::try_from(buffer.allocated())?;
        let end = iova.checked_add(buffer.allocated()).ok_or(EINVAL)?;
        if iova % PAGE_SIZE as u64 != 0 {
            return Err(EINVAL);
        }
        // SAFETY: the device is bound; the domain is its group's, and stays while it is.
        let domain = unsafe { bindings::iommu_get_domain_for_dev(as_raw(device)) };
        let domain = NonNull::new(domain).ok_or(EOPNOTSUPP)?;
        // SAFETY: as above.
        if unsafe { domain.as_ref() }.type_ & bindings::__IOMMU_DOMAIN_PAGING == 0 {
            return Err(EOPNOTSUPP);
        }
        let mut pages = (iova..end).step_by(PAGE_SIZE);
        // SAFETY: as above; the call only looks.
        if pages.any(|at| unsafe { bindings::iommu_iova_to_phys(domain.as_ptr(), at) } != 0) {
            return Err(EBUSY);
        }
        // SAFETY: as above; the range is memory that `buffer` keeps, and nothing is mapped there.
        kernel::error::to_result(unsafe {
            bindings::iommu_map(
                domain.as_ptr(),
                iova as c_ulong,
                buffer.phys(),
                whole,
                (bindings::IOMMU_READ | bindings::IOMMU_WRITE) as c_int,
                bindings::GFP_KERNEL,
            )
        })?;
        Ok(Mapped {
            buffer,
            device: device.into(),
            by: Mapper::Iommu(domain),
            dma: iova,
            bytes,
        })
    }

    /// Bus address.
    pub(crate) fn dma(&self) -> u64 {
        self.dma
    }

    /// Bytes that are mapped.
    pub(crate) fn length(&self) -> u64 {
        self.bytes as u64
    }

    /// The memory; hold it to keep it from going back to the pool.
    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }

    /// To call before the card gets it: the CPU's writes are done.
    pub(crate) fn to_card(&self) {
        let Mapper::Dma(direction) = self.by else {
            return;
        };
        // SAFETY: the mapping is live: it ends when `self` is dropped.
        unsafe {
            bindings::__dma_sync_single_for_device(
                as_raw(&self.device),
                self.dma,
                self.bytes,
                direction.into(),
            )
        };
    }

    /// To call before the CPU reads what the card wrote.
    pub(crate) fn to_cpu(&self) {
        let Mapper::Dma(direction) = self.by else {
            return;
        };
        // SAFETY: as in `to_card`.
        unsafe {
            bindings::__dma_sync_single_for_cpu(
                as_raw(&self.device),
                self.dma,
                self.bytes,
                direction.into(),
            )
        };
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` or `at` with the same arguments. The driver drops this before it is unbound,
        // with the card idle.
        unsafe {
            match self.by {
                Mapper::Dma(direction) => bindings::dma_unmap_phys(
                    as_raw(&self.device),
                    self.dma,
                    self.bytes,
                    direction.into(),
                    0,
                ),
                Mapper::Iommu(domain) => {
                    let whole = self.buffer.allocated() as usize;
                    bindings::iommu_unmap(domain.as_ptr(), self.dma as c_ulong, whole);
                }
            }
        };
    }
}
