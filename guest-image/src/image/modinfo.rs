// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a module's file says of itself. Files may be anybody's: every byte is checked, and all that is kept is bounded.

use super::elf::Elf;
use crate::architecture::Architecture;

/// Most bytes of the section.
const LARGEST: usize = 4 << 20;
/// Longest name of a module or parameter; the kernel's own limit is 56.
const LONGEST: usize = 128;
/// Most names of a kind.
const MOST: usize = 4096;

/// The file is no module that a guest could load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAModule {
    /// It is no ELF file, or a damaged one.
    #[error("it is no ELF file, or a damaged one")]
    NotElf,
    /// It is for a machine that no guest is.
    #[error("it is for a machine that no guest is; guests are {}", Architecture::names().join(" or "))]
    OtherMachine,
    /// It is linked to something that is no module.
    #[error("it is no module: it has no section `.modinfo`")]
    NoInfo,
    /// It does not say its name, or one that none has.
    #[error("its section `.modinfo` tells no name of a module")]
    NoName,
}

/// What a module says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Its name, as the kernel lists it.
    pub name: String,
    /// The kernel it was built for: its release, and what must be alike besides. Empty if it does not say.
    pub vermagic: String,
    /// Names of the modules that it needs.
    pub depends: Vec<String>,
    /// Names of its parameters.
    pub parameters: Vec<String>,
}

impl ModuleInfo {
    /// Reads a module's bytes, uncompressed.
    ///
    /// # Errors
    /// If they are no module's.
    pub fn read(file: &[u8]) -> Result<Self, NotAModule> {
        let elf = Elf::new(file).ok_or(NotAModule::NotElf)?;
        let machine = elf.machine().and_then(Architecture::of_machine);
        machine.ok_or(NotAModule::OtherMachine)?;
        let section = elf.section(b".modinfo").ok_or(NotAModule::NoInfo)?;
        let section = section.get(..LARGEST).unwrap_or(section);
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let Some((key, value)) = str::from_utf8(entry)
                .ok()
                .and_then(|text| text.split_once('='))
            else {
                continue;
            };
            match key {
                "name" if is_name(value) => info.name = normal(value),
                "vermagic" => info.vermagic = value.trim().chars().take(LONGEST).collect(),
                "depends" => {
                    let names = value.split(',').filter(|name| is_name(name));
                    info.depends = names.take(MOST).map(normal).collect();
                }
                "parmtype" | "parm" => {
                    let name = value.split(':').next().unwrap_or_default();
                    let known = info.parameters.iter().any(|other| other == name);
                    if !known && is_name(name) && info.parameters.len() < MOST {
                        info.parameters.push(name.to_owned());
                    }
                }
                _ => {}
            }
        }
        match info.name.is_empty() {
            true => Err(NotAModule::NoName),
            false => Ok(info),
        }
    }

    /// The release of the kernel that it was built for, as `uname -r` says it there.
    pub fn release(&self) -> &str {
        self.vermagic.split(' ').next().unwrap_or_default()
    }
}

/// The kernel writes `_` for `-` in a module's name.
pub(crate) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// It becomes the name of a file.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.len() <= LONGEST && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::elf::tests::with_section;

    fn module(info: &[u8]) -> Vec<u8> {
        with_section(".modinfo", info)
    }

    #[test]
    fn a_module_tells_its_name_kernel_needs_and_parameters() {
        let bytes = module(
            b"license=GPL\0parm=rate:Lines a second\0parmtype=rate:int\0parmtype=on:bool\0depends=snd-pcm,videodev\0\
              name=my-card\0vermagic=7.3.4+deb13-amd64 SMP preempt mod_unload \0",
        );

        let info = ModuleInfo::read(&bytes);

        let expected = ModuleInfo {
            name: "my_card".to_owned(),
            vermagic: "7.3.4+deb13-amd64 SMP preempt mod_unload".to_owned(),
            depends: vec!["snd_pcm".to_owned(), "videodev".to_owned()],
            parameters: vec!["rate".to_owned(), "on".to_owned()],
        };
        assert_eq!(expected.release(), "7.3.4+deb13-amd64");
        assert_eq!(info, Ok(expected));
    }

    #[test]
    fn what_is_no_module_is_said() {
        let read = |bytes: &[u8]| ModuleInfo::read(bytes).map(|info| info.name);

        assert_eq!(read(b"#!/bin/sh\n"), Err(NotAModule::NotElf));
        assert_eq!(read(&with_section(".text", b"x")), Err(NotAModule::NoInfo));
        assert_eq!(read(&module(b"license=GPL\0")), Err(NotAModule::NoName));
        assert_eq!(read(&module(b"name=../../x\0")), Err(NotAModule::NoName));
        let mut other = module(b"name=x\0");
        other[18] = 40;
        assert_eq!(read(&other), Err(NotAModule::OtherMachine));
    }

    proptest::proptest! {
        /// Whatever a file holds, it is read or refused, and its names are names.
        #[test]
        fn no_file_makes_it_panic(
            text in "(name|depends|parm|parmtype|vermagic)=[a-z,:./-]{0,40}\0{0,2}",
            changes in proptest::collection::vec((0_usize..600, proptest::num::u8::ANY), 0..12),
            cut in 0_usize..600,
        ) {
            let mut bytes = module(text.as_bytes());
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(bytes.len().min(cut.max(4)));

            if let Ok(info) = ModuleInfo::read(&bytes) {
                proptest::prop_assert!(is_name(&info.name));
                proptest::prop_assert!(info.depends.iter().chain(&info.parameters).all(|name| is_name(name)));
            }
        }
    }
}
