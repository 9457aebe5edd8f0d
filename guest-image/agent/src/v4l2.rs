// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the agent uses of V4L2's capture interface, as `linux/videodev2.h` has it for 64 bits; `V4L2_MEMORY_MMAP` only.
//!
//! All structures are plain integers, without padding holes.

use std::fs::File;

use nix::errno::Errno;

use crate::ioctl::ioctl;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`.
const MMAP: u32 = 1;
/// `V4L2_CID_TEST_PATTERN`.
const TEST_PATTERN: u32 = 0x009f_0903;
/// `V4L2_BUF_FLAG_ERROR`.
pub(crate) const ERROR: u32 = 0x40;
/// Of `timeperframe`: microseconds a second.
pub(crate) const MICROSECONDS: u32 = 1_000_000;

/// `_IOC` of `asm-generic/ioctl.h`, of type `V`, that reads and writes a `T`.
const fn iowr<T>(number: u32) -> u32 {
    (3 << 30) | ((size_of::<T>() as u32) << 16) | ((b'V' as u32) << 8) | number
}

/// Likewise, one that reads an `int`.
const fn iow_int(number: u32) -> u32 {
    (1 << 30) | ((size_of::<i32>() as u32) << 16) | ((b'V' as u32) << 8) | number
}

const G_FMT: u32 = iowr::<Format>(4);
const S_FMT: u32 = iowr::<Format>(5);
const REQBUFS: u32 = iowr::<RequestBuffers>(8);
const QUERYBUF: u32 = iowr::<Buffer>(9);
const QBUF: u32 = iowr::<Buffer>(15);
const DQBUF: u32 = iowr::<Buffer>(17);
const STREAMON: u32 = iow_int(18);
const STREAMOFF: u32 = iow_int(19);
const S_PARM: u32 = iowr::<Parameters>(22);
const S_CTRL: u32 = iowr::<Control>(28);

/// `struct v4l2_format` with a `struct v4l2_pix_format` in it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Format {
    kind: u32,
    /// The union is aligned as a pointer.
    gap: u32,
    pix: Picture,
    rest: [u64; 19],
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Picture {
    /// Pixels.
    pub(crate) width: u32,
    /// Lines.
    pub(crate) height: u32,
    /// `V4L2_PIX_FMT_*`.
    pub(crate) pixelformat: u32,
    field: u32,
    /// Bytes from line to line.
    pub(crate) bytesperline: u32,
    /// Bytes of a picture.
    pub(crate) sizeimage: u32,
    colorspace: u32,
    private: u32,
    flags: u32,
    ycbcr_enc: u32,
    quantization: u32,
    xfer_func: u32,
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RequestBuffers {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

/// `struct v4l2_buffer`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffer {
    /// Which.
    pub(crate) index: u32,
    kind: u32,
    /// Bytes of the picture in it.
    pub(crate) bytesused: u32,
    /// `V4L2_BUF_FLAG_*`.
    pub(crate) flags: u32,
    field: u32,
    gap: u32,
    /// When it was done: seconds and microseconds.
    pub(crate) timestamp: [i64; 2],
    timecode: [u32; 4],
    /// Which picture of the stream, from 0.
    pub(crate) sequence: u32,
    memory: u32,
    /// Offset for mmap, in a union with a pointer.
    pub(crate) offset: u64,
    /// Bytes of the buffer.
    pub(crate) length: u32,
    rest: [u32; 3],
}

/// `struct v4l2_streamparm` with a `struct v4l2_captureparm` in it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    kind: u32,
    capability: u32,
    mode: u32,
    numerator: u32,
    denominator: u32,
    rest: [u32; 46],
}

/// `struct v4l2_control`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    id: u32,
    value: i32,
}

const _: () = assert!(size_of::<Format>() == 208 && size_of::<Buffer>() == 88);
const _: () = assert!(size_of::<Parameters>() == 204 && size_of::<RequestBuffers>() == 20);

fn format(pix: Picture) -> Format {
    Format {
        kind: CAPTURE,
        gap: 0,
        pix,
        rest: [0; 19],
    }
}

/// What the driver has set.
pub(crate) fn picture(file: &File) -> Result<Picture, Errno> {
    let mut argument = format(Picture::default());
    ioctl(file, G_FMT, &mut argument)?;
    Ok(argument.pix)
}

/// Sets a picture; gives what the driver makes of it.
pub(crate) fn set_picture(
    file: &File,
    pixelformat: u32,
    (width, height): (u32, u32),
    bytesperline: u32,
) -> Result<Picture, Errno> {
    let mut argument = format(Picture {
        width,
        height,
        pixelformat,
        bytesperline,
        ..Picture::default()
    });
    ioctl(file, S_FMT, &mut argument)?;
    Ok(argument.pix)
}

/// Sets so many microseconds from picture to picture, 0: what the driver likes; gives what it makes of it, numerator and
/// denominator of a second.
pub(crate) fn set_interval(file: &File, microseconds: u32) -> Result<(u32, u32), Errno> {
    let mut argument = Parameters {
        kind: CAPTURE,
        capability: 0,
        mode: 0,
        numerator: microseconds,
        denominator: MICROSECONDS,
        rest: [0; 46],
    };
    ioctl(file, S_PARM, &mut argument)?;
    Ok((argument.numerator, argument.denominator))
}

/// Sets the test pattern.
pub(crate) fn set_pattern(file: &File, pattern: i32) -> Result<(), Errno> {
    let mut argument = Control {
        id: TEST_PATTERN,
        value: pattern,
    };
    ioctl(file, S_CTRL, &mut argument)
}

/// Frees the buffers, and asks for so many new ones unless that is 0; gives how many there are.
pub(crate) fn request(file: &File, count: u32) -> Result<u32, Errno> {
    let mut argument = RequestBuffers {
        count,
        kind: CAPTURE,
        memory: MMAP,
        ..RequestBuffers::default()
    };
    ioctl(file, REQBUFS, &mut argument)?;
    Ok(argument.count)
}

fn of_buffer(file: &File, number: u32, index: u32) -> Result<Buffer, Errno> {
    let mut argument = Buffer {
        index,
        kind: CAPTURE,
        memory: MMAP,
        ..Buffer::default()
    };
    ioctl(file, number, &mut argument)?;
    Ok(argument)
}

/// Tells of a buffer.
pub(crate) fn buffer(file: &File, index: u32) -> Result<Buffer, Errno> {
    of_buffer(file, QUERYBUF, index)
}

/// Gives a buffer to the driver.
pub(crate) fn queue(file: &File, index: u32) -> Result<(), Errno> {
    of_buffer(file, QBUF, index).map(drop)
}

/// Takes the buffer that was done first from the driver; `EAGAIN` if there is none.
pub(crate) fn dequeue(file: &File) -> Result<Buffer, Errno> {
    of_buffer(file, DQBUF, 0)
}

/// Starts the stream.
pub(crate) fn start(file: &File) -> Result<(), Errno> {
    ioctl(file, STREAMON, &mut CAPTURE.cast_signed())
}

/// Stops it, and takes every buffer from the driver.
pub(crate) fn stop(file: &File) -> Result<(), Errno> {
    ioctl(file, STREAMOFF, &mut CAPTURE.cast_signed())
}
