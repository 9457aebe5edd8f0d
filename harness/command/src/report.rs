// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a person is told: reports on standard output, failures on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, stdout};
use std::path::Path;

use landfall::bundle::{self, Views};
use landfall::guest::accelerator::Choice;
use landfall::report::map::{self, Canvas, size};
use landfall::report::schema::{DriverCall, Report, Verdict, Violation};
use landfall::report::symbol::symbol;
use landfall_cards::capture::fault_names;
use landfall_guest::{
    CacheSize, Exported, Finding, Imported, Prepared, Pruned, SetupOptions, Status,
};
use landfall_suite::exercise::{self, Difference};
use landfall_suite::run::{Outcome, Plan};
use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// Tells of a failure.
pub(crate) fn failure(failure: &Failure) {
    let paint = Paint::new(&io::stderr());
    let mut text = format!("{}: {}\n", paint.bold_red("error"), failure.what);
    for cause in &failure.causes {
        let _ = writeln!(text, "  cause: {cause}");
    }
    for (name, line) in &failure.lines {
        let _ = writeln!(text, "  {name}: {line}");
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "\n{}: {hint}", paint.bold("hint"));
    }
    say!(stderr, "{}", text.trim_end_matches('\n'));
}

/// What is booted, before it is.
pub(crate) fn booting(prepared: &Prepared, choice: &Choice, plan: &Plan) -> String {
    let mut text = format!(
        "Linux {} in QEMU {} under {} ({})\n",
        prepared.kernel_release, prepared.qemu.version, choice.engine, choice.reason
    );
    let fault = fault_names(&plan.card.faults);
    let _ = write!(
        text,
        "  {} of memory, pool of {} from `{}`, {}",
        size(plan.guest.memory),
        size(plan.guest.pool.size),
        plan.guest.pool.source,
        match fault {
            Some(faults) => format!("a capture card with the fault `{faults}`"),
            None => "a capture card".to_owned(),
        }
    );
    text
}

/// Tells what came of a run.
pub(crate) fn outcome(outcome: &Outcome) {
    let paint = Paint::new(&stdout());
    let width = width();
    let bundle = outcome.bundle.as_ref().ok().and_then(Option::as_deref);
    let text = render(&outcome.report, &paint, width)
        + &extras(outcome)
        + &verdict(&outcome.report, &paint)
        + &bundle.map_or_else(String::new, left);
    output::text(&text);
}

fn extras(outcome: &Outcome) -> String {
    let mut text = String::new();
    if let (Some(first), count) = (outcome.saved.first(), outcome.saved.len()) {
        let directory = first.parent().unwrap_or(Path::new(".")).display();
        let _ = writeln!(text, "saved {count} frames in {directory}\n");
    }
    if let Some(evidence) = &outcome.evidence {
        let _ = writeln!(text, "evidence: {}\n", evidence.display());
    }
    text
}

/// Where a failed run can be looked at again.
pub(crate) fn left(bundle: &Path) -> String {
    let bundle = bundle.display();
    format!("bundle: {bundle}\n  landfall explain {bundle}\n")
}

/// What was made of a run to be looked at.
pub(crate) fn viewed(views: &Views) -> String {
    let page = views.page.as_ref();
    let page = page.map(|path| format!("{}: open it in a browser\n", path.display()));
    let trace = views.perfetto.as_ref();
    let trace = trace.map(|path| {
        let path = path.display();
        format!("{path}: open it with Perfetto's trace_processor or its viewer\n")
    });
    page.unwrap_or_default() + &trace.unwrap_or_default()
}

/// All of a report but its last line.
fn render(report: &Report, paint: &Paint, width: usize) -> String {
    let mut text = String::from("\n");
    versions(&mut text, report);
    text.push('\n');
    text.push_str(&map::draw(
        &bundle::map(report),
        Canvas {
            width,
            colour: paint.0,
        },
    ));
    text.push('\n');
    transfers(&mut text, report, paint);
    for violation in &report.violations {
        describe(&mut text, &paint.bold_red("violation:"), violation, paint);
    }
    for hint in &report.hints {
        describe(&mut text, &paint.bold("hint:"), hint, paint);
    }
    limits(&mut text, report);
    timings(&mut text, report);
    text
}

fn versions(text: &mut String, report: &Report) {
    let version = |name: &str| report.versions.get(name).map_or("?", String::as_str);
    let _ = writeln!(
        text,
        "guest      Linux {} in QEMU {} under {}, {}",
        version("kernel"),
        version("qemu"),
        report.accelerator.name.to_uppercase(),
        report.start.text
    );
    let card = &report.card;
    let _ = writeln!(
        text,
        "card       capture at {}, register layout {}, {} address bits, {}, {} interrupts{}",
        card.pci_address,
        version("card_layout"),
        card.address_bits,
        card.interrupt,
        card.interrupts,
        card.fault
            .as_ref()
            .map_or_else(String::new, |fault| format!(", fault `{fault}`")),
    );
    let _ = writeln!(
        text,
        "modules    landfall_pool {}, landfall_capture {}",
        version("landfall_pool"),
        version("landfall_capture")
    );
    if let Some(bytes) = report.checked.watched_bytes {
        let _ = writeln!(
            text,
            "watched    {} from boot, untouched by kernel and firmware",
            size(bytes)
        );
    }
    let _ = writeln!(
        text,
        "self-test  card, guest and host agree on {:#018x} at {}",
        report.selftest.nonce,
        map::address(report.selftest.address)
    );
}

fn transfers(text: &mut String, report: &Report, paint: &Paint) {
    let _ = writeln!(
        text,
        "{:>5} {:>4}  {:<27} {:>10} {:>9} {:>10}  verdict",
        "frame", "slot", "physical range", "bytes", "time", "rate"
    );
    for transfer in &report.transfers {
        let last = transfer
            .address
            .saturating_add(transfer.length.saturating_sub(1));
        let range = format!(
            "{} - {}",
            map::address(transfer.address),
            map::address(last)
        );
        let verdict = match transfer.verdict.as_str() {
            "ok" => paint.green("ok"),
            other => paint.bold_red(other),
        };
        let _ = writeln!(
            text,
            "{:>5} {:>4}  {range:<27} {:>10} {:>9} {:>10}  {verdict}",
            transfer
                .frame
                .map_or_else(|| "-".to_owned(), |frame| frame.to_string()),
            transfer.slot,
            transfer.bytes,
            transfer
                .duration_ns
                .map_or_else(|| "-".to_owned(), milliseconds),
            transfer
                .duration_ns
                .map_or_else(|| "-".to_owned(), |time| rate(transfer.bytes, time)),
        );
    }
    for capture in &report.captures {
        if let Some(rate) = capture.bytes_per_second {
            let _ = writeln!(
                text,
                "{} x {}x{} {}: {:.2} GB/s while the card writes",
                capture.frames,
                capture.width,
                capture.height,
                capture.format.to_uppercase(),
                rate / 1e9
            );
        }
    }
    let _ = writeln!(
        text,
        "compared {} of frames, {} of canary, {} accesses",
        size(report.checked.frame_bytes),
        size(report.checked.canary_bytes),
        report.checked.accesses
    );
    if let Some(calls) = report.checked.driver_calls {
        let _ = writeln!(text, "the witness told {calls} calls of the driver");
    }
    text.push('\n');
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn milliseconds(nanoseconds: u64) -> String {
    format!("{:.2} ms", nanoseconds as f64 / 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn rate(bytes: u64, nanoseconds: u64) -> String {
    match nanoseconds {
        0 => "-".to_owned(),
        time => format!("{:.2} GB/s", bytes as f64 / time as f64),
    }
}

fn describe(text: &mut String, kind: &str, violation: &Violation, paint: &Paint) {
    let class = violation.class.map_or_else(
        || "no known class".to_owned(),
        |class| format!("class {class}"),
    );
    let _ = write!(text, "{kind} {} ({class})", paint.bold(&violation.name));
    if let Some(frame) = violation.frame {
        let _ = write!(text, ", frame {frame}");
    }
    if let Some(slot) = violation.slot {
        let _ = write!(text, ", slot {slot}");
    }
    text.push('\n');
    let _ = writeln!(text, "  what: {}", violation.text);
    if violation.address != 0 || violation.length != 0 {
        let length = match violation.length {
            0 => String::new(),
            1 => ", 1 byte".to_owned(),
            length => format!(", {length} bytes"),
        };
        let _ = writeln!(text, "  where: {}{length}", map::address(violation.address));
    }
    if let Some(nearest) = &violation.nearest {
        let last = nearest
            .lend
            .address
            .saturating_add(nearest.lend.length.saturating_sub(1));
        let _ = writeln!(
            text,
            "  nearest lend: {}, {} - {}, {} bytes away, {:+} from its start",
            nearest.label,
            map::address(nearest.lend.address),
            map::address(last),
            nearest.distance,
            nearest.offset
        );
    }
    let by = |what: &str, made: &Option<DriverCall>| {
        made.as_ref()
            .map(|made| format!("  {what}: {}\n", called(made)))
    };
    let nearest = violation.nearest.as_ref();
    let lent = nearest.and_then(|lend| by("lent by", &lend.lent_by));
    let back = nearest.and_then(|lend| by("taken back by", &lend.taken_back_by));
    text.extend(lent.into_iter().chain(back));
    if let Some(owner) = &violation.owner {
        let _ = writeln!(text, "  whose it is now: {owner}");
    }
    if let Some(write) = &violation.register_write {
        let _ = writeln!(
            text,
            "  set going by: {} = {:#x} (BAR 0 + {:#x}, journal entry {})",
            write.name, write.value, write.offset, write.sequence
        );
    }
    if let Some(made) = &violation.driver_call
        && nearest.is_none_or(|lend| lend.lent_by.as_ref() != Some(made))
    {
        let _ = writeln!(text, "  driver call: {}", called(made));
    }
    if violation.accesses > 1 {
        let _ = writeln!(text, "  accesses: {}", violation.accesses);
    }
    let views: Vec<&str> = violation.views.iter().map(|view| view.name()).collect();
    let _ = writeln!(text, "  seen in: {}\n", views.join(", "));
}

/// A call of the driver's, in words.
fn called(made: &DriverCall) -> String {
    let caller = made.caller.as_deref().map(symbol);
    let caller = caller.unwrap_or_else(|| "somewhere unknown".to_owned());
    let source = made.source.as_ref();
    let source = source.map_or_else(String::new, |source| format!(", {source}"));
    let seconds = made.guest_ns as f64 / 1e9;
    let call = made.call.name();
    format!("{call} from {caller}{source}, {seconds:.3} s after the guest's start")
}

/// What was not judged, which rules were off, and what the witness does not hear.
fn limits(text: &mut String, report: &Report) {
    let off = report.groups.iter().filter_map(|group| {
        let why = group.off.as_ref()?;
        Some(format!("not judged: {} ({why})\n", group.judges))
    });
    let unheard = report.unheard.iter();
    let unheard = unheard.map(|what| format!("blind spot: {what} is not heard by the witness\n"));
    let missing = report.missing.iter();
    let missing = missing.map(|what| format!("the card's model lacks: {what}\n"));
    text.extend(off.chain(unheard).chain(missing));
}

fn timings(text: &mut String, report: &Report) {
    let parts: Vec<String> = report
        .timings
        .iter()
        .filter(|timing| timing.seconds >= 0.005)
        .map(|timing| format!("{} {:.2} s", timing.step, timing.seconds))
        .collect();
    let _ = writeln!(text, "{}\n", parts.join(", "));
}

fn verdict(report: &Report, paint: &Paint) -> String {
    let line = match report.verdict {
        Verdict::Clean => paint.green(&report.summary),
        Verdict::Violations => paint.bold_red(&report.summary),
        Verdict::NotJudged => paint.bold(&report.summary),
    };
    format!("verdict: {line}\n")
}

/// Writes the report as JSON: beside its place and then renamed, unless it is no plain file.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(report)?;
        bytes.push(b'\n');
        std::fs::write(path, bytes)
    };
    write().map_err(|error| Failure::output(path, &error))
}

/// Tells what was exported.
pub(crate) fn exported(file: &Path, exported: &Exported) {
    say!(
        stdout,
        "exported {} to {} ({} unpacked, {} files)",
        size(exported.bytes),
        file.display(),
        size(exported.unpacked),
        exported.files
    );
}

/// Tells what was imported.
pub(crate) fn imported(file: &Path, imported: &Imported) {
    if imported.was_there {
        say!(stdout, "the set-up in {} was there already", file.display());
        return;
    }
    say!(
        stdout,
        "imported {} entries from {}",
        imported.entries.len(),
        file.display()
    );
    for name in &imported.kept {
        say!(stdout, "  {name} was there and is kept");
    }
}

/// Tells what a set-up led to.
pub(crate) fn setup(
    options: &SetupOptions,
    prepared: &Prepared,
    pruned: Option<&Pruned>,
    cache: &CacheSize,
) {
    if let Some(pruned) = pruned {
        say!(
            stdout,
            "removed {} entries, {}",
            pruned.removed.len(),
            size(pruned.freed)
        );
        for name in &pruned.removed {
            say!(stdout, "  {name}");
        }
    }
    say!(
        stdout,
        "Linux {}, QEMU {}",
        prepared.kernel_release,
        prepared.qemu.version
    );
    say!(
        stdout,
        "exact versions and checksums: {}",
        prepared.lock_file.display()
    );
    say!(
        stdout,
        "cache: {} in {}",
        size(cache.total),
        options.cache.display()
    );
    for (name, bytes) in &cache.entries {
        say!(stdout, "  {:>10}  {name}", size(*bytes));
    }
}

/// Tells of the debug kernel.
pub(crate) fn debug_kernel(prepared: &Prepared) {
    kernel("debug kernel", prepared);
}

/// Tells of a kernel.
pub(crate) fn kernel(what: &str, prepared: &Prepared) {
    say!(
        stdout,
        "{what}: Linux {}, modules {}",
        prepared.kernel_release,
        prepared.modules.join(" ")
    );
}

/// Tells what was found on the host.
pub(crate) fn doctor(findings: &[Finding]) {
    let paint = Paint::new(&stdout());
    let column = findings
        .iter()
        .map(|finding| finding.what.chars().count())
        .max()
        .unwrap_or(0);
    for finding in findings {
        let sign = match finding.status {
            Status::Ok => paint.green("ok   "),
            Status::Warns => paint.bold("warns"),
            Status::Lacks => paint.bold_red("lacks"),
        };
        say!(
            stdout,
            "{sign}  {:<column$}  {}",
            finding.what,
            finding.detail
        );
        if let Some(cure) = &finding.cure {
            say!(stdout, "       {:<column$}  cure: {cure}", "");
        }
    }
}

/// Columns of the terminal; 100 if there is none.
/// Tells how the pool's allocator did under random use.
pub(crate) fn exercise(report: &exercise::Report, show: bool) {
    say!(
        stdout,
        "{} steps of seed {}, {} fit, in {} at {:#x}, guard pages {}",
        report.steps,
        report.seed,
        report.fit,
        size(report.bytes),
        report.base,
        report.guard_pages
    );
    say!(
        stdout,
        "lent {}, requests that got none {}, taken back {}, wrong frees refused {}",
        report.allocations,
        report.failed_allocations,
        report.frees,
        report.refused_frees
    );
    say!(
        stdout,
        "at most {} buffers and {}; now {} buffers, free {}, the largest gap gives {}",
        report.peak_buffers,
        size(report.peak_bytes),
        report.used.len(),
        size(report.free_bytes),
        size(report.largest_free)
    );
    if show {
        say!(stdout, "\n{:>16}  {:>5}  owner", "physical", "pages");
        for used in &report.used {
            say!(
                stdout,
                "{:>#16x}  {:>5}  {}",
                used.base,
                used.pages,
                used.owner
            );
        }
    }
    let verdict = match &report.difference {
        None => "after every step the allocator and the model were the same".to_owned(),
        Some(Difference { step, call, what }) => {
            format!("the allocator and the model differ after step {step}\n  {call}\n  {what}")
        }
    };
    say!(stdout, "\n{verdict}");
}

fn width() -> usize {
    let of = |stream| terminal_size::terminal_size_of(stream);
    of(stdout()).map_or(100, |(columns, _)| usize::from(columns.0))
}

/// Colours, if the stream is a terminal and NO_COLOR is not set.
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) fn new(stream: &impl IsTerminal) -> Self {
        let asked_not_to = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(stream.is_terminal() && !asked_not_to)
    }

    fn ink(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn green(&self, text: &str) -> String {
        self.ink("32", text)
    }

    fn bold(&self, text: &str) -> String {
        self.ink("1", text)
    }

    pub(crate) fn bold_red(&self, text: &str) -> String {
        self.ink("1;31", text)
    }
}
