// SPDX-License-Identifier: MIT OR Apache-2.0

//! What criterion measured before, read from the files that it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::table::{Table, time};

/// Sizes in ascending order, as the benchmarks name them.
pub(crate) const SIZES: [&str; 8] = [
    "4KiB", "64KiB", "1MiB", "1080p", "16MiB", "64MiB", "256MiB", "2GiB",
];

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Bytes")]
    bytes: Option<u64>,
    #[serde(rename = "Elements")]
    elements: Option<u64>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// One figure.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    /// Median time of one iteration.
    nanoseconds: f64,
    /// Bytes moved or compared in it.
    bytes: Option<u64>,
    /// Other things that are counted in it.
    elements: Option<u64>,
}

impl Figure {
    /// 10^6 elements a second.
    fn millions(&self) -> f64 {
        self.elements.unwrap_or(0) as f64 * 1000.0 / self.nanoseconds
    }

    /// 10^9 bytes a second.
    pub(crate) fn gigabytes(&self) -> f64 {
        self.bytes.unwrap_or(0) as f64 / self.nanoseconds
    }
}

/// All figures: by group, function and value.
#[derive(Default)]
pub(crate) struct Collected(BTreeMap<(String, String, String), Figure>);

/// Reads what is there; what was never measured is not.
pub(crate) fn criterion() -> Collected {
    let mut collected = Collected::default();
    // This program lies in TARGET/PROFILE/deps.
    let target = std::env::current_exe().ok();
    let target = target.as_deref().and_then(|this| this.ancestors().nth(3));
    let mut open: Vec<PathBuf> = target
        .map(|target| target.join("criterion"))
        .into_iter()
        .collect();
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        open.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
        if directory.ends_with("new") {
            collected.add(&directory);
        }
    }
    collected
}

impl Collected {
    fn add(&mut self, directory: &Path) -> Option<()> {
        let read = |name| fs::read(directory.join(name)).ok();
        let what: Benchmark = serde_json::from_slice(&read("benchmark.json")?).ok()?;
        let estimates: Estimates = serde_json::from_slice(&read("estimates.json")?).ok()?;
        let figure = Figure {
            nanoseconds: estimates.median.point_estimate,
            bytes: what.throughput.as_ref().and_then(|moved| moved.bytes),
            elements: what.throughput.and_then(|moved| moved.elements),
        };
        let key = (
            what.group_id,
            what.function_id.unwrap_or_default(),
            what.value_str.unwrap_or_default(),
        );
        self.0.insert(key, figure);
        Some(())
    }

    /// One figure, if it was measured.
    pub(crate) fn figure(&self, group: &str, function: &str, value: &str) -> Option<Figure> {
        let key = (group.to_owned(), function.to_owned(), value.to_owned());
        self.0.get(&key).copied()
    }

    /// All tables of which anything was measured.
    pub(crate) fn tables(&self) -> Vec<Table> {
        [
            self.card(),
            self.first_touch(),
            self.pictures(),
            self.checking(),
            self.judging(),
        ]
        .into_iter()
        .chain([8, 64].map(|largest| self.lending(largest)))
        .filter(|table| !table.is_empty())
        .collect()
    }

    fn card(&self) -> Table {
        let mut table = Table::new(
            "Card to guest memory",
            "The test pattern, by the whole card but its socket, into memory that it has reached before; beside plain \
             copies of the same size by as many threads. GB/s of all together.",
            &[
                "frame", "1 card", "memcpy", "ratio", "2 cards", "memcpy", "ratio", "4 cards",
                "memcpy", "ratio",
            ],
        );
        for size in SIZES {
            let cells = [
                ("1-card", "1-thread"),
                ("2-cards", "2-threads"),
                ("4-cards", "4-threads"),
            ]
            .into_iter()
            .flat_map(|(cards, threads)| {
                let card = self.figure("card-to-memory", cards, size);
                beside(card, self.figure("memcpy", threads, size))
            });
            table.measured(size, cells);
        }
        table
    }

    fn first_touch(&self) -> Table {
        let mut table = Table::new(
            "Card to memory that it reaches for the first time",
            "One card: pages that the guest has used already, pages that nobody has used, and a plain copy into new \
             memory. GB/s.",
            &[
                "frame",
                "used by the guest",
                "never used",
                "memcpy to new",
                "never used, ratio",
            ],
        );
        for size in SIZES {
            let rate = |group, who| self.figure(group, who, size);
            let used = rate("card-to-unreached-memory", "1-card");
            let hole = rate("card-to-hole", "1-card");
            let [hole, plain, ratio] = beside(hole, rate("memcpy-to-new-memory", "1-thread"));
            table.measured(size, [gigabytes(used), hole, plain, ratio]);
        }
        table
    }

    fn pictures(&self) -> Table {
        let mut table = Table::new(
            "Pictures",
            "Frames of 1080p by one card, by pattern; beside a plain copy of the same size. GB/s.",
            &["pattern", "card", "memcpy", "ratio"],
        );
        let plain = self.figure("memcpy", "1-thread", "1080p");
        for ((group, pattern, _), figure) in &self.0 {
            if group == "picture-to-memory" {
                table.measured(pattern, beside(Some(*figure), plain));
            }
        }
        table
    }

    fn lending(&self, largest: u32) -> Table {
        let mut table = Table::new(
            &format!("Lending on the host, buffers of 1 to {largest} pages"),
            "The core alone: one buffer taken back and one lent, with so many others lent and as many gaps between them; \
             beside published range allocators that look for the same gap. Medians.",
            &[
                "buffers",
                "first fit",
                "vm-allocator",
                "ratio",
                "best fit",
                "range-alloc",
                "ratio",
            ],
        );
        for buffers in ["10", "100", "1000", "10000", "100000"] {
            let figure = |name| {
                let group = format!("lend-1-to-{largest}-pages");
                self.figure(&group, name, buffers)
            };
            let pairs = [
                ("first-fit/landfall", "first-fit/vm-allocator"),
                ("best-fit/landfall", "best-fit/range-alloc"),
            ];
            let cells = pairs.into_iter().flat_map(|(ours, theirs)| {
                let (ours, theirs) = (figure(ours), figure(theirs));
                let ratio = ours
                    .zip(theirs)
                    .map(|(ours, theirs)| ours.nanoseconds / theirs.nanoseconds);
                let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
                [took(ours), took(theirs), ratio]
            });
            table.measured(buffers, cells);
        }
        table
    }

    fn judging(&self) -> Table {
        let mut table = Table::new(
            "Judging",
            "The ledger with 100,000 live lends, on one core. 10^6 of what is counted, a second.",
            &["one is", "a second"],
        );
        let rows = [
            ("access", "an access, each to another lend"),
            ("line", "an access to the next line of a frame"),
            ("in_flight", "an access for one of 2,048 jobs in work"),
            ("job", "a whole job, six entries, while 2,048 are in work"),
            ("lend", "a lend that ends and one that begins"),
            (
                "stray",
                "an access that no lend allows, each of its own cause",
            ),
            ("cause", "an access that no lend allows, all of one cause"),
        ];
        for (name, what) in rows {
            let figure = self.figure("ledger", name, "");
            let rate = figure.map(|figure| format!("{:.3}", figure.millions()));
            table.measured(what, [rate.unwrap_or_else(|| "-".to_owned())]);
        }
        table
    }

    fn checking(&self) -> Table {
        let mut table = Table::new(
            "Comparing",
            "Guest memory with what it must hold, beside `==` of two buffers of the same size in as many threads. GB/s.",
            &[
                "what",
                "threads",
                "compared",
                "memcmp",
                "ratio",
                "ms per GiB",
            ],
        );
        for ((group, what, threads), figure) in &self.0 {
            if group == "checking" {
                let size = what.rsplit('/').next().unwrap_or_default();
                let plain = self.figure("memcmp", size, threads);
                let [rate, plain, ratio] = beside(Some(*figure), plain);
                let gib = 1024.0 * 1.048576 / figure.gigabytes();
                table.row([
                    what.clone(),
                    threads.clone(),
                    rate,
                    plain,
                    ratio,
                    format!("{gib:.0}"),
                ]);
            }
        }
        table
    }
}

/// A rate, the one it is compared with, and their ratio.
fn beside(figure: Option<Figure>, plain: Option<Figure>) -> [String; 3] {
    let ratio = figure
        .zip(plain)
        .map(|(figure, plain)| figure.gigabytes() / plain.gigabytes());
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    [gigabytes(figure), gigabytes(plain), ratio]
}

/// The time of one iteration.
fn took(figure: Option<Figure>) -> String {
    let took = figure.map(|figure| Duration::from_nanos(figure.nanoseconds as u64));
    took.map_or_else(|| "-".to_owned(), time)
}

fn gigabytes(figure: Option<Figure>) -> String {
    figure.map_or_else(
        || "-".to_owned(),
        |figure| format!("{:.2}", figure.gigabytes()),
    )
}
