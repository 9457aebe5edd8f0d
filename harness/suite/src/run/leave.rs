// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a failing run leaves: its bundle.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use landfall_agent::protocol::capture::Completion;
use landfall_device::ledger;
use landfall_reserve::canary;

use super::capture::{Captured, OK};
use super::{Outcome, Plan, RunFailed, Session, Traces};
use crate::capture::Device;
use crate::verify::{self, Differences};
use landfall::bundle::{self, BundleError, Parts, Run};
use landfall::debug_info::{self, Lines};
use landfall::evidence::{Logs, PAGE, Page, Pages, Trace};
use landfall::guest::memory::GuestMemory;
use landfall::guest::{Guest, GuestFailed, Loaded, Region};
use landfall::report::schema::{Report, Verdict, Violation};

/// How long the guest may take to print its kernel's log.
const KERNEL_LOG: Duration = Duration::from_secs(10);
/// Ranges that memory shows to be wrong, of each frame or region, around which pages are kept.
const RANGES: usize = 3;

/// What is wrong with a report that is not clean.
pub(super) fn violations(report: &Report) -> Option<String> {
    (report.verdict != Verdict::Clean).then(|| report.summary.clone())
}

/// Writes the bundle of a run that failed, if it was to leave one. `wrong` says of a report what is wrong with it.
pub(super) fn leave(
    plan: &Plan,
    traces: Traces,
    done: Result<Outcome, RunFailed>,
    wrong: &dyn Fn(&Report) -> Option<String>,
) -> Result<Outcome, RunFailed> {
    match done {
        Ok(mut outcome) => {
            let wrong = wrong(&outcome.report);
            outcome.bundle = store(plan, &traces, wrong, Some(&outcome.report), None);
            Ok(outcome)
        }
        Err(RunFailed::Guest(mut failed)) if failed.is_guests() => {
            match store(plan, &traces, Some(failed.to_string()), None, Some(&failed)) {
                Ok(bundle) => failed.bundle = bundle,
                Err(error) => tracing::warn!("the bundle was not written: {error}"),
            }
            Err(RunFailed::Guest(failed))
        }
        Err(other) => Err(other),
    }
}

/// Makes what is to be looked at; and, of one with which something is wrong, the bundle.
fn store(
    plan: &Plan,
    traces: &Traces,
    wrong: Option<String>,
    report: Option<&Report>,
    died: Option<&GuestFailed>,
) -> Result<Option<std::path::PathBuf>, BundleError> {
    let Some(request) = &plan.bundle else {
        return Ok(None);
    };
    if wrong.is_none() && request.views.is_empty() {
        return Ok(None);
    }
    let fails = wrong.is_some();
    let summary = wrong.or_else(|| Some(report?.summary.clone()));
    let session = traces.session.as_ref();
    let mut logs = traces.logs.clone();
    if let Some(evidence) = died.and_then(|died| died.evidence.as_ref()) {
        // What it said to the last.
        logs = landfall::guest::logs_in(evidence);
    }
    let evidence = plan.guest.evidence.directory.clone();
    let (no_pages, nothing) = (Pages::default(), ledger::Judgement::default());
    let versions = report.map_or(&traces.versions, |report| &report.versions);
    let lines = session.map_or_else(Lines::new, |session| {
        debug_info::of_journal(&session.modules, &session.journal)
    });
    let parts = Parts {
        request,
        run: Run {
            command: request.command.clone(),
            seed: request.seed,
            versions: versions.clone(),
            summary: summary.unwrap_or_default(),
            kernel_line: died.and_then(|died| died.kernel_line.clone()),
        },
        stream: session.map(|session| (&session.recorder, &session.journal)),
        judged: session.map_or(&nothing, |session| &session.judged),
        lines: &lines,
        report,
        observed: None,
        pages: session.map_or(&no_pages, |session| &session.pages),
        logs: &logs,
        page: true,
    };
    request.views.of_parts(&parts)?;
    if !fails {
        return Ok(None);
    }
    bundle::store(
        &parts,
        &evidence.unwrap_or_else(landfall::guest::run_directory::parent),
    )
    .map(Some)
}

/// What guest and QEMU said; and the kernel's log, if the guest is alive.
pub(super) fn logs(guest: &Guest<Loaded>, alive: bool) -> Logs {
    let mut logs = guest.logs();
    if alive && let Ok(ran) = guest.run(&["/bin/busybox", "dmesg"], KERNEL_LOG) {
        logs.push(("kernel.log", ran.stdout));
    }
    logs
}

impl Session {
    /// As [`Session::finish`], with what a bundle needs.
    ///
    /// # Errors
    /// If the guest fails.
    pub(crate) fn finish_traced(
        mut self,
        guest: &Guest<Loaded>,
        card: &Device<'_>,
    ) -> Result<(Vec<Violation>, Trace), RunFailed> {
        let violations = self.end(guest, card)?;
        self.keep_pages_of_judged(&guest.memory());
        let trace = Trace {
            logs: logs(guest, !violations.is_empty()),
            stream: Some((self.recorder, self.journal)),
            judged: self.judged,
            pages: self.pages,
            modules: Some(self.modules),
            evidence: None,
        };
        Ok((violations, trace))
    }

    /// Whether something went wrong, as far as is known before the ledger ends.
    pub(super) fn has_findings(&self) -> bool {
        let in_memory = |captured: &Captured| {
            captured.stalled.is_some() || differences(captured).any(|found| !found.is_empty())
        };
        !self.recorder.violations().is_empty() || self.captured.iter().any(in_memory)
    }

    /// Keeps memory around what went wrong since the last time, as it is now, and around what the last capture left
    /// wrong in memory.
    pub(super) fn keep_pages(&mut self, memory: &GuestMemory) {
        self.feed();
        let new = self.recorder.violations().get(self.seen..);
        let mut ranges = self.places(new.unwrap_or_default());
        self.seen = self.recorder.violations().len();
        if let Some(captured) = self.captured.last() {
            ranges.extend(differences(captured).flat_map(|found| {
                let first = found.ranges.iter().take(RANGES);
                first.map(|range| range.address..range.address.saturating_add(range.length))
            }));
        }
        self.keep(memory, &ranges);
    }

    /// Keeps memory around what only the ledger's end brought to light.
    pub(super) fn keep_pages_of_judged(&mut self, memory: &GuestMemory) {
        let new = self.judged.violations.get(self.seen..).map(<[_]>::to_vec);
        let ranges = self.places(&new.unwrap_or_default());
        self.keep(memory, &ranges);
    }

    fn keep(&mut self, memory: &GuestMemory, ranges: &[Range<u64>]) {
        let mut pages = std::mem::take(&mut self.pages);
        for range in ranges {
            pages.keep(memory, range, &|page, at| self.know(page, at));
        }
        self.pages = pages;
    }

    /// Physical addresses of violations. Behind an IOMMU only those near a lend have one.
    fn places(&self, violations: &[ledger::Violation]) -> Vec<Range<u64>> {
        let placed = violations
            .iter()
            .filter(|violation| violation.address != 0 || violation.length != 0);
        placed
            .map(|violation| {
                let lend = violation.lend.as_ref();
                let shift = lend.map_or(0, |lend| self.shift(lend.address));
                let from = violation.address.wrapping_add(shift);
                from..from.saturating_add(violation.length)
            })
            .collect()
    }

    /// Says what should lie in a page: the frames of the last capture, and the canary in what nobody was lent.
    fn know(&self, page: &mut Page, base: u64) {
        let Some(captured) = self.captured.last() else {
            return;
        };
        let done = captured.completions().filter(|frame| frame.result == OK);
        let last: BTreeMap<u32, &Completion> = done.map(|frame| (frame.index, frame)).collect();
        for (slot, range) in captured.spans() {
            let Some(completion) = last.get(&slot) else {
                continue;
            };
            let spec = captured.spec(completion);
            let what = format!("frame {} (slot {slot})", completion.sequence);
            page.know(base, &range, &what, |bytes, from| {
                let clip = captured.plan.clip.as_deref();
                verify::fill(bytes, from - range.start, range.start, &spec, clip);
            });
        }
        let lent = captured.lends.iter();
        let lent = lent.map(|lend| lend.phys..lend.phys.saturating_add(lend.length));
        let taken: Vec<_> = lent
            .chain(captured.of_others())
            .chain(self.holes.iter().cloned())
            .collect();
        for region in self.regions.iter().map(Region::range) {
            let part = region.start.max(base)..region.end.min(base + PAGE);
            if part.start >= part.end {
                continue;
            }
            for gap in verify::gaps(part, &taken) {
                page.know(base, &gap, "canary", |bytes, from| {
                    for (at, byte) in (from..).zip(bytes) {
                        *byte = canary::byte(at);
                    }
                });
            }
        }
    }
}

/// What memory shows to be wrong after a capture.
fn differences(captured: &Captured) -> impl Iterator<Item = &Differences> {
    let frames = captured
        .frames
        .iter()
        .filter_map(|frame| frame.check.as_ref());
    let frames = frames.map(|check| &check.differences);
    frames.chain(&captured.strays)
}
