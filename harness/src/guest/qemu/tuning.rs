// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every option that Landfall gives QEMU and the guest's kernel, each with its reason.
//!
//! [`NEEDED`] is what the harness cannot do without. [`KERNEL`], and what each [board](crate::guest::board) has of its own, make
//! a boot under software emulation take seconds; `--stock-boot` leaves them out. None may hide a bug of a driver or a card: DMA, IOMMU, the place of
//! memory, interrupts, memory protection and the allocators' checks stay as the distribution has them.

/// One option and why it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// The option as given.
    pub option: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Builds a row of a table.
pub(crate) const fn row(option: &'static str, reason: &'static str) -> Tuning {
    Tuning { option, reason }
}

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
];

/// Properties of `-machine` that every guest has, after its type.
pub const NEEDED_OF_MACHINE: &[Tuning] = &[row(
    "memory-backend=m",
    "guest memory is the file the harness shares with the cards",
)];

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
pub(crate) mod tests {
    use super::*;

    /// Panics if an option is given twice, or without a reason.
    pub(crate) fn each_is_given_once(table: &[Tuning]) {
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

    /// Panics if a word for the kernel weakens one of its checks.
    pub(crate) fn none_weakens_a_check(table: &[Tuning]) {
        let line = joined(table, " ");
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

    #[test]
    fn every_option_is_given_once_and_has_a_reason() {
        for table in [NEEDED, NEEDED_OF_MACHINE, KERNEL, DEBUG_KERNEL] {
            each_is_given_once(table);
        }
    }

    #[test]
    fn no_option_weakens_a_check_of_the_kernel() {
        none_weakens_a_check(KERNEL);
    }
}
