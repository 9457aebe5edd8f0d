// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory, a card that writes into it, and threads that work at the same time.

use std::fs::File;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::Next;
use landfall_device::dma::map::Request;
use landfall_device::journal::CAPACITY;
use landfall_device::serve::LocalCard;
use rustix::fs::{MemfdFlags, SealFlags};

pub(crate) const CONTROL: u64 = 0x10;
const FORMAT: u64 = 0x20;
const GEOMETRY: u64 = 0x24;
pub(crate) const STRIDE: u64 = 0x28;
const QUEUE: u64 = 0x30;
const DONE: u64 = 0x34;
const SLOT_SIZE: u64 = 0x408;
const SLOT_BYTES: u64 = 0x420;

/// A frame in YUYV, without gaps between its lines.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Size {
    pub(crate) const fn new(name: &'static str, width: u32, height: u32) -> Self {
        Self {
            name,
            width,
            height,
        }
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.width as u64 * 2 * self.height as u64
    }
}

/// A file of memory that has no page.
pub(crate) fn memory(bytes: u64) -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("landfall-bench", flags).expect("a memory file");
    rustix::fs::ftruncate(&fd, bytes).expect("its size");
    // As QEMU's: it is mapped.
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).expect("its seal");
    fd.into()
}

/// Plugs a card in whose bus shows all of `file` in one mapping.
pub(crate) fn plug(file: &File) -> LocalCard {
    let card = LocalCard::new(Box::new(CaptureCard::new(CaptureOptions {
        max_frame: u32::MAX,
        ..CaptureOptions::default()
    })));
    let request = Request {
        iova: 0,
        length: file.metadata().expect("its size").len(),
        file_offset: 0,
        readable: true,
        writable: true,
        file: Some(file.try_clone().expect("another descriptor")),
    };
    card.map().add(request).expect("mapped");
    card
}

/// A driver of one card, which captures into one slot, and the card's worker too.
pub(crate) struct Capture {
    pub(crate) file: File,
    card: LocalCard,
    size: Size,
    pattern: u32,
}

impl Capture {
    /// Sets a card up. It has not touched the memory yet.
    pub(crate) fn new(file: File, size: Size, pattern: u32) -> Self {
        let mut card = plug(&file);
        card.write(0, FORMAT, pattern << 8);
        card.write(0, GEOMETRY, size.height << 16 | size.width);
        card.write(0, STRIDE, size.width * 2);
        card.write(0, SLOT_SIZE, size.bytes() as u32);
        card.write(0, CONTROL, 1);
        Self {
            file,
            card,
            size,
            pattern,
        }
    }

    /// Another card for the same memory, which has touched it; to be called when nobody counts the time.
    pub(crate) fn refresh(&mut self) {
        let file = self.file.try_clone().expect("another descriptor");
        *self = Self::new(file, self.size, self.pattern);
        self.frame();
    }

    /// Whether so much is in the journal that soon nothing more would be written to it.
    pub(crate) fn stale(&self) -> bool {
        self.card.journal().len() > CAPACITY as u64 / 4
    }

    /// One frame, from the write to `QUEUE` until the slot is taken back.
    pub(crate) fn frame(&mut self) {
        self.card.write(0, QUEUE, 0);
        while self.card.step() != Next::Idle {}
        let written = self.card.read(0, SLOT_BYTES);
        assert_eq!(u64::from(written), self.size.bytes(), "a whole frame");
        self.card.write(0, DONE, 1);
    }
}

/// Lets all of them work at the same time, a thread each; from when the first began to when the last ended.
pub(crate) fn together<T: Send>(all: &mut [T], work: impl Fn(&mut T) + Sync) -> Duration {
    let barrier = Barrier::new(all.len());
    let (barrier, work) = (&barrier, &work);
    std::thread::scope(|scope| {
        let start = |one| {
            scope.spawn(move || {
                barrier.wait();
                let began = Instant::now();
                work(one);
                (began, Instant::now())
            })
        };
        let threads: Vec<_> = all.iter_mut().map(start).collect();
        let times = threads.into_iter().map(|t| t.join().expect("no panic"));
        let (began, ended): (Vec<_>, Vec<_>) = times.unzip();
        let began = began.into_iter().min().expect("one at least");
        ended.into_iter().max().expect("one at least") - began
    })
}

/// Whether the machine can spare that many bytes: three quarters of what it has left.
pub(crate) fn spares(bytes: u64) -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.is_some_and(|kib| bytes <= kib * 1024 / 4 * 3)
}
