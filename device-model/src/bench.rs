// SPDX-License-Identifier: MIT OR Apache-2.0

//! How fast the card's frames reach memory, beside a plain copy of the same size in the same process.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::devices::capture::pattern::{FrameSpec, Pattern, Pixel, fill};
use crate::dma::journal::Journal;
use crate::dma::map::{Map, MapError, Request};

/// Why the speed could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No memory file could be had.
    #[error("cannot make a memory file")]
    Memory(#[source] io::Error),
    /// It could not be mapped.
    #[error("cannot map the memory file")]
    Map(#[from] MapError),
    /// The card could not write a frame.
    #[error("a frame did not complete: {0}")]
    Frame(&'static str),
}

/// Best and median time for one frame, of one way to move it.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Bytes of a frame.
    pub bytes: u64,
    /// The fastest frame.
    pub best: Duration,
    /// The median frame.
    pub median: Duration,
}

impl Rate {
    fn of(bytes: u64, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self {
            bytes,
            best: times.first().copied().unwrap_or_default(),
            median: times.get(times.len() / 2).copied().unwrap_or_default(),
        }
    }

    /// Gigabytes (10^9) a second at the median.
    pub fn gigabytes(&self) -> f64 {
        self.bytes as f64 / self.median.as_nanos().max(1) as f64
    }

    /// Gigabytes (10^9) a second of the fastest frame.
    pub fn best_gigabytes(&self) -> f64 {
        self.bytes as f64 / self.best.as_nanos().max(1) as f64
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Each way, by name.
    pub rates: Vec<(String, Rate)>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28} {:>10} {:>12} {:>12}",
            "1920x1080 YUYV", "bytes", "median GB/s", "best GB/s"
        )?;
        for (name, rate) in &self.rates {
            let (median, best) = (rate.gigabytes(), rate.best_gigabytes());
            writeln!(
                f,
                "{name:<28} {:>10} {median:>12.2} {best:>12.2}",
                rate.bytes
            )?;
        }
        Ok(())
    }
}

/// Captures `frames` frames of 1920x1080 YUYV (4,147,200 bytes) through the real window onto a shared
/// memory file, and copies as many plainly between two buffers.
///
/// # Errors
/// See [`BenchError`].
pub fn run(frames: u32) -> Result<Figures, BenchError> {
    const BUFFERS: u64 = 4;
    let spec = |pattern, sequence| FrameSpec {
        pattern,
        pixel: Pixel::Yuyv,
        width: 1920,
        height: 1080,
        stride: 3840,
        sequence,
        slot: 0,
    };
    let bytes = spec(Pattern::Test, 0).frame_bytes();
    let area = bytes.next_multiple_of(4096);
    let map = Arc::new(Map::default());
    map.add(Request {
        iova: 0,
        length: area * BUFFERS,
        file_offset: 0,
        readable: true,
        writable: true,
        file: Some(memory(area * BUFFERS)?.into()),
    })?;
    let mut rates = Vec::new();
    let frames = frames.max(1);

    let mut piece = vec![0; 128 * 1024];
    for pattern in Pattern::ALL {
        let times = times(frames, |frame| {
            let base = u64::from(frame) % BUFFERS * area;
            let spec = spec(pattern, frame);
            let mut at = 0;
            while at < bytes {
                let length = (bytes - at).min(piece.len() as u64) as usize;
                let piece = piece.get_mut(..length).unwrap_or_default();
                fill(piece, at, &spec);
                map.write(base + at, piece)
                    .map_err(|_| BenchError::Frame("the window refused a write"))?;
                at += length as u64;
            }
            Ok(())
        })?;
        rates.push((
            format!("generate and write, {pattern}"),
            Rate::of(bytes, times),
        ));
    }
    rates.push(card(frames, area, &map, bytes)?);

    let source = vec![0x5a_u8; bytes as usize];
    let mut target = vec![0_u8; (area * BUFFERS) as usize];
    let times = times(frames, |frame| {
        let base = (u64::from(frame) % BUFFERS * area) as usize;
        if let Some(target) = target.get_mut(base..base + source.len()) {
            target.copy_from_slice(std::hint::black_box(&source));
        }
        std::hint::black_box(&mut target);
        Ok(())
    })?;
    rates.push(("plain memcpy".to_owned(), Rate::of(bytes, times)));
    Ok(Figures { rates })
}

/// The whole card, as its worker thread runs it: registers, limits, journal, pieces.
fn card(frames: u32, area: u64, map: &Arc<Map>, bytes: u64) -> Result<(String, Rate), BenchError> {
    use crate::devices::capture::{CaptureCard, CaptureOptions, regs};
    use crate::function::Next;
    use crate::serve::Machine;
    use crate::vfio_user::EventWire;

    let card = CaptureCard::new(CaptureOptions::default());
    let mut machine =
        Machine::<EventWire>::new(Box::new(card), Arc::clone(map), Journal::default());
    machine.write_config(4, &[6, 0]);
    let write = |machine: &mut Machine<EventWire>, offset: usize, value: u32| {
        machine.write(0, offset as u64, &value.to_le_bytes());
    };
    write(&mut machine, regs::GEOMETRY::OFFSET, 1080 << 16 | 1920);
    write(&mut machine, regs::STRIDE::OFFSET, 3840);
    write(&mut machine, regs::SLOT_SIZE::OFFSET, bytes as u32);
    write(&mut machine, regs::CONTROL::OFFSET, 1);
    let times = times(frames, |frame| {
        let base = (u64::from(frame) % 4 * area) as u32;
        write(&mut machine, regs::SLOT_BASE_LO::OFFSET, base);
        write(&mut machine, regs::QUEUE::OFFSET, 0);
        while machine.step() != Next::Idle {}
        let mut written = [0; 4];
        machine.read(0, regs::SLOT_BYTES::OFFSET as u64, &mut written);
        write(&mut machine, regs::DONE::OFFSET, 1);
        if u64::from(u32::from_le_bytes(written)) != bytes {
            return Err(BenchError::Frame("the card did not write all of it"));
        }
        Ok(())
    })?;
    Ok(("the card, test pattern".to_owned(), Rate::of(bytes, times)))
}

fn memory(bytes: u64) -> Result<OwnedFd, BenchError> {
    let make = || {
        let fd = rustix::fs::memfd_create("landfall-bench", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, bytes)?;
        Ok(fd)
    };
    make().map_err(|errno: rustix::io::Errno| BenchError::Memory(errno.into()))
}

/// Times every frame, after one round that touches all memory.
fn times(
    frames: u32,
    mut frame: impl FnMut(u32) -> Result<(), BenchError>,
) -> Result<Vec<Duration>, BenchError> {
    for warm in 0..4 {
        frame(warm)?;
    }
    (0..frames)
        .map(|number| {
            let began = Instant::now();
            frame(number)?;
            Ok(began.elapsed())
        })
        .collect()
}
