// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What user space asks of the driver's `/dev/videoN` beside V4L2: ioctl numbers and their structures.
//!
//! Compiled twice: by the driver and, unchanged, by the guest agent. All structures are `repr(C)`, without
//! padding holes, and hold only plain integers, so that every bit pattern is valid.
//!
//! A stream is V4L2's, and so are its buffers: `VIDIOC_REQBUFS`, `VIDIOC_QBUF`, `VIDIOC_STREAMON`, `poll`,
//! `VIDIOC_DQBUF`, `VIDIOC_STREAMOFF`. Buffer n uses slot n.
//!
//! Every command fails with `ENODEV` once the driver was unbound. After a reset behind the driver's back nothing
//! comes any more: `VIDIOC_STREAMOFF` and `VIDIOC_STREAMON` recover.

/// The ioctl type byte of all commands below.
pub(crate) const TYPE: u32 = b'L' as u32;

/// Builds the number of an ioctl that reads and writes `T` (`_IOWR` of `asm-generic/ioctl.h`).
const fn iowr<T>(number: u32) -> u32 {
    (3 << 30) | ((core::mem::size_of::<T>() as u32) << 16) | (TYPE << 8) | number
}

/// Builds the number of an ioctl without an argument (`_IO`).
const fn io(number: u32) -> u32 {
    (TYPE << 8) | number
}

/// Tells what the card is and where its self-test area lies. Argument: [`Info`].
pub(crate) const INFO: u32 = iowr::<Info>(0);
/// Sets what the next stream captures, to the letter: what `VIDIOC_S_FMT` and `VIDIOC_S_PARM` would adjust, and what
/// they have no word for. Argument: [`Setup`]. `EINVAL` if the card cannot, `EBUSY` while there are buffers. It stays
/// until `VIDIOC_S_FMT`, [`Setup::at`] and [`Setup::iova`] for the next `VIDIOC_REQBUFS` only, which says why it is refused.
pub(crate) const SETUP: u32 = iowr::<Setup>(1);
/// Tells where a buffer of `V4L2_MEMORY_MMAP` lies. Argument: [`Buffer`] with `index` set. `EINVAL` if there is none.
pub(crate) const BUFFER: u32 = iowr::<Buffer>(2);
/// Tells what the card said of a buffer when it was done with it last. Argument: [`Record`] with `index` set. `EINVAL`
/// if it never was.
pub(crate) const RECORD: u32 = iowr::<Record>(3);
/// Tells what is wrong with the card. No argument. During a stream: `EIO` if it does not answer (all-ones: it was
/// pulled, or its server died); that it was reset is said in the log. Else what came of the last stop, once:
/// `ETIMEDOUT` if the card stayed busy for 2 s and was reset, `EIO` if it does not answer or is busy even then.
pub(crate) const CHECK: u32 = io(4);
/// Lists what the driver has lent to the card. Argument: [`Lends`].
pub(crate) const LENDS: u32 = iowr::<Lends>(5);

/// Argument of [`INFO`]; all output.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// `LAYOUT` of the register table the driver was built with.
    pub(crate) layout: u32,
    /// 0 INTx, 1 MSI, 2 MSI-X: what the driver got.
    pub(crate) interrupt: u32,
    /// Address bits the card drives, which is the driver's DMA mask.
    pub(crate) address_bits: u32,
    /// Required alignment of a frame's base, bytes.
    pub(crate) alignment: u32,
    /// A frame must not cross a multiple of this, bytes; 0: none.
    pub(crate) boundary: u64,
    /// Largest frame, bytes.
    pub(crate) max_frame: u64,
    /// Bus address of the self-test area (16 bytes), which stays lent while the driver is bound.
    pub(crate) selftest_dma: u64,
    /// Its CPU physical address.
    pub(crate) selftest_phys: u64,
    /// The 8 bytes that the driver put there before the card was asked to complement them.
    pub(crate) selftest_nonce: u64,
    /// Interrupts taken since the driver bound.
    pub(crate) interrupts: u64,
    /// PCI address: domain << 16 | bus << 8 | device << 3 | function.
    pub(crate) pci_address: u32,
    /// Always 0.
    pub(crate) reserved: u32,
}

/// Argument of [`SETUP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    /// In: `V4L2_PIX_FMT_*`.
    pub(crate) format: u32,
    /// In: pixels.
    pub(crate) width: u32,
    /// In: lines.
    pub(crate) height: u32,
    /// In: bytes from line to line; 0: as tight as the format allows. Out: what was set.
    pub(crate) stride: u32,
    /// In: as `INTERVAL.microseconds`.
    pub(crate) interval_us: u32,
    /// In: 1: give every buffer a clip mask (all ones at first, mmappable). Out: its bytes, else 0.
    pub(crate) clip: u32,
    /// Out: bytes of a frame, which is what is lent: `stride * (height - 1) + bytes of a line`.
    pub(crate) frame_size: u64,
    /// In: physical address of buffer 0, page aligned; 0: wherever the pool likes. `ENOMEM` if that place is not
    /// free, or not the pool's.
    pub(crate) at: u64,
    /// In: bus address of buffer 0, page aligned; 0: what the DMA API gives. `EOPNOTSUPP` unless an IOMMU translates for
    /// the card, `EBUSY` if something is mapped there.
    pub(crate) iova: u64,
}

/// Argument of [`BUFFER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer {
    /// In: which.
    pub(crate) index: u32,
    /// Out: 1 while the card has it.
    pub(crate) queued: u32,
    /// Out: bus address of the frame.
    pub(crate) dma: u64,
    /// Out: CPU physical address of the frame.
    pub(crate) phys: u64,
    /// Out: bytes lent.
    pub(crate) length: u64,
    /// Out: bytes allocated from the pool (whole pages).
    pub(crate) allocated: u64,
    /// Out: bus address of the clip mask; 0 if there is none.
    pub(crate) clip_dma: u64,
    /// Out: CPU physical address of the clip mask.
    pub(crate) clip_phys: u64,
    /// Out: bytes of the clip mask.
    pub(crate) clip_length: u64,
    /// Out: offset for mmap of the clip mask.
    pub(crate) clip_mmap_offset: u64,
}

/// Argument of [`RECORD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// In: which buffer.
    pub(crate) index: u32,
    /// Out: as `SLOT_STATUS.result`.
    pub(crate) result: u32,
    /// Out: as `SLOT_SEQUENCE`.
    pub(crate) sequence: u32,
    /// Out: as `SLOT_BYTES`.
    pub(crate) bytes: u32,
    /// Out: as `SLOT_TIME`, nanoseconds of the card's clock.
    pub(crate) card_time_ns: u64,
    /// Out: `CLOCK_MONOTONIC` of the guest when the driver took the frame back, nanoseconds.
    pub(crate) guest_time_ns: u64,
}

/// What a lend is for.
pub(crate) const LEND_FRAME: u32 = 0;
/// See [`LEND_FRAME`].
pub(crate) const LEND_CLIP: u32 = 1;
/// See [`LEND_FRAME`].
pub(crate) const LEND_SELFTEST: u32 = 2;

/// The card may write (`DMA_FROM_DEVICE`).
pub(crate) const DIRECTION_FROM_DEVICE: u32 = 2;
/// The card may read (`DMA_TO_DEVICE`).
pub(crate) const DIRECTION_TO_DEVICE: u32 = 1;
/// Both (`DMA_BIDIRECTIONAL`).
pub(crate) const DIRECTION_BOTH: u32 = 0;

/// One range that the driver mapped for the card.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lend {
    /// `LEND_*`.
    pub(crate) kind: u32,
    /// Which buffer; 0 for the self-test.
    pub(crate) index: u32,
    /// `DIRECTION_*`.
    pub(crate) direction: u32,
    /// How often it was queued to the card so far.
    pub(crate) queued: u32,
    /// Bus address.
    pub(crate) dma: u64,
    /// CPU physical address.
    pub(crate) phys: u64,
    /// Bytes.
    pub(crate) length: u64,
}

/// Most lends at a time: a frame and a mask for each slot, and the self-test.
pub(crate) const MAX_LENDS: usize = 65;

/// Argument of [`LENDS`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lends {
    /// Out: how many entries are valid.
    pub(crate) count: u32,
    /// Always 0.
    pub(crate) reserved: u32,
    /// Out: the lends.
    pub(crate) lends: [Lend; MAX_LENDS],
}
