// SPDX-License-Identifier: MIT OR Apache-2.0

//! Video devices, as user space sees them: one open file of each, its ioctls and its mappings. What V4L2 has no word for is
//! asked of our own driver by the calls of its `uapi.rs`; another one refuses those.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use landfall_agent::protocol::capture::{
    BufferInfo, CaptureReply, CaptureRequest, CardCommand, CardInfo, Completion, Configure,
    Configured, Lend, LendKind,
};
use landfall_agent::protocol::{Direction, MAX_DATA, Reply};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::ioctl::{ioctl, plain};
use crate::mapping::Mapping;
use crate::v4l2::Picture;
use crate::{Outcome, failed, hash, refused, uapi, v4l2};

/// The cards that are open, and the mappings that are held.
#[derive(Default)]
pub(crate) struct Cards {
    open: HashMap<u8, File>,
    /// With whether it is a clip mask.
    held: Vec<(Mapping, bool)>,
}

impl Cards {
    /// Does what is asked.
    pub(crate) fn answer(&mut self, request: CaptureRequest) -> Outcome<Reply> {
        match request {
            CaptureRequest::Open { card } => self.open(card),
            CaptureRequest::Close { card } => self.close(card),
            CaptureRequest::Command { card, command } => self.command(card, &command),
            CaptureRequest::Read {
                card,
                buffer,
                clip,
                offset,
                length,
            } => self.read(card, buffer, clip, offset, length),
            CaptureRequest::WriteClip {
                card,
                buffer,
                offset,
                data,
            } => self.write_clip(card, buffer, offset, &data),
            CaptureRequest::Hash { card, buffers } => self.hashes(card, &buffers),
            CaptureRequest::Hold { card, buffer, clip } => self.hold(card, buffer, clip),
            CaptureRequest::WriteHeld { data } => self.write_mappings(&data),
            CaptureRequest::DropHeld => self.drop_mappings(),
        }
    }

    /// Opens `/dev/video<card>`.
    fn open(&mut self, card: u8) -> Outcome<Reply> {
        let path = format!("/dev/video{card}");
        let operation = || format!("open {path}");
        if self.open.contains_key(&card) {
            return Err(refused(
                operation(),
                Errno::EBUSY,
                "the agent has it open already",
            ));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        self.open
            .insert(card, file.map_err(|error| failed(operation(), error))?);
        Ok(Reply::Done)
    }

    /// Closes it.
    fn close(&mut self, card: u8) -> Outcome<Reply> {
        self.file(card)?;
        self.open.remove(&card);
        Ok(Reply::Done)
    }

    /// Does what one command says.
    fn command(&self, card: u8, command: &CardCommand) -> Outcome<Reply> {
        let file = self.file(card)?;
        let failed = |error: Errno| failed(format!("card {card}: {command:?}"), error);
        match command {
            CardCommand::Info => {
                let mut info = uapi::Info::default();
                ioctl(file, uapi::INFO, &mut info).map_err(failed)?;
                told(CaptureReply::Info(described(&info)))
            }
            CardCommand::Configure(wanted) => {
                let configured = configure(file, wanted).map_err(failed)?;
                told(CaptureReply::Configured(configured))
            }
            CardCommand::Buffer { index } => {
                let buffer = placed(file, *index).map_err(failed)?;
                told(CaptureReply::Buffer(BufferInfo {
                    index: buffer.index,
                    queued: buffer.queued != 0,
                    dma: buffer.dma,
                    phys: buffer.phys,
                    length: buffer.length,
                    allocated: buffer.allocated,
                    clip_dma: buffer.clip_dma,
                    clip_phys: buffer.clip_phys,
                    clip_length: buffer.clip_length,
                }))
            }
            CardCommand::Queue { index } => {
                let queued = v4l2::queue(file, *index).map_err(failed);
                queued.map(|()| Reply::Done)
            }
            CardCommand::Start => v4l2::start(file).map_err(failed).map(|()| Reply::Done),
            CardCommand::Stop => {
                let stopped = v4l2::stop(file).and_then(|()| check(file));
                stopped.map_err(failed).map(|()| Reply::Done)
            }
            CardCommand::Release => {
                let released = v4l2::request(file, 0);
                released.map_err(failed).map(|_| Reply::Done)
            }
            CardCommand::Wait { timeout_ms } => {
                let limit = Duration::from_millis(u64::from(*timeout_ms));
                let completion = wait(file, limit).map_err(failed)?;
                told(CaptureReply::Completion(completion))
            }
            CardCommand::Lends => {
                let mut lends = Box::new(uapi::Lends {
                    count: 0,
                    reserved: 0,
                    lends: [uapi::Lend::default(); uapi::MAX_LENDS],
                });
                ioctl(file, uapi::LENDS, &mut *lends).map_err(failed)?;
                let told = lends.lends.iter().take(lends.count as usize);
                told.map(lend)
                    .collect::<Option<_>>()
                    .map(|lends| Reply::Capture(CaptureReply::Lends(lends)))
                    .ok_or_else(|| {
                        let message = "the driver named a lend of no known kind or direction";
                        refused(format!("card {card}: Lends"), Errno::EPROTO, message)
                    })
            }
        }
    }

    /// Reads from a frame or its clip mask.
    fn read(&self, card: u8, index: u32, clip: bool, from: u64, length: u32) -> Outcome<Reply> {
        let mapping = self.map(card, index, clip, false)?;
        let mut data = vec![0; (length as usize).min(MAX_DATA).min(mapping.len())];
        let read = mapping.read(usize::try_from(from).unwrap_or(usize::MAX), &mut data);
        data.truncate(read);
        Ok(Reply::Data(data))
    }

    /// Writes to a clip mask.
    fn write_clip(&self, card: u8, index: u32, to: u64, data: &[u8]) -> Outcome<Reply> {
        let mut mapping = self.map(card, index, true, true)?;
        mapping
            .write(usize::try_from(to).unwrap_or(usize::MAX), data)
            .map(|()| Reply::Done)
            .map_err(|error| failed(format!("card {card}: write clip mask {index}"), error))
    }

    /// Hashes frames, all lent bytes of each.
    fn hashes(&self, card: u8, buffers: &[u32]) -> Outcome<Reply> {
        let hash = |&index| {
            self.map(card, index, false, false)
                .map(|mapping| hash::of(&mapping))
        };
        let hashes = buffers.iter().map(hash).collect::<Outcome<_>>()?;
        told(CaptureReply::Hashes(hashes))
    }

    /// Keeps a frame mapped until [`Cards::drop_mappings`].
    fn hold(&mut self, card: u8, index: u32, clip: bool) -> Outcome<Reply> {
        let mapping = self.map(card, index, clip, clip)?;
        self.held.push((mapping, clip));
        Ok(Reply::Done)
    }

    /// Writes to the start of every clip mask that is held.
    fn write_mappings(&mut self, data: &[u8]) -> Outcome<Reply> {
        let masks = self.held.iter_mut().filter(|(_, clip)| *clip);
        for (mapping, _) in masks {
            mapping
                .write(0, data)
                .map_err(|error| failed("write to a held mapping".to_owned(), error))?;
        }
        Ok(Reply::Done)
    }

    /// Drops what is held.
    fn drop_mappings(&mut self) -> Outcome<Reply> {
        self.held.clear();
        Ok(Reply::Done)
    }

    fn file(&self, card: u8) -> Outcome<&File> {
        self.open
            .get(&card)
            .ok_or_else(|| refused(format!("card {card}"), Errno::EBADF, "it is not open"))
    }

    fn map(&self, card: u8, index: u32, clip: bool, write: bool) -> Outcome<Mapping> {
        let file = self.file(card)?;
        let what = if clip { "clip mask" } else { "frame" };
        let place = if clip {
            placed(file, index).map(|buffer| (buffer.clip_mmap_offset, buffer.clip_length))
        } else {
            v4l2::buffer(file, index).map(|buffer| (buffer.offset, buffer.length.into()))
        };
        place
            .and_then(|(offset, length)| Mapping::new(file, offset, length, write))
            .map_err(|error| failed(format!("card {card}: map {what} {index}"), error))
    }
}

fn told(reply: CaptureReply) -> Outcome<Reply> {
    Ok(Reply::Capture(reply))
}

/// Frees the buffers, sets what is to be captured and asks for new ones: as is wanted, or not at all.
fn configure(file: &File, wanted: &Configure) -> Result<Configured, Errno> {
    if wanted.buffers == 0 {
        return Err(Errno::EINVAL);
    }
    v4l2::request(file, 0)?;
    let pattern = i32::try_from(wanted.pattern).map_err(|_| Errno::EINVAL)?;
    match v4l2::set_pattern(file, pattern) {
        // A driver without patterns has one.
        Err(Errno::EINVAL | Errno::ENOTTY) if pattern == 0 => {}
        set => set?,
    }
    let set = set_up(file, wanted)?;
    let got = v4l2::request(file, wanted.buffers)?;
    if got < wanted.buffers {
        v4l2::request(file, 0)?;
        return Err(Errno::ENOMEM);
    }
    Ok(Configured {
        buffers: got,
        ..set
    })
}

/// Sets it by V4L2's own calls and, if those do not surely come to what is wanted, by our own driver's.
fn set_up(file: &File, wanted: &Configure) -> Result<Configured, Errno> {
    let size = (wanted.width, wanted.height);
    let plain = !wanted.clip && wanted.at == 0 && wanted.iova == 0;
    let kept = (wanted.format, size, wanted.stride, wanted.interval_us) == (0, (0, 0), 0, 0);
    if kept && plain {
        return v4l2::picture(file).map(|picture| configured(&picture));
    }
    let set = v4l2::set_picture(file, wanted.format, size, wanted.stride)?;
    let paced = match v4l2::set_interval(file, wanted.interval_us) {
        // A driver that has no intervals takes none.
        Err(Errno::ENOTTY) => wanted.interval_us == 0,
        set => {
            let (numerator, denominator) = set?;
            let set = u64::from(numerator) * u64::from(v4l2::MICROSECONDS);
            wanted.interval_us == 0 || set == u64::from(wanted.interval_us) * u64::from(denominator)
        }
    };
    let as_wanted = (set.width, set.height) == size
        && (wanted.format == 0 || set.pixelformat == wanted.format)
        && (wanted.stride == 0 || set.bytesperline == wanted.stride)
        && paced
        && plain;
    if as_wanted && wanted.stride == 0 && wanted.interval_us == 0 {
        return Ok(configured(&set));
    }
    // Bytes behind the last line, and an interval that a driver takes for none, V4L2's calls do not show.
    match set_up_exactly(file, wanted, set.pixelformat) {
        Err(Errno::ENOTTY) if as_wanted => Ok(configured(&set)),
        Err(Errno::ENOTTY) => Err(Errno::EINVAL),
        set => set,
    }
}

/// What the driver has set, in the protocol's words.
fn configured(picture: &Picture) -> Configured {
    Configured {
        format: picture.pixelformat,
        width: picture.width,
        height: picture.height,
        stride: picture.bytesperline,
        clip_size: 0,
        frame_size: picture.sizeimage.into(),
        buffers: 0,
    }
}

/// Sets it by our own driver's call, `liked` being the format if none is wanted; `ENOTTY` of another driver.
fn set_up_exactly(file: &File, wanted: &Configure, liked: u32) -> Result<Configured, Errno> {
    let format = match wanted.format {
        0 => liked,
        format => format,
    };
    let mut argument = uapi::Setup {
        format,
        width: wanted.width,
        height: wanted.height,
        stride: wanted.stride,
        interval_us: wanted.interval_us,
        clip: u32::from(wanted.clip),
        frame_size: 0,
        at: wanted.at,
        iova: wanted.iova,
    };
    ioctl(file, uapi::SETUP, &mut argument)?;
    Ok(Configured {
        format,
        width: wanted.width,
        height: wanted.height,
        stride: argument.stride,
        clip_size: argument.clip,
        frame_size: argument.frame_size,
        buffers: 0,
    })
}

/// Waits for the frame that was done first. `ETIMEDOUT` if none is; at once `EINVAL` if there is no stream, `EAGAIN` if no
/// buffer was queued.
fn wait(file: &File, limit: Duration) -> Result<Completion, Errno> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, left) {
            Err(Errno::EINTR) => continue,
            Ok(0) => {
                check(file)?;
                return Err(Errno::ETIMEDOUT);
            }
            polled => drop(polled?),
        }
        let [polled] = polled;
        let amiss = polled
            .revents()
            .is_none_or(|events| events.contains(PollFlags::POLLERR));
        match v4l2::dequeue(file) {
            Err(Errno::EAGAIN) if !amiss => {}
            done => return completion(file, &done?),
        }
    }
}

/// What the card said of a frame; of one whose driver does not tell that, what V4L2 says.
fn completion(file: &File, done: &v4l2::Buffer) -> Result<Completion, Errno> {
    let mut record = uapi::Record {
        index: done.index,
        ..uapi::Record::default()
    };
    match ioctl(file, uapi::RECORD, &mut record) {
        Err(Errno::ENOTTY) => {
            let [seconds, microseconds] =
                done.timestamp.map(|part| u64::try_from(part).unwrap_or(0));
            Ok(Completion {
                index: done.index,
                result: u32::from(done.flags & v4l2::ERROR != 0),
                sequence: done.sequence,
                bytes: done.bytesused.into(),
                card_time_ns: 0,
                guest_time_ns: seconds
                    .saturating_mul(1_000_000)
                    .saturating_add(microseconds)
                    .saturating_mul(1000),
            })
        }
        told => told.map(|()| Completion {
            index: record.index,
            result: record.result,
            sequence: record.sequence,
            bytes: record.bytes.into(),
            card_time_ns: record.card_time_ns,
            guest_time_ns: record.guest_time_ns,
        }),
    }
}

/// What is wrong with the card, if its driver can tell.
fn check(file: &File) -> Result<(), Errno> {
    match plain(file, uapi::CHECK) {
        Err(Errno::ENOTTY) => Ok(()),
        checked => checked.map(drop),
    }
}

/// Where a buffer lies, by our own driver's call.
fn placed(file: &File, index: u32) -> Result<uapi::Buffer, Errno> {
    let mut buffer = uapi::Buffer {
        index,
        ..uapi::Buffer::default()
    };
    ioctl(file, uapi::BUFFER, &mut buffer)?;
    Ok(buffer)
}

fn described(info: &uapi::Info) -> CardInfo {
    CardInfo {
        layout: info.layout,
        interrupt: info.interrupt,
        address_bits: info.address_bits,
        alignment: info.alignment,
        boundary: info.boundary,
        max_frame: info.max_frame,
        selftest_dma: info.selftest_dma,
        selftest_phys: info.selftest_phys,
        selftest_nonce: info.selftest_nonce,
        interrupts: info.interrupts,
        pci_address: info.pci_address,
    }
}

fn lend(lend: &uapi::Lend) -> Option<Lend> {
    Some(Lend {
        kind: match lend.kind {
            uapi::LEND_FRAME => LendKind::Frame,
            uapi::LEND_CLIP => LendKind::Clip,
            uapi::LEND_SELFTEST => LendKind::SelfTest,
            _ => return None,
        },
        index: lend.index,
        direction: match lend.direction {
            uapi::DIRECTION_FROM_DEVICE => Direction::FromDevice,
            uapi::DIRECTION_TO_DEVICE => Direction::ToDevice,
            uapi::DIRECTION_BOTH => Direction::Both,
            _ => return None,
        },
        queued: lend.queued,
        dma: lend.dma,
        phys: lend.phys,
        length: lend.length,
    })
}
