// SPDX-License-Identifier: MIT OR Apache-2.0

//! One channel of the card, and what it does.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use super::regs::*;
use super::{BURSTS, Tw686x, picture, queue};
use crate::dt3155::Standard;
use landfall_device::contract::declare::joined;
use landfall_device::contract::*;

/// Bytes of one fetch from a list.
const FETCH: u64 = 64;
/// Least time between two pieces of sound.
const SHORTEST: Duration = Duration::from_millis(1);

/// A channel; its number is its bit.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// When it has something to do; `None`: it does not run.
    pub(super) due: Option<Duration>,
    /// The buffer that it fills next or fills now: 0 is `P`.
    pub(super) buffer: usize,
    pub(super) work: Option<Work>,
    /// Number of the next frame; no reset begins it anew.
    pub(super) frames: u32,
    /// The register writes that gave the buffers, or their lists, their addresses.
    pub(super) programmed: [Option<u64>; 2],
    /// Where the last frame began.
    pub(super) last: Option<(u64, Tag)>,
}

/// A picture or a piece of sound in work, with what it latched.
#[derive(Debug)]
pub(super) struct Work {
    job: JobId,
    queue: QueueId,
    label: Label,
    stamp: u32,
    /// Bytes of a row, rows of the whole, and the next of them, in the order in which they come.
    width: u32,
    rows: u32,
    row: u32,
    /// Where the bytes that are to come go.
    places: VecDeque<(u64, u32)>,
    period: Duration,
    moved: u64,
    /// Behind the last byte that was written.
    end: u64,
}

impl Tw686x {
    /// From one picture, or piece of sound, of a channel to the next.
    pub(super) fn period(&self, number: usize) -> Duration {
        if number >= SOUND {
            let samples = u64::from(self.sound() / 2);
            let interval = u64::from(self.word(AUDIO_CONTROL2::OFFSET));
            let nanoseconds = samples.saturating_mul(interval).saturating_mul(8) >> 16;
            return Duration::from_nanos(nanoseconds).max(SHORTEST);
        }
        let control = VIDEO_CONTROL::from_raw(self.word(VIDEO_CONTROL::OFFSET));
        let standard = match control.hz_50() >> number & 1 {
            0 => Standard::Hz60,
            _ => Standard::Hz50,
        };
        self.options.period.unwrap_or_else(|| standard.period())
    }

    /// Bytes of a piece of sound.
    fn sound(&self) -> u32 {
        let control = AUDIO_CONTROL1::from_raw(self.word(AUDIO_CONTROL1::OFFSET));
        control.size().into()
    }

    /// The channels, with their buffers, that a register gives an address.
    pub(super) fn buffers_at(&self, offset: usize) -> Vec<(usize, usize)> {
        let buffers = (0..2 * SOUND).flat_map(|number| [(number, 0), (number, 1)]);
        let of = |&(number, buffer): &(usize, usize)| {
            let mut modes = [LIST, FRAME].into_iter();
            modes.any(|mode| self.address(number, buffer, mode) == offset)
        };
        buffers.filter(of).collect()
    }

    /// Offset of the register that has the address of a buffer, or of its list.
    fn address(&self, number: usize, buffer: usize, mode: u32) -> usize {
        let of = |registers: [usize; 2], index, stride| registers[buffer] + index * stride;
        match number.checked_sub(SOUND) {
            Some(sound) => of([ADMA_P_ADDR::OFFSET, ADMA_B_ADDR::OFFSET], sound, 8),
            None if mode != LIST => of([VDMA_P_ADDR::OFFSET, VDMA_B_ADDR::OFFSET], number, 32),
            None => match number.checked_sub(1) {
                Some(other) if self.options.chip.own_lists() => {
                    let registers = [DMA_PAGE_TABLES0::OFFSET, DMA_PAGE_TABLES1::OFFSET];
                    of(registers, other, 8)
                }
                _ => of([DMA_PAGE_TABLE0::OFFSET, DMA_PAGE_TABLE1::OFFSET], 0, 0),
            },
        }
    }

    /// What a channel is to do now, as the registers, and the list, say it; `None`: nothing that makes sense.
    pub(super) fn latch(&self, number: usize, host: &mut dyn Host) -> Option<Work> {
        let channel = &self.channels[number];
        let mode = match number < SOUND {
            true => self.word(PHASE_REF::OFFSET) >> (16 + 2 * number) & 3,
            false => FRAME,
        };
        let base = u64::from(self.word(self.address(number, channel.buffer, mode)));
        let size = VDMA_WHP::from_raw(self.word(VDMA_WHP::OFFSET + 32 * (number % SOUND)));
        let (width, rows, pitch) = match number < SOUND {
            true => (
                size.width().into(),
                2 * u32::from(size.height()),
                size.pitch(),
            ),
            false => (self.sound(), 1, 0),
        };
        if width == 0 || rows == 0 {
            return None;
        }
        let places = match mode {
            FRAME => {
                let place = |row| {
                    let line = u64::from(picture::line(row, rows));
                    let address = base + line * u64::from(pitch);
                    (address & u64::from(u32::MAX), width)
                };
                (0..rows).map(place).collect()
            }
            LIST => self.list(number, base, u64::from(width) * u64::from(rows), host)?,
            _ => return None,
        };
        let slot = 2 * number + channel.buffer;
        Some(Work {
            job: JobId(self.jobs),
            queue: queue(number),
            label: Label::slot(u32::try_from(slot).ok()?).frame(channel.frames),
            stamp: picture::stamp(u32::try_from(number).ok()?, channel.frames),
            width,
            rows,
            row: 0,
            places,
            period: self.period(number),
            moved: 0,
            end: 0,
        })
    }

    /// Fetches a list, up to where it ends, or has `bytes`, or the channel's part of it ends.
    fn list(
        &self,
        number: usize,
        base: u64,
        bytes: u64,
        host: &mut dyn Host,
    ) -> Option<VecDeque<(u64, u32)>> {
        let config = VDMA_CHANNEL_CONFIG::OFFSET + 4 * number;
        let config = VDMA_CHANNEL_CONFIG::from_raw(self.word(config));
        let mut at = base + ENTRY * u64::from(config.start());
        let end = base + ENTRY * (u64::from(config.end()) + 1);
        let (mut places, mut rest) = (VecDeque::new(), bytes);
        let mut fetched = [0; FETCH as usize];
        while at < end && rest > 0 {
            let length = usize::try_from(FETCH.min(end - at)).ok()?;
            let fetched = fetched.get_mut(..length)?;
            let tag = Tag::default().role(Role::Descriptor);
            host.dma_read(at & u64::from(u32::MAX), fetched, tag).ok()?;
            at += FETCH;
            for entry in fetched.as_chunks::<4>().0.as_chunks::<2>().0 {
                let [flags, address] = entry.map(u32::from_le_bytes);
                let length = flags & ENTRY_LENGTH;
                if flags & ENTRY_USED == 0 || rest == 0 {
                    return Some(places);
                }
                if length > 0 {
                    places.push_back((address.into(), length));
                }
                rest = rest.saturating_sub(length.into());
            }
        }
        Some(places)
    }
}

impl Work {
    /// Rows of a burst.
    const fn step(&self) -> u32 {
        self.rows.div_ceil(BURSTS)
    }

    /// From one burst to the next.
    pub(super) fn pace(&self) -> Duration {
        self.period / self.rows.div_ceil(self.step())
    }

    pub(super) fn tag(&self) -> Tag {
        Tag::job(self.job)
    }

    pub(super) fn frame(&self) -> u32 {
        self.label.frame.unwrap_or_default()
    }

    /// Where the first byte goes.
    pub(super) fn first(&self) -> Option<u64> {
        self.places.front().map(|(address, _)| *address)
    }

    /// Behind the last byte that was written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn is_over(&self) -> bool {
        self.row == self.rows
    }

    /// Writes the next rows.
    pub(super) fn burst(&mut self, host: &mut dyn Host) -> Result<(), &'static str> {
        let end = self.rows.min(self.row + self.step());
        let mut bytes = vec![0; self.width as usize];
        while self.row < end {
            picture::paint(self.stamp, picture::line(self.row, self.rows), &mut bytes);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let Some((address, length)) = self.places.front_mut() else {
                    return Err("the list is too short");
                };
                let (part, behind) = rest.split_at(rest.len().min(*length as usize));
                let tag = Tag::job(self.job);
                if host.dma_write(*address, part, tag).is_err() {
                    return Err("the bus refused it");
                }
                rest = behind;
                self.moved += part.len() as u64;
                *address += part.len() as u64;
                self.end = *address;
                *length -= part.len() as u32;
                if *length == 0 {
                    self.places.pop_front();
                }
            }
            self.row += 1;
        }
        Ok(())
    }

    /// It begins.
    pub(super) fn begun(&self) -> Declaration {
        let mut rest = u64::from(self.width) * u64::from(self.rows);
        let piece = |&(address, length): &(u64, u32)| {
            let length = u64::from(length).min(rest);
            rest -= length;
            Piece::write(address, length)
        };
        Declaration::Begun {
            job: self.job,
            queue: self.queue,
            label: self.label,
            pieces: joined(self.places.iter().map(piece).collect()),
        }
    }

    /// It is over.
    pub(super) fn done(&self, error: Option<&'static str>, owed: Option<Owed>) -> Declaration {
        Declaration::Done {
            job: self.job,
            error: error.map(Cow::Borrowed),
            moved: self.moved,
            owed,
        }
    }
}
