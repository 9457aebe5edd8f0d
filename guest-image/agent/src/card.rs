// SPDX-License-Identifier: MIT OR Apache-2.0

//! The capture driver, as user space sees it: one open file per card, its ioctls and its mappings.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};

use landfall_agent::protocol::capture::{
    BufferInfo, CaptureReply, CaptureRequest, CardCommand, CardInfo, Completion, Configured, Lend,
    LendKind,
};
use landfall_agent::protocol::{Direction, MAX_DATA, Reply};
use nix::errno::Errno;

use crate::ioctl::{ioctl, plain};
use crate::mapping::Mapping;
use crate::{Outcome, failed, hash, refused, uapi};

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

    /// Opens `/dev/landfall-capture<card>`.
    fn open(&mut self, card: u8) -> Outcome<Reply> {
        let path = format!("/dev/landfall-capture{card}");
        let operation = || format!("open {path}");
        if self.open.contains_key(&card) {
            return Err(refused(
                operation(),
                Errno::EBUSY,
                "the agent has it open already",
            ));
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
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

    /// Does one ioctl.
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
                let mut argument = uapi::Configure {
                    width: wanted.width,
                    height: wanted.height,
                    stride: wanted.stride,
                    pixel: wanted.pixel,
                    pattern: wanted.pattern,
                    interval_us: wanted.interval_us,
                    buffers: wanted.buffers,
                    clip: u32::from(wanted.clip),
                    frame_size: 0,
                    at: wanted.at,
                    iova: wanted.iova,
                };
                ioctl(file, uapi::CONFIGURE, &mut argument).map_err(failed)?;
                told(CaptureReply::Configured(Configured {
                    stride: argument.stride,
                    clip_size: argument.clip,
                    frame_size: argument.frame_size,
                }))
            }
            CardCommand::Buffer { index } => {
                let buffer = buffer(file, *index).map_err(failed)?;
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
                let mut argument = uapi::Queue {
                    index: *index,
                    reserved: 0,
                };
                ioctl(file, uapi::QUEUE, &mut argument).map_err(failed)?;
                Ok(Reply::Done)
            }
            CardCommand::Start => plain(file, uapi::START).map_err(failed),
            CardCommand::Stop => plain(file, uapi::STOP).map_err(failed),
            CardCommand::Release => plain(file, uapi::RELEASE).map_err(failed),
            CardCommand::Wait { timeout_ms } => {
                let mut done = uapi::Completion {
                    timeout_ms: *timeout_ms,
                    ..uapi::Completion::default()
                };
                ioctl(file, uapi::WAIT, &mut done).map_err(failed)?;
                told(CaptureReply::Completion(Completion {
                    index: done.index,
                    result: done.result,
                    sequence: done.sequence,
                    bytes: done.bytes,
                    card_time_ns: done.card_time_ns,
                    guest_time_ns: done.guest_time_ns,
                }))
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
        let failed = |error: Errno| failed(format!("card {card}: map {what} {index}"), error);
        let buffer = buffer(file, index).map_err(failed)?;
        let (offset, length) = if clip {
            (buffer.clip_mmap_offset, buffer.clip_length)
        } else {
            (buffer.mmap_offset, buffer.length)
        };
        Mapping::new(file, offset, length, write).map_err(failed)
    }
}

fn told(reply: CaptureReply) -> Outcome<Reply> {
    Ok(Reply::Capture(reply))
}

fn buffer(file: &File, index: u32) -> Result<uapi::Buffer, Errno> {
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
