// SPDX-License-Identifier: MIT OR Apache-2.0

//! What DWARF tells of instructions: the line of each, and the functions that were inlined there.
//!
//! Every step is paid for ([`Budget`]): a damaged file may say anything of its own size.

use std::collections::BTreeMap;

use gimli::{
    AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugInfoOffset, DebuggingInformationEntry,
    Dwarf, EndianSlice, LineProgramHeader, Reader, RunTimeEndian, Section, SectionId, Unit,
    UnitOffset, constants,
};

use super::elf::Module;
use super::{Line, Source, Unreadable, shown};

/// Steps that one module may take: entries, rows and ranges; ten times what the largest driver of a kernel has.
const STEPS: u64 = 1 << 25;
/// What a unit costs.
const UNIT: u64 = 1 << 12;
/// Most bytes of a unit's abbreviations.
const ABBREVIATIONS: usize = 1 << 16;
/// How deep functions may be inlined into each other.
const DEPTH: usize = 64;
/// How often the name of a function may be said elsewhere.
const HOPS: usize = 8;

type Bytes<'a> = EndianSlice<'a, RunTimeEndian>;
/// Components of an absolute path.
type Path = Vec<String>;

/// Steps that are left.
struct Budget(u64);

impl Budget {
    fn spend(&mut self, steps: u64) -> Result<(), Unreadable> {
        self.0 = self.0.checked_sub(steps).ok_or(Unreadable::TooMuch)?;
        Ok(())
    }
}

/// Where the instructions at these addresses, which ascend, stand in the source.
pub(super) fn sources(
    module: &Module<'_>,
    addresses: &[u64],
) -> Result<Vec<Option<Source>>, Unreadable> {
    let mut sections = BTreeMap::new();
    for id in [
        SectionId::DebugAbbrev,
        SectionId::DebugAddr,
        SectionId::DebugInfo,
        SectionId::DebugLine,
        SectionId::DebugLineStr,
        SectionId::DebugStr,
        SectionId::DebugStrOffsets,
        SectionId::DebugRanges,
        SectionId::DebugRngLists,
    ] {
        sections.insert(id.name(), module.section(id.name())?);
    }
    let endian = match module.is_little_endian() {
        true => RunTimeEndian::Little,
        false => RunTimeEndian::Big,
    };
    let load = |id: SectionId| {
        let bytes = sections.get(id.name()).map(AsRef::as_ref);
        Ok::<_, Unreadable>(EndianSlice::new(bytes.unwrap_or_default(), endian))
    };
    let debug = Debug {
        dwarf: Dwarf::load(load)?,
        abbreviations: load(SectionId::DebugAbbrev)?,
    };
    if debug.dwarf.debug_info.reader().is_empty() {
        return Err(Unreadable::Stripped);
    }
    debug.sources(addresses)
}

/// The debug information of a module.
struct Debug<'a> {
    dwarf: Dwarf<Bytes<'a>>,
    abbreviations: Bytes<'a>,
}

/// A function around an instruction.
struct Around<'a> {
    depth: isize,
    name: Option<Bytes<'a>>,
    /// File and line that it was inlined at; of what stands by itself, none.
    at: Option<(u64, u32)>,
}

/// What is known of an instruction.
#[derive(Default)]
struct Found<'a> {
    row: Option<(u64, u32)>,
    /// From the outermost on.
    around: Vec<Around<'a>>,
}

impl<'a> Debug<'a> {
    fn sources(&self, addresses: &[u64]) -> Result<Vec<Option<Source>>, Unreadable> {
        let mut budget = Budget(STEPS);
        let mut built_in = None;
        let mut units: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut known = vec![false; addresses.len()];
        let mut headers = self.dwarf.units();
        while let Some(header) = headers.next()? {
            let Some(offset) = header.debug_info_offset() else {
                continue;
            };
            let unit = self.unit(offset, &mut budget)?;
            // The build makes this file of a module where it makes the module.
            if let Some(mut path) = primary(&unit)
                && path.last().is_some_and(|file| file.ends_with(".mod.c"))
            {
                path.pop();
                built_in = Some(path);
            }
            let mut root = unit.entries();
            let Some(entry) = root.next_dfs()? else {
                continue;
            };
            for index in self.hit(&unit, entry, addresses, &mut budget)? {
                if !known.get(index).copied().unwrap_or(true) {
                    if let Some(known) = known.get_mut(index) {
                        *known = true;
                    }
                    units.entry(offset.0).or_default().push(index);
                }
            }
        }
        let mut sources = vec![None; addresses.len()];
        for (offset, mut indices) in units {
            let unit = self.unit(DebugInfoOffset(offset), &mut budget)?;
            indices.sort_unstable();
            indices.dedup();
            let wanted: Vec<u64> = indices
                .iter()
                .filter_map(|index| addresses.get(*index).copied())
                .collect();
            let found = self.look(&unit, &wanted, &mut budget)?;
            let directory = directory(&unit, built_in.as_ref());
            for (index, found) in indices.into_iter().zip(found) {
                if let (Some(source), Some(directory)) = (sources.get_mut(index), &directory) {
                    *source = self.source(&unit, &found, directory);
                }
            }
        }
        Ok(sources)
    }

    fn unit(
        &self,
        offset: DebugInfoOffset,
        budget: &mut Budget,
    ) -> Result<Unit<Bytes<'a>>, Unreadable> {
        budget.spend(UNIT)?;
        let header = self.dwarf.debug_info.header_from_offset(offset)?;
        let from = self.abbreviations.slice();
        let from = from.get(header.debug_abbrev_offset().0..);
        let from = from.unwrap_or_default();
        let from = from.get(..from.len().min(ABBREVIATIONS));
        let abbreviations = DebugAbbrev::new(from.unwrap_or_default(), self.abbreviations.endian());
        let abbreviations = abbreviations.abbreviations(DebugAbbrevOffset(0))?;
        let unit = Unit::new_with_abbreviations(&self.dwarf, header, abbreviations.into())?;
        if let Some(program) = &unit.line_program {
            budget.spend(program.header().header_length() as u64 / 16)?;
        }
        Ok(unit)
    }

    /// Which of the addresses, which ascend, lie in the ranges of an entry.
    fn hit(
        &self,
        unit: &Unit<Bytes<'a>>,
        entry: &DebuggingInformationEntry<Bytes<'a>>,
        addresses: &[u64],
        budget: &mut Budget,
    ) -> Result<Vec<usize>, Unreadable> {
        let mut hit = Vec::new();
        let mut enter = |begin: u64, end: u64| {
            let from = addresses.partition_point(|address| *address < begin);
            let inside = addresses.get(from..).unwrap_or_default();
            let inside = inside.iter().take_while(|address| **address < end);
            hit.extend((from..).zip(inside).map(|(index, _)| index));
        };
        budget.spend(1)?;
        if let Some(ranges) = entry.attr_value(constants::DW_AT_ranges) {
            let Some(mut ranges) = self.dwarf.attr_ranges(unit, ranges)? else {
                return Ok(hit);
            };
            while let Some(range) = ranges.next()? {
                // An address may lie in many.
                budget.spend(1 + addresses.len() as u64 / 16)?;
                enter(range.begin, range.end);
            }
            hit.sort_unstable();
            hit.dedup();
            return Ok(hit);
        }
        let address = |value| self.dwarf.attr_address(unit, value);
        let Some(low) = entry.attr_value(constants::DW_AT_low_pc) else {
            return Ok(hit);
        };
        let (Some(begin), Some(high)) = (address(low)?, entry.attr_value(constants::DW_AT_high_pc))
        else {
            return Ok(hit);
        };
        let end = match high.udata_value() {
            Some(length) => begin.checked_add(length),
            None => address(high)?,
        };
        enter(begin, end.unwrap_or(begin));
        Ok(hit)
    }

    /// Looks at a unit's rows and entries.
    fn look(
        &self,
        unit: &Unit<Bytes<'a>>,
        wanted: &[u64],
        budget: &mut Budget,
    ) -> Result<Vec<Found<'a>>, Unreadable> {
        let mut found: Vec<_> = wanted.iter().map(|_| Found::default()).collect();
        self.rows(unit, wanted, &mut found, budget)?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            budget.spend(1)?;
            let at = match entry.tag() {
                constants::DW_TAG_subprogram => None,
                constants::DW_TAG_inlined_subroutine => called_at(entry),
                _ => continue,
            };
            let is_inlined = entry.tag() == constants::DW_TAG_inlined_subroutine;
            for index in self.hit(unit, entry, wanted, budget)? {
                let Some(found) = found.get_mut(index) else {
                    continue;
                };
                match is_inlined {
                    false => found.around.clear(),
                    true => found.around.retain(|around| around.depth < entry.depth()),
                }
                if found.around.len() >= DEPTH {
                    return Err(Unreadable::TooMuch);
                }
                found.around.push(Around {
                    depth: entry.depth(),
                    name: self.name(unit, entry)?,
                    at,
                });
            }
        }
        Ok(found)
    }

    /// Enters the row of each instruction.
    fn rows(
        &self,
        unit: &Unit<Bytes<'a>>,
        wanted: &[u64],
        found: &mut [Found<'a>],
        budget: &mut Budget,
    ) -> Result<(), Unreadable> {
        let Some(program) = unit.line_program.clone() else {
            return Ok(());
        };
        let mut rows = program.rows();
        let mut before: Option<(u64, u64, u32)> = None;
        while let Some((_, row)) = rows.next_row()? {
            budget.spend(1)?;
            if let Some((begin, file, line)) = before.take() {
                let from = wanted.partition_point(|address| *address < begin);
                let inside = wanted.get(from..).unwrap_or_default();
                let inside = inside
                    .iter()
                    .take_while(|address| **address < row.address());
                for (found, _) in found.iter_mut().skip(from).zip(inside) {
                    budget.spend(1)?;
                    found.row = Some((file, line));
                }
            }
            // Line 0 is what stands nowhere.
            let line = row.line().and_then(|line| u32::try_from(line.get()).ok());
            before = Some((row.address(), row.file_index(), line.unwrap_or(0)))
                .filter(|_| !row.end_sequence());
        }
        Ok(())
    }

    /// A function's name, wherever it is said.
    fn name(
        &self,
        unit: &Unit<Bytes<'a>>,
        entry: &DebuggingInformationEntry<Bytes<'a>>,
    ) -> Result<Option<Bytes<'a>>, Unreadable> {
        let mut here = Some(entry.clone());
        for _ in 0..HOPS {
            let Some(entry) = here.take() else {
                break;
            };
            if let Some(name) = entry.attr_value(constants::DW_AT_name) {
                return Ok(self.dwarf.attr_string(unit, name).ok());
            }
            let elsewhere = entry.attr_value(constants::DW_AT_abstract_origin);
            let elsewhere = elsewhere.or_else(|| entry.attr_value(constants::DW_AT_specification));
            let offset: Option<UnitOffset> = match elsewhere {
                Some(AttributeValue::UnitRef(offset)) => Some(offset),
                Some(AttributeValue::DebugInfoRef(offset)) => offset.to_unit_offset(&unit.header),
                _ => None,
            };
            here = offset.map(|offset| unit.entry(offset)).transpose()?;
        }
        Ok(None)
    }

    /// The innermost line in the driver's own files, those below `directory`.
    fn source(
        &self,
        unit: &Unit<Bytes<'a>>,
        found: &Found<'a>,
        directory: &Path,
    ) -> Option<Source> {
        let header = unit.line_program.as_ref()?.header();
        let own = |(file, line): (u64, u32)| {
            let path = self.path(unit, header, file)?;
            let file = path.strip_prefix(directory.as_slice())?;
            (line > 0 && !file.is_empty()).then(|| Line {
                file: shown(file.join("/").as_bytes()),
                line,
            })
        };
        // Each function with the place in it: where the next one was inlined, or, of the innermost, its row.
        let inlined = found.around.iter().skip(1).map(|around| around.at);
        let places = inlined.chain([found.row]);
        let mut frames: Vec<_> = found.around.iter().zip(places).collect();
        if found.around.is_empty() {
            // Of a language without functions.
            let Line { file, line } = own(found.row?)?;
            let (inlined, at) = (None, None);
            return Some(Source {
                file,
                line,
                inlined,
                at,
            });
        }
        let outermost = frames.first().and_then(|(_, place)| own((*place)?));
        frames.reverse();
        let depth = frames.len();
        let (position, (around, line)) = frames
            .into_iter()
            .map(|(around, place)| (around, place.and_then(own)))
            .enumerate()
            .find(|(_, (_, line))| line.is_some())?;
        let Line { file, line } = line?;
        let is_inlined = position + 1 < depth;
        Some(Source {
            file,
            line,
            inlined: around
                .name
                .filter(|_| is_inlined)
                .map(|name| shown(name.slice())),
            at: outermost.filter(|_| is_inlined),
        })
    }

    /// The path of a file in a unit's table.
    fn path(
        &self,
        unit: &Unit<Bytes<'a>>,
        header: &LineProgramHeader<Bytes<'a>>,
        file: u64,
    ) -> Option<Path> {
        let file = header.file(file)?;
        let text = |value| self.dwarf.attr_string(unit, value).ok();
        let name = text(file.path_name())?;
        let directory = file.directory(header).and_then(text);
        let beginning = unit.comp_dir;
        Some(joined(&[beginning, directory, Some(name)]))
    }
}

/// File and line that an inlined function was called at.
fn called_at(entry: &DebuggingInformationEntry<Bytes<'_>>) -> Option<(u64, u32)> {
    let file = match entry.attr_value(constants::DW_AT_call_file)? {
        AttributeValue::FileIndex(file) => file,
        other => other.udata_value()?,
    };
    let line = entry.attr_value(constants::DW_AT_call_line)?;
    Some((file, u32::try_from(line.udata_value()?).ok()?))
}

/// The file that a unit was compiled from.
fn primary(unit: &Unit<Bytes<'_>>) -> Option<Path> {
    let name = unit.name?.slice();
    // A crate's has the name of its part behind it.
    let end = name.windows(3).position(|part| part == b"/@/");
    let name = name.get(..end.unwrap_or(name.len()))?;
    let name = EndianSlice::new(name, RunTimeEndian::Little);
    Some(joined(&[unit.comp_dir, Some(name)]))
}

/// The directory below which a unit's files are the driver's own: that in which the module was built, or, if the unit
/// comes of somewhere else, that of its own file.
fn directory(unit: &Unit<Bytes<'_>>, built_in: Option<&Path>) -> Option<Path> {
    let mut own = primary(unit)?;
    own.pop();
    let below = built_in.filter(|built_in| own.starts_with(built_in.as_slice()));
    let directory = below.unwrap_or(&own);
    (!directory.is_empty()).then(|| directory.clone())
}

/// Parts of a path, of which an absolute one begins anew; without `.` and `..`.
fn joined(parts: &[Option<Bytes<'_>>]) -> Path {
    let mut path = Path::new();
    for part in parts.iter().flatten() {
        let part = part.slice();
        if part.starts_with(b"/") {
            path.clear();
        }
        for component in part.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => drop(path.pop()),
                name => path.push(shown(name)),
            }
        }
    }
    path
}
