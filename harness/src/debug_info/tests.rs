// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lines of a recorded module, whose sources are beside it, and of damaged ones.

use object::{Object, ObjectSection};
use proptest::prelude::*;

use super::*;

const SMALL: &[u8] = include_bytes!("../../tests/modules/small.ko");
const DEBUG: &[u8] = include_bytes!("../../tests/modules/small.ko.debug");
const STRIPPED: &[u8] = include_bytes!("../../tests/modules/small-stripped.ko");
/// DWARF 4, packed with zlib.
const FOUR: &[u8] = include_bytes!("../../tests/modules/small-4.ko");
/// DWARF 5, packed with zstd.
const ZSTD: &[u8] = include_bytes!("../../tests/modules/small-zstd.ko");
const SOURCE: &str = include_str!("../../tests/modules/small.c");

/// The line of `small.c` with this in it.
fn line_of(text: &str) -> u32 {
    let mut lines = (1..).zip(SOURCE.lines());
    lines.find(|(_, line)| line.contains(text)).unwrap().0
}

fn look(module: &[u8], told: &str) -> Option<Source> {
    of_module(module, &[told]).unwrap().remove(told)
}

fn small(line: u32) -> Source {
    Source {
        file: "small.c".to_owned(),
        line,
        inlined: None,
        at: None,
    }
}

const PLAIN: &str = "plain+0xe/0x30 [small]";
const OUTER: &str = "outer+0xe/0x30 [small]";
const INIT: &str = "init_module+0x14/0x1000 [small]";

#[test]
fn a_return_address_is_of_the_line_with_the_call_whatever_the_dwarf() {
    for module in [SMALL, DEBUG, FOUR, ZSTD] {
        assert_eq!(look(module, PLAIN), Some(small(line_of("/* plain */"))));
        // Behind the next call, a line further.
        let next = look(module, "plain+0x18/0x30 [small]");
        assert_eq!(next, Some(small(line_of("/* plain */") + 2)));
        // In another section, which begins at 0 as well.
        assert_eq!(look(module, INIT), Some(small(line_of("/* init */"))));
    }
}

#[test]
fn of_inlined_functions_the_innermost_in_the_drivers_files_is_told_and_where_it_is() {
    for module in [SMALL, FOUR] {
        let source = look(module, OUTER).unwrap();
        let inlined = Source {
            inlined: Some("helper".to_owned()),
            at: Some(Line {
                file: "small.c".to_owned(),
                line: line_of("/* outer */"),
            }),
            ..small(line_of("/* inlined helper */"))
        };
        assert_eq!(source, inlined);
        let words = format!(
            "small.c:{} (helper, inlined at small.c:{})",
            line_of("/* inlined helper */"),
            line_of("/* outer */")
        );
        assert_eq!(source.to_string(), words);
    }
    assert_eq!(small(3).to_string(), "small.c:3");
}

#[test]
fn of_two_functions_of_a_name_the_size_tells_which_or_nothing_does() {
    let other = look(SMALL, "twice+0x11/0x20 [small]");
    assert_eq!(other, None, "both are as long");
    assert_eq!(look(SMALL, "plain+0xe/0x40 [small]"), None);
    assert_eq!(look(SMALL, "plain+0x31/0x30 [small]"), None);
    assert_eq!(look(SMALL, "nowhere+0x1/0x30 [small]"), None);
}

#[test]
fn a_long_name_with_something_left_out_is_found_if_it_is_one() {
    let symbols = |told: &str| elf::is_named(told, "_RNvXsf_capture4file5ioctl");
    assert!(symbols("_RNvXsf_..le5ioctl") && symbols("_RNvXsf_capture4file5ioctl"));
    assert!(!symbols("_RNvXsf_..le5open") && !symbols("_RNvXsf_capture4file5ioctl..ioctl"));
}

#[test]
fn what_the_witness_says_is_taken_apart() {
    let told = Told::parse("a.cold+0x1f/0x2e0 [some_module]");
    let wanted = Told {
        function: "a.cold",
        offset: 0x1f,
        size: 0x2e0,
        module: "some_module",
    };
    assert_eq!(told, Some(wanted));
    assert_eq!(wanted.instruction(), 0x1e);
    for other in [
        "",
        "]",
        "a+0x1/0x2",
        "0xffffffff",
        "a+0x1 [m]",
        "a+0x1/0xg [m]",
        "a+0x1/0x10000000000000000 [m]",
        "a/0x1+0x2 [m]",
    ] {
        assert_eq!(Told::parse(other), None, "{other}");
    }
}

#[test]
fn without_debug_information_nothing_is_said() {
    assert_eq!(of_module(STRIPPED, &[PLAIN]), Err(Unreadable::Stripped));
    assert!(matches!(of_module(b"", &[PLAIN]), Err(Unreadable::Elf(_))));
}

#[test]
fn debug_information_apart_is_used_if_it_is_of_the_same_build() -> std::io::Result<()> {
    assert!(is_of_build(DEBUG, STRIPPED));
    assert!(!is_of_build(FOUR, STRIPPED));
    assert!(!is_of_build(b"", b""));

    let directory = tempfile::tempdir()?;
    let files = ModuleFiles::new(&directory.path().join("initramfs"));
    let put = |loaded: &[u8], debug: &[u8]| -> std::io::Result<()> {
        std::fs::create_dir_all(directory.path().join("debug"))?;
        std::fs::write(directory.path().join("debug/small"), debug)?;
        std::fs::write(directory.path().join("initramfs"), archive(loaded))
    };
    let told = [PLAIN, "elsewhere+0x1/0x2 [other]", "do_syscall_64+0x1/0x2"];
    let here = Lines::from([(PLAIN.to_owned(), small(line_of("/* plain */")))]);
    put(STRIPPED, DEBUG)?;
    assert_eq!(lines(&files, told), here);
    put(STRIPPED, FOUR)?;
    assert_eq!(lines(&files, told), Lines::new(), "of another build");
    put(SMALL, FOUR)?;
    assert_eq!(lines(&files, told), here, "its own");
    Ok(())
}

/// An initramfs with this module.
fn archive(module: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, bytes) in [
        ("lib/modules/1/extra/small.ko\0", 0o100_644, module),
        ("TRAILER!!!\0", 0, &[]),
    ] {
        let fields = [1, mode, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len(), 0];
        archive.extend(b"070701");
        archive.extend(fields.map(|field| format!("{field:08x}")).concat().bytes());
        archive.extend(name.bytes());
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// A packed section says how large it is: that is not believed.
#[test]
fn a_section_that_would_be_huge_is_refused() {
    for packed in [FOUR, ZSTD] {
        let file = object::File::parse(packed).unwrap();
        let section = file.section_by_name(".debug_info").unwrap();
        let (offset, _) = section.file_range().unwrap();
        // Of the header before what is packed, behind type and padding.
        let size = usize::try_from(offset).unwrap() + 8;
        for claimed in [1_u64 << 40, (64 << 20) + 1, 64 << 20, 16, 0] {
            let mut module = packed.to_vec();
            module[size..size + 8].copy_from_slice(&claimed.to_le_bytes());
            assert_eq!(of_module(&module, &[PLAIN]), Err(Unreadable::TooMuch));
        }
    }
}

/// All that is asked of a module that may be damaged; whatever it says, it says it soon and in few words.
fn ask(module: &[u8]) {
    if let Ok(lines) = of_module(module, &[PLAIN, OUTER, INIT]) {
        for source in lines.values() {
            assert!(source.to_string().chars().count() < 4 * LONGEST);
        }
    }
    is_of_build(module, module);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_module_is_read_without_panic(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut module = [SMALL, DEBUG, FOUR, ZSTD][which].to_vec();
        for (at, byte) in changes {
            let at = at.index(module.len());
            module[at] = byte;
        }
        if let Some(end) = end {
            module.truncate(end.index(module.len()));
        }
        ask(&module);
    }

    #[test]
    fn what_is_no_module_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        ask(&bytes);
        ask(&[&SMALL[..64], &bytes].concat());
    }
}
