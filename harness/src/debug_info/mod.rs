// SPDX-License-Identifier: MIT OR Apache-2.0

//! File and line of a driver's call, from the debug information of its module.
//!
//! The witness names a return address as `function+0x12/0x34 [module]`. What was built of which line, the module's DWARF
//! tells, which stays on the host: of Landfall's modules beside the initramfs, of one that was brought along in the file
//! itself or in `X.ko.debug`, if that has the build ID of what the guest loads. Where there is none, nothing is said.
//!
//! Modules may be anybody's: every byte is checked, and the work on one is bounded ([`Unreadable::TooMuch`]).

mod dwarf;
mod elf;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use landfall_device::journal::{Journal, Kind};
use landfall_device::ledger::Violation;
use landfall_guest::ModuleFiles;
use serde::{Deserialize, Serialize};

use elf::Module;

/// Most calls that are looked up.
const MOST: usize = 1024;
/// Most characters of a name, or of a path.
const LONGEST: usize = 256;

/// A place in a driver's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The file, relative to the directory that the module was built in.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Where a call of a driver's stands in its source: the innermost line that is in the driver's own files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file, relative to the directory that the module was built in.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The function there, if it was inlined into the one that the witness names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inlined: Option<String>,
    /// If it was: where that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Line>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, .. } = self;
        write!(f, "{file}:{line}")?;
        match (&self.inlined, &self.at) {
            (Some(function), Some(at)) => write!(f, " ({function}, inlined at {at})"),
            (Some(function), None) => write!(f, " ({function}, inlined)"),
            _ => Ok(()),
        }
    }
}

/// Lines of calls, each by what the witness calls it.
pub type Lines = BTreeMap<String, Source>;

/// A module from which no line can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no module, or damaged.
    #[error("it is damaged: {0}")]
    Elf(#[from] object::read::Error),
    /// Likewise its DWARF.
    #[error("its debug information is damaged: {0}")]
    Dwarf(#[from] gimli::Error),
    /// It is something else.
    #[error("it is not a relocatable file")]
    NotRelocatable,
    /// It has no debug information.
    #[error("it has no debug information")]
    Stripped,
    /// It would take too much memory or time.
    #[error("it takes too much to read")]
    TooMuch,
}

/// A call as the witness names it: `function+0x12/0x34 [module]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told<'a> {
    /// In the middle of a long one there may be `..` in place of what was left out.
    function: &'a str,
    offset: u64,
    /// From the function's beginning to that of the next.
    size: u64,
    module: &'a str,
}

impl<'a> Told<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (place, module) = text.strip_suffix(']')?.split_once(" [")?;
        let (function, numbers) = place.rsplit_once("+0x")?;
        let (offset, size) = numbers.split_once("/0x")?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self {
            function,
            offset: number(offset)?,
            size: number(size)?,
            module,
        })
    }

    /// The instruction: a return address is behind the call. What is at the very beginning was not called from there.
    fn instruction(&self) -> u64 {
        self.offset.saturating_sub(1)
    }
}

/// Looks up the calls that the witness names so, in the modules that a guest loads. What cannot be told is left out.
pub fn lines<'a>(files: &ModuleFiles, told: impl IntoIterator<Item = &'a str>) -> Lines {
    let mut by_module: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for text in told.into_iter().take(MOST) {
        if let Some(told) = Told::parse(text) {
            by_module.entry(told.module).or_default().insert(text);
        }
    }
    let mut lines = Lines::new();
    for (module, told) in by_module {
        match of_files(files, module, &told) {
            Ok(found) => lines.extend(found),
            Err(why) => tracing::debug!("no lines of {module}: {why}"),
        }
    }
    lines
}

/// Looks up all the calls that the witness told the journal of a card.
pub fn of_journal(files: &ModuleFiles, journal: &Journal) -> Lines {
    let entries = journal.entries_from(0);
    let told = entries.iter().filter_map(|entry| match &entry.kind {
        Kind::Symbol { name, .. } => Some(name.as_str()),
        _ => None,
    });
    lines(files, told)
}

/// Likewise those that are in violations.
pub fn of_violations<'a>(
    files: &ModuleFiles,
    violations: impl IntoIterator<Item = &'a Violation>,
) -> Lines {
    let calls = violations.into_iter().flat_map(|violation| {
        let lend = violation.lend.as_ref();
        let of_lend = lend.map(|lend| [&lend.lent_by, &lend.taken_back_by]);
        of_lend.into_iter().flatten().chain([&violation.call])
    });
    lines(
        files,
        calls.flatten().filter_map(|call| call.symbol.as_deref()),
    )
}

/// Of one module: from its debug information if that was set apart for just this build, else from itself.
fn of_files(files: &ModuleFiles, module: &str, told: &BTreeSet<&str>) -> Result<Lines, String> {
    let Some(loaded) = files.loaded(module).map_err(|error| error.to_string())? else {
        return Err("the guest has no such module".to_owned());
    };
    let apart = files.debug(module).map_err(|error| error.to_string())?;
    let same = apart.filter(|apart| is_of_build(apart, &loaded));
    let bytes = same.as_deref().unwrap_or(&loaded);
    of_module(bytes, told).map_err(|why| why.to_string())
}

/// Whether two files are of the same build: both have the same build ID.
fn is_of_build(one: &[u8], other: &[u8]) -> bool {
    let of = |bytes| Module::parse(bytes).ok()?.build_id();
    of(one).is_some_and(|id| of(other).as_ref() == Some(&id))
}

/// Looks up calls in the bytes of their module. What cannot be told is left out.
///
/// # Errors
/// See [`Unreadable`].
pub fn of_module<'a>(
    module: &[u8],
    told: impl IntoIterator<Item = &'a &'a str>,
) -> Result<Lines, Unreadable> {
    let module = Module::parse(module)?;
    let symbols = module.symbols();
    let wanted = told.into_iter().filter_map(|text| {
        let told = Told::parse(text)?;
        Some((symbols.instruction(&told)?, (*text).to_owned()))
    });
    let mut wanted: Vec<_> = wanted.take(MOST).collect();
    wanted.sort_unstable();
    let addresses: Vec<u64> = wanted.iter().map(|(address, _)| *address).collect();
    let found = dwarf::sources(&module, &addresses)?;
    let named = wanted.into_iter().zip(found);
    Ok(named
        .filter_map(|((_, text), source)| Some((text, source?)))
        .collect())
}

/// A name from a file, to be shown: bounded, and without control characters.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.chars().take(LONGEST);
    shown
        .map(|char| match char.is_control() {
            true => char::REPLACEMENT_CHARACTER,
            false => char,
        })
        .collect()
}

#[cfg(test)]
mod tests;
