// SPDX-License-Identifier: MIT OR Apache-2.0

//! Buffers placed to order: where in physical memory a card meets what it gets wrong.
//!
//! Every place is a carve-out at an address that is computed from the guest's memory, and an exact address in it for
//! the first buffer. So nothing depends on what the kernel has free, and the range is watched from boot.

use super::capture::CapturePlan;
use super::impossible::Impossible;
use landfall::guest::{Board, Carveout, FIRMWARE, PoolOptions};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
/// Where memory above 4 GiB begins.
const HIGH: u64 = 1 << 32;
/// Where memory begins that a card of 24 address bits cannot reach, and where the kernel lies.
const ISA: u64 = 16 * MIB;
/// Most bytes that are taken below that: the kernel needs some of it as its DMA zone.
const ISA_MOST: u64 = 8 * MIB;
/// Bytes that stay free of the pool at the start of memory above 4 GiB: a card that drops the upper half of an
/// address then writes that far from the start of RAM, where firmware and kernel are not.
const HIGH_OFFSET: u64 = 128 * MIB;
/// Cards of the 1990s could not count past it.
const BOUNDARY: u64 = 64 << 10;

/// Where in physical memory the buffers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Below 16 MiB, which 24 address bits reach; the pool ends there.
    Below16M,
    /// As high as it can be below 4 GiB, in a guest that has memory above it too.
    Below4G,
    /// Above 4 GiB, with ordinary memory where the lower half of the address points.
    Above4G,
    /// The first buffer lies half below 4 GiB, half above, for the card: there is no such memory in a PC, where
    /// firmware, interrupt controllers and the PCI hole lie below 4 GiB. So it is a bus address, which takes an IOMMU.
    Across4G,
    /// The first buffer ends where RAM ends.
    LastPage,
    /// Right after the first buffer, with no page between, begins a buffer of another card.
    BesideOther,
    /// The first buffer lies across a multiple of 64 KiB.
    Across64K,
}

/// What a place comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The pool.
    pub pool: PoolOptions,
    /// Physical address for the first buffer; 0: anywhere in the pool.
    pub at: u64,
    /// Bus address for the first buffer; 0: what the DMA API gives.
    pub iova: u64,
    /// Where another card gets a buffer of one page, before the first card gets its.
    pub neighbour: Option<u64>,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Below16M,
        Self::Below4G,
        Self::Above4G,
        Self::Across4G,
        Self::LastPage,
        Self::BesideOther,
        Self::Across64K,
    ];

    /// Its name, as the command takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Below16M => "below-16m",
            Self::Below4G => "below-4g",
            Self::Above4G => "above-4g",
            Self::Across4G => "across-4g",
            Self::LastPage => "last-page",
            Self::BesideOther => "beside-other",
            Self::Across64K => "across-64k",
        }
    }

    /// The least memory, bytes, in which the place is what its name says.
    pub const fn memory(self) -> u64 {
        match self {
            Self::Below4G | Self::Above4G | Self::LastPage => 512 * MIB,
            Self::Below16M | Self::Across4G | Self::BesideOther | Self::Across64K => 256 * MIB,
        }
    }

    /// What [`GuestOptions::low_memory`](landfall::guest::GuestOptions::low_memory) must be in a guest with so much
    /// memory: places about 4 GiB and the end of RAM need some above 4 GiB. Below it the last pages are the firmware's.
    pub fn low_memory(self, board: &Board, memory: u64) -> Option<u64> {
        let is_one_run = board.ram(memory, None).len() < 2;
        let needs_high = matches!(self, Self::Below4G | Self::Above4G | Self::LastPage);
        (needs_high && is_one_run).then_some((memory / 2).next_multiple_of(MIB))
    }

    /// A picture, width and height, that shows the place well.
    pub(super) const fn picture(self) -> (u32, u32) {
        match self {
            // 37.5 KiB: what a card with a 16-bit counter could take.
            Self::Across64K => (160, 120),
            // 600 KiB, which is a whole number of pages.
            _ => (640, 480),
        }
    }

    /// What it comes to in a guest on a board with `memory` bytes, of which [`Place::low_memory`] lie below 4 GiB, that captures as
    /// `plan` says.
    ///
    /// # Errors
    /// If there is no such place in that guest, or not for frames of that size.
    pub fn arrange(
        self,
        board: &Board,
        memory: u64,
        plan: &CapturePlan,
    ) -> Result<Placed, Impossible> {
        if !board.has_holes() {
            return Err(Impossible::new(
                format!(
                    "there is no place {self} in guests of {}: their kernels leave no hole in memory for it (`memmap=`)",
                    board.architecture
                ),
                "--pool-source carveout takes the end of memory",
            ));
        }
        let size = plan.pool();
        let frame = plan.frame_bytes();
        let whole = frame.next_multiple_of(PAGE);
        let ram = board.ram(memory, self.low_memory(board, memory));
        let low = ram.first().map_or(0, |ram| ram.length);
        let high = ram.get(1);
        if memory < self.memory() {
            return Err(Impossible::new(
                format!(
                    "a guest of {} MiB has no place {}",
                    memory / MIB,
                    self.name()
                ),
                format!(
                    "leave --memory out, or give at least {}M",
                    self.memory() / MIB
                ),
            ));
        }
        let fits = |room: u64| match size <= room {
            true => Ok(()),
            false => Err(Impossible::new(
                format!(
                    "these frames need a pool of {} MiB, and {} there is room for {}",
                    size / MIB,
                    self.name(),
                    room / MIB
                ),
                "ask for smaller frames or fewer, such as --width 640 --height 480 --frames 4",
            )),
        };
        let hole = |start| PoolOptions::carved_out(size, Carveout::Hole(start));
        let beside = |pool| PoolOptions {
            parameters: "guard_pages=0".to_owned(),
            ..pool
        };
        let anywhere = |pool| Placed {
            pool,
            at: 0,
            iova: 0,
            neighbour: None,
        };
        // Free of firmware, kernel and initial file system in every guest.
        let middle = (low / 2).next_multiple_of(MIB);
        match self {
            Self::Below16M => {
                fits(ISA_MOST)?;
                Ok(anywhere(hole(ISA - size)))
            }
            Self::Below4G => {
                fits(low / 2)?;
                Ok(anywhere(hole(low - FIRMWARE - size)))
            }
            Self::Above4G => {
                let room = high.map_or(0, |high| high.length.saturating_sub(HIGH_OFFSET));
                fits(room)?;
                Ok(anywhere(hole(HIGH + HIGH_OFFSET)))
            }
            Self::Across4G => {
                fits(low / 4)?;
                Ok(Placed {
                    iova: HIGH - (whole / 2).next_multiple_of(PAGE),
                    ..anywhere(hole(middle))
                })
            }
            Self::LastPage => {
                whole_pages(frame, "the end of RAM")?;
                fits(high.map_or(0, |high| high.length / 2))?;
                let end = high.map_or(0, |high| high.phys + high.length);
                Ok(Placed {
                    pool: beside(PoolOptions::carved_out(size, Carveout::Top)),
                    at: end - whole,
                    iova: 0,
                    neighbour: None,
                })
            }
            Self::BesideOther => {
                whole_pages(frame, "the other's")?;
                fits(low / 4)?;
                // The first pages are taken when the cards are bound.
                let at = middle + 16 * PAGE;
                Ok(Placed {
                    pool: beside(hole(middle)),
                    at,
                    iova: 0,
                    neighbour: Some(at + whole),
                })
            }
            Self::Across64K => {
                fits(low / 4)?;
                let half = (whole / 2 / PAGE * PAGE).clamp(PAGE, BOUNDARY - PAGE);
                Ok(Placed {
                    at: middle + 2 * BOUNDARY - half,
                    ..anywhere(hole(middle))
                })
            }
        }
    }
}

/// Refuses frames that end within a page: a byte past them would still be theirs.
fn whole_pages(frame: u64, whose: &str) -> Result<(), Impossible> {
    if frame.is_multiple_of(PAGE) {
        return Ok(());
    }
    Err(Impossible::new(
        format!("a frame of {frame} bytes ends within a page, and so not at {whose}"),
        "ask for frames of whole pages, such as --width 640 --height 480",
    ))
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let place = Self::ALL.into_iter().find(|place| place.name() == given);
        place.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{given:?} is no place; there are: {names}")
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn plan(width: u32, height: u32) -> CapturePlan {
        CapturePlan {
            width,
            height,
            ..CapturePlan::default()
        }
    }

    fn board() -> &'static Board {
        Default::default()
    }

    fn arranged(place: Place) -> (Placed, std::ops::Range<u64>) {
        let (width, height) = place.picture();
        let placed = place
            .arrange(board(), place.memory(), &plan(width, height))
            .unwrap();
        let memory = place.memory();
        let ram = board().ram(memory, place.low_memory(board(), memory));
        let range = placed.pool.carved(&ram).unwrap();
        (placed, range)
    }

    #[test]
    fn every_place_is_what_its_name_says() {
        let (_, pool) = arranged(Place::Below16M);
        assert_eq!(pool.end, 16 * MIB);
        let (_, pool) = arranged(Place::Below4G);
        assert_eq!(pool.end, 256 * MIB - 32 * MIB);
        let (_, pool) = arranged(Place::Above4G);
        assert_eq!(pool.start, 4 * GIB + 128 * MIB);

        let bytes = 640 * 480 * 2;
        let (placed, pool) = arranged(Place::LastPage);
        assert_eq!(
            (placed.at + bytes, pool.end),
            (4 * GIB + 256 * MIB, pool.end)
        );
        let (placed, pool) = arranged(Place::BesideOther);
        assert_eq!(placed.neighbour, Some(placed.at + bytes));
        assert!(pool.contains(&(placed.at + bytes)));
        let (placed, _) = arranged(Place::Across4G);
        assert_eq!(placed.iova, 4 * GIB - bytes / 2);
        let (placed, pool) = arranged(Place::Across64K);
        let last = placed.at + 160 * 120 * 2 - 1;
        assert_ne!(placed.at >> 16, last >> 16);
        assert!(last - placed.at < 1 << 16, "it could have been within");
        assert!(pool.contains(&placed.at) && pool.contains(&last));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let refused =
            |place: Place, memory, plan| place.arrange(board(), memory, &plan).unwrap_err().what;

        let small = refused(Place::LastPage, GIB / 4, plan(640, 480));
        assert!(small.contains("256 MiB"), "{small}");
        let large = refused(Place::Below16M, GIB, plan(1920, 1080));
        assert!(large.contains("room for 8"), "{large}");
        let within = refused(Place::BesideOther, GIB, plan(1920, 1080));
        assert!(within.contains("within a page"), "{within}");
    }

    #[test]
    fn names_are_read_back() {
        for place in Place::ALL {
            assert_eq!(place.name().parse(), Ok(place));
        }
        assert!(
            "nowhere"
                .parse::<Place>()
                .unwrap_err()
                .contains("last-page")
        );
    }
}
