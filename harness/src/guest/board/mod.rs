// SPDX-License-Identifier: MIT OR Apache-2.0

//! The boards that QEMU emulates: a file each, with what QEMU and the guest's kernel are told for it, and where it has its
//! memory.

mod pc;
mod virt;

use std::ops::Range;

use landfall_guest::Prepared;
use landfall_plugin::stamps::Kind as Barriers;

use super::memory::Ram;
use super::qemu::tuning::Tuning;

/// The machine that a guest of an architecture runs on.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// The architecture that it is for; see [`Architecture`](landfall_guest::Architecture).
    pub architecture: &'static str,
    /// Its type, as QEMU's `-machine` takes it, with what it cannot do without.
    pub(crate) machine: &'static str,
    /// The serial console, in the guest's `/dev`.
    pub(crate) console: &'static str,
    /// Options of QEMU's that it has besides those of every board.
    pub(crate) options: &'static [Tuning],
    /// What the guest's kernel cannot do without.
    pub(crate) needed: &'static [Tuning],
    /// The CPU that TCG emulates, and the one of a stock boot.
    pub(crate) cpus: (&'static str, &'static str),
    /// What only saves time: features of the first of those, properties of `-machine`, words for the kernel.
    pub(crate) saving: Saving,
    /// The IOMMU.
    pub(crate) iommu: IommuWords,
    /// Where RAM lies.
    pub(crate) memory: Layout,
    /// What `mem=` has to name a multiple of, so that what is behind is anybody's.
    pub(crate) mem_unit: u64,
    /// Whether its kernels leave out a hole in RAM that is named at boot (`memmap=`).
    pub(crate) has_holes: bool,
    /// Whether the kernel itself drives the slots (PCIe's native hot-plug); else firmware does, by ACPI.
    pub(crate) drives_slots: bool,
    /// Virtual addresses that code of its kernel's has, modules' included.
    pub(crate) code: &'static [Range<u64>],
    /// How its code shows the barriers that it has.
    pub(crate) barriers: Barriers,
    /// The clock that its kernels use before they have settled on one.
    pub(crate) early_clock: Option<&'static str>,
}

/// Options that only save time; `--stock-boot` leaves them out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Saving {
    /// Features of the emulated CPU.
    pub(crate) cpu: &'static [Tuning],
    /// Properties of `-machine`.
    pub(crate) machine: &'static [Tuning],
    /// Words for the kernel, besides those for every board.
    pub(crate) kernel: &'static [Tuning],
}

/// What puts an IOMMU in front of the cards.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IommuWords {
    /// For the kernel, which uses it strictly then.
    pub(crate) kernel: &'static str,
    /// Likewise, to have it used lazily from the boot on; `None`: each card's group is switched when the card is there.
    pub(crate) lazily: Option<&'static str>,
    /// Properties of `-machine`.
    pub(crate) machine: &'static [&'static str],
    /// The device.
    pub(crate) device: &'static str,
}

/// Where a board has its RAM.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Its first address.
    start: u64,
    /// Where it is split, if it is.
    split: Option<Split>,
}

/// A split of RAM about 4 GiB.
#[derive(Debug, PartialEq, Eq)]
struct Split {
    /// Bytes of memory at and above which there is one.
    from: u64,
    /// Bytes that stay below then.
    low: u64,
    /// Where the rest begins.
    high: u64,
}

static ALL: [&Board; 2] = [&pc::PC, &virt::VIRT];

impl Board {
    /// The one for an architecture; `None`: there is none yet.
    pub fn of(architecture: &str) -> Option<&'static Self> {
        ALL.into_iter()
            .find(|board| board.architecture == architecture)
    }

    /// The one that guests of a set-up are on.
    pub fn of_set_up(prepared: &Prepared) -> &'static Self {
        // Every architecture has one: a test sees to it.
        Self::of(prepared.architecture.name).unwrap_or_default()
    }

    /// Where RAM lies, ascending, with `memory` bytes of it; `low`: at most so many of them below 4 GiB, if it can be split.
    pub fn ram(&self, memory: u64, low: Option<u64>) -> Vec<Ram> {
        let Layout { start, split } = &self.memory;
        let (below, high) = match split {
            Some(split) => {
                let room = if memory < split.from {
                    split.from
                } else {
                    split.low
                };
                (room.min(low.unwrap_or(room)).min(memory), split.high)
            }
            None => (memory, 0),
        };
        let runs = [
            Ram {
                phys: *start,
                length: below,
                offset: 0,
            },
            Ram {
                phys: high,
                length: memory - below,
                offset: below,
            },
        ];
        runs.into_iter().filter(|ram| ram.length > 0).collect()
    }

    /// What a guest's memory must be, and how much of it must lie below 4 GiB, so that at least `wanted` bytes lie above, where
    /// a kernel takes memory first.
    pub fn high(&self, wanted: u64) -> (u64, Option<u64>) {
        const LEAST: u64 = 192 << 20;
        match &self.memory.split {
            Some(_) => (wanted + LEAST, Some(LEAST)),
            None => (HIGH - self.memory.start + wanted, None),
        }
    }

    /// Whether its kernels leave out a hole in RAM that is named at boot, so that buffers can be placed to order.
    pub fn has_holes(&self) -> bool {
        self.has_holes
    }

    /// Whether memory can be told to lie below and above 4 GiB at will.
    pub(crate) fn can_split(&self) -> bool {
        self.memory.split.is_some()
    }
}

/// Where memory above 4 GiB begins.
const HIGH: u64 = 1 << 32;

impl Default for &'static Board {
    fn default() -> Self {
        &pc::PC
    }
}

#[cfg(test)]
mod tests {
    use landfall_guest::Architecture;

    use super::*;
    use crate::guest::qemu::tuning;

    const GIB: u64 = 1 << 30;

    fn pc() -> &'static Board {
        <&Board>::default()
    }

    #[test]
    fn every_architecture_has_a_board_and_no_other() {
        let boards = ALL.map(|board| board.architecture);
        assert_eq!(Architecture::names(), boards);
        assert_eq!(Board::of("vax"), None);
    }

    #[test]
    fn memory_below_the_split_is_one_run() {
        let run = |phys, length| Ram {
            phys,
            length,
            offset: 0,
        };
        assert_eq!(pc().ram(256 << 20, None), [run(0, 256 << 20)]);
        assert_eq!(pc().ram(0xb000_0000 - 1, None).len(), 1);
        let virt = Board::of("arm64").unwrap();
        assert_eq!(virt.ram(6 * GIB, None), [run(GIB, 6 * GIB)]);
    }

    #[test]
    fn six_gib_lie_two_below_and_four_above() {
        let ram = pc().ram(6 * GIB, None);

        assert_eq!(ram[0].range(), 0..2 * GIB);
        assert_eq!(ram[1].range(), 4 * GIB..8 * GIB);
        assert_eq!(ram[1].offset, 2 * GIB);
    }

    #[test]
    fn less_below_4_gib_is_more_above() {
        let ram = pc().ram(GIB, Some(GIB / 4));
        assert_eq!(ram[0].range(), 0..GIB / 4);
        assert_eq!(ram[1].range(), 4 * GIB..4 * GIB + 3 * GIB / 4);
        let (both, wide) = (pc().ram(6 * GIB, Some(3 * GIB)), pc().ram(6 * GIB, None));
        assert_eq!(both, wide);
        assert_eq!(pc().ram(GIB, Some(2 * GIB)), pc().ram(GIB, None));
    }

    #[test]
    fn as_much_as_is_wanted_lies_high() {
        for board in ALL {
            let (memory, low) = board.high(GIB / 2);
            let ram = board.ram(memory, low);
            let above = |ram: &Ram| ram.range().end - ram.phys.max(HIGH).min(ram.range().end);
            assert_eq!(ram.iter().map(above).sum::<u64>(), GIB / 2, "{board:?}");
        }
    }

    #[test]
    fn every_option_is_given_once_and_has_a_reason_and_hides_nothing() {
        for board in ALL {
            let Saving {
                cpu,
                machine,
                kernel,
            } = &board.saving;
            let of_kernel = [tuning::KERNEL, board.needed, kernel].concat();
            let options = [tuning::NEEDED, board.options].concat();
            for table in [*cpu, *machine, &of_kernel, &options] {
                tuning::tests::each_is_given_once(table);
            }
            tuning::tests::none_weakens_a_check(kernel);
        }
    }
}
