// SPDX-License-Identifier: MIT OR Apache-2.0

//! The story of a failed run, in order, for a person.
//!
//! Bounded: of many violations the first are told one by one, of a long journal what lies around them. Whatever
//! a bundle says is shown without control characters.

mod lends;
mod memory;
mod timeline;

use std::fmt::Write;

use landfall_device::ledger;

use super::{Bundle, BundleError, Run, names};
use crate::debug_info::Lines;
use crate::evidence::{Item, Observed, Pages};
use crate::report::chapter::{chapter, title, violations};
use crate::report::map::size;
use crate::report::schema::{Report, Violation};
use crate::report::symbol::located;
use lends::Lends;
use timeline::Timeline;

/// Most violations that are told one by one.
const MOST: usize = 6;
/// Most lines of a log that are shown.
const LOG_LINES: usize = 12;
/// Most characters of a line that is somebody else's.
const LINE: usize = 1000;

/// What the parts of the story are told from.
struct Told {
    run: Run,
    report: Option<Report>,
    observed: Option<Observed>,
    violations: Vec<ledger::Violation>,
    pages: Pages,
    callers: Callers,
}

/// How the driver's calls are told.
struct Callers(Lines);

impl Callers {
    /// What the witness called it, and where that stands in the driver's source.
    fn told(&self, name: &str) -> String {
        located(name, &self.0)
    }
}

/// Tells the story of a bundle, which a person calls `name`.
///
/// # Errors
/// If a file of it cannot be read or makes no sense.
pub fn story(bundle: &Bundle, name: &str) -> Result<String, BundleError> {
    let told = Told {
        run: bundle.run()?,
        report: bundle.report()?,
        observed: bundle.observed()?,
        violations: match bundle.has_stream() {
            true => bundle.judgement()?.violations,
            false => Vec::new(),
        },
        pages: bundle.pages()?,
        callers: Callers(bundle.lines()?),
    };
    let of_journal = told.violations.get(..told.violations.len().min(MOST));
    let mut lends = Lends::default();
    let mut timeline = Timeline::new(of_journal.unwrap_or_default());
    let mut items = 0;
    if bundle.has_stream() {
        bundle.judge(|line, item| {
            items = line;
            lends.item(item, &told.callers);
            if let Item::Entry(entry) = item {
                timeline.entry(entry, &told.callers);
            }
        })?;
    }

    let mut text = format!("{name}: {}\n", told.run.summary);
    asked(&mut text, &told);
    if let Some(map) = bundle.text(names::MAP_TXT)? {
        let _ = write!(text, "\nWhere\n{}", indented(&map, 40));
    }
    text.push_str(&lends.table(of_journal.unwrap_or_default(), &timeline));
    text.push_str(&timeline.text());
    chapters(&mut text, &told, &timeline);
    besides(&mut text, &told);
    died(&mut text, bundle, &told)?;
    repeat(&mut text, bundle, name, &told);
    let _ = writeln!(text, "\nIn the bundle");
    for file in &bundle.manifest().files {
        let lines = match file.name == names::STREAM {
            true => format!(", {items} lines"),
            false => String::new(),
        };
        let _ = writeln!(text, "  {:<18} {}{lines}", file.name, size(file.size));
    }
    Ok(printable(&text))
}

/// What was asked for.
fn asked(text: &mut String, told: &Told) {
    let version = |name: &str| told.run.versions.get(name).map_or("?", String::as_str);
    let _ = writeln!(text, "\nWhat was asked");
    let _ = match told.run.command.is_empty() {
        true => writeln!(text, "  a trial, by a test"),
        false => writeln!(text, "  landfall {}", command(&told.run.command)),
    };
    if let Some(seed) = told.run.seed {
        let _ = writeln!(text, "  seed {seed}");
    }
    let _ = writeln!(
        text,
        "  by Landfall {}, of Linux {} in QEMU {}",
        version("landfall"),
        version("kernel"),
        version("qemu")
    );
    let Some(report) = &told.report else {
        return;
    };
    let card = &report.card;
    let _ = writeln!(
        text,
        "  a capture card at {} with {} address bits and {}{}",
        card.pci_address,
        card.address_bits,
        card.interrupt,
        match &card.fault {
            Some(fault) => format!(", made to misbehave: `{fault}`"),
            None => String::new(),
        }
    );
    for (number, capture) in (1..).zip(&report.captures).take(MOST) {
        let _ = writeln!(
            text,
            "  capture {number}: {} frames of {}x{} {}, {} bytes each, into {} buffers",
            capture.frames,
            capture.width,
            capture.height,
            capture.format.to_uppercase(),
            capture.frame_bytes,
            capture.buffers.len()
        );
    }
}

/// A chapter for each violation.
fn chapters(text: &mut String, told: &Told, timeline: &Timeline) {
    let file = match told.report {
        Some(_) => names::REPORT,
        None => names::JUDGEMENT,
    };
    let violations = violations(told.report.as_ref(), &told.violations);
    let count = violations.len();
    for (index, violation) in violations.iter().enumerate().take(MOST) {
        let mut line = |name: &str, what: &str| {
            let _ = writeln!(text, "  {name:<14} {what}");
        };
        line("", "");
        let number = index + 1;
        line(&format!("VIOLATION {number}/{count}"), &title(violation));
        // The report's list begins with what the ledger said, in its order.
        let of_ledger = told.violations.get(index);
        let when = |time| timeline.when(time);
        for (name, what) in chapter(violation, of_ledger, &when, &told.callers.0) {
            line(name, &what);
        }
        text.push_str(&memory::excerpt(&told.pages, violation));
    }
    if count > MOST {
        let _ = writeln!(text, "\n{} more violations are in {file}.", count - MOST);
    }
}

/// What was seen of a trial besides what its ledger said.
fn besides(text: &mut String, told: &Told) {
    let lines = also_seen(told.observed.as_ref(), &told.violations);
    if !lines.is_empty() {
        let _ = writeln!(text, "\nSeen besides");
    }
    for line in lines.iter().take(MOST) {
        let _ = writeln!(text, "  {}", cut(line));
    }
}

/// Likewise, a line each.
pub(super) fn also_seen(observed: Option<&Observed>, said: &[ledger::Violation]) -> Vec<String> {
    let Some(observed) = observed else {
        return Vec::new();
    };
    let of_ledger = |text: &String| said.iter().any(|said| said.text == *text);
    let others = observed.violations.iter();
    let others = others.filter(|named| !of_ledger(&named.text)).map(|named| {
        let class = named
            .class
            .map_or_else(String::new, |class| format!(", class {class}"));
        format!("{}{class}: {}", named.name, named.text)
    });
    let findings = observed.findings.iter();
    let findings = findings.map(|finding| format!("the kernel: {}", finding.line));
    others.chain(findings).collect()
}

/// How the guest died, if it did, and its last words.
fn died(text: &mut String, bundle: &Bundle, told: &Told) -> Result<(), BundleError> {
    let kernel_line = told.run.kernel_line.as_ref();
    if told
        .observed
        .as_ref()
        .is_some_and(|seen| seen.died.is_none())
    {
        return Ok(());
    }
    let survived = |report: &Report| {
        let failed = |violation: &Violation| violation.name == "guest failed";
        !report.violations.iter().any(failed)
    };
    if told.report.as_ref().is_some_and(survived) {
        return Ok(());
    }
    let of_trial = told.observed.as_ref().and_then(|seen| seen.died.as_ref());
    let how = of_trial.unwrap_or(&told.run.summary);
    let _ = writeln!(text, "\nThe guest failed: {how}");
    if let Some(line) = kernel_line {
        let _ = writeln!(text, "  its kernel said: {line}");
    }
    for log in ["console.log", "qemu.log"] {
        let Some(said) = bundle.text(log)? else {
            continue;
        };
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = lines.len().saturating_sub(LOG_LINES);
        let _ = writeln!(text, "  the end of {log}:");
        for line in lines.get(last..).unwrap_or_default() {
            let _ = writeln!(text, "    {}", cut(line));
        }
    }
    Ok(())
}

fn repeat(text: &mut String, bundle: &Bundle, name: &str, told: &Told) {
    let quoted = command(&[name.to_owned()]);
    let _ = writeln!(text, "\nHow to repeat it");
    let mut line = |command: &str, what: &str| {
        let _ = writeln!(text, "  {command}\n      {what}");
    };
    if bundle.has_stream() {
        line(
            &format!("landfall replay {quoted}"),
            "the verdict, from the recorded stream, without a guest",
        );
    }
    let of_catalog = told
        .run
        .command
        .first()
        .is_some_and(|word| word == "catalog");
    if told.run.command.is_empty() {
        return line("the test", "the whole run, with a guest");
    }
    if !of_catalog {
        line(
            &format!("landfall replay --live {quoted}"),
            "the whole run, with a guest",
        );
    }
    line(
        &format!("landfall {}", command(&told.run.command)),
        "the same by hand",
    );
}

/// A command line that a shell takes as it was given.
fn command(words: &[String]) -> String {
    let plain = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:,@+%".contains(&byte);
        !word.is_empty() && word.bytes().all(plain)
    };
    let quoted = words.iter().map(|word| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// At most so many lines of a text, moved to the right.
fn indented(text: &str, most: usize) -> String {
    let line = |line: &str| match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("  {}\n", cut(line)),
    };
    text.lines().take(most).map(line).collect()
}

fn cut(line: &str) -> &str {
    match line.char_indices().nth(LINE) {
        Some((end, _)) => line.get(..end).unwrap_or_default(),
        None => line,
    }
}

/// A text without control characters, with which a terminal could be steered, and without lines of any length.
pub fn printable(text: &str) -> String {
    let line = |line: &str| -> String {
        let shown = cut(line)
            .trim_end()
            .chars()
            .map(|char| match char.is_control() {
                true => '\u{fffd}',
                false => char,
            });
        shown.chain(['\n']).collect()
    };
    text.lines().map(line).collect()
}
