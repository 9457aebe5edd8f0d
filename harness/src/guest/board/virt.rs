// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's `virt` for arm64, described to the kernel by a device tree: there is no firmware.

use super::{Barriers, Board, IommuWords, Layout, Saving};
use crate::guest::qemu::tuning::row;

pub(super) static VIRT: Board = Board {
    architecture: "arm64",
    machine: "virt,gic-version=3",
    console: "ttyAMA0",
    options: &[],
    needed: &[
        row(
            "landfall.console=ttyAMA0",
            "the agent's shell is on the serial console",
        ),
        row(
            "pci=hpbussize=1",
            "no firmware numbers the buses, and the kernel would keep eight of them for each port: card n is on bus n",
        ),
    ],
    // `max` has pointer authentication, which costs a third of a boot to emulate.
    cpus: ("neoverse-n1", "max"),
    saving: Saving {
        cpu: &[],
        machine: &[],
        kernel: &[],
    },
    // QEMU refuses its SMMU in front of a vfio-user device: that needs to hear of each mapping, and it does not tell them.
    iommu: IommuWords {
        kernel: "iommu.strict=1",
        // Older kernels give a card its group only when a driver is bound to it.
        lazily: Some("iommu.strict=0"),
        machine: &[],
        device: "virtio-iommu-pci",
    },
    memory: Layout {
        start: 0x4000_0000,
        split: None,
    },
    mem_unit: 2 << 20,
    has_holes: false,
    drives_slots: true,
    code: &[
        0xffff_8000_7800_0000..0xffff_8000_8000_0000,
        0xffff_8000_8000_0000..0xffff_8000_8300_0000,
    ],
    barriers: Barriers::Arm64,
    early_clock: None,
};
