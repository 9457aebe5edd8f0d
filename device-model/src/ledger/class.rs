// SPDX-License-Identifier: MIT OR Apache-2.0

//! The classes of the project's catalogue of DMA bugs, in one table.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! classes {
    ($($number:literal $variant:ident $name:literal, $words:literal, $title:literal;)*) => {
        /// A class of DMA bugs. In JSON it is its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Class {
            $(#[doc = $title] $variant = $number,)*
        }

        impl Class {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$variant),*];

            /// Its name in options and JSON: lower case with hyphens. Never changes.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a violation of it is called, in two or three words.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }

            /// What it is, for a person.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

classes! {
    // Where the transfer lands.
    1 Overrun "overrun", "overrun", "Overrun past the end of a buffer or ring";
    2 Truncated32 "truncated-32", "truncated to 32 bits", "64-bit address truncated to 32 bits";
    3 TruncatedOdd "truncated-odd", "truncated address", "Address truncated at an odd width";
    4 WrongMask "wrong-mask", "wrong mask", "DMA mask wrong: too wide, too narrow, or coherent mask forgotten";
    5 PhysicalAddress "physical-address", "physical address", "CPU physical address used as DMA address";
    6 WrongPage "wrong-page", "wrong page", "Wrong page mapped to user space";
    7 StaleAddress "stale-address", "stale address", "Stale address: buffer no longer owned";
    8 ReservedInUse "reserved-in-use", "reserved memory in use", "\"Reserved\" range is in use by the kernel";
    9 FetchCrossesPage "fetch-crosses-page", "fetch crosses a boundary", "Descriptor fetch crosses a page";
    10 CrossesBoundary "crosses-boundary", "job crosses a boundary", "Segment crosses a boundary";
    11 SegmentTooLong "segment-too-long", "job too long", "Segment longer than the device allows";
    12 Misaligned "misaligned", "job misaligned", "Misaligned address, or length not a multiple of the width";
    13 LengthHardWired "length-hard-wired", "job longer than its lend", "Length hard-wired, request ignored";
    14 OffByOne "off-by-one", "one element too long", "Ring size off by one, or register means N-1";
    15 KernelText "kernel-text", "kernel text lent", "DMA into kernel text or read-only data";
    16 Stack "stack", "stack lent", "DMA to the stack";
    17 InvalidMemory "invalid-memory", "invalid memory lent", "DMA to vmalloc or invalid memory";
    18 SharedCacheLine "shared-cache-line", "shared cache line", "Two mappings share a cache line";
    19 RoutingBits "routing-bits", "routing bits", "Address bits reinterpreted as routing";
    // When it lands.
    20 AfterStop "after-stop", "access after stop", "Engine \"stopped\" but still finishing: DMA after free";
    21 UserMappingOutlives "user-mapping-outlives", "freed while mapped", "Memory freed while user space still uses it";
    22 LeftMastering "left-mastering", "bus mastering", "Left bus-mastering after teardown";
    23 EarlyMastering "early-mastering", "before any lend", "Bus mastering enabled before buffers are mapped";
    24 AcrossKexec "across-kexec", "access after the kernel went down", "DMA alive across kexec or kdump";
    25 InterruptAfterDisable "interrupt-after-disable", "interrupt after disable", "IRQ freed after the device was disabled, or wrong order on remove";
    26 SurpriseRemoval "surprise-removal", "surprise removal", "Surprise removal: reads all-ones, loop or panic";
    27 ResetRacesHotplug "reset-races-hotplug", "register written after remove", "Reset races hot-plug, stale device structure";
    28 BarGone "bar-gone", "BAR gone", "BAR gone before the driver's remove runs";
    29 NoErrorHandlers "no-error-handlers", "not recovered", "No error handlers: a link error means a reboot";
    30 CancelMidTransfer "cancel-mid-transfer", "taken back during a job", "Cancelled in the middle of a transfer";
    31 RemovedWhileRunning "removed-while-running", "removed while running", "Module removed while DMA runs";
    32 ReprogrammedWhileRunning "reprogrammed-while-running", "reprogrammed while running", "Registers reprogrammed while streaming";
    33 ListBookkeeping "list-bookkeeping", "list bookkeeping", "Asynchronous or list bookkeeping: interior pointer freed";
    // Ordering and coherency.
    34 MissingWriteBarrier "missing-write-barrier", "changed after the doorbell", "Missing write barrier before the doorbell";
    35 MissingReadBarrier "missing-read-barrier", "missing read barrier", "Missing dma_rmb after the ownership check";
    36 UnflushedWrite "unflushed-write", "unflushed write", "Posted write not flushed before free or IRQ return";
    37 MissingSyncForCpu "missing-sync-for-cpu", "missing sync for the CPU", "Missing sync_for_cpu, or invalidated too early";
    38 MissingSyncForDevice "missing-sync-for-device", "missing sync for the device", "Missing sync_for_device";
    39 WrongDirection "wrong-direction", "wrong direction", "Wrong direction flag";
    40 SyncNotMapped "sync-not-mapped", "sync of what is not mapped", "Sync of a range never mapped, or too long";
    41 DoneTooEarly "done-too-early", "done too early", "Status says done before the last block is written";
    42 InterruptBeforeData "interrupt-before-data", "interrupt before data", "Interrupt arrives before the data";
    // Interrupts.
    43 LostInterrupt "lost-interrupt", "lost interrupt", "Lost interrupt: hang";
    44 ProbeInterrupt "probe-interrupt", "probe interrupt", "Interrupt during probe, before state is set";
    45 MsixAssumedAbsent "msix-assumed-absent", "MSI-X assumed", "Assumed MSI-X absent: crash";
    46 SpuriousInterrupt "spurious-interrupt", "spurious interrupt", "Spurious interrupt or storm, never acknowledged";
    // Accounting of the DMA API.
    47 UnmapSize "unmap-size", "unmap size differs", "Unmap size differs";
    48 UnmapNotMapped "unmap-not-mapped", "unmap of what is not mapped", "Unmap of something not mapped, or twice";
    49 MappingErrorUnchecked "mapping-error-unchecked", "mapping error unchecked", "Mapping error unchecked";
    50 WrongFree "wrong-free", "wrong free", "Wrong free function, CPU address, or scatterlist count";
    51 WrongNents "wrong-nents", "wrong entry count", "nents in place of orig_nents, or the reverse";
    52 PartialMapLeak "partial-map-leak", "partial map leak", "Partial map failure not undone";
    53 Leak "leak", "leak", "Buffer leak until the pool is empty";
    54 AllocationFailure "allocation-failure", "allocation failure", "Large allocation fails and the path is untested";
    // Trust.
    55 DeviceLengthTrusted "device-length-trusted", "length of the device", "Length or index written by the device trusted";
    56 ShortTransfer "short-transfer", "short transfer", "Short transfer exposes old data";
    57 SubPageExposure "sub-page-exposure", "sub-page exposure", "Sub-page exposure, or window of a lazy unmap";
    58 ForeignRegisters "foreign-registers", "no such register", "User length wraps an allocation, or driver pokes BARs that it does not own";
    // Whose address it is.
    59 AddressFromCard "address-from-card", "address that the card wrote", "Address field holds what the card wrote back";
    60 LentToAnother "lent-to-another", "lent to another device", "Mapped or allocated for another device";
    // The CPU's side.
    61 CpuReads "cpu-reads", "read by the CPU", "CPU reads what is the card's to write";
    62 CpuWrites "cpu-writes", "written by the CPU", "CPU writes what the card then gets at";
    63 UserSpaceInBuffer "user-space-in-buffer", "touched by user space", "User space in a buffer that is queued";
}

impl Class {
    /// Its number, from 1.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The class of a number; `None`: there is none.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        let unknown = || serde::de::Error::custom(format!("there is no class {number}"));
        Self::of(number).ok_or_else(unknown)
    }
}

/// As a bare number: `class 7`.
impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn classes_are_numbered_from_1_and_named_apart_in_kebab_case() {
        for (number, class) in (1..).zip(Class::ALL) {
            assert_eq!(class.number(), number);
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(class.name().chars().all(kebab), "{}", class.name());
            assert_eq!(Class::of(number), Some(class));
        }
        let names: HashSet<_> = Class::ALL.iter().map(|class| class.name()).collect();
        let words: HashSet<_> = Class::ALL.iter().map(|class| class.words()).collect();
        assert_eq!(
            (names.len(), words.len()),
            (Class::ALL.len(), Class::ALL.len())
        );
        assert_eq!((Class::of(0), Class::of(64)), (None, None));
    }
}
