// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every option that Landfall gives QEMU and the guest's kernel, each with its reason.
//!
//! [`NEEDED`] is what the harness cannot do without. The other tables make a boot under software emulation take
//! seconds; `--stock-boot` leaves them out. None may hide a bug of a driver or a card: DMA, IOMMU, the place of
//! memory, interrupts, memory protection and the allocators' checks stay as the distribution has them.

/// One option and why it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// The option as given.
    pub option: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Builds a row of the tables below.
const fn row(option: &'static str, reason: &'static str) -> Tuning {
    Tuning { option, reason }
}

/// Most bytes of the kernel's command line: `COMMAND_LINE_SIZE` (`arch/x86/include/asm/setup.h`) without its last.
pub const MOST_WORDS: usize = 2047;

/// QEMU's options that every guest has.
pub const NEEDED: &[Tuning] = &[
    row(
        "-nodefaults",
        "the machine is what is described and no more: no network card, no disk",
    ),
    row(
        "-no-user-config",
        "a file of the user's must not change the machine",
    ),
    row(
        "-no-reboot",
        "a guest that reboots is not the one under test any more: QEMU ends instead",
    ),
    row("-display none", "nobody looks at a screen"),
    row(
        "-global pcie-root-port.x-speed=2_5",
        "a faster port promises to tell of its link and, with hot-plug by ACPI, does not: a reset of the bus would fail",
    ),
];

/// Properties of `-machine` that every guest has, after its type.
pub const NEEDED_OF_MACHINE: &[Tuning] = &[row(
    "memory-backend=m",
    "guest memory is the file the harness shares with the cards",
)];

/// Features of the emulated CPU.
pub const CPU: &[Tuning] = &[
    row(
        "la57=off",
        "a fifth level of page tables makes every walk longer, and reaches nothing here",
    ),
    row(
        "erms=off",
        "emulated, a string instruction moves byte by byte; without this the kernel copies by words",
    ),
    row("fsrm=off", "the same for short copies"),
];

/// Properties of `-machine`, after those that are needed.
pub const MACHINE: &[Tuning] = &[
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
];

/// The guest kernel's command line, after the console and before the caller's own.
pub const KERNEL: &[Tuning] = &[
    row(
        "panic=-1",
        "a panic reboots at once, which ends QEMU: the run fails without waiting",
    ),
    row(
        "oops=panic",
        "an oops must not be survived: what follows it proves nothing",
    ),
    row(
        "quiet",
        "each console character costs a trap; errors and panics are still printed",
    ),
    row(
        "nokaslr",
        "addresses in an oops can be looked up in the distribution's System.map",
    ),
    row(
        "mitigations=off",
        "CPU side channels are not under test, and cost much when emulated",
    ),
    row(
        "tsc=reliable",
        "no watchdog that compares clocks of an emulated machine",
    ),
    row(
        "no_timer_check",
        "the check waits for ticks of a timer that is emulated anyway",
    ),
    row(
        "rcupdate.rcu_expedited=1",
        "grace periods end at once; boot waits for many",
    ),
    row("audit=0", "nobody reads the audit log"),
    row("lsm=", "no security module has a policy to enforce here"),
    row("random.trust_cpu=on", "entropy at once, from the CPU"),
    row(
        "initcall_blacklist=load_system_certificate_list,wakeup_sources_init",
        "parsing certificates takes 0.3 s; no module here is signed",
    ),
];

/// What the debug kernel gets besides, after those; the caller's own still come last.
pub const DEBUG_KERNEL: &[Tuning] = &[
    row(
        "loglevel=5",
        "dma-debug and lockdep report as warnings, which `quiet` keeps from the console",
    ),
    row(
        "kasan_multi_shot",
        "KASAN reports every fault, not the first alone",
    ),
    row(
        "dma_debug_entries=4096",
        "the kernel makes more when they run out; 65536 at once take long under emulation",
    ),
];

/// The options of a table, joined by `separator`.
pub fn joined(table: &[Tuning], separator: &str) -> String {
    let options: Vec<&str> = table.iter().map(|row| row.option).collect();
    options.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_given_once_and_has_a_reason() {
        for table in [
            NEEDED,
            NEEDED_OF_MACHINE,
            MACHINE,
            CPU,
            KERNEL,
            DEBUG_KERNEL,
        ] {
            for (at, row) in table.iter().enumerate() {
                let name = row.option.split('=').next();
                assert!(!row.reason.is_empty(), "{} has no reason", row.option);
                assert!(
                    !table[at + 1..]
                        .iter()
                        .any(|other| other.option.split('=').next() == name),
                    "{} is given twice",
                    row.option
                );
            }
        }
    }

    #[test]
    fn no_option_weakens_a_check_of_the_kernel() {
        let line = joined(KERNEL, " ");
        for hides in [
            "rodata=off",
            "slub_debug=-",
            "nosmap",
            "nosmep",
            "iommu",
            "swiotlb",
            "pci=",
            "mem",
            "cma",
            "irq",
            "apic",
        ] {
            assert!(!line.contains(hides), "{hides} hides bugs");
        }
    }
}
