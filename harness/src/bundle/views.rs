// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is made of a run to be looked at: a page, and a trace for Perfetto.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use landfall_device::ledger::Judgement;

use super::story::also_seen;
use super::{Bundle, BundleError, Parts};
use crate::evidence::Logs;
use crate::viewer::{Subject, View};

/// Logs that a bundle may have, by name.
const LOGS: [&str; 4] = ["console.log", "kernel.log", "console-boot.log", "qemu.log"];

/// Files that are made of a run, whatever its verdict, for who wants to look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// The page.
    pub page: Option<PathBuf>,
    /// The trace for Perfetto.
    pub perfetto: Option<PathBuf>,
}

impl Views {
    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        self.page.is_none() && self.perfetto.is_none()
    }

    /// Those of one of several runs: a word more in their names, before what these end with.
    pub fn of(&self, word: &str) -> Self {
        let of = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let end = path.extension();
            let end = end.map_or_else(String::new, |end| format!(".{}", end.to_string_lossy()));
            path.with_file_name(format!("{stem}-{word}{end}"))
        };
        Self {
            page: self.page.as_ref().map(of),
            perfetto: self.perfetto.as_ref().map(of),
        }
    }

    /// Makes them of a bundle.
    ///
    /// # Errors
    /// If it has no stream or makes no sense, or a file cannot be written.
    pub fn of_bundle(&self, bundle: &Bundle) -> Result<(), BundleError> {
        let (run, lines) = (bundle.run()?, bundle.lines()?);
        let (report, observed) = (bundle.report()?, bundle.observed()?);
        let said = match bundle.has_stream() {
            true => bundle.judgement()?,
            false => Judgement::default(),
        };
        let pages = bundle.pages()?;
        let mut logs = Logs::new();
        for name in LOGS {
            logs.extend(bundle.text(name)?.map(|text| (name, text)));
        }
        let mut view = View::new(lines.clone());
        if bundle.has_stream() {
            bundle.judge(|_, item| view.item(item))?;
        }
        let subject = Subject {
            summary: &run.summary,
            command: &run.command,
            seed: run.seed,
            versions: &run.versions,
            report: report.as_ref(),
            said: &said,
            besides: &also_seen(observed.as_ref(), &said.violations),
            lines: &lines,
            pages: &pages,
            logs: &logs,
        };
        self.write(&view, &subject)
    }

    /// Makes them of a run that has ended.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn of_parts(&self, parts: &Parts<'_>) -> Result<(), BundleError> {
        match self.is_empty() {
            true => Ok(()),
            false => shown(parts, |view, subject| self.write(view, subject)),
        }
    }

    fn write(&self, view: &View, subject: &Subject<'_>) -> Result<(), BundleError> {
        if let Some(path) = &self.page {
            put(path, view.page(subject).as_bytes())?;
        }
        if let Some(path) = &self.perfetto {
            put(path, &view.perfetto(subject))?;
        }
        Ok(())
    }
}

/// The page of a run that has ended.
pub(super) fn page(parts: &Parts<'_>) -> String {
    shown(parts, |view, subject| view.page(subject))
}

fn shown<T>(parts: &Parts<'_>, show: impl FnOnce(&View, &Subject<'_>) -> T) -> T {
    let mut view = View::new(parts.lines.clone());
    if let Some((recorder, journal)) = parts.stream {
        let all: Result<(), Infallible> = recorder.items(journal, |item| {
            view.item(&item);
            Ok(())
        });
        let Ok(()) = all;
    }
    let besides = also_seen(parts.observed, &parts.judged.violations);
    let subject = Subject {
        summary: &parts.run.summary,
        command: &parts.run.command,
        seed: parts.run.seed,
        versions: &parts.run.versions,
        report: parts.report,
        said: parts.judged,
        besides: &besides,
        lines: parts.lines,
        pages: parts.pages,
        logs: parts.logs,
    };
    show(&view, &subject)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    fs::write(path, bytes).map_err(|source| BundleError::Write {
        path: path.to_owned(),
        source,
    })
}
