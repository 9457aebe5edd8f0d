// SPDX-License-Identifier: MIT OR Apache-2.0

//! The patterns of `kmod/gallery`, and those of them that are done wrong.

use landfall::judge::Leg;
use landfall_cards::ring::{Fault, RingOptions};
use landfall_device::contract::InterruptKind;
use landfall_device::ledger::Class;

/// Something that correct drivers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The driver's parameter `pattern`.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The card has MSI, and no MSI-X.
    pub msi: bool,
    /// What may be hinted at, and need not: the bytes that nobody syncs are not read either.
    pub hint: Option<Class>,
}

const fn usual(name: &'static str, what: &'static str) -> Pattern {
    Pattern {
        name,
        what,
        msi: false,
        hint: None,
    }
}

/// All patterns.
pub static PATTERNS: [Pattern; 85] = [
    usual(
        "own",
        "the card polls a ring in memory for a bit that makes a descriptor its own",
    ),
    usual(
        "phase",
        "likewise, with a bit that changes its meaning from round to round",
    ),
    usual("doorbell", "descriptors are the card's up to a doorbell"),
    usual(
        "batch",
        "several descriptors are armed, and the doorbell is rung once",
    ),
    usual(
        "quiet",
        "neither interrupts nor doorbells: both sides look at memory",
    ),
    usual("block", "completions are counted in a status block"),
    usual(
        "shared-block",
        "two queues have status blocks in one page, one beside the other",
    ),
    usual(
        "deep",
        "hundreds of buffers are lent at once, each armed right after it was mapped, while the card polls",
    ),
    usual("tiny", "a ring of two, with a phase bit"),
    usual(
        "two-cpus",
        "two queues that the card polls, from two CPUs at once",
    ),
    usual("four-queues", "four queues with a vector each, at once"),
    usual(
        "one-stops",
        "a queue is stopped and its ring freed, over and over, while another works",
    ),
    usual(
        "restart",
        "a queue is stopped and begins again with the same ring",
    ),
    usual("transmit", "the card reads, from 1 byte to 9000"),
    usual("both-ways", "a queue reads while another writes"),
    usual("gather", "the card reads a list of pieces of odd sizes"),
    usual(
        "scatter",
        "the card writes into a list of pieces of odd sizes",
    ),
    usual(
        "chain",
        "a job of three descriptors, around the ring's end too",
    ),
    usual("sg-table", "a table of pages, mapped and synced as a whole"),
    usual("copy", "the card copies from one mapping to another"),
    usual("copy-back", "a job reads what the job before it writes"),
    usual(
        "failed-job",
        "a job that the card refuses, and the driver knows it",
    ),
    usual("vectors", "four queues and the rest, a vector for each"),
    usual("two-vectors", "four queues on two vectors"),
    usual("one-vector", "four queues on one vector"),
    usual("line", "four queues on the interrupt line"),
    Pattern {
        msi: true,
        ..usual("message", "four queues on one MSI message")
    },
    usual("threaded", "interrupts that are handled by threads"),
    usual("coalesce", "every fourth completion interrupts, or a timer"),
    usual(
        "coalesce-count",
        "every fourth completion interrupts; what is left is looked for",
    ),
    usual(
        "edge",
        "a card that interrupts only when no cause is pending",
    ),
    usual(
        "other-causes",
        "link, error and timer interrupt, while a job is in work and while none is",
    ),
    usual(
        "masked",
        "what completes while it is masked interrupts when it is unmasked",
    ),
    usual("disabled", "likewise, with the interrupt off in the kernel"),
    usual("refill-in-irq", "the interrupt unmaps, maps and arms"),
    usual("sync-in-irq", "the interrupt syncs and arms again"),
    usual(
        "napi",
        "the interrupt masks its queue, and a softirq takes what is over",
    ),
    usual("napi-coalesced", "likewise, with coalesced interrupts"),
    usual(
        "halves",
        "two mappings in one page, each given back by itself",
    ),
    usual(
        "twice",
        "one buffer is mapped twice, to be read twice at once",
    ),
    usual(
        "neighbours",
        "small pieces of kmalloc, which may share a cache line",
    ),
    usual("bidirectional", "the card reads and writes the same buffer"),
    usual(
        "skip-sync",
        "mapped without a sync, and synced by hand where the card wrote",
    ),
    usual(
        "need-unmap",
        "nothing is unmapped where the kernel says that nothing has to be",
    ),
    usual(
        "partial-syncs",
        "first the header is synced, then what follows it",
    ),
    usual(
        "requeue",
        "received, synced for the CPU, read, and queued again without a sync for the device",
    ),
    Pattern {
        hint: Some(Class::MissingSyncForCpu),
        ..usual(
            "unread",
            "every second frame is dropped unread, and so unsynced",
        )
    },
    usual(
        "rewrite",
        "the CPU writes between the syncs, into what the card reads",
    ),
    usual("other-cpu", "what one CPU mapped another one unmaps"),
    usual(
        "timer",
        "a timer's interrupt maps and unmaps while a task does",
    ),
    usual("lists", "lists of pages, which an IOMMU joins"),
    usual(
        "lists-in-irq",
        "a timer's interrupt maps and unmaps lists while a task does",
    ),
    usual(
        "unmap-in-timer",
        "what is over is unmapped in a timer's interrupt",
    ),
    usual(
        "mapping-error",
        "a mapping that may fail, and is made smaller then",
    ),
    usual("pool", "blocks of a dma_pool, got and given back"),
    usual("pool-lists", "lists in blocks of a dma_pool"),
    usual(
        "managed",
        "dmam_alloc_coherent and dmam_pool_create, which go with the device",
    ),
    usual(
        "coherent-and-streaming",
        "copies between coherent memory and a streaming mapping",
    ),
    usual("free-null", "what was never got is freed"),
    usual("zero-page", "the zero page is mapped to be read"),
    usual("noncontiguous", "dma_alloc_noncontiguous"),
    usual("pages", "dma_alloc_pages"),
    usual("narrow", "a mask of 32 bits"),
    usual(
        "carved",
        "ring, status block and buffers in one coherent piece",
    ),
    usual(
        "d3",
        "the card sleeps and wakes up; what was lent stays lent",
    ),
    usual(
        "d3-memory",
        "memory is given back, and other memory lent, while the card sleeps",
    ),
    usual("left-in-d3", "the card is left asleep, and bound again"),
    usual("flr", "a function-level reset between two uses"),
    usual("rebind", "bound and unbound twenty times"),
    usual(
        "refused",
        "the probe lends, gives back, and refuses the card",
    ),
    usual("stop-outstanding", "a queue is stopped with jobs in hand"),
    usual(
        "cancel",
        "one of several jobs is cancelled, the others are armed again",
    ),
    usual("card-reset", "the card is reset with jobs in hand"),
    usual(
        "master-off",
        "bus mastering is switched off before memory is given back",
    ),
    usual("stays-lent", "the card has jobs until it is unbound"),
    usual(
        "handed-over",
        "one CPU maps, syncs and unmaps what another loads and stores",
    ),
    usual(
        "wiped",
        "a mapped buffer is wiped, and then given to the card",
    ),
    usual(
        "part-of-it",
        "what was synced of a buffer is looked at, and no more",
    ),
    usual(
        "beside",
        "strings end, and bytes are stored, right beside a lend",
    ),
    usual(
        "read-barrier",
        "a read barrier keeps the payload behind the descriptor that says it is there",
    ),
    usual("load-acquires", "likewise, a load that acquires"),
    usual("by-register", "likewise, a register that is read in order"),
    usual(
        "relaxed-and-barrier",
        "likewise, one that is read without order, and a barrier",
    ),
    usual(
        "read-by-another",
        "one CPU finds out, and another reads, backwards",
    ),
    usual(
        "barrier-and-doorbell",
        "a write barrier keeps a descriptor before a doorbell that keeps no order",
    ),
];

impl Pattern {
    /// The one of that name.
    pub fn of(name: &str) -> Option<&'static Self> {
        PATTERNS.iter().find(|pattern| pattern.name == name)
    }

    /// The card that it needs.
    pub(super) fn card(&self) -> RingOptions {
        RingOptions {
            interrupt: match self.msi {
                true => InterruptKind::Msi,
                false => InterruptKind::Msix,
            },
            ..RingOptions::default()
        }
    }
}

/// Something that a driver of the ring card, or the card, does wrong: the negative control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// What it is called.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The driver's parameters, and those of a twin that does it right.
    pub parameters: (&'static str, &'static str),
    /// What the card does wrong; the twin's does not.
    pub fault: Option<Fault>,
    /// What it is named.
    pub class: Class,
    /// It is a hint: whether it is wrong only who sees the CPU's accesses could tell.
    pub hint: bool,
    /// On which platform it is named.
    pub leg: Leg,
}

impl Bug {
    /// The bug of a name.
    pub fn of(name: &str) -> Option<&'static Self> {
        BUGS.iter().find(|bug| bug.name == name)
    }
}

/// All bugs.
pub static BUGS: [Bug; 17] = [
    Bug {
        name: "elsewhere",
        what: "the card is given an address that another device got",
        parameters: ("bug=elsewhere", "bug=here"),
        fault: None,
        class: Class::LentToAnother,
        hint: false,
        leg: Leg::Plain,
    },
    Bug {
        name: "written-back",
        what: "a descriptor is armed again with what the card left in its address",
        parameters: ("bug=written-back", "bug=rewritten"),
        fault: None,
        class: Class::AddressFromCard,
        hint: false,
        leg: Leg::Plain,
    },
    Bug {
        name: "lost-coalesced",
        what: "the card does not tell of the last completions",
        parameters: ("bug=coalesced patience=2500", "bug=coalesced"),
        fault: Some(Fault::LostCoalesced),
        class: Class::LostInterrupt,
        hint: false,
        leg: Leg::Plain,
    },
    Bug {
        name: "early-done",
        what: "the card reports a job as over that it still reads for",
        parameters: ("pattern=gather", "pattern=gather"),
        fault: Some(Fault::EarlyDone),
        class: Class::DoneTooEarly,
        hint: false,
        leg: Leg::Plain,
    },
    Bug {
        name: "pool-freed",
        what: "a block goes back to its dma_pool while the card has it",
        parameters: ("bug=pool-freed", "pattern=pool-lists"),
        fault: None,
        class: Class::CancelMidTransfer,
        hint: false,
        leg: Leg::Plain,
    },
    Bug {
        name: "never-syncs",
        what: "a buffer that stays mapped is read without a sync",
        parameters: ("bug=never-syncs", "pattern=requeue"),
        fault: None,
        class: Class::MissingSyncForCpu,
        hint: true,
        leg: Leg::Swiotlb,
    },
    Bug {
        name: "first-of-chain",
        what: "a job is given back when the first of its descriptors is over",
        parameters: ("bug=first-of-chain", "pattern=chain"),
        fault: None,
        class: Class::CancelMidTransfer,
        hint: false,
        leg: Leg::Plain,
    },
    Bug {
        name: "spurious",
        what: "the card interrupts without a cause after its second stop",
        parameters: ("pattern=restart", "pattern=restart"),
        fault: Some(Fault::Spurious),
        class: Class::SpuriousInterrupt,
        hint: false,
        leg: Leg::Plain,
    },
    Bug {
        name: "cause-cleared-late",
        what: "the cause is cleared when everything was looked at: what is over in between is lost",
        parameters: (
            "bug=cause-cleared-late patience=2500",
            "bug=cause-cleared-first",
        ),
        fault: None,
        class: Class::LostInterrupt,
        hint: true,
        leg: Leg::Plain,
    },
    Bug {
        name: "while-lent",
        what: "another CPU looks into what the card has",
        parameters: ("bug=while-lent", "pattern=handed-over"),
        fault: None,
        class: Class::CpuReads,
        hint: false,
        leg: Leg::Cpu,
    },
    Bug {
        name: "wiped-late",
        what: "a mapped buffer is wiped, and the card writes it",
        parameters: ("bug=wiped-late", "pattern=wiped"),
        fault: None,
        class: Class::CpuWrites,
        hint: false,
        leg: Leg::Cpu,
    },
    Bug {
        name: "beyond-the-part",
        what: "more is looked at than was synced",
        parameters: ("bug=beyond-the-part", "pattern=part-of-it"),
        fault: None,
        class: Class::MissingSyncForCpu,
        hint: false,
        leg: Leg::Cpu,
    },
    Bug {
        name: "no-read-barrier",
        what: "nothing keeps the payload behind the descriptor",
        parameters: ("bug=no-read-barrier", "pattern=read-barrier"),
        fault: None,
        class: Class::MissingReadBarrier,
        hint: false,
        leg: Leg::Cpu,
    },
    Bug {
        name: "barrier-for-cpus",
        what: "a barrier for CPUs alone does",
        parameters: ("bug=barrier-for-cpus", "pattern=load-acquires"),
        fault: None,
        class: Class::MissingReadBarrier,
        hint: false,
        leg: Leg::Cpu,
    },
    Bug {
        name: "one-word-early",
        what: "one word is read before the barrier",
        parameters: ("bug=one-word-early", "pattern=read-by-another"),
        fault: None,
        class: Class::MissingReadBarrier,
        hint: false,
        leg: Leg::Cpu,
    },
    Bug {
        name: "relaxed-register",
        what: "nothing keeps it behind a register that is read without order",
        parameters: ("bug=relaxed-register", "pattern=relaxed-and-barrier"),
        fault: None,
        class: Class::MissingReadBarrier,
        hint: false,
        leg: Leg::Cpu,
    },
    Bug {
        name: "relaxed-doorbell",
        what: "nothing keeps a descriptor before a doorbell that keeps no order",
        parameters: ("bug=relaxed-doorbell", "pattern=barrier-and-doorbell"),
        fault: None,
        class: Class::MissingWriteBarrier,
        hint: false,
        leg: Leg::Cpu,
    },
];
