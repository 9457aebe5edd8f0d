// SPDX-License-Identifier: MIT OR Apache-2.0

//! A module's file: a relocatable ELF file, in which every section begins at 0 and nothing points anywhere yet.
//!
//! The code's sections get a place each, one after the other, and the debug sections are relocated to these.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::ZlibDecoder;
use landfall_guest::Zstd;
use object::read::{
    CompressionFormat, Object, ObjectKind, ObjectSection, ObjectSymbol, RelocationTarget,
    SectionIndex,
};
use object::{RelocationKind, SectionFlags, SectionKind, elf};

use super::{Told, Unreadable};

/// Most bytes of a debug section, unpacked.
const LARGEST: u64 = 64 << 20;
/// Where the first section of code is put; below it is no address of code.
const FIRST: u64 = 1 << 20;
/// Between two of them.
const GAP: u64 = 1 << 12;
/// Largest section of code.
const LARGEST_CODE: u64 = 1 << 28;
/// Most sections: a compiler makes one for each function, if it is told to.
const MOST_SECTIONS: usize = 1 << 16;

/// A module's file.
pub(super) struct Module<'a> {
    file: object::File<'a>,
    /// Where each section of code is put, by its index; 0: it is none.
    places: Vec<u64>,
}

impl<'a> Module<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let file = object::File::parse(bytes)?;
        if file.kind() != ObjectKind::Relocatable {
            return Err(Unreadable::NotRelocatable);
        }
        let mut places = Vec::new();
        let mut next = FIRST;
        for section in file.sections() {
            let index = section.index().0;
            if index >= MOST_SECTIONS {
                return Err(Unreadable::TooMuch);
            }
            if !is_code(section.flags()) {
                continue;
            }
            if section.size() > LARGEST_CODE {
                return Err(Unreadable::TooMuch);
            }
            if places.len() <= index {
                places.resize(index + 1, 0);
            }
            if let Some(place) = places.get_mut(index) {
                *place = next;
            }
            next += section.size().next_multiple_of(GAP) + GAP;
        }
        Ok(Self { file, places })
    }

    pub(super) fn is_little_endian(&self) -> bool {
        self.file.is_little_endian()
    }

    /// What tells its build from any other.
    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        let id = self.file.build_id().ok()??;
        (!id.is_empty()).then(|| id.to_owned())
    }

    fn place(&self, section: SectionIndex) -> u64 {
        self.places.get(section.0).copied().unwrap_or(0)
    }

    /// The symbols that the kernel knows: the names of code.
    pub(super) fn symbols(&self) -> Symbols<'_> {
        let all = self.file.symbols().filter_map(|symbol| {
            let section = symbol.section_index()?;
            let place = self.place(section);
            let name = symbol.name().ok()?;
            // As the kernel's own look-up passes them over.
            let is_mapping =
                name.starts_with(".L") || name.starts_with("L0") || name.starts_with('$');
            if place == 0 || name.is_empty() || is_mapping {
                return None;
            }
            let length = self.file.section_by_index(section).ok()?.size();
            Some(Known {
                address: place.checked_add(symbol.address())?,
                name,
                size: symbol.size(),
                end: place + length,
            })
        });
        let all: Vec<_> = all.collect();
        let starts = all.iter().map(|known| known.address).collect();
        Symbols { all, starts }
    }

    /// A debug section, unpacked and relocated; empty if there is none.
    pub(super) fn section(&self, name: &str) -> Result<Cow<'a, [u8]>, Unreadable> {
        let Some(section) = self.file.section_by_name(name) else {
            return Ok(Cow::default());
        };
        // Of code that was taken out of a file with the debug information alone nothing is there.
        if section.kind() == SectionKind::UninitializedData {
            return Ok(Cow::default());
        }
        let packed = section.compressed_data()?;
        if packed.uncompressed_size > LARGEST {
            return Err(Unreadable::TooMuch);
        }
        let mut bytes = match packed.format {
            CompressionFormat::None => Cow::Borrowed(packed.data),
            CompressionFormat::Zlib => {
                unpack(ZlibDecoder::new(packed.data), packed.uncompressed_size)?
            }
            CompressionFormat::Zstandard => {
                let decoder = Zstd::new(packed.data);
                let decoder = decoder.map_err(|_| Unreadable::TooMuch)?;
                unpack(decoder, packed.uncompressed_size)?
            }
            _ => return Err(Unreadable::TooMuch),
        };
        for (offset, relocation) in section.relocations() {
            if relocation.kind() != RelocationKind::Absolute {
                continue;
            }
            let target = match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbol = self.file.symbol_by_index(index)?;
                    let place = symbol.section_index().map_or(0, |index| self.place(index));
                    place.wrapping_add(symbol.address())
                }
                RelocationTarget::Section(index) => self.place(index),
                _ => continue,
            };
            let size = usize::from(relocation.size() / 8);
            let Some(field) = field(&mut bytes, offset, size) else {
                continue;
            };
            let mut value = target.wrapping_add_signed(relocation.addend());
            if relocation.has_implicit_addend() {
                value = value.wrapping_add(read(field, self.is_little_endian()));
            }
            write(field, value, self.is_little_endian());
        }
        Ok(bytes)
    }
}

fn is_code(flags: SectionFlags) -> bool {
    let wanted = elf::SHF_ALLOC | elf::SHF_EXECINSTR;
    matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags & wanted == wanted)
}

fn unpack<'a>(packed: impl Read, size: u64) -> Result<Cow<'a, [u8]>, Unreadable> {
    let mut bytes = Vec::new();
    let read = packed.take(size + 1).read_to_end(&mut bytes);
    match read {
        Ok(read) if read as u64 == size => Ok(Cow::Owned(bytes)),
        _ => Err(Unreadable::TooMuch),
    }
}

/// The bytes that a relocation is for: 4 or 8.
fn field<'a>(bytes: &'a mut Cow<'_, [u8]>, offset: u64, size: usize) -> Option<&'a mut [u8]> {
    if !matches!(size, 4 | 8) {
        return None;
    }
    let from = usize::try_from(offset).ok()?;
    let range = from..from.checked_add(size)?;
    bytes.get(range.clone())?;
    bytes.to_mut().get_mut(range)
}

fn read(field: &[u8], little: bool) -> u64 {
    let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match little {
        true => field.iter().rev().fold(0, join),
        false => field.iter().fold(0, join),
    }
}

fn write(field: &mut [u8], value: u64, little: bool) {
    let of_value = value.to_le_bytes();
    match little {
        true => field
            .iter_mut()
            .zip(of_value)
            .for_each(|(to, from)| *to = from),
        false => field
            .iter_mut()
            .rev()
            .zip(of_value)
            .for_each(|(to, from)| *to = from),
    }
}

/// A name of code.
struct Known<'a> {
    address: u64,
    name: &'a str,
    size: u64,
    /// Of its section.
    end: u64,
}

/// The names of a module's code.
pub(super) struct Symbols<'a> {
    all: Vec<Known<'a>>,
    starts: BTreeSet<u64>,
}

impl Symbols<'_> {
    /// The address of a call's instruction; `None` if there is no such function, of just that size, or more than one.
    pub(super) fn instruction(&self, told: &Told<'_>) -> Option<u64> {
        let named =
            |known: &&Known<'_>| is_named(told.function, known.name) && self.fits(known, told.size);
        let mut addresses = self.all.iter().filter(named).map(|known| known.address);
        let address = addresses.next()?;
        let is_one = addresses.all(|other| other == address) && told.offset <= told.size;
        is_one.then(|| address.checked_add(told.instruction()))?
    }

    /// Whether the kernel would say that size of a function: up to where the next begins. What comes behind the last of a
    /// section only the kernel knows.
    fn fits(&self, known: &Known<'_>, told: u64) -> bool {
        let mut behind = self.starts.range(known.address.saturating_add(1)..);
        match behind.next() {
            Some(&next) if next < known.end => next - known.address == told,
            _ => known.size <= told,
        }
    }
}

/// Whether a function is called so, or so with something left out.
pub(super) fn is_named(told: &str, name: &str) -> bool {
    if told == name {
        return true;
    }
    let Some((begin, end)) = told.split_once("..") else {
        return false;
    };
    name.len() > told.len() && name.starts_with(begin) && name.ends_with(end)
}
