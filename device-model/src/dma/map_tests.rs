// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};

use super::*;

/// A file that its peer may make shorter: it is reached by calls.
fn memory(bytes: u64) -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("test", flags).expect("memfd"));
    file.set_len(bytes).expect("size");
    file
}

/// One that it may not, and that is mapped, if `sealed`.
fn either(sealed: bool, bytes: u64) -> File {
    let file = memory(bytes);
    if sealed {
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).expect("sealed");
    }
    file
}

/// The same file, through a descriptor that only reads.
fn read_only(file: &File) -> File {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    File::open(path).expect("opened for reading")
}

fn request(iova: u64, length: u64, file_offset: u64, file: &File) -> Request {
    Request {
        iova,
        length,
        file_offset,
        readable: true,
        writable: true,
        file: Some(file.try_clone().expect("clone")),
    }
}

#[test]
fn write_lands_in_the_file_and_reads_back() {
    let (map, file) = (Map::default(), memory(0x4000));
    map.add(request(0x1_0000_0000, 0x2000, 0x1000, &file))
        .expect("mapped");
    map.write(0x1_0000_0ffe, b"abcd").expect("inside");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 0x1ffe).expect("in the file");
    assert_eq!(&bytes, b"abcd");
    bytes = [0; 4];
    map.read(0x1_0000_0ffe, &mut bytes).expect("inside");
    assert_eq!(&bytes, b"abcd");
}

#[test]
fn transfer_may_span_adjacent_mappings_and_is_all_or_nothing() {
    let (map, file) = (Map::default(), memory(0x4000));
    map.add(request(0x1000, 0x1000, 0x3000, &file))
        .expect("mapped");
    map.add(request(0x2000, 0x1000, 0x0000, &file))
        .expect("mapped");
    map.write(0x1fff, b"xy").expect("spans");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0x3fff).expect("read");
    assert_eq!(&byte, b"x");
    file.read_exact_at(&mut byte, 0).expect("read");
    assert_eq!(&byte, b"y");

    assert_eq!(map.write(0x2fff, b"pq"), Err(DmaError::Unmapped));
    file.read_exact_at(&mut byte, 0xfff).expect("read");
    assert_eq!(byte, [0], "not even the part inside");
    assert_eq!(map.write(0xfff, b"pq"), Err(DmaError::Unmapped));
    assert_eq!(map.read(u64::MAX, &mut [0; 2]), Err(DmaError::Wraps));
    assert_eq!(map.write(0x9000, b""), Ok(()));
}

#[test]
fn direction_and_backing_are_enforced() {
    let (map, file) = (Map::default(), memory(0x1000));
    let read_only = Request {
        writable: false,
        ..request(0, 0x1000, 0, &file)
    };
    map.add(read_only).expect("mapped");
    map.add(Request {
        file: None,
        ..request(0x1000, 0x1000, 0, &file)
    })
    .expect("mapped");
    assert_eq!(map.write(0, b"a"), Err(DmaError::Direction));
    assert_eq!(map.read(0, &mut [0]), Ok(()));
    assert_eq!(map.read(0x1000, &mut [0]), Err(DmaError::Unbacked));
    let shown: Vec<_> = map
        .mappings()
        .iter()
        .map(|m| (m.iova, m.writable, m.backed))
        .collect();
    assert_eq!(shown, [(0, false, true), (0x1000, true, false)]);
}

#[test]
fn one_file_is_mapped_once_however_many_descriptors_come() {
    let (map, file) = (Map::default(), memory(0x10_0000));
    for page in 0..0x100 {
        map.add(request(page * 0x1000, 0x1000, page * 0x1000, &file))
            .expect("mapped");
    }
    assert_eq!(map.inner.read().files.len(), 1);
    let window = map
        .inner
        .read()
        .files
        .values()
        .next()
        .and_then(Weak::upgrade);
    assert_eq!(window.map(|w| Arc::strong_count(&w)), Some(0x101));
    assert_eq!(map.remove(0, 0x10_0000), Ok(0x100));
    assert!(map.inner.read().files.is_empty());
}

#[test]
fn bad_mappings_are_refused_and_change_nothing() {
    let (map, file) = (Map::default(), memory(0x2000));
    map.add(request(0x1000, 0x1000, 0, &file)).expect("mapped");
    let refused = |r: Request| map.add(r).expect_err("refused");
    assert!(matches!(
        refused(request(0x1fff, 0x1000, 0, &file)),
        MapError::Overlap { .. }
    ));
    assert!(matches!(
        refused(request(0, 0x1001, 0, &file)),
        MapError::Overlap { .. }
    ));
    assert!(matches!(
        refused(request(0x4000, 0, 0, &file)),
        MapError::Range { .. }
    ));
    assert!(matches!(
        refused(request(u64::MAX, 2, 0, &file)),
        MapError::Range { .. }
    ));
    assert!(matches!(
        refused(request(0x4000, 0x2000, 0x1000, &file)),
        MapError::Window(_)
    ));
    assert!(matches!(
        refused(request(0x4000, 0x1000, u64::MAX, &file)),
        MapError::Window(_)
    ));
    assert_eq!(map.mappings().len(), 1);
    assert_eq!(
        map.remove(0x1000, 0x800),
        Err(UnmapError::Cuts {
            iova: 0x1000,
            length: 0x800
        })
    );
    assert_eq!(
        map.remove(0x8000, 0x800),
        Err(UnmapError::Nothing { iova: 0x8000 })
    );
    assert_eq!(map.remove(0, u64::MAX), Ok(1));
    assert_eq!(map.write(0x1000, b"a"), Err(DmaError::Unmapped));
}

#[test]
fn a_file_that_grew_is_mapped_again() {
    let (map, file) = (Map::default(), memory(0x1000));
    map.add(request(0, 0x1000, 0, &file)).expect("mapped");
    rustix::fs::ftruncate(&file, 0x2000).expect("grows");
    map.add(request(0x1000, 0x1000, 0x1000, &file))
        .expect("mapped");
    assert_eq!(map.write(0xfff, b"ab"), Ok(()));
}

/// What `Map::fill` writes at `address`: bytes that count from 1; and the parts that it had made.
fn fill(map: &Map, address: u64, length: usize) -> (Result<(), DmaError>, Vec<(usize, usize)>) {
    let mut parts = Vec::new();
    let mut piece = [0; PIECE];
    let result = map.fill(address, length, &mut piece, &mut |before, part| {
        parts.push((before, part.len()));
        for (at, byte) in (before..).zip(part) {
            *byte = counting(at);
        }
    });
    (result, parts)
}

fn counting(at: usize) -> u8 {
    (at % 251) as u8 + 1
}

#[test]
fn refused_fill_makes_nothing_and_writes_nothing() {
    let (map, file) = (Map::default(), memory(0x2000));
    map.add(request(0, 0x2000, 0, &file)).expect("mapped");
    assert_eq!(
        fill(&map, 0x1000, 0x1001),
        (Err(DmaError::Unmapped), vec![])
    );
    assert_eq!(fill(&map, u64::MAX, 2), (Err(DmaError::Wraps), vec![]));
    assert_eq!(fill(&map, 0, 0), (Ok(()), vec![]));
    let mut bytes = vec![0; 0x2000];
    file.read_exact_at(&mut bytes, 0).expect("read");
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(fill(&map, 0x1000, 0x1000), (Ok(()), vec![(0, 0x1000)]));
}

#[test]
fn read_only_file_is_not_written_either_way() {
    for sealed in [false, true] {
        let file = either(sealed, 0x2000);
        let map = Map::default();
        map.add(request(0, 0x2000, 0, &read_only(&file)))
            .expect("mapped");
        assert!(!map.mappings()[0].writable);
        assert_eq!(map.write(0, b"a"), Err(DmaError::Direction));
        assert_eq!(fill(&map, 0, 0x1000), (Err(DmaError::Direction), vec![]));
        assert_eq!(map.read(0, &mut [0; 8]), Ok(()));
        let mut byte = [0];
        file.read_exact_at(&mut byte, 0).expect("read");
        assert_eq!(byte, [0]);
    }
}

/// What a descriptor allows is of its own mappings: the other of the same file neither takes it away nor gives it.
#[test]
fn one_file_is_mapped_read_only_and_writable_in_either_order() {
    for (sealed, first) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let (map, file) = (Map::default(), either(sealed, 0x2000));
        let ways = [
            request(0, 0x1000, 0, &read_only(&file)),
            request(0x1000, 0x1000, 0, &file),
        ];
        let mut ways: Vec<_> = ways.into_iter().collect();
        ways.rotate_left(first);
        for way in ways {
            map.add(way).expect("mapped");
        }
        let writable: Vec<_> = map.mappings().iter().map(|one| one.writable).collect();
        assert_eq!(writable, [false, true]);
        assert_eq!(map.write(0, b"a"), Err(DmaError::Direction));
        assert_eq!(map.write(0x1000, b"b"), Ok(()));
        let mut byte = [0];
        map.read(0, &mut byte).expect("readable");
        assert_eq!(&byte, b"b", "it is one file");
        assert_eq!(map.write(0xfff, b"ab"), Err(DmaError::Direction));
        assert_eq!(map.remove(0x1000, 0x1000), Ok(1));
        assert_eq!(map.read(0, &mut byte), Ok(()));
    }
}

#[test]
fn memory_that_its_peer_takes_away_is_lost_and_the_rest_is_not() {
    let (map, file, other) = (Map::default(), memory(0x4000), memory(0x1000));
    map.add(request(0, 0x4000, 0, &file)).expect("mapped");
    map.add(request(0x4000, 0x1000, 0, &other)).expect("mapped");
    assert_eq!(map.write(0, &[1; 0x5000]), Ok(()));
    file.set_len(0x1000).expect("shorter");
    assert_eq!(map.write(0, &[2; 0x1000]), Ok(()));
    assert_eq!(map.write(0x1000, b"a"), Err(DmaError::Lost));
    assert_eq!(map.read(0xfff, &mut [0; 2]), Err(DmaError::Lost));
    assert_eq!(fill(&map, 0x2000, 1), (Err(DmaError::Lost), vec![]));
    assert_eq!(map.write(0x4000, b"b"), Ok(()), "another file");
    let now = request(0x8000, 0x2000, 0, &file);
    assert!(matches!(map.add(now), Err(MapError::Window(_))));
    assert_eq!(map.remove(0, 0x4000), Ok(1));
}

proptest! {
    /// However the mappings cut a transfer, and whether the file had its pages or not: all of it lands in
    /// the file where the mappings say, made in order, and not a byte beside.
    #[test]
    fn filled_bytes_land_whole_and_nowhere_else(
        lengths in proptest::collection::vec(1u64..12, 1..6),
        backwards in any::<bool>(),
        holes in proptest::collection::vec(any::<bool>(), 64),
        start in 0u64..0x3000, length in 0usize..0x2_8000, again in any::<bool>(), sealed in any::<bool>(),
    ) {
        const PAGE: u64 = 4096;
        let (map, file) = (Map::default(), either(sealed, 64 * PAGE));
        for (page, _) in (0..).zip(&holes).filter(|(_, hole)| !**hole) {
            file.write_all_at(&[0; PAGE as usize], page * PAGE).expect("a page");
        }
        let total: u64 = lengths.iter().sum();
        let mut want = vec![0; (64 * PAGE) as usize];
        let mut places = Vec::new(); // offset in the file of each page of the bus
        let mut page = 0;
        for length in lengths {
            let offset = if backwards { total - page - length } else { page };
            map.add(request(page * PAGE, length * PAGE, offset * PAGE, &file)).expect("mapped");
            places.extend((offset..offset + length).map(|page| page * PAGE));
            page += length;
        }
        let length = length.min((total * PAGE - start.min(total * PAGE)) as usize);
        for at in 0..length {
            let address = start + at as u64;
            let place = places[(address / PAGE) as usize] + address % PAGE;
            want[place as usize] = counting(at);
        }
        for _ in 0..=u8::from(again) {
            let (result, parts) = fill(&map, start, length);
            prop_assert_eq!(result, Ok(()));
            let mut next = 0;
            for (before, part) in parts {
                prop_assert_eq!(before, next);
                prop_assert!(part > 0 && part <= PIECE);
                next += part;
            }
            prop_assert_eq!(next, length);
        }
        let mut found = vec![0; want.len()];
        file.read_exact_at(&mut found, 0).expect("read");
        prop_assert!(found == want);
    }

    /// Against a naive model: an array that says for each page where it is.
    #[test]
    fn agrees_with_a_naive_model(
        steps in proptest::collection::vec((any::<bool>(), 0u64..16, 1u64..6, 0u64..16), 0..40),
        probes in proptest::collection::vec((0u64..16 * 4096, 1usize..9000), 0..10), sealed in any::<bool>(),
    ) {
        const PAGE: u64 = 4096;
        let (map, file) = (Map::default(), either(sealed, 32 * PAGE));
        let mut model = [None::<(u64, u64)>; 32]; // page of the file, first page of its mapping
        for (add, first, count, offset) in steps {
            let range = first as usize..(first + count) as usize;
            if add {
                let free = model[range.clone()].iter().all(Option::is_none);
                let made = map.add(request(first * PAGE, count * PAGE, offset * PAGE, &file)).is_ok();
                prop_assert_eq!(made, free);
                if made {
                    for (page, slot) in (offset..).zip(&mut model[range]) {
                        *slot = Some((page, first));
                    }
                }
            } else {
                let owners: Vec<u64> = model[range.clone()].iter().flatten().map(|(_, owner)| *owner).collect();
                let outside = model.iter().enumerate().any(|(page, slot)| {
                    !range.contains(&page) && slot.is_some_and(|(_, owner)| owners.contains(&owner))
                });
                let removed = map.remove(first * PAGE, count * PAGE).is_ok();
                prop_assert_eq!(removed, !owners.is_empty() && !outside);
                if removed {
                    model[range].fill(None);
                }
            }
        }
        for (address, length) in probes {
            let pages = address / PAGE..(address + length as u64).div_ceil(PAGE);
            let mapped = pages.clone().all(|page| model[page as usize].is_some());
            let bytes: Vec<u8> = (0..length).map(|n| n as u8 | 1).collect();
            prop_assert_eq!(map.write(address, &bytes).is_ok(), mapped);
            if let Some((page, _)) = model[(address / PAGE) as usize].filter(|_| mapped) {
                let mut byte = [0];
                file.read_exact_at(&mut byte, page * PAGE + address % PAGE).expect("read");
                // Two pages may show the same page of the file; then the last byte written stands.
                prop_assert_eq!(byte[0] & 1, 1);
            }
        }
    }
}
