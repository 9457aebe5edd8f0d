// SPDX-License-Identifier: MIT OR Apache-2.0

use std::os::unix::fs::MetadataExt;

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, SealFlags};

use super::*;

const BYTES: u64 = 64 << 20;
const AREA: usize = 0x2_0000;

/// A file of memory that has no page yet, as QEMU makes it.
fn memory() -> File {
    let file = unsealed();
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).expect("sealed");
    file
}

/// The same, but that its peer may make it shorter.
fn unsealed() -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("test", flags).expect("memfd");
    rustix::fs::ftruncate(&fd, BYTES).expect("size");
    fd.into()
}

fn window(file: &File) -> Window {
    Window::new(file.try_clone().expect("clone"), BYTES).expect("mapped")
}

/// Pages that the file has.
fn pages(file: &File) -> u64 {
    file.metadata().expect("metadata").blocks() * 512 / 4096
}

fn fill(window: &Window, offset: u64, length: usize, byte: u8) {
    let make = |_, piece: &mut [u8]| piece.fill(byte);
    window
        .fill(offset, length, &mut [0; PIECE], make)
        .expect("inside");
}

fn holds(file: &File, offset: u64, length: usize, byte: u8) -> bool {
    let mut bytes = vec![!byte; length];
    file.read_exact_at(&mut bytes, offset).expect("in the file");
    bytes.iter().all(|found| *found == byte)
}

fn mapped(window: &Window) -> &Mapped {
    match &window.reach {
        Reach::Mapped(mapped) => mapped,
        Reach::Calls(_) => panic!("it is not mapped"),
    }
}

fn calls(window: &Window, offset: u64, length: usize) -> bool {
    let way = window.way(offset, length).expect("inside");
    matches!(way, Way::Calls(_))
}

#[test]
fn hole_gets_the_pages_written_and_no_other() {
    let file = memory();
    let window = window(&file);
    assert!(calls(&window, 0x1_0000, AREA));
    assert_eq!(pages(&file), 0, "deciding makes none");
    fill(&window, 0x1_0000, AREA, 7);
    assert!(holds(&file, 0x1_0000, AREA, 7));
    assert_eq!(pages(&file), AREA as u64 / 4096);
    // Again, now by stores: nothing more comes into being.
    assert!(!calls(&window, 0x1_0000, AREA));
    fill(&window, 0x1_0000, AREA, 8);
    assert!(holds(&file, 0x1_0000, AREA, 8));
    assert_eq!(pages(&file), AREA as u64 / 4096);
    // Beyond the last byte that the file has, and up to its end.
    fill(&window, BYTES - 100, 100, 9);
    assert!(holds(&file, BYTES - 100, 100, 9) && holds(&file, BYTES - 4096, 3996, 0));
    assert_eq!(pages(&file), AREA as u64 / 4096 + 1);
}

#[test]
fn pages_that_the_file_has_are_reached_by_stores_and_their_other_bytes_stay() {
    let file = memory();
    file.write_all_at(&vec![5; 2 * AREA], 0).expect("pages");
    let window = window(&file);
    assert!(!calls(&window, 100, AREA));
    fill(&window, 100, AREA, 6);
    assert!(holds(&file, 0, 100, 5));
    assert!(holds(&file, 100, AREA, 6));
    assert!(holds(&file, AREA as u64 + 100, AREA - 100, 5));
    assert_eq!(pages(&file), 2 * AREA as u64 / 4096);
}

#[test]
fn range_with_and_without_pages_lands_whole() {
    for has in [0, 0x1_0000] {
        let file = memory();
        file.write_all_at(&[5; 0x1_0000], has).expect("pages");
        fill(&window(&file), 0, AREA, 6);
        assert!(holds(&file, 0, AREA, 6), "{has:#x}");
        assert_eq!(pages(&file), AREA as u64 / 4096);
    }
}

#[test]
fn page_that_was_reached_and_taken_away_is_written_all_the_same() {
    let file = memory();
    file.write_all_at(&vec![5; AREA], 0).expect("pages");
    let window = window(&file);
    fill(&window, 0, AREA, 6);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 0, AREA as u64).expect("punched");
    assert_eq!(pages(&file), 0);
    fill(&window, 0, AREA, 7);
    assert!(holds(&file, 0, AREA, 7));
}

/// A write through such a descriptor would go to the end of the file, wherever it is aimed.
#[test]
fn descriptor_that_appends_does_not_lead_astray() {
    for file in [memory(), unsealed()] {
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND | OFlags::RDWR).expect("appends");
        let window = window(&file);
        fill(&window, 0x1000, AREA, 7);
        assert_eq!(file.metadata().expect("metadata").len(), BYTES);
        assert!(holds(&file, 0x1000, AREA, 7) && holds(&file, 0, 0x1000, 0));
    }
}

#[test]
fn position_of_the_peers_descriptor_stays() {
    for file in [memory(), unsealed()] {
        rustix::fs::seek(&file, SeekFrom::Start(1234)).expect("moved");
        fill(&window(&file), 0x10_0000, AREA, 7);
        let position = rustix::fs::seek(&file, SeekFrom::Current(0));
        assert_eq!(position, Ok(1234));
    }
}

#[test]
fn what_a_call_may_not_write_a_store_does() {
    let file = memory();
    let window = window(&file);
    rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE).expect("sealed");
    assert!(calls(&window, 0, AREA), "it is a hole");
    let mut own = mapped(&window).own.as_ref().expect("opened anew");
    std::io::Write::write(&mut own, b"x").expect_err("the seal holds");
    fill(&window, 0, AREA, 7);
    assert!(holds(&file, 0, AREA, 7));
}

#[test]
fn without_a_descriptor_of_its_own_it_stores() {
    let file = memory();
    let mut window = window(&file);
    match &mut window.reach {
        Reach::Mapped(mapped) => mapped.own = None,
        Reach::Calls(_) => panic!("it is not mapped"),
    }
    assert!(!calls(&window, 0x1000, AREA));
    fill(&window, 0x1000, AREA, 7);
    assert!(holds(&file, 0x1000, AREA, 7));
    assert_eq!(pages(&file), AREA as u64 / 4096);
}

#[test]
fn nothing_is_written_outside_the_file() {
    for file in [memory(), unsealed()] {
        let window = window(&file);
        let make = |_, _: &mut [u8]| panic!("nothing is made");
        for (offset, length) in [(BYTES, 1), (BYTES - 1, 2), (u64::MAX, 1)] {
            let result = window.fill(offset, length, &mut [0; PIECE], make);
            result.expect_err("outside");
            window.write(offset, &vec![0; length]).expect_err("outside");
        }
        assert_eq!(file.metadata().expect("metadata").len(), BYTES);
        assert_eq!(pages(&file), 0);
    }
}

/// Of a mapping, the first access would have been the process's last.
#[test]
fn a_file_that_becomes_shorter_is_survived_and_stays_so() {
    let file = unsealed();
    let window = window(&file);
    assert!(calls(&window, 0, AREA));
    fill(&window, 0, AREA, 7);
    file.set_len(0x1800).expect("shorter");
    let (mut bytes, made) = ([0; 16], &mut [0; PIECE]);
    window.read(0x17f0, &mut bytes).expect("before its end");
    assert_eq!(bytes, [7; 16]);
    window.read(0x17f1, &mut bytes).expect_err("past its end");
    window.write(0x17f1, &bytes).expect_err("past its end");
    let make = |_, _: &mut [u8]| panic!("nothing is made");
    window.fill(0, AREA, made, make).expect_err("past its end");
    assert_eq!(file.metadata().expect("metadata").len(), 0x1800);
    assert!(holds(&file, 0, 0x1800, 7), "nor is what is left written");
    file.set_len(BYTES).expect("longer again");
    fill(&window, 0x1000, AREA, 8);
    assert!(holds(&file, 0x1000, AREA, 8));
}

/// Whether it may be mapped is the file's own doing: any other seal is no reason, and none can be taken off.
#[test]
fn only_what_cannot_become_shorter_is_mapped() {
    let is_mapped = |file: &File| matches!(window(file).reach, Reach::Mapped(_));
    let file = unsealed();
    assert!(!is_mapped(&file));
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW).expect("sealed");
    assert!(!is_mapped(&file));
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).expect("sealed");
    assert!(is_mapped(&file));
    file.set_len(0).expect_err("the seal holds");
    let disk = tempfile::tempfile().expect("a file");
    disk.set_len(BYTES).expect("size");
    assert!(!is_mapped(&disk));
    fill(&window(&disk), 100, AREA, 7);
    assert!(holds(&disk, 100, AREA, 7));
}

#[test]
fn a_seal_against_writing_is_heeded_before_and_after() {
    let file = unsealed();
    let open = window(&file);
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).expect("sealed");
    assert!(!window(&file).writable());
    open.write(0, b"x").expect_err("the seal holds");
    assert!(holds(&file, 0, 16, 0));
}

#[test]
fn a_descriptor_for_writing_alone_is_refused() {
    let file = unsealed();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let only = File::options().write(true).open(path).expect("opened");
    let error = Window::new(only, BYTES).expect_err("refused");
    assert!(matches!(error, WindowError::Unreadable), "{error}");
}
