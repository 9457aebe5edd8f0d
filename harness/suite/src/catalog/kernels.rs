// SPDX-License-Identifier: MIT OR Apache-2.0

//! The catalogue on several kernels: which class is named on which.

use std::fmt::Write as _;

use serde::Serialize;

use super::entries::ENTRIES;
use super::schema::{Row, Runs, Seen, VERSION};

/// Guests of an architecture and a kernel series, as a command line names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct On {
    /// By Debian's name.
    pub architecture: String,
    /// Series of the kernel.
    pub series: String,
}

/// What came of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRuns {
    /// Which it was.
    #[serde(flatten)]
    pub on: On,
    /// `uname -r`.
    pub release: String,
    /// The catalogue there; see [`run`](super::run).
    pub runs: Runs,
}

/// Which class is named on which kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelMatrix {
    /// [`VERSION`].
    pub schema: u32,
    /// QEMU's version.
    pub qemu: String,
    /// The columns.
    pub kernels: Vec<KernelColumn>,
    /// A row for each class.
    pub rows: Vec<KernelRow>,
}

/// A kernel, and what it came to.
#[derive(Clone, Debug, Serialize)]
pub struct KernelColumn {
    /// Which it is.
    #[serde(flatten)]
    pub on: On,
    /// `uname -r`.
    pub release: String,
    /// Classes that were named on all their platforms, with silent twins.
    pub named: usize,
    /// Classes that were run.
    pub run: usize,
    /// Why the others were not.
    pub not_run: Vec<String>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// A class.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRow {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// What is planted.
    pub planted: &'static str,
    /// What came of it, in the order of the columns.
    pub cells: Vec<KernelCell>,
}

/// A class on a kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KernelCell {
    /// How well it was seen, where it was seen worst; `null` if it was not run.
    pub seen: Option<Seen>,
    /// Its clean twin was not silent.
    pub alarm: bool,
}

impl KernelColumn {
    /// What stands above it.
    pub fn name(&self) -> String {
        let On {
            architecture,
            series,
        } = &self.on;
        format!("{architecture} {series}")
    }
}

impl KernelMatrix {
    /// The table of these kernels, on each of which the same classes were run.
    pub fn of(qemu: &str, all: &[KernelRuns]) -> Self {
        let rows: Vec<_> = ENTRIES
            .iter()
            .filter(|entry| {
                let of = |number| number == entry.number;
                let run = |runs: &Runs| runs.classes.iter().any(|run| of(run.number));
                let skipped = |runs: &Runs| runs.skipped.iter().any(|skipped| of(skipped.number));
                all.iter()
                    .any(|kernel| run(&kernel.runs) || skipped(&kernel.runs))
            })
            .map(|entry| {
                let Row {
                    number,
                    name,
                    planted,
                    ..
                } = Row::of(entry);
                KernelRow {
                    number,
                    name,
                    planted,
                    cells: all
                        .iter()
                        .map(|kernel| cell(number, &kernel.runs))
                        .collect(),
                }
            })
            .collect();
        let kernels = all.iter().enumerate().map(|(at, kernel)| {
            let cells = rows.iter().filter_map(|row| row.cells.get(at));
            let run = cells.clone().filter(|cell| cell.seen.is_some());
            let named = |cell: &&KernelCell| cell.seen == Some(Seen::Named) && !cell.alarm;
            let mut not_run: Vec<_> = kernel
                .runs
                .skipped
                .iter()
                .map(|one| one.why.clone())
                .collect();
            not_run.sort();
            not_run.dedup();
            KernelColumn {
                on: kernel.on.clone(),
                release: kernel.release.clone(),
                named: cells.filter(named).count(),
                run: run.count(),
                not_run,
                seconds: kernel.runs.seconds,
            }
        });
        Self {
            schema: VERSION,
            qemu: qemu.to_owned(),
            kernels: kernels.collect(),
            rows,
        }
    }

    /// Whether every class that was run was named, with silent twins.
    pub fn passed(&self) -> bool {
        self.kernels.iter().all(|kernel| kernel.named == kernel.run)
    }

    /// As text, for a terminal.
    pub fn table(&self) -> String {
        let mut text = format!("{:<3}{:<28}", "", "class");
        for kernel in &self.kernels {
            let _ = write!(text, "{:<12}", kernel.name());
        }
        for row in &self.rows {
            let _ = write!(text, "\n{:>2} {:<28}", row.number, row.name);
            for cell in &row.cells {
                let _ = write!(text, "{:<12}", cell.word());
            }
            text.truncate(text.trim_end().len());
        }
        for kernel in &self.kernels {
            let (name, named, run) = (kernel.name(), kernel.named, kernel.run);
            let _ = write!(
                text,
                "\n{name}: {named} of {run} named; {:.0} s",
                kernel.seconds
            );
            for why in &kernel.not_run {
                let _ = write!(text, "; others not run: {why}");
            }
        }
        text.push('\n');
        text
    }

    /// As a page for `docs/`.
    pub fn page(&self) -> String {
        let mut page = format!(
            "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->\n# Which DMA bug is named on which kernel\n\n\
             Measured by `landfall catalog matrix --kernels`, QEMU {}. Each class was planted once on each platform that \
             it has, with its clean twin: *named* as what it is on all of them, *seen* as something wrong, or *missed*. A \
             dash: not run there.\n\n| kernel | release | named | seconds | not run |\n|---|---|---|---|---|\n",
            self.qemu
        );
        for kernel in &self.kernels {
            let _ = writeln!(
                page,
                "| {} | {} | {} of {} | {:.0} | {} |",
                kernel.name(),
                kernel.release,
                kernel.named,
                kernel.run,
                kernel.seconds,
                kernel.not_run.join("; ")
            );
        }
        let names: Vec<_> = self.kernels.iter().map(KernelColumn::name).collect();
        let _ = writeln!(page, "\n| # | class | {} |", names.join(" | "));
        let _ = writeln!(page, "|---|---|{}", "---|".repeat(names.len()));
        for row in &self.rows {
            let _ = write!(page, "| {} | {} |", row.number, row.name);
            for cell in &row.cells {
                let _ = write!(page, " {} |", cell.word());
            }
            page.push('\n');
        }
        page
    }
}

impl KernelCell {
    fn word(&self) -> &'static str {
        match (self.seen, self.alarm) {
            (_, true) => "ALARM",
            (Some(seen), false) => seen.name(),
            (None, false) => "-",
        }
    }
}

fn cell(number: u8, runs: &Runs) -> KernelCell {
    if runs.skipped.iter().any(|skipped| skipped.number == number) {
        return KernelCell::default();
    }
    let own = runs.classes.iter().filter(|run| run.number == number);
    KernelCell {
        seen: own.clone().map(|run| run.seen).min(),
        // It was named, and there is something wrong all the same: with its twin.
        alarm: own
            .clone()
            .any(|run| run.seen == Seen::Named && !run.passed),
    }
}

#[cfg(test)]
mod tests {
    use landfall::judge::Leg;

    use super::*;
    use crate::catalog::{ClassRun, Skipped};

    fn class(number: u8, leg: Leg, seen: Seen, passed: bool) -> ClassRun {
        ClassRun {
            number,
            name: "",
            leg,
            seen,
            said: Vec::new(),
            clean: Vec::new(),
            passed,
            why: None,
            bundles: Vec::new(),
            seconds: 1.0,
        }
    }

    fn kernel(series: &str, classes: Vec<ClassRun>, skipped: Vec<Skipped>) -> KernelRuns {
        KernelRuns {
            on: On {
                architecture: "arm64".to_owned(),
                series: series.to_owned(),
            },
            release: format!("{series}.1"),
            runs: Runs {
                schema: VERSION,
                classes,
                skipped,
                seconds: 2.0,
            },
        }
    }

    #[test]
    fn a_class_counts_where_it_is_seen_worst_and_an_alarm_is_no_success() {
        let skipped = Skipped {
            number: 8,
            leg: Leg::Plain,
            why: "no pool".to_owned(),
        };
        let all = [
            kernel(
                "7.3",
                vec![
                    class(1, Leg::Plain, Seen::Named, true),
                    class(37, Leg::Plain, Seen::Named, true),
                    class(37, Leg::Swiotlb, Seen::Seen, false),
                    class(8, Leg::Plain, Seen::Named, true),
                ],
                Vec::new(),
            ),
            kernel(
                "6.12",
                vec![
                    class(1, Leg::Plain, Seen::Named, false),
                    class(37, Leg::Plain, Seen::Named, true),
                ],
                vec![skipped],
            ),
        ];

        let matrix = KernelMatrix::of("11.1", &all);
        let words: Vec<_> = matrix
            .rows
            .iter()
            .map(|row| {
                let words = row.cells.iter().map(KernelCell::word);
                (row.number, words.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            words,
            [
                (1, vec!["named", "ALARM"]),
                (8, vec!["named", "-"]),
                (37, vec!["seen", "named"])
            ]
        );
        let counts = matrix.kernels.iter().map(|on| (on.named, on.run));
        assert_eq!(counts.collect::<Vec<_>>(), [(2, 3), (1, 2)]);
        assert!(!matrix.passed());
        assert!(
            matrix
                .table()
                .contains("arm64 6.12: 1 of 2 named; 2 s; others not run: no pool")
        );
        assert!(matrix.page().contains("| 37 | "));
        let passed = KernelMatrix::of(
            "11.1",
            &[kernel(
                "7.2",
                vec![class(1, Leg::Plain, Seen::Named, true)],
                Vec::new(),
            )],
        );
        assert!(passed.passed());
    }
}
