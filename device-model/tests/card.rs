// SPDX-License-Identifier: MIT OR Apache-2.0

//! The whole card, without a socket, against a file of memory: what it says it wrote is what is there.

use std::fs::File;
use std::os::unix::fs::FileExt;

use landfall_cards::capture::pattern::{FrameSpec, Pattern, Pixel, fill};
use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::{Next, STEP_BYTES};
use landfall_device::dma::map::Request;
use landfall_device::journal::{Direction, Kind};
use landfall_device::serve::LocalCard;
use proptest::prelude::*;

const CONTROL: u64 = 0x10;
const FORMAT: u64 = 0x20;
const GEOMETRY: u64 = 0x24;
const STRIDE: u64 = 0x28;
const QUEUE: u64 = 0x30;
const SLOT_BASE_LO: u64 = 0x400;
const SLOT_SIZE: u64 = 0x408;
const SLOT_STATUS: u64 = 0x418;
const SLOT_BYTES: u64 = 0x420;

const RAM: u64 = 4 << 20;

fn memory() -> File {
    let file = tempfile::tempfile().expect("memory");
    file.set_len(RAM).expect("size");
    file
}

/// A card with `ram` mapped from bus address 0 on, in mappings of `each` bytes.
fn card(ram: &File, each: u64) -> LocalCard {
    let card = LocalCard::new(Box::new(CaptureCard::new(CaptureOptions::default())));
    for iova in (0..RAM).step_by(each as usize) {
        let request = Request {
            iova,
            length: each,
            file_offset: iova,
            readable: true,
            writable: true,
            file: Some(ram.try_clone().expect("clone")),
        };
        card.map().add(request).expect("mapped");
    }
    card
}

fn queue(card: &mut LocalCard, spec: &FrameSpec, base: u64) {
    let format = u32::from(spec.pattern.number()) << 8 | u32::from(spec.pixel.number());
    card.write(0, FORMAT, format);
    card.write(0, GEOMETRY, spec.height << 16 | spec.width);
    card.write(0, STRIDE, spec.stride);
    card.write(0, SLOT_BASE_LO, base as u32);
    card.write(0, SLOT_SIZE, spec.frame_bytes() as u32);
    card.write(0, CONTROL, 1);
    card.write(0, QUEUE, 0);
}

/// Address and length of every write in the journal.
fn writes(card: &LocalCard) -> Vec<(u64, u64)> {
    let entries = card.journal().entries_from(0);
    let writes = entries.into_iter().filter_map(|entry| match entry.kind {
        Kind::Access {
            direction: Direction::Write,
            address,
            length,
            outcome,
            ..
        } if outcome.is_ok() => Some((address, length)),
        _ => None,
    });
    writes.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any picture in any place, over mappings of any size, into a file that had no page: every byte of the
    /// frame is there, every other is 0, and the journal has the bytes written, each once and in order.
    #[test]
    fn journal_memory_and_frame_agree(
        pattern in 0u8..4, pixel in 0u8..3, width in 1u32..700, height in 1u32..300, gap in 0u32..3,
        place in 0u64..1000, mapping in 12u32..23,
    ) {
        let ram = memory();
        let mut card = card(&ram, 1 << mapping);
        let pixel = Pixel::from_number(pixel).expect("in range");
        let width = width.next_multiple_of(2);
        let spec = FrameSpec {
            pattern: Pattern::from_number(pattern).expect("in range"),
            pixel,
            width,
            height,
            stride: width * pixel.bytes() + gap * 37,
            sequence: 0,
            slot: 0,
        };
        let base = place * 64;
        queue(&mut card, &spec, base);
        while card.step() == Next::Again {}
        prop_assert_eq!(card.read(0, SLOT_STATUS), 0);
        let bytes = spec.line_bytes() * u64::from(height);
        prop_assert_eq!(u64::from(card.read(0, SLOT_BYTES)), bytes);

        let mut frame = vec![0; spec.frame_bytes() as usize];
        fill(&mut frame, 0, &spec);
        let mut want = vec![0; RAM as usize];
        let (mut next, mut total) = (base, 0);
        for (address, length) in writes(&card) {
            prop_assert!(address >= next && length <= STEP_BYTES as u64);
            next = address + length;
            total += length;
            let at = (address - base) as usize..(next - base) as usize;
            want[address as usize..next as usize].copy_from_slice(&frame[at]);
        }
        prop_assert_eq!(total, bytes);
        let mut found = vec![0; RAM as usize];
        ram.read_exact_at(&mut found, 0).expect("read");
        prop_assert!(found == want);
    }

    /// Bus mastering is cleared, the card is stopped or it is reset after any number of steps: after that
    /// no byte changes, and up to there exactly what the journal has is in memory.
    #[test]
    fn nothing_follows_what_ends_a_frame(steps in 1usize..8, how in 0u8..3) {
        let ram = memory();
        let mut card = card(&ram, RAM);
        let spec = FrameSpec {
            pattern: Pattern::Test,
            pixel: Pixel::Grey,
            width: 2048,
            height: 1024,
            stride: 2048,
            sequence: 0,
            slot: 0,
        };
        queue(&mut card, &spec, 0);
        for _ in 0..steps {
            prop_assert_eq!(card.step(), Next::Again);
        }
        match how {
            0 => card.write_config(4, &[2, 0]),
            1 => card.write(0, CONTROL, 0),
            _ => card.write(0, CONTROL, 0x100),
        }
        let written = writes(&card);
        while card.step() == Next::Again {}
        prop_assert_eq!(&writes(&card), &written);
        let bytes: u64 = written.iter().map(|(_, length)| length).sum();
        prop_assert_eq!(bytes, (steps as u64 - 1) * STEP_BYTES as u64);
        let mut want = vec![0; RAM as usize];
        fill(&mut want[..bytes as usize], 0, &spec);
        let mut found = vec![0; RAM as usize];
        ram.read_exact_at(&mut found, 0).expect("read");
        prop_assert!(found == want);
    }
}

/// That a driver has found the card is told once, whatever it wrote before and reads later.
#[test]
fn the_first_read_is_told_once() {
    let mut card = card(&memory(), RAM);
    let told = |card: &LocalCard| {
        let entries = card.journal().entries_from(0);
        let first = entries.into_iter().filter_map(|entry| match entry.kind {
            Kind::FirstRead { bar, offset } => Some((bar, offset)),
            _ => None,
        });
        first.collect::<Vec<_>>()
    };

    card.write(0, STRIDE, 640);
    assert_eq!(told(&card), []);
    card.read(0, STRIDE);
    card.read(0, GEOMETRY);

    assert_eq!(told(&card), [(0, STRIDE)]);
}
