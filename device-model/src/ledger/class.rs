// SPDX-License-Identifier: MIT OR Apache-2.0

//! The 58 classes of the project's catalogue of DMA bugs.

use serde::Serialize;

/// A class of DMA bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Class {
    /// Its number, from 1.
    pub number: u8,
    /// Its name in options and JSON: lower case with hyphens. Never changes.
    pub name: &'static str,
    /// What it is, for a person.
    pub title: &'static str,
}

/// All classes, in the order of their numbers.
pub const CLASSES: [Class; 58] = [
    // Where the transfer lands.
    class_of(1, "overrun", "Overrun past the end of a buffer or ring"),
    class_of(2, "truncated-32", "64-bit address truncated to 32 bits"),
    class_of(3, "truncated-odd", "Address truncated at an odd width"),
    class_of(
        4,
        "wrong-mask",
        "DMA mask wrong: too wide, too narrow, or coherent mask forgotten",
    ),
    class_of(
        5,
        "physical-address",
        "CPU physical address used as DMA address",
    ),
    class_of(6, "wrong-page", "Wrong page mapped to user space"),
    class_of(7, "stale-address", "Stale address: buffer no longer owned"),
    class_of(
        8,
        "reserved-in-use",
        "\"Reserved\" range is in use by the kernel",
    ),
    class_of(9, "fetch-crosses-page", "Descriptor fetch crosses a page"),
    class_of(10, "crosses-boundary", "Segment crosses a boundary"),
    class_of(
        11,
        "segment-too-long",
        "Segment longer than the device allows",
    ),
    class_of(
        12,
        "misaligned",
        "Misaligned address, or length not a multiple of the width",
    ),
    class_of(
        13,
        "length-hard-wired",
        "Length hard-wired, request ignored",
    ),
    class_of(
        14,
        "off-by-one",
        "Ring size off by one, or register means N-1",
    ),
    class_of(15, "kernel-text", "DMA into kernel text or read-only data"),
    class_of(16, "stack", "DMA to the stack"),
    class_of(17, "invalid-memory", "DMA to vmalloc or invalid memory"),
    class_of(18, "shared-cache-line", "Two mappings share a cache line"),
    class_of(19, "routing-bits", "Address bits reinterpreted as routing"),
    // When it lands.
    class_of(
        20,
        "after-stop",
        "Engine \"stopped\" but still finishing: DMA after free",
    ),
    class_of(
        21,
        "user-mapping-outlives",
        "Memory freed while user space still uses it",
    ),
    class_of(22, "left-mastering", "Left bus-mastering after teardown"),
    class_of(
        23,
        "early-mastering",
        "Bus mastering enabled before buffers are mapped",
    ),
    class_of(24, "across-kexec", "DMA alive across kexec or kdump"),
    class_of(
        25,
        "interrupt-after-disable",
        "IRQ freed after the device was disabled, or wrong order on remove",
    ),
    class_of(
        26,
        "surprise-removal",
        "Surprise removal: reads all-ones, loop or panic",
    ),
    class_of(
        27,
        "reset-races-hotplug",
        "Reset races hot-plug, stale device structure",
    ),
    class_of(28, "bar-gone", "BAR gone before the driver's remove runs"),
    class_of(
        29,
        "no-error-handlers",
        "No error handlers: a link error means a reboot",
    ),
    class_of(
        30,
        "cancel-mid-transfer",
        "Cancelled in the middle of a transfer",
    ),
    class_of(31, "removed-while-running", "Module removed while DMA runs"),
    class_of(
        32,
        "reprogrammed-while-running",
        "Registers reprogrammed while streaming",
    ),
    class_of(
        33,
        "list-bookkeeping",
        "Asynchronous or list bookkeeping: interior pointer freed",
    ),
    // Ordering and coherency.
    class_of(
        34,
        "missing-write-barrier",
        "Missing write barrier before the doorbell",
    ),
    class_of(
        35,
        "missing-read-barrier",
        "Missing dma_rmb after the ownership check",
    ),
    class_of(
        36,
        "unflushed-write",
        "Posted write not flushed before free or IRQ return",
    ),
    class_of(
        37,
        "missing-sync-for-cpu",
        "Missing sync_for_cpu, or invalidated too early",
    ),
    class_of(38, "missing-sync-for-device", "Missing sync_for_device"),
    class_of(39, "wrong-direction", "Wrong direction flag"),
    class_of(
        40,
        "sync-not-mapped",
        "Sync of a range never mapped, or too long",
    ),
    class_of(
        41,
        "done-too-early",
        "Status says done before the last block is written",
    ),
    class_of(
        42,
        "interrupt-before-data",
        "Interrupt arrives before the data",
    ),
    // Interrupts.
    class_of(43, "lost-interrupt", "Lost interrupt: hang"),
    class_of(
        44,
        "probe-interrupt",
        "Interrupt during probe, before state is set",
    ),
    class_of(45, "msix-assumed-absent", "Assumed MSI-X absent: crash"),
    class_of(
        46,
        "spurious-interrupt",
        "Spurious interrupt or storm, never acknowledged",
    ),
    // Accounting of the DMA API.
    class_of(47, "unmap-size", "Unmap size differs"),
    class_of(
        48,
        "unmap-not-mapped",
        "Unmap of something not mapped, or twice",
    ),
    class_of(49, "mapping-error-unchecked", "Mapping error unchecked"),
    class_of(
        50,
        "wrong-free",
        "Wrong free function, CPU address, or scatterlist count",
    ),
    class_of(
        51,
        "wrong-nents",
        "nents in place of orig_nents, or the reverse",
    ),
    class_of(52, "partial-map-leak", "Partial map failure not undone"),
    class_of(53, "leak", "Buffer leak until the pool is empty"),
    class_of(
        54,
        "allocation-failure",
        "Large allocation fails and the path is untested",
    ),
    // Trust.
    class_of(
        55,
        "device-length-trusted",
        "Length or index written by the device trusted",
    ),
    class_of(56, "short-transfer", "Short transfer exposes old data"),
    class_of(
        57,
        "sub-page-exposure",
        "Sub-page exposure, or window of a lazy unmap",
    ),
    class_of(
        58,
        "foreign-registers",
        "User length wraps an allocation, or driver pokes BARs that it does not own",
    ),
];

const fn class_of(number: u8, name: &'static str, title: &'static str) -> Class {
    Class {
        number,
        name,
        title,
    }
}

/// The class of a number; `None`: there is none.
pub fn class(number: u8) -> Option<&'static Class> {
    CLASSES.get(usize::from(number).checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn classes_are_numbered_from_1_and_named_apart_in_kebab_case() {
        for (number, class) in (1..).zip(&CLASSES) {
            assert_eq!(class.number, number);
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(class.name.chars().all(kebab), "{}", class.name);
            assert_eq!(super::class(number), Some(class));
        }
        let names: HashSet<_> = CLASSES.iter().map(|class| class.name).collect();
        assert_eq!(names.len(), CLASSES.len());
        assert_eq!((class(0), class(59)), (None, None));
    }
}
