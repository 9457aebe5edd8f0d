// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a kernel reported of itself: reads the text of a console, or of `dmesg`, and gives a finding for each report.
//!
//! A report is many lines, and one of them says what: in a warning between its two marks, it is often not the line
//! that begins with `WARNING`. An oops is one finding however many lines it has; the panic after it is another.

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
const SIGNS: [(Kind, Place, &str); 41] = [
    (Kind::Panic, Start, "Kernel panic - not syncing"),
    (Kind::DmaDebug, Warned, "DMA-API: "),
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
    (Kind::Lockdep, Start, "DEBUG_LOCKS_WARN_ON("),
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
    (Kind::Oops, Start, "Oops: "),
    (Kind::Oops, Start, "general protection fault"),
    (Kind::Oops, Start, "kernel BUG at "),
    (Kind::Oops, Start, "divide error"),
    (Kind::Oops, Start, "invalid opcode"),
    (Kind::Oops, Start, "stack segment"),
    (Kind::Oops, Start, "BUG: Bad page "),
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
    /// Likewise, in a warning: elsewhere it is no more than news.
    Warned,
    /// It is anywhere in a line.
    Within,
}
use Place::{Start, Warned, Within};

/// Begins what a `WARN` or a `BUG` says.
const CUT: &str = "------------[ cut here ]------------";
/// Ends it, and any oops.
const END: &str = "---[ end trace ";

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
    reader.close();
    let mut findings = reader.findings;
    findings.sort_by_key(|finding| finding.number);
    findings
}

#[derive(Default)]
struct Reader {
    findings: Vec<Finding>,
    /// What lies between marks, or an oops up to its mark.
    open: Option<Report>,
}

/// A report that is being read.
#[derive(Default)]
struct Report {
    /// It began with [`CUT`].
    cut: bool,
    finding: Option<Finding>,
    lines: usize,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let lost = |report: &Report| report.lines >= MAX_REPORT;
        if line.starts_with(END) || line == CUT || self.open.as_ref().is_some_and(lost) {
            self.close();
        }
        if line == CUT {
            self.open = Some(Report {
                cut: true,
                ..Report::default()
            });
        }
        let cut = self.open.as_ref().is_some_and(|report| report.cut);
        if let Some(report) = &mut self.open {
            report.lines += 1;
        }
        let Some(kind) = kind(line, cut) else {
            return;
        };
        let found = found(kind, number, line);
        if kind == Kind::Panic {
            self.close();
            self.findings.push(found);
            return;
        }
        match &mut self.open {
            None if kind == Kind::Oops => {
                self.open = Some(Report {
                    finding: Some(found),
                    ..Report::default()
                });
            }
            None => self.findings.push(found),
            Some(report) => match report.finding.as_ref().map(|first| first.kind) {
                None => report.finding = Some(found),
                // The line with place and CPU, which every warning has, is not the one that says what.
                Some(Kind::Warning) if kind != Kind::Warning => report.finding = Some(found),
                Some(first) if first == kind || kind == Kind::Warning || kind == Kind::Oops => {}
                Some(_) => self.findings.push(found),
            },
        }
    }

    fn close(&mut self) {
        self.findings
            .extend(self.open.take().and_then(|report| report.finding));
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

fn kind(line: &str, warned: bool) -> Option<Kind> {
    let has = |place: Place, sign: &str| match place {
        Start => line.starts_with(sign),
        Warned => warned && line.starts_with(sign),
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
