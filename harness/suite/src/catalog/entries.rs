// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is planted for each class, and where it must be named.

use std::time::Duration;

use landfall_cards::capture::{CaptureOptions, Fault, Planted, When};
use landfall_device::contract::InterruptKind;

use super::Leg;

/// What is done to the guest while the driver is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing.
    #[default]
    Nothing,
    /// The kernel restarts.
    Restart,
    /// The card's link fails: [`landfall::guest::Guest::fail_link`].
    FailLink,
}

/// A trial, planted and clean.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// The driver has the mutant with the class's number.
    pub mutant: bool,
    /// More parameters of the driver, of both twins.
    pub parameters: &'static str,
    /// A fault of the card.
    pub fault: Option<Planted>,
    /// What the card does in both twins.
    pub environment: Option<Planted>,
    /// How the card is made, in both twins.
    pub card: fn(&mut CaptureOptions),
    /// What is done to the guest, in both twins.
    pub action: Action,
    /// Bytes of a cache line, to judge both as on a machine that is not coherent.
    pub cache_line: u64,
}

/// A capture or call of its own, where a trial cannot show the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// The driver maps a page of another buffer to user space.
    WrongPage,
    /// "Reserved" memory that nothing keeps from the kernel.
    NotReserved,
    /// A buffer goes back to the pool while user space still writes to it.
    FreedWhileMapped,
    /// A driver gives the pool an address from the middle of a buffer.
    InteriorPointer,
    /// A program reads a video buffer that a stock driver has.
    ReadWhileQueued,
}

/// How a class is planted.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are 63, in one table, and most are trials"
)]
pub enum Way {
    /// In a trial.
    Case(Recipe),
    /// In a guest with the pool.
    Job(Job),
    /// In a driver of the ring card, as one of [`super::BUGS`]: its name.
    Ring(&'static str),
}

/// A class in the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its number.
    pub number: u8,
    /// How it is planted.
    pub planted: Way,
    /// On which platforms it must be named.
    pub legs: &'static [Leg],
    /// What is planted, in words.
    pub what: &'static str,
}

const TWIN: Recipe = Recipe {
    mutant: false,
    parameters: "",
    fault: None,
    environment: None,
    card: |_| (),
    action: Action::Nothing,
    cache_line: 0,
};

/// A frame is in work for long enough that a guest which has to wait for the host finds it there.
const SLOW: Recipe = Recipe {
    card: |card| card.rest = Duration::from_millis(20),
    ..TWIN
};

const PLAIN: &[Leg] = &[Leg::Plain];
const IOMMU: &[Leg] = &[Leg::Iommu];
const SWIOTLB: &[Leg] = &[Leg::Swiotlb];
const SYNCS: &[Leg] = &[Leg::Plain, Leg::Swiotlb];
const CPU: &[Leg] = &[Leg::Cpu];
const PLAIN_CPU: &[Leg] = &[Leg::Plain, Leg::Cpu];
const SYNCS_CPU: &[Leg] = &[Leg::Plain, Leg::Swiotlb, Leg::Cpu];
const HIGH: &[Leg] = &[Leg::High];
const FRAGMENTED: &[Leg] = &[Leg::Fragmented];

/// Waits that would not end do after 6 s: one is longer than what [`super::conduct`] takes for a hang, and so are the three of a
/// card that is gone together.
const IMPATIENT: &str = "patience=6";

/// A mutant of the driver that needs nothing else.
const fn driver(number: u8, legs: &'static [Leg], what: &'static str) -> Entry {
    mutant(number, legs, what, TWIN)
}

/// A mutant of the driver, with a twin that is no plain one.
const fn mutant(number: u8, legs: &'static [Leg], what: &'static str, twin: Recipe) -> Entry {
    let recipe = Recipe {
        mutant: true,
        ..twin
    };
    let planted = Way::Case(recipe);
    Entry {
        number,
        planted,
        legs,
        what,
    }
}

/// A fault of the card, which strikes once.
const fn card(number: u8, legs: &'static [Leg], what: &'static str, fault: Planted) -> Entry {
    let planted = Way::Case(Recipe {
        fault: Some(fault),
        ..TWIN
    });
    Entry {
        number,
        planted,
        legs,
        what,
    }
}

/// At the second frame.
const fn in_a_frame(what: Fault) -> Planted {
    let when = When {
        frame: Some(1),
        ..ALWAYS.when
    };
    Planted {
        what,
        when,
        ..ALWAYS
    }
}

/// At its first opportunity.
const fn once(what: Fault) -> Planted {
    Planted { what, ..ALWAYS }
}

const ALWAYS: Planted = Planted {
    what: Fault::WatchFetch,
    when: When {
        frame: None,
        byte: None,
        write: None,
        after_us: None,
        probability: None,
    },
    times: 1,
};

const fn job(number: u8, what: &'static str, job: Job) -> Entry {
    Entry {
        number,
        planted: Way::Job(job),
        legs: PLAIN,
        what,
    }
}

/// All, in the order of their numbers.
pub static ENTRIES: [Entry; 63] = [
    card(
        1,
        PLAIN,
        "the card writes a byte past the frame",
        in_a_frame(Fault::Overrun),
    ),
    driver(
        2,
        HIGH,
        "the driver leaves out the upper half of the address",
    ),
    card(
        3,
        IOMMU,
        "the card drops the address bits from 40 on",
        in_a_frame(Fault::Truncate { bits: 40 }),
    ),
    mutant(
        4,
        HIGH,
        "the driver sets a 64-bit mask for a card with 32 address bits",
        Recipe {
            card: |card| card.address_bits = 32,
            ..TWIN
        },
    ),
    driver(5, IOMMU, "the driver programs the physical address"),
    job(
        6,
        "the driver maps a page of another buffer to user space",
        Job::WrongPage,
    ),
    driver(
        7,
        PLAIN,
        "the driver programs a buffer that it has unmapped",
    ),
    job(
        8,
        "a carve-out that no boot option keeps from the kernel",
        Job::NotReserved,
    ),
    mutant(
        9,
        PLAIN,
        "the clip mask, which the card fetches, lies across a page",
        Recipe {
            card: |card| card.fetch_boundary = 4096,
            ..TWIN
        },
    ),
    mutant(
        10,
        PLAIN,
        "a buffer lies across the card's boundary",
        Recipe {
            card: |card| card.boundary_shift = 16,
            ..TWIN
        },
    ),
    mutant(
        11,
        PLAIN,
        "a frame is longer than the card takes",
        Recipe {
            card: |card| card.max_frame = 64 * 1024,
            ..TWIN
        },
    ),
    mutant(
        12,
        PLAIN,
        "a buffer is not aligned as the card asks",
        Recipe {
            card: |card| card.align_shift = 12,
            ..TWIN
        },
    ),
    driver(13, PLAIN, "the length is hard-wired, whatever was lent"),
    driver(14, PLAIN, "a line more is programmed than was lent"),
    driver(
        15,
        PLAIN,
        "the kernel's read-only data is mapped for the card",
    ),
    driver(16, PLAIN, "a variable on the stack is mapped for the card"),
    driver(17, PLAIN, "an address of vmalloc is mapped for the card"),
    mutant(
        18,
        PLAIN,
        "two mappings share a cache line, on a machine that is not coherent",
        Recipe {
            cache_line: 64,
            ..TWIN
        },
    ),
    card(
        19,
        IOMMU,
        "the card takes address bit 57 for routing",
        in_a_frame(Fault::Route),
    ),
    card(
        20,
        PLAIN,
        "the card writes after it said idle",
        once(Fault::AfterStop),
    ),
    job(
        21,
        "a buffer goes back to the pool while user space writes to it",
        Job::FreedWhileMapped,
    ),
    driver(22, PLAIN, "the driver leaves bus mastering on when it goes"),
    card(
        23,
        PLAIN,
        "the card writes before anything is lent",
        once(Fault::EarlyDma),
    ),
    mutant(
        24,
        PLAIN,
        "no shutdown: the card runs while the kernel goes down",
        Recipe {
            action: Action::Restart,
            ..TWIN
        },
    ),
    driver(25, PLAIN, "bus mastering goes off before the interrupt"),
    mutant(
        26,
        PLAIN,
        "the driver polls a card that is gone",
        Recipe {
            environment: Some(in_a_frame(Fault::Sever)),
            parameters: IMPATIENT,
            ..TWIN
        },
    ),
    driver(
        27,
        PLAIN,
        "a timer outlives the binding, and resets the card",
    ),
    mutant(
        28,
        PLAIN,
        "the driver goes on with registers that are not decoded any more",
        Recipe {
            parameters: IMPATIENT,
            ..TWIN
        },
    ),
    mutant(
        29,
        PLAIN,
        "no error handlers: an error on the link resets the card under its driver",
        Recipe {
            parameters: "lasting=1",
            action: Action::FailLink,
            ..TWIN
        },
    ),
    mutant(
        30,
        PLAIN,
        "a cancelled capture gives its buffer back while the card writes it",
        SLOW,
    ),
    mutant(
        31,
        PLAIN,
        "the driver goes, and its buffers with it, while the card runs",
        SLOW,
    ),
    mutant(
        32,
        PLAIN,
        "the geometry is reprogrammed while a frame is in work",
        SLOW,
    ),
    job(
        33,
        "the pool is given an address from the middle of a buffer",
        Job::InteriorPointer,
    ),
    mutant(
        34,
        PLAIN_CPU,
        "the clip mask is written after the doorbell",
        Recipe {
            environment: Some(once(Fault::WatchFetch)),
            ..TWIN
        },
    ),
    driver(
        35,
        CPU,
        "a frame is read behind a read of DONE that keeps no order",
    ),
    mutant(
        36,
        PLAIN,
        "memory goes back right after a stop that was not read back",
        Recipe {
            environment: Some(once(Fault::Posted { delay_us: 300_000 })),
            ..TWIN
        },
    ),
    driver(37, SYNCS_CPU, "no sync for the CPU before a frame is read"),
    mutant(
        38,
        SYNCS_CPU,
        "no sync for the device after the CPU wrote what the card reads",
        Recipe {
            parameters: "buffers=1 remask=1",
            ..TWIN
        },
    ),
    driver(39, PLAIN, "the buffer is mapped for reading"),
    driver(40, SYNCS, "a sync of what was never mapped"),
    card(
        41,
        PLAIN,
        "the card reports a frame before its last bytes",
        in_a_frame(Fault::EarlyDone),
    ),
    card(
        42,
        PLAIN,
        "the card interrupts before the last bytes",
        in_a_frame(Fault::EarlyIrq),
    ),
    card(
        43,
        PLAIN,
        "the card leaves an interrupt out",
        in_a_frame(Fault::LostIrq),
    ),
    card(
        44,
        PLAIN,
        "the card interrupts during probe",
        once(Fault::ProbeIrq),
    ),
    mutant(
        45,
        PLAIN,
        "the driver wants MSI-X of a card that has MSI",
        Recipe {
            card: |card| card.interrupt = InterruptKind::Msi,
            ..TWIN
        },
    ),
    card(
        46,
        PLAIN,
        "the card interrupts twice for one frame",
        in_a_frame(Fault::DuplicateIrq),
    ),
    driver(47, PLAIN, "a mapping is undone with another length"),
    driver(48, PLAIN, "a mapping is undone twice"),
    driver(49, SWIOTLB, "a mapping fails, and its address is used"),
    driver(50, PLAIN, "coherent memory is given back as a mapping"),
    driver(
        51,
        IOMMU,
        "a list is unmapped with the count that was mapped",
    ),
    driver(52, SWIOTLB, "a mapping fails, and those before it stay"),
    driver(53, PLAIN, "a mapping is never undone"),
    driver(54, FRAGMENTED, "a large allocation fails, and is used"),
    mutant(
        55,
        PLAIN,
        "the card reports more bytes than there can be, and all are copied",
        Recipe {
            fault: Some(in_a_frame(Fault::LongLength)),
            ..TWIN
        },
    ),
    card(
        56,
        PLAIN,
        "the card writes half of the frame and reports all",
        in_a_frame(Fault::Short),
    ),
    Entry {
        number: 57,
        planted: Way::Case(Recipe {
            // Its last page has room behind it.
            parameters: "width=48",
            fault: Some(in_a_frame(Fault::ProbePage)),
            ..TWIN
        }),
        legs: PLAIN,
        what: "the card reads what lies beside a buffer in its page",
    },
    driver(
        58,
        PLAIN,
        "the driver writes registers that the card does not have",
    ),
    Entry {
        number: 59,
        planted: Way::Ring("written-back"),
        legs: PLAIN,
        what: "a descriptor is armed again with what the card wrote into its address",
    },
    driver(60, PLAIN, "the buffers are mapped for another device"),
    driver(61, CPU, "the CPU reads a frame that is the card's to write"),
    mutant(
        62,
        CPU,
        "the CPU writes what is mapped, and the card reads it",
        Recipe {
            // With several, one's write before its doorbell is another's after it.
            parameters: "buffers=1",
            ..TWIN
        },
    ),
    Entry {
        legs: CPU,
        ..job(
            63,
            "a program reads a video buffer that it has queued",
            Job::ReadWhileQueued,
        )
    },
];

impl Entry {
    /// The entry of a class; `None` if there is no such class.
    pub fn of(number: u8) -> Option<&'static Self> {
        ENTRIES.get(usize::from(number).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_the_classes() {
        for (entry, class) in ENTRIES.iter().zip(landfall_device::ledger::Class::ALL) {
            assert_eq!(entry.number, class.number(), "{}", class.title());
        }
    }

    #[test]
    fn what_is_planted_must_be_named_somewhere() {
        for entry in &ENTRIES {
            assert!(!entry.legs.is_empty(), "{}", entry.number);
        }
    }

    #[test]
    fn a_trial_plants_something_that_its_twin_has_not() {
        for entry in &ENTRIES {
            if let Way::Case(recipe) = entry.planted {
                assert!(recipe.mutant || recipe.fault.is_some(), "{}", entry.number);
            }
        }
    }
}
