// SPDX-License-Identifier: MIT OR Apache-2.0

//! A PC: QEMU's `q35`.

use super::{Barriers, Board, IommuWords, Layout, Saving, Split};
use crate::guest::qemu::tuning::row;
use crate::guest::sources::MEM_UNIT;

pub(super) static PC: Board = Board {
    architecture: "amd64",
    machine: "q35",
    console: "ttyS0",
    options: &[row(
        "-global pcie-root-port.x-speed=2_5",
        "a faster port promises to tell of its link and, with hot-plug by ACPI, does not: a reset of the bus would fail",
    )],
    needed: &[],
    cpus: ("max", "max"),
    saving: Saving {
        cpu: &[
            row(
                "la57=off",
                "a fifth level of page tables makes every walk longer, and reaches nothing here",
            ),
            row(
                "erms=off",
                "emulated, a string instruction moves byte by byte; without this the kernel copies by words",
            ),
            row("fsrm=off", "the same for short copies"),
        ],
        machine: &[
            row(
                "hpet=off",
                "the kernel would calibrate it; the TSC is enough",
            ),
            row(
                "smm=off",
                "firmware would set up a mode that nothing here uses",
            ),
            row("vmport=off", "probed by drivers that have nothing to find"),
            row(
                "i8042=off",
                "probing an absent keyboard waits for time-outs",
            ),
            row("sata=off", "probing empty ports takes half a second"),
            row("smbus=off", "one more device to probe"),
            row("graphics=off", "no VGA text to draw in firmware or kernel"),
        ],
        kernel: &[
            row(
                "tsc=reliable",
                "no watchdog that compares clocks of an emulated machine",
            ),
            row(
                "no_timer_check",
                "the check waits for ticks of a timer that is emulated anyway",
            ),
        ],
    },
    iommu: IommuWords {
        kernel: "intel_iommu=on iommu.strict=1",
        // A kernel that sees that its IOMMU is emulated is strict, whatever it is told.
        lazily: None,
        machine: &["kernel-irqchip=split"],
        device: "intel-iommu,intremap=on,caching-mode=on",
    },
    memory: Layout {
        start: 0,
        split: Some(Split {
            from: 0xb000_0000,
            low: 0x8000_0000,
            high: 0x1_0000_0000,
        }),
    },
    mem_unit: MEM_UNIT,
    has_holes: true,
    drives_slots: false,
    code: &[
        0xffff_ffff_8100_0000..0xffff_ffff_8300_0000,
        0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000,
    ],
    barriers: Barriers::Marks,
    early_clock: Some("tsc-early"),
};
