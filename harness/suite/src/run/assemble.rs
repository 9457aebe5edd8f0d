// SPDX-License-Identifier: MIT OR Apache-2.0

//! From what was seen to a report.

use std::collections::HashMap;
use std::ops::Range;

use landfall_agent::protocol::capture::LendKind;
use landfall_cards::capture::{fault_names, result_name};
use landfall_device::journal::{Entry, Kind};

use super::capture::{Captured, Frame, OK};
use super::jobs::{Job, duration, jobs, written};
use super::{Circumstances, GUEST_FAILED, Plan, RunFailed, Session};
use crate::verify::merge::{Findings, FrameAt, bare};
use crate::verify::origin;
use landfall::debug_info::{self, Lines};
use landfall::guest::GuestFailed;
use landfall::guest::memory::GuestMemory;
use landfall::report::schema::{
    self, Capture, Card, Checked, PoolRegion, Report, Span, Transfer, Verdict, View, Violation,
};

impl Session {
    /// Makes the report, or gives the guest's failure back if nothing explains it.
    pub(super) fn assemble(
        &mut self,
        circumstances: Circumstances<'_>,
        died: Option<GuestFailed>,
        memory: &GuestMemory,
    ) -> Result<Report, RunFailed> {
        let entries = self.journal.entries_from(self.first);
        let jobs = jobs(&entries);
        let mut findings = self.findings(&jobs);
        if let Some(died) = died {
            if findings.is_empty() {
                return Err(died.into());
            }
            let line = died.kernel_line.as_deref().unwrap_or_default();
            let text = format!("the guest did not survive it: {died} {line}");
            findings.push(bare(GUEST_FAILED, self.captured.len().max(1), text.trim()));
        }
        let violations = confirmed(findings, memory);
        let transfers = transfers(&self.captured, &jobs, &violations);
        let checked = Checked {
            watched_bytes: circumstances.watched,
            driver_calls: circumstances
                .plan
                .guest
                .witness
                .then(|| driver_calls(&self.journal.entries_from(0))),
            ..self.checked(&entries)
        };
        let mut versions = circumstances.versions;
        versions.insert("card_layout".to_owned(), self.info.layout.to_string());
        Ok(Report {
            schema: schema::VERSION,
            verdict: match (violations.is_empty(), self.judged.not_judged.as_slice()) {
                (false, _) => Verdict::Violations,
                (true, []) => Verdict::Clean,
                (true, _) => Verdict::NotJudged,
            },
            summary: summary(&violations, &self.judged.not_judged, &transfers, checked),
            hints: self.hints(),
            not_judged: self.judged.not_judged.clone(),
            groups: self.judged.groups.clone(),
            unheard: self.judged.unheard.clone(),
            missing: landfall_device::journal::Missing::of(&entries).lines(),
            transfers,
            captures: (1..)
                .zip(&self.captured)
                .map(|(number, captured)| {
                    let of_it = entries
                        .iter()
                        .filter(|entry| self.capture_of(entry.sequence) == Some(number));
                    Capture {
                        written: written(of_it, |address| self.physical(address)),
                        ..describe(captured, &jobs)
                    }
                })
                .collect(),
            pool: self
                .regions
                .iter()
                .map(|region| PoolRegion {
                    source: region.source.clone(),
                    address: region.base,
                    length: region.bytes,
                    guard_pages: region.guard_pages,
                })
                .collect(),
            ram: circumstances
                .ram
                .iter()
                .map(|ram| Span {
                    address: ram.phys,
                    length: ram.length,
                })
                .collect(),
            card: self.card(circumstances.plan),
            scenario: played(circumstances.plan),
            selftest: self.selftest,
            checked,
            versions,
            accelerator: schema::Accelerator {
                name: circumstances.choice.engine.to_string().to_lowercase(),
                reason: circumstances.choice.reason.clone(),
            },
            start: schema::Start::from(&circumstances.started),
            timings: circumstances.timings,
            violations,
        })
    }

    /// Ends the ledger and merges what all three views found.
    pub(super) fn findings(&mut self, jobs: &HashMap<u32, Job>) -> Findings {
        self.feed();
        self.recorder.close(&self.journal);
        self.judged = self.recorder.finish();
        // A journal that was full does not know all frames, and is not asked of any.
        let jobs = Some(jobs).filter(|_| self.journal.dropped() == 0);
        let which = |entry| self.capture_of(entry);
        let judged = self.judged.violations.clone();
        let mut findings = Findings::from_ledger(judged, which, |dma| self.shift(dma));
        findings.owned(&self.owners);
        findings.locate(&self.lines());
        let mut earlier = Vec::new();
        for (number, captured) in (1..).zip(&self.captured) {
            findings.captured(number, captured, &earlier, jobs);
            let lent = captured.lends.iter();
            earlier.extend(lent.map(|lend| lend.phys..lend.phys.saturating_add(lend.length)));
        }
        for captured in &self.captured {
            findings.name_owners(captured.used.iter().filter(|used| captured.is_others(used)));
        }
        findings
    }

    /// What the ledger hints at.
    fn hints(&self) -> Vec<Violation> {
        let hints = self.judged.hints.clone();
        let which = |entry| self.capture_of(entry);
        let mut hints = Findings::from_ledger(hints, which, |dma| self.shift(dma));
        hints.locate(&self.lines());
        hints.finish()
    }

    /// Where the driver's calls that the ledger names stand in its source.
    fn lines(&self) -> Lines {
        let said = self.judged.violations.iter().chain(&self.judged.hints);
        debug_info::of_violations(&self.modules, said)
    }

    /// The capture that a journal entry belongs to. What comes after a capture, such as a late write, is of
    /// that capture until the next begins.
    fn capture_of(&self, entry: u64) -> Option<usize> {
        let begun = |captured: &&Captured| captured.entries.start <= entry;
        let begun = self.captured.iter().filter(begun).count();
        (begun > 0).then_some(begun)
    }

    /// How much was looked at.
    fn checked(&self, entries: &[Entry]) -> Checked {
        let is_access = |entry: &&Entry| matches!(entry.kind, Kind::Access { .. });
        let frames = self.captured.iter().flat_map(|captured| &captured.frames);
        Checked {
            watched_bytes: None,
            driver_calls: None,
            accesses: entries.iter().filter(is_access).count() as u64,
            canary_bytes: self
                .captured
                .iter()
                .map(|captured| captured.canary_bytes)
                .sum(),
            frame_bytes: frames
                .filter_map(|frame| frame.check.as_ref())
                .map(|check| check.bytes)
                .sum(),
        }
    }

    /// What to add to bus addresses of the lend at `dma` for physical ones; 0 without an IOMMU.
    pub(super) fn shift(&self, dma: u64) -> u64 {
        let mut lends = self.captured.iter().flat_map(|captured| &captured.lends);
        let lend = lends.find(|lend| lend.dma == dma);
        lend.map_or(0, |lend| lend.phys.wrapping_sub(lend.dma))
    }

    /// The physical address of a bus address in a lend; of another one, itself.
    fn physical(&self, address: u64) -> u64 {
        let mut lends = self.captured.iter().flat_map(|captured| &captured.lends);
        let lend = lends.find(|lend| address.wrapping_sub(lend.dma) < lend.length);
        lend.map_or(address, |lend| lend.phys.wrapping_add(address - lend.dma))
    }

    /// The card's PCI address, as sysfs writes it.
    pub(super) fn address(&self) -> String {
        let address = self.info.pci_address;
        let (bus, device) = (address >> 8 & 0xff, address & 0xff);
        format!(
            "{:04x}:{bus:02x}:{:02x}.{}",
            address >> 16,
            device >> 3,
            device & 7
        )
    }

    fn card(&self, plan: &Plan) -> Card {
        Card {
            pci_address: self.address(),
            interrupt: match self.info.interrupt {
                0 => "intx",
                1 => "msi",
                2 => "msix",
                _ => "unknown",
            }
            .to_owned(),
            interrupts: self.info.interrupts,
            address_bits: self.info.address_bits,
            fault: fault_names(&plan.card.faults),
            journal_entries: self.journal.len(),
        }
    }
}

/// The scenario of a plan, and how often its faults have struck.
fn played(plan: &Plan) -> Option<schema::Scenario> {
    let scenario = plan.scenario.as_ref()?;
    let strikes = plan.card.strikes.clone();
    let faults = scenario.faults.iter().enumerate();
    Some(schema::Scenario {
        text: scenario.to_toml(),
        seed: scenario.seed,
        faults: faults
            .map(|(index, planted)| schema::PlantedFault {
                name: planted.what.to_string(),
                class: planted.what.class(),
                struck: strikes.of(index),
            })
            .collect(),
    })
}

/// How many calls the witness told, from the time that the driver was bound on.
fn driver_calls(entries: &[Entry]) -> u64 {
    let is_call = |entry: &&Entry| matches!(entry.kind, Kind::Call(_));
    entries.iter().filter(is_call).count() as u64
}

impl Findings {
    /// Adds what one capture showed, in driver and memory.
    ///
    /// `earlier` is what was lent in earlier captures; `jobs` what the journal knows of frames, if it was never full.
    fn captured(
        &mut self,
        number: usize,
        captured: &Captured,
        earlier: &[Range<u64>],
        jobs: Option<&HashMap<u32, Job>>,
    ) {
        let spans = captured.spans();
        let specs: Vec<_> = captured
            .frames
            .iter()
            .map(|frame| captured.spec(&frame.completion))
            .collect();
        let mut in_memory = Vec::new();
        for (frame, spec) in captured.frames.iter().zip(&specs) {
            let Some(range) = spans.get(&frame.completion.index).cloned() else {
                continue;
            };
            let at = FrameAt {
                capture: number,
                spec,
                range,
            };
            if let Some(check) = &frame.check {
                self.frame(&at, &check.differences);
            }
            let disagree = driver_disagrees(frame, captured, jobs)
                .map(|text| bare("views disagree", number, &text));
            let wrong_page = user_sees_other_bytes(frame).map(|text| Violation {
                class: Some(6),
                ..bare("wrong page", number, &text)
            });
            for violation in disagree.into_iter().chain(wrong_page) {
                self.driver(Violation {
                    frame: Some(spec.sequence),
                    slot: Some(spec.slot.into()),
                    address: at.range.start,
                    length: at.range.end - at.range.start,
                    ..violation
                });
            }
            in_memory.push(at);
        }
        for differences in &captured.strays {
            self.stray(number, &in_memory, earlier, differences);
        }
        for text in lends_disagree(captured) {
            self.driver(bare("views disagree", number, &text));
        }
        if let Some(waited) = captured.stalled {
            let got = captured.frames.len();
            let text = format!(
                "the driver got {got} of {} frames and waited {} s for the next",
                captured.plan.frames,
                waited.as_secs()
            );
            self.stalled(number, &text);
        }
    }
}

/// What the driver says of a frame that card or host say otherwise.
fn driver_disagrees(
    frame: &Frame,
    captured: &Captured,
    jobs: Option<&HashMap<u32, Job>>,
) -> Option<String> {
    let completion = &frame.completion;
    if completion.result != OK {
        let why = u8::try_from(completion.result).map_or("unknown result", result_name);
        return Some(format!("the card reported no frame: {why}"));
    }
    if completion.bytes != captured.written() {
        return Some(format!(
            "the card reported {} bytes for a frame of {}",
            completion.bytes,
            captured.written()
        ));
    }
    match jobs?.get(&completion.sequence) {
        None => return Some("the card's journal does not know that frame".to_owned()),
        Some(job) if job.slot != completion.index => {
            return Some(format!("the card served slot {} for it", job.slot));
        }
        Some(job) => {
            let lent = captured.buffer(completion.index).map(|buffer| buffer.dma);
            if lent != Some(job.base) {
                return Some(format!("the card was given the base {:#x}", job.base));
            }
        }
    }
    None
}

/// The guest's user space and the host hash the same frame, and the host's is right: then user space has other memory
/// mapped.
fn user_sees_other_bytes(frame: &Frame) -> Option<String> {
    let host = frame
        .check
        .as_ref()
        .filter(|check| check.differences.is_empty())
        .map(|check| check.hash);
    match (host, frame.guest_hash) {
        (Some(host), Some(guest)) if host != guest => Some(format!(
            "the guest's user space sees other bytes (XXH64 {guest:016x}, the host {host:016x})"
        )),
        _ => None,
    }
}

/// Where lends, buffers and the pool's own list do not agree.
fn lends_disagree(captured: &Captured) -> Vec<String> {
    let mut texts = Vec::new();
    for lend in captured
        .lends
        .iter()
        .filter(|lend| lend.kind == LendKind::Frame)
    {
        match captured.buffer(lend.index) {
            Some(buffer)
                if (buffer.dma, buffer.phys, buffer.length)
                    == (lend.dma, lend.phys, lend.length) => {}
            _ => texts.push(format!(
                "the lend of frame buffer {} is not where the buffer is",
                lend.index
            )),
        }
        let end = lend.phys.saturating_add(lend.length);
        let given = |used: &landfall::guest::Used| {
            used.base <= lend.phys && end <= used.base.saturating_add(used.allocated)
        };
        if !captured.used.iter().any(given) {
            texts.push(format!(
                "the pool does not list frame buffer {} as given out",
                lend.index
            ));
        }
        if lend.length != captured.format.frame_size {
            texts.push(format!(
                "frame buffer {} is lent with {} bytes",
                lend.index, lend.length
            ));
        }
    }
    texts
}

fn transfers(
    captured: &[Captured],
    jobs: &HashMap<u32, Job>,
    violations: &[Violation],
) -> Vec<Transfer> {
    let mut transfers = Vec::new();
    for (number, captured) in (1..).zip(captured) {
        for frame in &captured.frames {
            let completion = &frame.completion;
            let spec = captured.spec(completion);
            let buffer = captured.buffer(completion.index);
            let job = jobs.get(&completion.sequence);
            let blamed = violations.iter().find(|violation| {
                violation.capture == Some(number)
                    && violation.slot == Some(spec.slot.into())
                    && violation
                        .frame
                        .is_none_or(|frame| frame == completion.sequence)
            });
            transfers.push(Transfer {
                capture: number,
                frame: Some(completion.sequence),
                slot: spec.slot,
                address: buffer.map_or(0, |buffer| buffer.phys),
                length: buffer.map_or(0, |buffer| buffer.length),
                dma: buffer.map_or(0, |buffer| buffer.dma),
                bytes: completion.bytes,
                duration_ns: job.and_then(duration),
                hash_host: frame
                    .check
                    .as_ref()
                    .map(|check| format!("{:016x}", check.hash)),
                hash_guest: frame.guest_hash.map(|hash| format!("{hash:016x}")),
                wrong_bytes: frame
                    .check
                    .as_ref()
                    .map_or(0, |check| check.differences.bytes),
                verdict: match blamed {
                    Some(violation) => violation.name.clone(),
                    None if frame.check.is_none() => "not looked at".to_owned(),
                    None => "ok".to_owned(),
                },
            });
        }
    }
    transfers
}

fn describe(captured: &Captured, jobs: &HashMap<u32, Job>) -> Capture {
    let done: Vec<_> = captured
        .frames
        .iter()
        .filter_map(|frame| {
            let job = jobs.get(&frame.completion.sequence)?;
            Some((frame.completion.bytes, duration(job)?))
        })
        .collect();
    let bytes: u64 = done.iter().map(|(bytes, _)| bytes).sum();
    let time: u64 = done.iter().map(|(_, time)| time).sum();
    Capture {
        width: captured.plan.width,
        height: captured.plan.height,
        stride: captured.format.stride,
        format: captured.plan.pixel.to_string(),
        pattern: captured.plan.pattern.to_string(),
        frame_bytes: captured.format.frame_size,
        frames: captured.plan.frames,
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
        bytes_per_second: (time > 0).then(|| bytes as f64 * 1e9 / time as f64),
        buffers: captured
            .buffers
            .iter()
            .map(|buffer| Span {
                address: buffer.phys,
                length: buffer.length,
            })
            .collect(),
        written: Vec::new(),
    }
}

/// Adds the memory's word to what the journal says was written in the wrong place: a frame's bytes lie there.
pub(super) fn confirmed(findings: Findings, memory: &GuestMemory) -> Vec<Violation> {
    let mut violations = findings.finish();
    for violation in violations
        .iter_mut()
        .filter(|violation| !violation.views.contains(&View::Memory))
    {
        let mut bytes = [0; 64];
        let misplaced =
            violation.length >= 64 && memory.read(violation.address, &mut bytes).is_ok();
        if misplaced
            && let Some(found) = origin(&bytes)
            && violation.slot == Some(found.slot.into())
            && violation
                .frame
                .is_some_and(|frame| frame & 0xff_ffff == found.sequence)
            && violation.class.is_some_and(|class| class != 56)
        {
            violation.views.push(View::Memory);
            violation.text.push_str("; its bytes lie there");
        }
    }
    violations
}

fn summary(
    violations: &[Violation],
    not_judged: &[String],
    transfers: &[Transfer],
    checked: Checked,
) -> String {
    let size = landfall::report::map::size;
    if violations.is_empty() && !not_judged.is_empty() {
        return format!("not judged, because {}", not_judged.join("; "));
    }
    if violations.is_empty() {
        return format!(
            "clean: {} frames, {} landed where they were lent, and not a byte beside ({} of canary intact)",
            transfers.len(),
            size(checked.frame_bytes),
            size(checked.canary_bytes)
        );
    }
    let mut names: Vec<String> = Vec::new();
    for violation in violations {
        let name = match violation.class {
            Some(class) => format!("{} (class {class})", violation.name),
            None => violation.name.clone(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let count = violations.len();
    let plural = if count == 1 {
        "violation"
    } else {
        "violations"
    };
    format!("{count} {plural}: {}", names.join(", "))
}
