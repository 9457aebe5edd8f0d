// SPDX-License-Identifier: MIT OR Apache-2.0

//! Figures as a person reads them: on the terminal, and as a page.

use std::fmt::Write as _;
use std::time::Duration;

/// One table: figures, and each beside what it is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    title: String,
    note: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. `note` says how it was measured.
    pub(crate) fn new(title: &str, note: &str, head: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            note: note.to_owned(),
            head: head.iter().map(|&word| word.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a row of figures, unless none of them was measured.
    pub(crate) fn measured(&mut self, name: &str, figures: impl IntoIterator<Item = String>) {
        let figures: Vec<String> = figures.into_iter().collect();
        if figures.iter().any(|figure| figure != "-") {
            self.row([name.to_owned()].into_iter().chain(figures));
        }
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Shows it on the terminal.
    pub(crate) fn print(&self) {
        super::say(&self.text());
    }

    fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let cells = cells.chain(self.head.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).enumerate();
            let padded = padded.map(|(at, (cell, &width))| match at {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };
        let rule = widths.iter().enumerate().map(|(at, &width)| match at {
            0 => "-".repeat(width + 2),
            _ => format!("{}:", "-".repeat(width + 1)),
        });
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.note);
        text.push_str(&line(&self.head));
        let _ = writeln!(text, "|{}|", rule.collect::<Vec<_>>().join("|"));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        text
    }
}

/// All tables as one page.
pub(crate) fn page(tables: &[Table]) -> String {
    let texts: Vec<String> = tables.iter().map(Table::text).collect();
    format!(
        "<!-- Written by `cargo bench`. -->\n# Benchmarks\n\n{}\n\nWhat bounds each figure: [performance.md](performance.md).\n\n\
        ![Start of a guest](start.svg)\n\n![Card to guest memory](card.svg)\n\n{}",
        machine(),
        texts.join("\n")
    )
}

/// What it was measured on.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "Measured on {cpus} CPUs ({}), guests under TCG. Times vary by about 30 % from run to run: trust the ratios.",
        model.map_or("unknown", |(_, name)| name.trim())
    )
}

/// A time in the unit that suits it.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        1e-3.. => format!("{:.1} ms", seconds * 1e3),
        1e-6.. => format!("{:.1} us", seconds * 1e6),
        _ => format!("{:.0} ns", seconds * 1e9),
    }
}

/// How many times `of` fits into `this`.
pub(crate) fn ratio(this: Duration, of: Duration) -> String {
    format!("{:.2}", this.as_secs_f64() / of.as_secs_f64())
}
