// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the cards write, stamped for the plugin before they write it (`landfall_plugin::stamps`): so it knows which of a CPU's loads
//! could have come before the card's writes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use landfall_device::contract::JobId;
use landfall_device::dma::Foretold;
use landfall_plugin::stamps::{self, Kind, Stamp, WORD};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use crate::guest::memory::{GuestMemory, sealed};

const PAGE: u64 = 4096;

/// The file of one guest.
#[derive(Debug)]
pub(super) struct Stamps {
    region: MmapRegion,
    /// Device and inode of the memory file.
    memory: (u64, u64),
    /// Bytes of it.
    bytes: u64,
    /// Where the stamps of single words begin.
    words_at: u64,
}

impl Stamps {
    /// Makes it for a guest, whose code shows its barriers so. With it, what QEMU must inherit.
    pub(super) fn new(memory: &GuestMemory, kind: Kind) -> io::Result<(Self, OwnedFd)> {
        let size = stamps::size(memory.bytes());
        let file = sealed("landfall-stamps", |file| file.set_len(size))?;
        let put = |at: usize, word: u64| file.write_all_at(&word.to_le_bytes(), at as u64);
        put(stamps::KIND_AT, kind.word())?;
        for (index, ram) in memory.ram().iter().take(stamps::RAMS).enumerate() {
            let at = stamps::RAMS_AT + 24 * index;
            put(at, ram.phys)?;
            put(at + 8, ram.range().end)?;
            put(at + 16, ram.offset)?;
        }
        put(stamps::MAGIC_AT, stamps::MAGIC)?;
        let theirs: File = file.try_clone()?;
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let (both, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
        );
        let region = MmapRegion::build(Some(FileOffset::new(file, 0)), length, both, flags);
        let of = memory.file().metadata()?;
        let stamps = Self {
            region: region.map_err(io::Error::other)?,
            memory: (of.dev(), of.ino()),
            bytes: memory.bytes(),
            words_at: stamps::words_at(memory.bytes()),
        };
        Ok((stamps, theirs.into()))
    }

    /// A word of it; none is there that is not in the file.
    fn at(&self, at: u64) -> Option<&AtomicU64> {
        let at = usize::try_from(at).ok()?;
        self.region.get_atomic_ref(at).ok()
    }

    fn put(&self, at: u64, word: u64) {
        if let Some(place) = self.at(at) {
            place.store(word, Ordering::Release);
        }
    }

    /// Code of modules with marks that are there already.
    pub(super) fn modules(&self, modules: &[Range<u64>]) {
        for (index, module) in modules.iter().take(stamps::MODULES).enumerate() {
            let at = (stamps::MODULES_AT + 16 * index) as u64;
            self.put(at + 8, module.end);
            self.put(at, module.start);
        }
    }

    /// What one of the cards is about to do comes here.
    pub(super) fn of_card(self: &Arc<Self>, card: usize) -> Arc<dyn Foretold> {
        Arc::new(OfCard {
            stamps: Arc::clone(self),
            card: u32::try_from(card).unwrap_or(u32::MAX),
        })
    }
}

/// The part of one card.
#[derive(Debug)]
struct OfCard {
    stamps: Arc<Stamps>,
    card: u32,
}

impl Foretold for OfCard {
    fn access(&self, job: Option<JobId>) -> u64 {
        let clock = self.stamps.at(stamps::CLOCK_AT as u64);
        let clock = clock.map_or(0, |clock| clock.fetch_add(1, Ordering::AcqRel) + 1);
        // Of what is for no job that can be told apart nothing is said.
        let job = job.filter(|job| job.0 < Stamp::JOBS && self.card < 64);
        job.map_or(0, |job| {
            let stamp = Stamp {
                clock: clock as u32,
                card: self.card,
                job: job.0 as u32,
            };
            stamp.word()
        })
    }

    fn writes(&self, access: u64, file: (u64, u64), offset: u64, length: u64) {
        let stamps = &self.stamps;
        if file != stamps.memory {
            return;
        }
        let end = offset.saturating_add(length).min(stamps.bytes);
        let mut at = offset / WORD * WORD;
        while at < end {
            if at.is_multiple_of(PAGE) && end - at >= PAGE {
                stamps.put(stamps::PAGES_AT as u64 + at / PAGE * 8, access);
                at += PAGE;
            } else {
                stamps.put(stamps.words_at + at, access);
                at += WORD;
            }
        }
    }

    fn interrupts(&self) {
        let stamps = &self.stamps;
        if let Some(clock) = stamps
            .at(stamps::CLOCK_AT as u64)
            .filter(|_| self.card < 64)
        {
            let at = stamps::INTERRUPTS_AT as u64 + 8 * u64::from(self.card);
            stamps.put(at, clock.load(Ordering::Acquire));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (Arc<Stamps>, (u64, u64)) {
        let memory = GuestMemory::flat(1 << 20).unwrap();
        let (stamps, _) = Stamps::new(&memory, Kind::Marks).unwrap();
        let of = memory.file().metadata().unwrap();
        (Arc::new(stamps), (of.dev(), of.ino()))
    }

    impl Stamps {
        fn word(&self, offset: u64) -> Stamp {
            let at = self.words_at + offset;
            Stamp::of(self.at(at).unwrap().load(Ordering::Acquire))
        }

        fn page(&self, page: u64) -> Stamp {
            let at = stamps::PAGES_AT as u64 + page * 8;
            Stamp::of(self.at(at).unwrap().load(Ordering::Acquire))
        }
    }

    #[test]
    fn whole_pages_are_stamped_at_once_and_what_is_left_by_the_word() {
        let (stamps, file) = made();
        let card = stamps.of_card(3);
        let access = card.access(Some(JobId(77)));
        card.writes(access, file, PAGE - 12, 2 * PAGE + 16);

        let stamp = Stamp {
            clock: 1,
            card: 3,
            job: 77,
        };
        assert_eq!(Stamp::of(access), stamp);
        let word = |offset| stamps.word(offset);
        assert_eq!(word(PAGE - 24), Stamp::default());
        assert_eq!((word(PAGE - 16), word(PAGE - 8)), (stamp, stamp));
        assert_eq!((stamps.page(0), stamps.page(3)), Default::default());
        assert_eq!((stamps.page(1), stamps.page(2)), (stamp, stamp));
        assert_eq!(word(3 * PAGE), stamp);
        assert_eq!(word(3 * PAGE + 8), Stamp::default());
    }

    #[test]
    fn another_file_and_what_is_for_no_job_are_not_stamped() {
        let (stamps, file) = made();
        let card = stamps.of_card(0);
        card.writes(card.access(Some(JobId(1))), (file.0, file.1 + 1), 0, 8);
        assert_eq!(stamps.word(0), Stamp::default());
        card.writes(card.access(Some(JobId(1))), file, 0, 8);
        assert_eq!(stamps.word(0).clock, 2);
        card.writes(card.access(None), file, 0, 8);
        assert_eq!(stamps.word(0), Stamp::default());
        // Beyond the end nothing happens.
        card.writes(card.access(Some(JobId(1))), file, u64::MAX - 8, u64::MAX);
    }
}
