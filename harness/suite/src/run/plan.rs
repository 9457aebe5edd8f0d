// SPDX-License-Identifier: MIT OR Apache-2.0

//! From what a user wishes to what is done.

use std::path::PathBuf;

use landfall_cards::capture::pattern::{Pattern, Pixel};
use landfall_cards::capture::{CaptureOptions, Fault, Planted, Strikes};

use super::impossible::Impossible;
use super::{CapturePlan, Place, Placed};
use crate::capture;
use crate::scenario::Scenario;
use landfall::bundle;
use landfall::guest::memory::Ram;
use landfall::guest::{Carveout, GuestOptions, PoolOptions, PoolSource};

/// Most buffers that a capture uses, though the card has more slots: with more frames they go round.
const BUFFERS: u32 = 8;
/// The frame that a fault strikes if nobody says which, or the last if there are fewer.
pub const FAULT_FRAME: u32 = 2;
const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
/// Bytes of the pool that the usual capture needs, of eight frames of 1080p.
const USUAL: u64 = 33 * MIB;

/// What a user wishes. `None`: whatever suits the rest.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The guest; its memory, cards, drivers and pool are replaced by what follows.
    pub guest: GuestOptions,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// The card; its faults are replaced by what follows.
    pub card: CaptureOptions,
    /// More parameters for its driver.
    pub driver_parameters: String,
    /// The fault, and the frame that it strikes.
    pub fault: Option<(Fault, Option<u32>)>,
    /// All faults, and when each strikes; not together with `fault`.
    pub scenario: Option<Scenario>,
    /// Where the pool gets its memory.
    pub pool_source: Option<PoolSource>,
    /// Bytes of the pool.
    pub pool_size: Option<u64>,
    /// A carve-out of so many bytes at that address, as the pool.
    pub carveout: Option<(u64, u64)>,
    /// Where in physical memory the buffers lie. Chooses the pool.
    pub place: Option<Place>,
    /// Pixels of a line.
    pub width: Option<u32>,
    /// Lines.
    pub height: Option<u32>,
    /// Pixel format.
    pub pixel: Pixel,
    /// Picture.
    pub pattern: Option<Pattern>,
    /// Frames of the first capture.
    pub frames: Option<u32>,
    /// Microseconds from frame to frame.
    pub interval_us: u32,
    /// Where frames are saved.
    pub save_frames: Option<PathBuf>,
    /// The bundle that is left if the run fails; `None`: none is.
    pub bundle: Option<bundle::Request>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            guest: GuestOptions {
                witness: true,
                ..GuestOptions::default()
            },
            memory: None,
            card: CaptureOptions::default(),
            driver_parameters: String::new(),
            fault: None,
            scenario: None,
            pool_source: None,
            pool_size: None,
            carveout: None,
            place: None,
            width: None,
            height: None,
            pixel: Pixel::Yuyv,
            pattern: None,
            frames: None,
            interval_us: 0,
            save_frames: None,
            bundle: None,
        }
    }
}

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The guest.
    pub guest: GuestOptions,
    /// Its first card.
    pub card: CaptureOptions,
    /// What is captured, in order.
    pub captures: Vec<CapturePlan>,
    /// Where frames are saved.
    pub save_frames: Option<PathBuf>,
    /// The bundle that is left if the run fails.
    pub bundle: Option<bundle::Request>,
    /// Where the second card takes a page before the first card takes its buffers.
    pub neighbour: Option<u64>,
    /// The scenario that the card's faults are from, if they are from one.
    pub scenario: Option<Scenario>,
}

impl Wishes {
    /// Makes the plan.
    ///
    /// # Errors
    /// If the wishes exclude each other.
    pub fn plan(self) -> Result<Plan, Impossible> {
        let mut captures = self.captures()?;
        let mut planted = self.scenario.iter().flat_map(|scenario| &scenario.faults);
        let needs_high = matches!(self.fault, Some((Fault::Truncate32, _)))
            || planted.any(|planted| planted.what == Fault::Truncate32);
        let least = self.place.map(Place::memory);
        let memory = self.memory.or(least).unwrap_or(match needs_high {
            true => 6 << 30,
            false => 256 * MIB,
        });
        let low_memory = match self.place {
            Some(place) => place.low_memory(self.guest.board, memory),
            None => self.guest.low_memory,
        };
        let board = self.guest.board;
        let ram = board.ram(memory, low_memory);
        let top = ram.last().map_or(0, |ram| ram.phys + ram.length);
        if needs_high && top <= 1 << 32 {
            return Err(Impossible::new(
                "the fault truncate32 shows only if the pool lies above 4 GiB",
                "leave --memory out, or give at least 3G",
            ));
        }
        let Placed {
            pool,
            at,
            iova,
            neighbour,
        } = self.pool(&captures, memory, &ram)?;
        for capture in &mut captures {
            capture.at = at;
            capture.iova = iova;
        }
        let frames = captures.first().map_or(1, |capture| capture.frames);
        let fault_frame = match self.fault {
            Some((_, Some(frame))) if frame >= frames => {
                let what = format!(
                    "the fault is to strike frame {frame}, and the first capture has {frames}"
                );
                return Err(Impossible::new(what, "frames count from 0"));
            }
            Some((_, Some(frame))) => frame,
            // The first buffer is the one that was placed.
            _ if at != 0 || iova != 0 => 0,
            _ => FAULT_FRAME.min(frames - 1),
        };
        let planted = self.fault.map(|(fault, _)| Planted::at(fault, fault_frame));
        let (faults, seed) = match &self.scenario {
            Some(scenario) => (scenario.faults.clone(), scenario.seed),
            None => (planted.into_iter().collect(), 0),
        };
        let of_masks =
            |planted: &Planted| matches!(planted.what, Fault::WriteClip | Fault::WatchFetch);
        if faults.iter().any(of_masks) {
            for capture in &mut captures {
                capture.clip = Some(capture.mask());
            }
        }
        let card = CaptureOptions {
            faults,
            seed,
            // Its own, however often these wishes are planned.
            strikes: Strikes::default(),
            ..self.card
        };
        let mut cards = vec![capture::card(card.clone())];
        if neighbour.is_some() {
            cards.push(capture::card(CaptureOptions::default()));
        }
        let mut guest = GuestOptions {
            memory,
            low_memory,
            cards,
            drivers: vec![capture::driver(card.interrupt, &self.driver_parameters)],
            pool,
            ..self.guest
        };
        if iova != 0 {
            // Else the DMA API gives out the addresses below 4 GiB first.
            guest.append = format!("{} iommu.forcedac=1", guest.append)
                .trim()
                .to_owned();
        }
        guest.check().map_err(|why| {
            let hint = "`landfall run --help` tells what goes together";
            Impossible::new(why, hint)
        })?;
        Ok(Plan {
            card,
            guest,
            captures,
            save_frames: self.save_frames,
            bundle: self.bundle,
            neighbour,
            scenario: self.scenario,
        })
    }

    /// The pool, for these captures in a guest with so much memory, which lies there.
    fn pool(
        &self,
        captures: &[CapturePlan],
        memory: u64,
        ram: &[Ram],
    ) -> Result<Placed, Impossible> {
        let top = ram.last().map_or(0, |ram| ram.phys + ram.length);
        let parameters = &self.guest.pool.parameters;
        let needed = captures.iter().map(CapturePlan::pool).max().unwrap_or(MIB);
        let board = self.guest.board;
        let start = ram.first().map_or(0, |ram| ram.phys);
        let beyond = start.checked_shr(u32::from(self.card.address_bits));
        if beyond.is_some_and(|beyond| beyond != 0) {
            let (bits, at) = (self.card.address_bits, start >> 20);
            return Err(Impossible::new(
                format!(
                    "a card that drives {bits} address bits reaches no memory of {}, which begins at {at} MiB",
                    board.architecture
                ),
                "give --address-bits 32 or more",
            ));
        }
        if let (Some(place), Some(first)) = (self.place, captures.first()) {
            let placed = place.arrange(board, memory, first)?;
            if placed.iova != 0 && !self.guest.iommu.is_there() {
                return Err(Impossible::new(
                    "no buffer can lie across 4 GiB: a PC has no RAM right below it, but firmware, interrupt controllers and the PCI hole",
                    "give --iommu too: then it lies there for the card",
                ));
            }
            if self.pool_source.is_some()
                || self.pool_size.is_some()
                || self.carveout.is_some()
                || self.guest.low_memory.is_some()
            {
                return Err(Impossible::new(
                    format!("--place {place} says where memory and pool lie and how large it is"),
                    "leave --pool-source, --pool-size, --carveout and --low-memory out",
                ));
            }
            let words = [placed.pool.parameters.as_str(), parameters].map(str::trim);
            let pool = PoolOptions {
                parameters: words.join(" ").trim().to_owned(),
                ..placed.pool
            };
            self.check_reach(&pool, ram)?;
            return Ok(Placed { pool, ..placed });
        }
        let bits = u32::from(self.card.address_bits);
        let reach = self.reach();
        let narrow = (reach < top).then_some(bits);
        let source = match (self.pool_source, self.carveout) {
            (None | Some(PoolSource::Carveout), Some(_)) => PoolSource::Carveout,
            (Some(other), Some(_)) => {
                return Err(Impossible::new(
                    format!("--carveout is for the source carveout, not for {other}"),
                    "leave one of --carveout and --pool-source out",
                ));
            }
            (Some(source), None) => source,
            (None, None) if narrow.is_some() => PoolSource::Contig,
            (None, None) => PoolSource::Reserve,
        };
        let size = match (self.pool_size, self.carveout) {
            (Some(size), None) => size,
            (_, Some((size, _))) => size,
            (None, None) if source == PoolSource::Buddy => needed.next_power_of_two(),
            // Memory that is kept at boot makes another guest, with a snapshot of its own: the usual size does for less, too.
            (None, None) if source == PoolSource::Reserve && USUAL <= memory / 4 => {
                needed.max(USUAL)
            }
            (None, None) => needed,
        };
        if source.most().is_some_and(|most| size > most) {
            return Err(Impossible::new(
                format!(
                    "the page allocator gives at most 4 MiB in one piece, and these frames need {} MiB",
                    size / MIB
                ),
                "use smaller or fewer frames, such as --width 640 --height 480 --frames 4, or --pool-source contig",
            ));
        }
        if size > memory / 2 {
            return Err(Impossible::new(
                format!(
                    "a pool of {} MiB does not fit into {} MiB of memory",
                    size / MIB,
                    memory / MIB
                ),
                "ask for more --memory, smaller frames or fewer",
            ));
        }
        let least = captures.iter().map(|capture| {
            u64::from(capture.buffers) * capture.frame_bytes().next_multiple_of(PAGE)
        });
        let least = least.max().unwrap_or(0);
        if size < least && parameters.is_empty() {
            return Err(Impossible::new(
                format!(
                    "a pool of {} KiB does not hold the buffers, which are {} KiB",
                    size / 1024,
                    least / 1024
                ),
                "ask for smaller frames or fewer, such as --width 320 --height 240 --frames 4, or a larger pool",
            ));
        }
        let pool = PoolOptions {
            source,
            size,
            carveout: self
                .carveout
                .map_or(Carveout::Top, |(_, at)| Carveout::Hole(at)),
            address_bits: narrow,
            parameters: parameters.clone(),
        };
        self.check_reach(&pool, ram)?;
        Ok(Placed {
            pool,
            at: 0,
            iova: 0,
            neighbour: None,
        })
    }

    /// The first address that the card cannot drive.
    fn reach(&self) -> u64 {
        let bits = u32::from(self.card.address_bits);
        1_u64.checked_shl(bits).unwrap_or(u64::MAX)
    }

    /// Refuses memory kept at boot that lies beyond what the card reaches.
    fn check_reach(&self, pool: &PoolOptions, ram: &[Ram]) -> Result<(), Impossible> {
        let top = ram.last().map_or(0, |ram| ram.phys + ram.length);
        let (bits, reach) = (self.card.address_bits, self.reach());
        if pool.source == PoolSource::Reserve && top > reach {
            return Err(Impossible::new(
                format!(
                    "reserved memory lies at the top of RAM, beyond the card's {bits} address bits"
                ),
                "use --pool-source contig, or less --memory",
            ));
        }
        match pool.carved(ram) {
            Some(range) if range.end > reach => Err(Impossible::new(
                format!(
                    "the carve-out ends at {:#x}, beyond the card's {bits} address bits",
                    range.end
                ),
                "place it lower with --carveout SIZE@ADDRESS",
            )),
            _ => Ok(()),
        }
    }

    /// What is captured: with a size or place asked for, that; else 1080p and then one frame of 2160p.
    fn captures(&self) -> Result<Vec<CapturePlan>, Impossible> {
        let pattern = self.pattern.unwrap_or(match self.save_frames {
            Some(_) => Pattern::Bars,
            None => Pattern::Test,
        });
        let capture = |width, height, frames| CapturePlan {
            width,
            height,
            pixel: self.pixel,
            pattern,
            interval_us: self.interval_us,
            frames,
            buffers: frames.min(BUFFERS),
            stride: 0,
            clip: None,
            at: 0,
            iova: 0,
        };
        let frames = self.frames.unwrap_or(8).max(1);
        let scattered = self.pool_source.is_some_and(PoolSource::is_scattered);
        let (width, height) = match self.place {
            Some(place) => place.picture(),
            // A page: more may not lie in one piece.
            None if scattered => (64, 32),
            None => (1920, 1080),
        };
        let first = capture(
            self.width.unwrap_or(width),
            self.height.unwrap_or(height),
            frames,
        );
        if first.pixel == Pixel::Yuyv && first.width % 2 != 0 {
            let what = format!(
                "a line of {} pixels cannot be YUYV, which has two in four bytes",
                first.width
            );
            return Err(Impossible::new(
                what,
                "use an even --width, or --format grey",
            ));
        }
        if first.frame_bytes() > u64::from(self.card.max_frame) {
            let what = format!(
                "a frame of {} bytes is larger than the card takes",
                first.frame_bytes()
            );
            return Err(Impossible::new(
                what,
                format!("the card takes {} bytes", self.card.max_frame),
            ));
        }
        if self.width.is_some() || self.height.is_some() || self.place.is_some() || scattered {
            return Ok(vec![first]);
        }
        Ok(vec![first, capture(3840, 2160, 1)])
    }
}

impl CapturePlan {
    /// Bytes of a frame, lines as tight as they can be.
    pub(super) fn frame_bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.pixel.bytes()) * u64::from(self.height)
    }

    /// Bytes of pool that it needs: whole pages and a guard page on each side of every buffer, the
    /// self-test's page, and some room; in whole MiB.
    pub(super) fn pool(&self) -> u64 {
        let buffer = self.frame_bytes().div_ceil(PAGE) * PAGE + 2 * PAGE;
        (buffer * u64::from(self.buffers) + MIB).div_ceil(MIB) * MIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(wish: impl FnOnce(&mut Wishes)) -> Result<Plan, Impossible> {
        let mut wishes = Wishes::default();
        wish(&mut wishes);
        wishes.plan()
    }

    fn card(plan: &Plan) -> &CaptureOptions {
        assert_eq!(plan.guest.cards.len(), 1);
        &plan.card
    }

    #[test]
    fn the_default_is_the_main_job() {
        let plan = plan(|_| ()).unwrap();

        assert_eq!(plan.guest.memory, 256 * MIB);
        let shape = |capture: &CapturePlan| (capture.width, capture.height, capture.frames);
        let shapes: Vec<_> = plan.captures.iter().map(shape).collect();
        assert_eq!(shapes, [(1920, 1080, 8), (3840, 2160, 1)]);
        assert_eq!(plan.guest.pool.source, PoolSource::Reserve);
        assert_eq!(plan.guest.pool.size, USUAL);
        assert_eq!(card(&plan).faults, []);
    }

    #[test]
    fn truncate32_brings_its_memory_or_says_what_it_needs() {
        let fault = Some((Fault::Truncate32, None));
        assert_eq!(
            plan(|wishes| wishes.fault = fault).unwrap().guest.memory,
            6 << 30
        );

        let low =
            plan(|wishes| (wishes.fault, wishes.memory) = (fault, Some(1 << 30))).unwrap_err();
        assert!(low.what.contains("above 4 GiB"), "{low:?}");
    }

    #[test]
    fn a_card_that_cannot_reach_the_top_gets_a_pool_that_it_can() {
        let narrow =
            |wishes: &mut Wishes| (wishes.card.address_bits, wishes.memory) = (32, Some(6 << 30));
        let pool = plan(narrow).unwrap().guest.pool;
        assert_eq!(
            (pool.source, pool.address_bits),
            (PoolSource::Contig, Some(32))
        );

        let forced = |wishes: &mut Wishes| {
            narrow(wishes);
            wishes.pool_source = Some(PoolSource::Reserve);
        };
        assert!(plan(forced).unwrap_err().hint.contains("contig"));
    }

    #[test]
    fn the_page_allocator_gives_little() {
        let small = |wishes: &mut Wishes| {
            wishes.pool_source = Some(PoolSource::Buddy);
            (wishes.width, wishes.height, wishes.frames) = (Some(640), Some(480), Some(4));
        };
        assert_eq!(plan(small).unwrap().guest.pool.size, 4 * MIB);

        let large = |wishes: &mut Wishes| wishes.pool_source = Some(PoolSource::Buddy);
        assert!(plan(large).unwrap_err().what.contains("4 MiB"));

        let little = |wishes: &mut Wishes| wishes.pool_size = Some(2 * MIB);
        let refused = plan(little).unwrap_err().what;
        assert!(refused.contains("2048 KiB"), "{refused}");
    }

    #[test]
    fn a_carve_out_is_the_pool_if_the_card_reaches_it() {
        let hole = |wishes: &mut Wishes| {
            wishes.carveout = Some((2 * MIB, 14 * MIB));
            (wishes.width, wishes.height, wishes.frames) = (Some(640), Some(480), Some(2));
            wishes.card.address_bits = 24;
        };
        let pool = plan(hole).unwrap().guest.pool;
        assert_eq!(
            pool.carved(&GuestOptions::default().ram()),
            Some(14 * MIB..16 * MIB)
        );

        let beyond = |wishes: &mut Wishes| {
            hole(wishes);
            wishes.carveout = Some((2 * MIB, 15 * MIB));
        };
        assert!(plan(beyond).unwrap_err().what.contains("24 address bits"));
        let other = |wishes: &mut Wishes| {
            hole(wishes);
            wishes.pool_source = Some(PoolSource::Cma);
        };
        assert!(plan(other).unwrap_err().what.contains("not for cma"));
    }

    #[test]
    fn a_place_chooses_memory_pool_and_picture() {
        let placed = plan(|wishes| wishes.place = Some(Place::LastPage)).unwrap();
        assert_eq!(placed.guest.memory, 512 * MIB);
        assert_eq!(placed.guest.low_memory, Some(256 * MIB));
        assert_eq!(placed.captures.len(), 1);
        assert_eq!(placed.captures[0].at, (4 << 30) + 256 * MIB - 640 * 480 * 2);

        let beside = plan(|wishes| wishes.place = Some(Place::BesideOther)).unwrap();
        assert_eq!(beside.guest.cards.len(), 2);
        assert_eq!(beside.captures[0].buffers, 8);
        let both = plan(|wishes| {
            wishes.place = Some(Place::Below16M);
            wishes.pool_source = Some(PoolSource::Contig);
        });
        assert!(both.unwrap_err().hint.contains("--pool-source"));
    }

    #[test]
    fn a_fault_strikes_a_frame_that_exists() {
        let strike = |frames, at| {
            plan(|wishes| (wishes.frames, wishes.fault) = (Some(frames), Some((Fault::Short, at))))
        };
        let struck = |plan: &Plan| card(plan).faults[0].when.frame;
        assert_eq!(struck(&strike(8, None).unwrap()), Some(2));
        assert_eq!(struck(&strike(1, None).unwrap()), Some(0));
        assert_eq!(struck(&strike(8, Some(7)).unwrap()), Some(7));
        assert!(strike(8, Some(8)).unwrap_err().what.contains("frame 8"));
    }

    #[test]
    fn frames_that_cannot_be_are_refused_before_anything_boots() {
        assert!(
            plan(|wishes| wishes.width = Some(1921))
                .unwrap_err()
                .what
                .contains("YUYV")
        );
        let huge =
            |wishes: &mut Wishes| (wishes.width, wishes.height) = (Some(60_000), Some(60_000));
        assert!(
            plan(huge)
                .unwrap_err()
                .what
                .contains("larger than the card")
        );
        let many = |wishes: &mut Wishes| wishes.pool_size = Some(200 * MIB);
        assert!(plan(many).unwrap_err().what.contains("does not fit"));
    }
}
