// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a kernel reported of itself: reads the text of a console, or of `dmesg`, and gives a finding for each report.
//!
//! A report is many lines, and one of them says what; of dma-debug's it is the one before the warning. An oops is one
//! finding however many lines it has; the panic after it is another.

use serde::{Deserialize, Serialize};

/// Longest line in a finding, bytes; the rest is left out.
const MAX_LINE: usize = 400;
/// Most findings of one text: a kernel that reports without end says nothing new.
const MAX_FINDINGS: usize = 1000;
/// Most lines of one report, if its end mark is lost.
const MAX_REPORT: usize = 200;

/// Which check of the kernel's reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// dma-debug: the driver uses the DMA API wrongly.
    DmaDebug,
    /// KASAN: an access out of bounds or after free, by the CPU.
    Kasan,
    /// KFENCE: likewise, among the allocations that it samples.
    Kfence,
    /// lockdep: locks in an order, or a context, that can deadlock.
    Lockdep,
    /// A function that may sleep was called where nothing may.
    AtomicSleep,
    /// A linked list whose links disagree.
    List,
    /// An Intel IOMMU refused an access of a card.
    Iommu,
    /// An oops: a bad access, a protection fault, a failed assertion.
    Oops,
    /// A task that waited too long.
    HungTask,
    /// A CPU that did nothing else for too long.
    Lockup,
    /// An interrupt that nobody cared for.
    Interrupt,
    /// Any other warning.
    Warning,
    /// The kernel gave up.
    Panic,
}

/// One report of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which check reported.
    pub kind: Kind,
    /// The line that says what, without the time stamp; at most 400 bytes.
    pub line: String,
    /// The number of that line in the text, from 1.
    pub number: usize,
}

/// Signs of the kinds; the first that a line has decides.
const SIGNS: [(Kind, Place, &str); 42] = [
    (Kind::Panic, Start, "Kernel panic - not syncing"),
    (Kind::DmaDebug, Within, " kernel/dma/debug.c:"),
    (Kind::Kasan, Start, "BUG: KASAN: "),
    (Kind::Kfence, Start, "BUG: KFENCE: "),
    (Kind::Lockdep, Start, "WARNING: possible "),
    (Kind::Lockdep, Start, "WARNING: inconsistent lock state"),
    (Kind::Lockdep, Start, "WARNING: HARDIRQ-safe -> "),
    (Kind::Lockdep, Start, "WARNING: SOFTIRQ-safe -> "),
    (Kind::Lockdep, Start, "WARNING: bad unlock balance"),
    (Kind::Lockdep, Start, "WARNING: held lock freed"),
    (Kind::Lockdep, Start, "WARNING: lock held when returning"),
    (Kind::Lockdep, Start, "WARNING: Nested lock was not taken"),
    (Kind::Lockdep, Start, "WARNING: suspicious RCU usage"),
    (Kind::Lockdep, Within, "BUG: Invalid wait context"),
    (Kind::Lockdep, Start, "BUG: MAX_LOCK"),
    (
        Kind::Lockdep,
        Start,
        "INFO: trying to register non-static key",
    ),
    (Kind::Lockdep, Within, " kernel/locking/"),
    (
        Kind::AtomicSleep,
        Start,
        "BUG: sleeping function called from",
    ),
    (Kind::AtomicSleep, Start, "BUG: scheduling while atomic"),
    (Kind::List, Within, "list_add corruption"),
    (Kind::List, Within, "list_del corruption"),
    (Kind::Iommu, Start, "DMAR: [DMA "),
    (Kind::Iommu, Start, "DMAR: [INTR-REMAP]"),
    (Kind::Oops, Start, "BUG: kernel NULL pointer"),
    (Kind::Oops, Start, "BUG: unable to handle"),
    (Kind::Oops, Start, "Unable to handle kernel"),
    (Kind::Oops, Start, "Internal error: "),
    (Kind::Oops, Start, "Oops: "),
    (Kind::Oops, Start, "general protection fault"),
    (Kind::Oops, Start, "kernel BUG at "),
    (Kind::Oops, Start, "divide error"),
    (Kind::Oops, Start, "invalid opcode"),
    (Kind::Oops, Start, "stack segment"),
    (Kind::HungTask, Start, "INFO: task "),
    (Kind::Lockup, Start, "watchdog: BUG: "),
    (Kind::Lockup, Start, "watchdog: Watchdog detected"),
    (Kind::Lockup, Within, "detected stall"),
    (Kind::Interrupt, Within, ": nobody cared"),
    (Kind::Warning, Start, "refcount_t: "),
    (Kind::Warning, Start, "UBSAN: "),
    (Kind::Warning, Start, "WARNING: "),
    (Kind::Warning, Start, "BUG: "),
];

/// Where a sign is.
#[derive(Clone, Copy)]
enum Place {
    /// A line begins so.
    Start,
    /// It is anywhere in a line.
    Within,
}
use Place::{Start, Within};

/// Begins what a `WARN` or a `BUG` says, but on a console that shows no mere information.
const CUT: &str = "------------[ cut here ]------------";
/// Ends it, and any oops.
const END: &str = "---[ end trace ";
/// Begins what dma-debug has to say: news, or, right before a warning, what the driver did.
const DMA_DEBUG: &str = "DMA-API: ";
/// How many lines lie at most between that and the warning.
const DMA_DEBUG_LINES: usize = 2;

/// The findings in a text, in its order; at most 1000.
///
/// The text is a guest's: whatever is in it, this does not fail, and takes no more memory than the text.
pub fn read(text: &str) -> Vec<Finding> {
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        if reader.findings.len() >= MAX_FINDINGS {
            break;
        }
        reader.line(number + 1, without_stamp(line));
    }
    reader.findings
}

#[derive(Default)]
struct Reader<'a> {
    findings: Vec<Finding>,
    /// The last line that dma-debug began, and its number.
    dma_debug: Option<(usize, &'a str)>,
    /// The report that is being read, if it is one that has an end mark: its finding is the last one.
    open: Option<Open>,
}

#[derive(Clone, Copy)]
struct Open {
    kind: Kind,
    /// The number of its first line.
    from: usize,
}

impl<'a> Reader<'a> {
    fn line(&mut self, number: usize, line: &'a str) {
        let lost = |open: Open| number - open.from >= MAX_REPORT;
        if line.starts_with(END) || line == CUT || self.open.is_some_and(lost) {
            self.open = None;
        }
        if line.starts_with(DMA_DEBUG) {
            self.dma_debug = Some((number, line));
        }
        let Some(kind) = kind(line) else {
            return;
        };
        if let Some(open) = self.open {
            // A warning says what, and then where; an oops says several times what it is.
            let same = open.kind == kind || matches!(kind, Kind::Warning | Kind::Oops);
            if same {
                return;
            }
        }
        let said = self.dma_debug.filter(|(at, _)| {
            kind == Kind::DmaDebug && number.saturating_sub(*at) <= DMA_DEBUG_LINES
        });
        let (number, line) = said.unwrap_or((number, line));
        self.findings.push(found(kind, number, line));
        let has_end = match kind {
            Kind::DmaDebug | Kind::List | Kind::Oops => true,
            Kind::Warning => !line.starts_with("BUG: "),
            _ => false,
        };
        self.open = has_end.then_some(Open { kind, from: number });
    }
}

fn found(kind: Kind, number: usize, line: &str) -> Finding {
    let end = (0..=line.len().min(MAX_LINE))
        .rev()
        .find(|&end| line.is_char_boundary(end));
    Finding {
        kind,
        line: line.get(..end.unwrap_or(0)).unwrap_or_default().to_owned(),
        number,
    }
}

fn kind(line: &str) -> Option<Kind> {
    let has = |place: Place, sign: &str| match place {
        Start => line.starts_with(sign),
        Within => line.contains(sign),
    };
    let sign = SIGNS.iter().find(|(_, place, sign)| has(*place, sign));
    sign.map(|(kind, _, _)| *kind)
}

/// A line without `[   12.345678]` and, where the kernel adds it, `[    T1]`.
fn without_stamp(line: &str) -> &str {
    let mut rest = line.trim();
    for _ in 0..2 {
        let Some((stamp, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        else {
            break;
        };
        let stamp = stamp.trim();
        let is_stamp = !stamp.is_empty()
            && stamp
                .trim_start_matches(['T', 'C'])
                .chars()
                .all(|letter| letter.is_ascii_digit() || letter == '.');
        if !is_stamp {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        read(text).iter().map(|finding| finding.kind).collect()
    }

    // What the debug kernel of Linux 7.3.4 said, lines left out.
    const BOOT: &str = "\
        [    0.000000] Kernel compiled without mitigations, ignoring 'mitigations'; system may still be vulnerable\n\
        [    0.044000] tsc: Unable to calibrate against PIT\n\
        [    0.257422] APIC calibration not consistent with PM-Timer: 72ms instead of 100ms\n\
        [    0.310291] DMA-API: preallocated 4096 debug entries\n\
        [    0.310316] DMA-API: debugging enabled by kernel config\n\
        [    0.400000] DMAR: Host address width 39\n\
        [    0.400001] DMAR: Intel(R) Virtualization Technology for Directed I/O\n\
        [    1.504507] mtrr: your CPUs had inconsistent fixed MTRR settings\n\
        [    2.599303] ACPI: Failed to create genetlink family for ACPI event\n\
        [    7.214333] landfall_mutant: loading out-of-tree module taints kernel.\n";
    const DMA_DEBUG_REPORT: &str = "\
        [    8.336921] DMA-API: pcieport 0000:00:01.0: device driver tries to free DMA memory it has not allocated [device address=0x0000000001234000] [size=256 bytes]\n\
        [    8.337100] WARNING: kernel/dma/debug.c:1004 at check_unmap+0xf6f/0x2a90, CPU#1: insmod/49\n\
        [    8.337808] Modules linked in: landfall_mutant(O+)\n\
        [    8.341717] Call Trace:\n\
        [    8.349955] ---[ end trace 0000000000000000 ]---\n";
    const KASAN_REPORT: &str = "\
        [    7.906834] ==================================================================\n\
        [    7.907189] BUG: KASAN: slab-use-after-free in t_init+0x24d/0x1000 [landfall_mutant]\n\
        [    7.910763] Write of size 1 at addr ffff888004cc400a by task insmod/46\n\
        [    7.912417] Call Trace:\n\
        [    7.944564] page dumped because: kasan: bad access detected\n\
        [    7.945101] ==================================================================\n\
        [    7.952166] Disabling lock debugging due to kernel taint\n";
    const LOCKDEP_REPORT: &str = "\
        [    9.286802] ======================================================\n\
        [    9.287050] WARNING: possible circular locking dependency detected\n\
        [    9.288149] 7.3.4+deb13-amd64-debug #2 Tainted: G           O       \n\
        [    9.292719] which lock already depends on the new lock.\n\
        [    9.356732]  *** DEADLOCK ***\n\
        [    9.372535] Call Trace:\n";
    const ATOMIC_REPORT: &str = "\
        [    8.784438] BUG: scheduling while atomic: insmod/54/0x00000002\n\
        [    8.784513] INFO: lockdep is turned off.\n\
        [    8.793784] initcall t_init+0x0/0x1000 [landfall_mutant] returned with preemption imbalance \n\
        [    8.793842] WARNING: init/main.c:1375 at do_one_initcall+0x2dc/0x440, CPU#1: insmod/54\n\
        [    8.846172] ---[ end trace 0000000000000000 ]---\n";
    const LIST_REPORT: &str = "\
        [    8.982414] list_del corruption. prev->next should be ffff8880057af800, but was ffff8880057af7e0. (prev=ffff8880057af800)\n\
        [    8.982443] WARNING: lib/list_debug.c:62 at __list_del_entry_valid_or_report+0x170/0x220, CPU#1: insmod/56\n\
        [    8.992683] ---[ end trace 0000000000000000 ]---\n";
    const OOPS_REPORT: &str = "\
        [    9.762729] Oops: general protection fault, kernel NULL pointer dereference 0x6: 0000 [#1] SMP KASAN\n\
        [    9.763964] RIP: 0010:t_init+0x409/0x1000 [landfall_mutant]\n\
        [    9.772948] Kernel panic - not syncing: Fatal exception\n\
        [    9.775616] Kernel Offset: disabled\n";

    /// What Linux 7.3.4 said on arm64.
    const ARM64_OOPS_REPORT: &str = "\
        [    2.143001] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008\n\
        [    2.143290] Mem abort info:\n\
        [    2.143411]   ESR = 0x0000000096000046\n\
        [    2.144872] Internal error: Oops: 0000000096000046 [#1]  SMP\n\
        [    2.146033] Call trace:\n\
        [    2.147215] ---[ end trace 0000000000000000 ]---\n";

    #[test]
    fn an_oops_is_one_finding_on_any_architecture() {
        for report in [OOPS_REPORT, ARM64_OOPS_REPORT] {
            let oopses = kinds(report);
            let oopses = oopses.iter().filter(|kind| **kind == Kind::Oops);
            assert_eq!(oopses.count(), 1, "{report}");
        }
    }

    #[test]
    fn a_clean_boot_gives_nothing() {
        assert_eq!(read(BOOT), []);
        assert_eq!(read(""), []);
    }

    #[test]
    fn each_check_is_recognised_once() {
        for (text, expected) in [
            (DMA_DEBUG_REPORT, vec![Kind::DmaDebug]),
            (KASAN_REPORT, vec![Kind::Kasan]),
            (LOCKDEP_REPORT, vec![Kind::Lockdep]),
            (ATOMIC_REPORT, vec![Kind::AtomicSleep, Kind::Warning]),
            (LIST_REPORT, vec![Kind::List]),
            (OOPS_REPORT, vec![Kind::Oops, Kind::Panic]),
        ] {
            assert_eq!(kinds(text), expected, "{text}");
        }
    }

    #[test]
    fn reports_one_after_the_other_are_told_apart() {
        let all = [
            BOOT,
            DMA_DEBUG_REPORT,
            DMA_DEBUG_REPORT,
            KASAN_REPORT,
            BOOT,
            LIST_REPORT,
            OOPS_REPORT,
        ]
        .concat();
        assert_eq!(
            kinds(&all),
            [
                Kind::DmaDebug,
                Kind::DmaDebug,
                Kind::Kasan,
                Kind::List,
                Kind::Oops,
                Kind::Panic
            ]
        );
    }

    #[test]
    fn a_finding_has_the_line_that_says_what() {
        let [finding] = &read(&[BOOT, DMA_DEBUG_REPORT].concat())[..] else {
            panic!("one finding");
        };
        assert!(finding.line.starts_with("DMA-API: pcieport 0000:00:01.0: "));
        assert!(finding.line.ends_with("[size=256 bytes]"));
        assert_eq!(finding.number, BOOT.lines().count() + 1);
    }

    #[test]
    fn a_leak_is_named_though_its_details_come_between() {
        let text = "DMA-API: landfall_mutant 0000:01:00.0: device driver has pending DMA allocations while released from device [count=1]\n\
            One of leaked entries details: [device address=0x0000000004e96800] [size=256 bytes]\n\
            WARNING: CPU: 0 PID: 60 at kernel/dma/debug.c:889 dma_debug_device_change+0x10/0x20\n";
        let [finding] = &read(text)[..] else {
            panic!("one finding");
        };
        assert_eq!((finding.kind, finding.number), (Kind::DmaDebug, 1));
    }

    #[test]
    fn older_kernels_and_other_checks_are_known() {
        for (line, kind) in [
            (
                "BUG: kernel NULL pointer dereference, address: 0000000000000008",
                Kind::Oops,
            ),
            (
                "BUG: KFENCE: use-after-free read in x+0x1/0x2 [y]",
                Kind::Kfence,
            ),
            (
                "BUG: sleeping function called from invalid context at x.c:1",
                Kind::AtomicSleep,
            ),
            (
                "WARNING: CPU: 1 PID: 7 at drivers/x.c:12 f+0x1/0x2",
                Kind::Warning,
            ),
            ("WARNING: inconsistent lock state", Kind::Lockdep),
            ("[ BUG: Invalid wait context ]", Kind::Lockdep),
            (
                "INFO: task modprobe:71 blocked for more than 30 seconds.",
                Kind::HungTask,
            ),
            (
                "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [x:1]",
                Kind::Lockup,
            ),
            (
                "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                Kind::Lockup,
            ),
            (
                "irq 16: nobody cared (try booting with the \"irqpoll\" option)",
                Kind::Interrupt,
            ),
            (
                "DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0x1000 [fault reason 0x05] PTE Write access is not set",
                Kind::Iommu,
            ),
        ] {
            let stamped = format!("[  123.456789][    T1] {line}\r\n");
            let findings = read(&stamped);
            assert_eq!(findings.len(), 1, "{line}");
            assert_eq!((findings[0].kind, findings[0].line.as_str()), (kind, line));
        }
    }

    #[test]
    fn whatever_a_guest_prints_is_bounded() {
        let long = format!("WARNING: {}\n", "é".repeat(1000));
        let findings = read(&long);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].line.len() <= MAX_LINE);

        assert_eq!(read(&"BUG: KASAN: x\n".repeat(5000)).len(), MAX_FINDINGS);
        // Without its end mark a report hides no more than so many lines.
        let lost = format!("WARNING: one\n{}WARNING: two\n", "x\n".repeat(MAX_REPORT));
        assert_eq!(kinds(&lost).len(), 2);
    }
}
