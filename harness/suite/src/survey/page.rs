// SPDX-License-Identifier: MIT OR Apache-2.0

//! A survey as a table for a terminal, and as a page of Markdown.

use std::fmt::Write as _;

use super::{Given, Granularity, Line, Outcome, Refused, State, Survey, Times, When};

/// The table's head, and how wide each column is; to the right if it holds numbers.
const COLUMNS: [(&str, usize); 11] = [
    ("way", 8),
    ("largest piece", 13),
    ("fragmented", 11),
    ("steps", 9),
    ("one piece", 9),
    ("waste 1/750/2000", 17),
    ("take 750", 10),
    ("p99", 10),
    ("give", 10),
    ("card bits", 14),
    ("back", 5),
];

/// The survey as a table.
pub fn table(survey: &Survey) -> String {
    let mut text = format!(
        "Linux {} in QEMU {} under {}, {} of memory, {:.0} s\n\n",
        survey.kernel,
        survey.qemu,
        survey.accelerator,
        size(survey.memory),
        survey.seconds
    );
    let mut row = |cells: &[String]| {
        let cells = cells.iter().zip(COLUMNS).enumerate();
        let padded = cells.map(|(at, (cell, (_, width)))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    row(&COLUMNS.map(|(title, _)| title.to_owned()));
    for line in &survey.lines {
        row(&cells(line));
    }
    text
}

/// A row of the table.
fn cells(line: &Line) -> [String; 11] {
    let state = &line.fresh;
    let latency = state.latency(750);
    let time = |pick: fn(&Times) -> u64, take: bool| {
        latency.map_or_else(
            || "-".to_owned(),
            |latency| {
                nanoseconds(pick(match take {
                    true => &latency.take,
                    false => &latency.give,
                }))
            },
        )
    };
    [
        line.method.to_string(),
        size(state.largest.piece_bytes),
        line.fragmented
            .as_ref()
            .map_or_else(|| "-".to_owned(), |state| size(state.largest.piece_bytes)),
        steps(state.granularity),
        if state.contiguous { "yes" } else { "no" }.to_owned(),
        [1, 750, 2000].map(|pages| waste(state, pages)).join("/"),
        time(|times| times.median_ns, true),
        time(|times| times.p99_ns, true),
        time(|times| times.median_ns, false),
        bits(line),
        if line.returned { "yes" } else { "never" }.to_owned(),
    ]
}

/// The survey as a page of Markdown.
pub fn page(survey: &Survey) -> String {
    let mut text = format!(
        "# Every way to get contiguous memory, measured\n\n\
         By `landfall survey{}{}`, in {:.0} s: Linux {} in QEMU {} under {}, {} of memory. Each way had a guest of \
         its own that nothing else had used; those that need a boot option, the largest that the guest could still \
         work with. Times are the guest's own; under TCG only their ratios mean something.\n\n",
        match survey.memory {
            0x1000_0000 => String::new(),
            memory => format!(" --memory {}M", memory >> 20),
        },
        if survey.fragment.is_some() {
            " --fragmented"
        } else {
            ""
        },
        survey.seconds,
        survey.kernel,
        survey.qemu,
        survey.accelerator.to_uppercase(),
        size(survey.memory),
    );
    text.push_str("![The largest piece, waste and latency of each way](survey.svg)\n");
    answers(&mut text, survey);
    largest(&mut text, survey);
    waste_table(&mut text, survey);
    latency(&mut text, survey);
    reach(&mut text, survey);
    kinds(&mut text, survey);
    text
}

/// What the sources asked and left open.
fn answers(text: &mut String, survey: &Survey) {
    const ASKED: u64 = 512 * 4096;
    let all = survey.lines.len();
    let more = |state: &&State| state.largest.piece_bytes > ASKED;
    let fresh = survey
        .lines
        .iter()
        .map(|line| &line.fresh)
        .filter(more)
        .count();
    let fragmented = survey
        .lines
        .iter()
        .filter_map(|line| line.fragmented.as_ref());
    let fragmented = fragmented.filter(more).count();
    let whole = |line: &&Line| {
        line.fresh.given(750).is_some_and(|got| got.waste == 0) && line.fresh.contiguous
    };
    let names: Vec<_> = survey.lines.iter().filter(whole).map(code).collect();
    let _ = writeln!(
        text,
        "\nMore than the 512 pages in one piece that were once the most on such a machine: {fresh} of {all} ways on a \
         fresh guest{}. 750 pages in one piece without any waste: {}.",
        match survey.fragment {
            Some(_) => format!(", {fragmented} on a fragmented one"),
            None => String::new(),
        },
        names.join(", ")
    );
}

fn heading(text: &mut String, title: &str, note: &str, columns: &[&str]) {
    let _ = writeln!(text, "\n## {title}\n\n{note}\n");
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let rule: Vec<_> = (0..columns.len())
        .map(|at| if at == 0 { "---" } else { "---:" })
        .collect();
    let _ = writeln!(text, "| {} |", rule.join(" | "));
}

fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn largest(text: &mut String, survey: &Survey) {
    let fragmented = survey.fragment.map_or_else(String::new, |order| {
        format!(
            " Fragmented: no free block of more than {}, one unmovable page in each two such blocks.",
            size(4096 << order)
        )
    });
    heading(
        text,
        "The largest piece",
        &format!(
            "The largest request that was fulfilled, and the largest piece in it that is physically in one.{fragmented}"
        ),
        &[
            "way",
            "request",
            "piece",
            "pages",
            "piece, fragmented",
            "pages",
        ],
    );
    for line in &survey.lines {
        let pages = |state: &State| (state.largest.piece_bytes / 4096).to_string();
        let missing = || "".to_owned();
        let state = line.fragmented.as_ref();
        row(
            text,
            &[
                code(line),
                size(line.fresh.largest.request_pages * 4096),
                size(line.fresh.largest.piece_bytes),
                pages(&line.fresh),
                state.map_or_else(missing, |state| size(state.largest.piece_bytes)),
                state.map_or_else(missing, pages),
            ],
        );
    }
}

fn waste_table(text: &mut String, survey: &Survey) {
    heading(
        text,
        "Waste",
        "Pages that were taken and cannot be used, for so many that were asked for; in brackets the pieces, if it is \
         more than one. 750 pages are a frame of PAL video.",
        &["way", "steps of", "1 page", "750 pages", "2000 pages"],
    );
    for line in &survey.lines {
        let given = |pages| {
            let given = line.fresh.given.iter().find(|given| given.pages == pages);
            given.map_or_else(String::new, wasted)
        };
        row(
            text,
            &[
                code(line),
                steps(line.fresh.granularity),
                given(1),
                given(750),
                given(2000),
            ],
        );
    }
}

fn wasted(given: &Given) -> String {
    match (given.got, &given.refused) {
        (Some(got), _) if got.pieces == 1 => got.waste.to_string(),
        (Some(got), _) => format!("{} ({} pieces)", got.waste, got.pieces),
        (None, Some(refused)) => format!("no: {}", why(refused)),
        (None, None) => String::new(),
    }
}

/// Why something was refused, in short.
fn why(refused: &Refused) -> String {
    const ENOMEM: i32 = 12;
    const EINVAL: i32 = 22;
    const ERANGE: i32 = 34;
    match refused.errno {
        ENOMEM => "there is none".to_owned(),
        EINVAL => "more than it can".to_owned(),
        ERANGE => "what it gives lies higher".to_owned(),
        _ => refused.message.clone(),
    }
}

fn latency(text: &mut String, survey: &Survey) {
    heading(
        text,
        "Latency",
        "Taking and giving back, median and the time that 99 of 100 stay below; no time is left out. The last column: \
         the shortest of 15 copies of 4 MiB by the CPU through mmap, from one such memory to another.",
        &[
            "way",
            "take 1 page",
            "p99",
            "give 1",
            "take 750",
            "p99",
            "give 750",
            "p99",
            "copy 4 MiB",
        ],
    );
    for line in &survey.lines {
        let times = |pages, give: bool, pick: fn(&Times) -> u64| {
            let latency = line.fresh.latency(pages);
            let times = latency.map(|latency| if give { &latency.give } else { &latency.take });
            times.map_or_else(String::new, |times| nanoseconds(pick(times)))
        };
        let copy = line.copy.map_or_else(
            || "in too many pieces".to_owned(),
            |copy| match copy.pieces {
                1 => nanoseconds(copy.min_ns),
                pieces => format!("{} ({pieces} pieces)", nanoseconds(copy.min_ns)),
            },
        );
        row(
            text,
            &[
                code(line),
                times(1, false, |times| times.median_ns),
                times(1, false, |times| times.p99_ns),
                times(1, true, |times| times.median_ns),
                times(750, false, |times| times.median_ns),
                times(750, false, |times| times.p99_ns),
                times(750, true, |times| times.median_ns),
                times(750, true, |times| times.p99_ns),
                copy,
            ],
        );
    }
}

fn reach(text: &mut String, survey: &Survey) {
    heading(
        text,
        "What a card reaches",
        "A card with so many address bits wrote eight frames of one page each, and every byte of them, and of the rest of \
         the pool, was compared. The lowest address that it wrote to; or why there is no such memory.",
        &["way", "64 bits", "36 bits", "32 bits", "24 bits"],
    );
    for line in &survey.lines {
        let mut cells = vec![code(line)];
        cells.extend([64, 36, 32, 24].map(|bits| {
            let reach = line.reach.iter().find(|reach| reach.bits == bits);
            match reach.map(|reach| &reach.outcome) {
                Some(Outcome::Written { addresses, .. }) => {
                    let lowest = addresses.iter().min().copied().unwrap_or_default();
                    format!("`{lowest:#x}`")
                }
                Some(Outcome::Wrong { violations }) => {
                    format!("**wrong**: {}", violations.join("; "))
                }
                Some(Outcome::OutOfReach { refused }) => format!("no: {}", why(refused)),
                None => String::new(),
            }
        }));
        row(text, &cells);
    }
}

fn kinds(text: &mut String, survey: &Survey) {
    heading(
        text,
        "When, and how it is freed",
        "In one piece: whether all that it gave was, for each of 1, 2, 3, 5, 750 and 2000 pages that it did not refuse.",
        &[
            "way",
            "what it is",
            "when",
            "in one piece",
            "freed by",
            "kernel has it again",
        ],
    );
    for line in &survey.lines {
        let when = match line.when {
            When::AnyTime => "any time".to_owned(),
            When::Boot => match &line.boot_option {
                Some(option) => format!("boot: `{option}`"),
                None => "boot".to_owned(),
            },
        };
        let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
        row(
            text,
            &[
                code(line),
                line.call.to_owned(),
                when,
                yes(line.fresh.contiguous),
                line.freed_by.to_owned(),
                yes(line.returned),
            ],
        );
    }
}

fn code(line: &Line) -> String {
    format!("`{}`", line.method)
}

fn steps(granularity: Granularity) -> String {
    match granularity {
        Granularity::Multiple { pages: 1 } => "1 page".to_owned(),
        Granularity::Multiple { pages } => format!("{pages} pages"),
        Granularity::PowerOfTwo => "2^n pages".to_owned(),
        Granularity::Unknown => "-".to_owned(),
    }
}

fn waste(state: &State, pages: u64) -> String {
    state
        .given(pages)
        .map_or_else(|| "-".to_owned(), |got| got.waste.to_string())
}

/// Widths of the cards that wrote there.
fn bits(line: &Line) -> String {
    let written = line
        .reach
        .iter()
        .filter(|reach| matches!(reach.outcome, Outcome::Written { .. }));
    written
        .map(|reach| reach.bits.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Bytes, for a person.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0 => "nothing".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes > 16 << 20 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{} KiB", bytes >> 10),
    }
}

/// A time, with three digits.
pub(super) fn nanoseconds(ns: u64) -> String {
    let ns = ns as f64;
    let (value, unit) = match ns {
        _ if ns < 1e3 => (ns, "ns"),
        _ if ns < 1e6 => (ns / 1e3, "us"),
        _ if ns < 1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    match value {
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}
