// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is looked up in ELF files: a section of a module, and what a program needs to run. Files may be anybody's.

use crate::architecture::Architecture;

/// Largest table that is gone through, entries.
const MOST: usize = 1 << 16;
/// Bytes of an entry of the section table, and of the program headers.
const SECTION: usize = 64;
const PROGRAM: usize = 56;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
/// Longest path or name of a library.
const LONGEST: usize = 4096;
/// Most libraries of one file.
const LIBRARIES: usize = 512;

/// A 64-bit little-endian ELF file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elf<'a>(&'a [u8]);

/// What a program or library needs to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// What it is for; `None`: no guest.
    pub architecture: Option<&'static Architecture>,
    /// The dynamic loader; a library, and a static program, has none.
    pub loader: Option<String>,
    /// Libraries, as they are looked for.
    pub libraries: Vec<String>,
    /// Where they are looked for first: directories, `:` between them, perhaps with `$ORIGIN`.
    pub search: Vec<String>,
}

impl Dynamic {
    /// Reads a program or a library; `None` if it is no 64-bit ELF file, or a damaged one.
    pub fn read(file: &[u8]) -> Option<Self> {
        let elf = Elf::new(file)?;
        let mut dynamic = Self {
            architecture: elf.machine().and_then(Architecture::of_machine),
            ..Self::default()
        };
        let mut entries: &[u8] = &[];
        for header in elf.headers()? {
            let (kind, at) = (number(header, 0, 4)?, number(header, 8, 8)?);
            let contents = || slice(file, at, number(header, 32, 8)?);
            match kind {
                PT_INTERP => dynamic.loader = Some(text(contents()?, 0)?),
                PT_DYNAMIC => entries = contents()?,
                _ => {}
            }
        }
        let pairs = || {
            let pair = |entry: &[u8]| Some((number(entry, 0, 8)?, number(entry, 8, 8)?));
            entries.chunks_exact(16).take(MOST).map_while(pair)
        };
        let Some((_, strings)) = pairs().find(|(tag, _)| *tag == DT_STRTAB) else {
            return Some(dynamic);
        };
        let strings = file.get(elf.offset_of(strings)?..)?;
        for (tag, value) in pairs() {
            let value = || text(strings, usize::try_from(value).ok()?);
            match tag {
                DT_NEEDED if dynamic.libraries.len() < LIBRARIES => {
                    dynamic.libraries.push(value()?)
                }
                DT_RPATH | DT_RUNPATH if dynamic.search.len() < LIBRARIES => {
                    dynamic.search.push(value()?);
                }
                _ => {}
            }
        }
        Some(dynamic)
    }
}

impl<'a> Elf<'a> {
    pub(crate) fn new(file: &'a [u8]) -> Option<Self> {
        file.starts_with(b"\x7fELF\x02\x01").then_some(Self(file))
    }

    /// `e_machine`.
    pub(crate) fn machine(self) -> Option<u16> {
        u16::try_from(number(self.0, 18, 2)?).ok()
    }

    /// The contents of the first section of that name.
    pub(crate) fn section(self, name: &[u8]) -> Option<&'a [u8]> {
        let table = self.table(40, 58, 60, SECTION)?;
        let of = |header: &[u8]| slice(self.0, number(header, 24, 8)?, number(header, 32, 8)?);
        let names = number(self.0, 62, 2)?;
        let names = of(table.clone().nth(usize::try_from(names).ok()?)?)?;
        let found = table.into_iter().find(|header| {
            let at = number(header, 0, 4).and_then(|at| usize::try_from(at).ok());
            let own = at.and_then(|at| names.get(at..)).unwrap_or_default();
            own.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(&[0]))
        });
        of(found?)
    }

    /// The program headers.
    fn headers(self) -> Option<std::slice::ChunksExact<'a, u8>> {
        self.table(32, 54, 56, PROGRAM)
    }

    /// A table: where the header says its place, the size of an entry, and their number.
    fn table(
        self,
        place: usize,
        size: usize,
        count: usize,
        expected: usize,
    ) -> Option<std::slice::ChunksExact<'a, u8>> {
        let count = number(self.0, count, 2)?;
        let bytes = count.checked_mul(expected as u64)?;
        if number(self.0, size, 2)? != expected as u64 && count > 0 {
            return None;
        }
        Some(slice(self.0, number(self.0, place, 8)?, bytes)?.chunks_exact(expected))
    }

    /// Where in the file an address of the program lies.
    fn offset_of(self, address: u64) -> Option<usize> {
        self.headers()?.find_map(|header| {
            let (offset, start) = (number(header, 8, 8)?, number(header, 16, 8)?);
            let inside = address.checked_sub(start)?;
            let loaded = number(header, 0, 4)? == PT_LOAD && inside < number(header, 32, 8)?;
            usize::try_from(offset.checked_add(inside)?)
                .ok()
                .filter(|_| loaded)
        })
    }
}

fn slice(file: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
    file.get(at..at.checked_add(length)?)
}

fn number(file: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = file.get(at..at.checked_add(size)?)?;
    let number = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(bytes.iter().rev().fold(0, number))
}

/// The text that ends with the next NUL.
fn text(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().take(LONGEST).position(|byte| *byte == 0)?;
    str::from_utf8(rest.get(..end)?).ok().map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An ELF file with one section beside that of the names.
    pub(crate) fn with_section(name: &str, contents: &[u8]) -> Vec<u8> {
        let names = format!("\0{name}\0.shstrtab\0");
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = 62;
        let places = [contents, names.as_bytes()].map(|bytes| {
            let at = file.len();
            file.extend_from_slice(bytes);
            (at as u64, bytes.len() as u64)
        });
        let table = file.len() as u64;
        for (name, (at, length)) in [1, name.len() as u64 + 2].into_iter().zip(places) {
            let mut header = [0; SECTION];
            header[..4].copy_from_slice(&u32::to_le_bytes(u32::try_from(name).unwrap_or(0)));
            header[24..32].copy_from_slice(&at.to_le_bytes());
            header[32..40].copy_from_slice(&length.to_le_bytes());
            file.extend_from_slice(&header);
        }
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58] = 64;
        file[60] = 2;
        file[62] = 1;
        file
    }

    #[test]
    fn a_section_is_found_by_its_whole_name() {
        let file = with_section(".modinfo", b"12345");
        let section = |name| Elf::new(&file).and_then(|elf| elf.section(name));

        assert_eq!(section(b".modinfo"), Some(&b"12345"[..]));
        assert_eq!(section(b".modinf"), None);
    }

    #[test]
    fn a_program_tells_its_loader_and_libraries() -> std::io::Result<()> {
        let this = std::fs::read(std::env::current_exe()?)?;

        let dynamic = Dynamic::read(&this).unwrap_or_default();

        assert!(dynamic.loader.is_some_and(|path| path.contains("/ld-")));
        assert!(dynamic.libraries.iter().any(|name| name == "libc.so.6"));
        let agent = Dynamic::read(crate::image::embedded::AGENT);
        assert!(agent.is_some_and(|agent| agent.loader.is_none() && agent.libraries.is_empty()));
        assert_eq!(Dynamic::read(b"#!/bin/sh\n"), None);
        Ok(())
    }

    proptest::proptest! {
        /// Whatever a file holds, it is read or refused.
        #[test]
        fn no_file_makes_it_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            count in 0_u8..8,
        ) {
            let mut file = b"\x7fELF\x02\x01".to_vec();
            file.extend(bytes);
            if file.len() > 64 {
                file[32..40].copy_from_slice(&64_u64.to_le_bytes());
                file[54..58].copy_from_slice(&[56, 0, count, 0]);
                file[58..62].copy_from_slice(&[64, 0, count, 0]);
                for at in (64..file.len() - 16).step_by(56) {
                    file[at..at + 8].copy_from_slice(&[at as u8 % 4, 0, 0, 0, 0, 0, 0, 0]);
                    file[at + 9..at + 16].fill(0);
                }
            }

            let section = Elf::new(&file).and_then(|elf| elf.section(b".modinfo"));
            proptest::prop_assert!(section.is_none_or(|bytes| bytes.len() <= file.len()));
            if let Some(dynamic) = Dynamic::read(&file) {
                proptest::prop_assert!(dynamic.libraries.len() <= LIBRARIES);
            }
        }
    }
}
