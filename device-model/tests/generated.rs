// SPDX-License-Identifier: MIT OR Apache-2.0

//! Functions of any identity that can be had, over a real socket: what they are is what a machine finds.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use landfall_device::contract::*;
use landfall_device::journal::Kind;
use landfall_device::serve::{LocalCard, Options};
use landfall_device::testing::{conformance, conforms};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::select;
use vmm_sys_util::eventfd::EventFd;

use crate::support::{CONFIG, plug, signalled};

/// Bytes of registers that a BAR has, from its start; reads of the last eight are counted in them.
const REGISTERS: u64 = 64;
const COUNTER: u64 = REGISTERS - 8;

/// A function of any identity: plain bytes, and a counter that a read moves. It interrupts at each write to byte 0 of the
/// first BAR, by the vector of the byte's value.
#[derive(Clone)]
struct Generated {
    identity: Identity,
    bytes: [[u8; REGISTERS as usize]; 6],
    /// Accesses that it saw, also those of other incarnations.
    seen: Arc<Mutex<Vec<Access>>>,
}

impl Generated {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            bytes: [[0; REGISTERS as usize]; 6],
            seen: Arc::default(),
        }
    }

    fn part(&mut self, access: Access) -> &mut [u8] {
        let at = access.offset as usize;
        &mut self.bytes[usize::from(access.bar)][at..at + usize::from(access.width.bytes())]
    }
}

impl Device for Generated {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn reset(&mut self, _kind: Reset) {
        self.bytes = Self::new(Identity::default()).bytes;
    }

    fn step(&mut self, _host: &mut dyn Host) -> Next {
        Next::Idle
    }

    fn line(&self) -> bool {
        false
    }
}

impl Function for Generated {
    fn name(&self, access: Access) -> Option<RegisterName> {
        (access.offset < REGISTERS).then(|| RegisterName {
            name: "BYTE".into(),
            index: Some(access.offset as usize),
        })
    }

    fn load(&mut self, access: Access, _host: &mut dyn Host) -> u64 {
        self.seen.lock().push(access);
        let mut value = [0; 8];
        let part = self.part(access);
        value[..part.len()].copy_from_slice(part);
        if access.offset >= COUNTER {
            let count = &mut self.bytes[usize::from(access.bar)][COUNTER as usize];
            *count = count.wrapping_add(1);
        }
        u64::from_le_bytes(value)
    }

    fn store(&mut self, access: Access, value: u64, host: &mut dyn Host) {
        self.seen.lock().push(access);
        let part = self.part(access);
        part.copy_from_slice(&value.to_le_bytes()[..part.len()]);
        if access.offset == 0 {
            host.raise(Vector(value as u16));
        }
    }
}

/// BARs that lie behind each other: for each its size as a power of two, its width, what it says of itself, and whether it
/// is memory.
fn bars() -> impl Strategy<Value = Vec<Bar>> {
    let one = (4u32..31, any::<bool>(), any::<bool>(), 0u8..4);
    proptest::collection::vec(one, 1..7).prop_map(|all| {
        let mut bars = Vec::new();
        let mut index = 0;
        for (power, wide, prefetchable, memory) in all {
            let wide = wide && index < 5;
            if index > 5 {
                break;
            }
            let bar = match memory {
                0 => {
                    let backing = Backing::new(1 << power.clamp(12, 24)).expect("memory");
                    Bar::memory(index, &backing).mapped()
                }
                1 => Bar::memory(index, &Backing::new(1 << power).expect("memory")),
                _ => Bar::registers(index, 1 << power),
            };
            let bar = Bar {
                wide,
                prefetchable,
                ..bar
            };
            index += 1 + u8::from(wide);
            bars.push(bar);
        }
        bars
    })
}

fn identity() -> impl Strategy<Value = Identity> {
    let ids = (
        1u16..0xffff,
        any::<u16>(),
        proptest::option::of(any::<(u16, u16)>()),
    );
    let more = (0u32..1 << 24, any::<u8>(), any::<bool>(), 0u8..=MOST_MSI);
    let own = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 0..3);
    (ids, more, bars(), own).prop_map(|(ids, (class, revision, express, msi), bars, own)| {
        Identity {
            vendor: ids.0,
            device: ids.1,
            subsystem: ids.2,
            class,
            revision,
            link: if express { Link::Express } else { Link::Pci },
            msi,
            msix: None,
            bars,
            capabilities: own.iter().map(|bytes| Capability::vendor(bytes)).collect(),
        }
    })
}

/// An access of any width at any place of a BAR's registers.
fn access() -> impl Strategy<Value = (u64, Width, u64, bool)> {
    (
        0..REGISTERS,
        select(&Width::ALL[..]),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(at, width, value, write)| {
            (at & !(u64::from(width.bytes()) - 1), width, value, write)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What a machine finds in configuration space and in the regions is what the function says of itself.
    #[test]
    fn a_machine_finds_what_a_function_says(identity in identity()) {
        let mut machine = plug(Box::new(Generated::new(identity.clone())));
        let client = &mut machine.client;
        let mut get = |at: u64| {
            let mut bytes = [0; 4];
            client.region_read(CONFIG, at, &mut bytes).expect("read");
            u32::from_le_bytes(bytes)
        };
        let ids = |(vendor, device): (u16, u16)| u32::from(device) << 16 | u32::from(vendor);
        let own = (identity.vendor, identity.device);
        prop_assert_eq!(get(0), ids(own));
        prop_assert_eq!(get(0x2c), ids(identity.subsystem.unwrap_or(own)));
        prop_assert_eq!(get(8), identity.class << 8 | u32::from(identity.revision));
        let mut found = Vec::new();
        let mut at = get(0x34) & 0xff;
        while at != 0 && found.len() < 48 {
            let head = get(at.into());
            found.push(head & 0xff);
            at = head >> 8 & 0xff;
        }
        prop_assert_eq!(found.contains(&0x05), identity.msi > 0);
        prop_assert_eq!(found.contains(&0x10), identity.link == Link::Express);
        let vendors = found.iter().filter(|id| **id == 9).count();
        prop_assert_eq!(vendors, identity.capabilities.len());

        for bar in &identity.bars {
            let at = 0x10 + 4 * u64::from(bar.index);
            machine.client.region_write(CONFIG, at, &[0xff; 4]).expect("written");
            let mut low = [0; 4];
            machine.client.region_read(CONFIG, at, &mut low).expect("read");
            let low = u32::from_le_bytes(low);
            prop_assert_eq!(u64::from(!(low & !0xf)) + 1, bar.size);
            let kind = u32::from(bar.wide) << 2 | u32::from(bar.prefetchable) << 3;
            prop_assert_eq!(low & 0xf, kind);
            let region = machine.client.region(bar.index.into()).expect("described");
            let mapped = matches!(bar.contents, Contents::Memory { mapped: true, .. });
            prop_assert_eq!((region.size, region.flags), (bar.size, if mapped { 7 } else { 3 }));
            prop_assert_eq!(region.file_offset.is_some(), mapped);
        }
    }

    /// Registers keep each byte that is written, in every width; a read that has an effect has it once; memory is the
    /// machine's and the function's alike; and what is neither reads all-ones and is listed.
    #[test]
    fn every_byte_has_its_lane(
        identity in identity(), accesses in proptest::collection::vec((any::<prop::sample::Index>(), access()), 1..60),
    ) {
        let mut model = Generated::new(identity.clone());
        let function = model.clone();
        let seen = Arc::clone(&function.seen);
        let mut card = LocalCard::new(Box::new(function));
        for (pick, (offset, width, value, write)) in accesses {
            let bar = pick.get(&identity.bars);
            let access = Access { bar: bar.index, offset, width };
            let length = usize::from(width.bytes());
            let bytes = &value.to_le_bytes()[..length];
            let inside = offset + u64::from(width.bytes()) <= bar.size;
            let before = seen.lock().len();
            let mut read = vec![0; length];
            match write {
                true => card.write_bytes(bar.index, offset, bytes),
                false => card.read_bytes(bar.index, offset, &mut read),
            }
            let heard = seen.lock().len() - before;
            let mut host = landfall_device::testing::FakeHost::default();
            match (&bar.contents, inside) {
                (_, false) => {
                    // The end of a BAR is no end of an access that begins in it, only of what the function hears.
                    prop_assert!(bar.contents != Contents::Registers || heard == 0);
                    prop_assert!(write || bar.contents != Contents::Registers || read == vec![0xff; length]);
                }
                (Contents::Memory { backing, .. }, true) => {
                    prop_assert_eq!(heard, 0);
                    let mut held = vec![0; length];
                    backing.read(offset, &mut held);
                    prop_assert_eq!(&held[..], if write { bytes } else { &read });
                }
                (Contents::Registers, true) => {
                    prop_assert_eq!(heard, 1);
                    match write {
                        true => model.store(access, value & width.mask(), &mut host),
                        false => {
                            let wanted = model.load(access, &mut host).to_le_bytes();
                            prop_assert_eq!(&read, &wanted[..length]);
                        }
                    }
                }
            }
        }
    }

    /// A table anywhere in any BAR: its entries are the machine's, everything around it is the function's.
    #[test]
    fn a_table_is_anywhere(
        bar in 0u8..5, wide: bool, vectors in select(&[1u16, 7, 64, 65, 2048][..]), table in 8u32..3000, gap in 0u32..500,
    ) {
        let (table, bytes) = (8 * table, u32::from(vectors) * 16);
        let pending = table + bytes + 8 * gap;
        let place = |offset| Place { bar, offset };
        let registers = Bar { wide, ..Bar::registers(bar, 0x2_0000) };
        let function = Generated::new(Identity {
            vendor: 1,
            device: 1,
            bars: vec![registers],
            msix: Some(Msix::new(vectors).at(place(table), place(pending))),
            ..Identity::default()
        });
        let seen = Arc::clone(&function.seen);
        let mut card = LocalCard::new(Box::new(function));
        let table = u64::from(table);
        let last = table + u64::from(vectors - 1) * 16;
        for entry in std::collections::BTreeSet::from([table, last]) {
            prop_assert_eq!(card.read(bar, entry + 12), 1, "masked");
            card.write_long(bar, entry, 0x1234_5678_fee0_1003);
            card.write_long(bar, entry + 8, 0x4021);
            let mut all = [0; 16];
            card.read_bytes(bar, entry, &mut all);
            prop_assert_eq!(u128::from_le_bytes(all), 0x4021_1234_5678_fee0_1000);
            card.write_bytes(bar, entry + 9, &[0x55]);
            prop_assert_eq!(card.read(bar, entry + 8), 0x5521);
        }
        card.write(bar, pending.into(), !0);
        prop_assert_eq!(card.read(bar, pending.into()), 0);
        prop_assert_eq!(seen.lock().len(), 0);
        card.write(bar, 4, 7);
        prop_assert_eq!((card.read(bar, 4), seen.lock().len()), (7, 2));
        card.reset();
        prop_assert_eq!(card.read(bar, last + 12), 1, "masked again");
    }

    /// Whatever is asked for, it is refused in words or it conforms; nothing panics.
    #[test]
    fn what_is_not_refused_conforms(mut identity in identity(), wrong in 0u8..12) {
        match wrong {
            0 => identity.bars.push(Bar::registers(6, 16)),
            1 => identity.bars[0].size += 1,
            2 => identity.bars[0].size = 1 << 40,
            3 => identity.class |= 1 << 30,
            4 => identity.vendor = 0xffff,
            5 => identity.msi = 200,
            6 => identity.msix = Some(Msix::new(3000)),
            7 => identity.bars.push(identity.bars[0].clone()),
            8 => identity.capabilities = vec![Capability::vendor(&[0; 60]); 3],
            _ => {}
        }
        let make = || -> Box<dyn Function> { Box::new(Generated::new(identity.clone())) };
        match LocalCard::plug(make(), Options::default()) {
            Ok(_) => {
                prop_assert!(wrong > 8, "{wrong}");
                prop_assert_eq!(conformance::describes_itself(&make), Ok(()));
                prop_assert_eq!(conformance::answers_only_where_it_is(&make), Ok(()));
            }
            Err(why) => prop_assert!(wrong <= 8 && !why.to_string().is_empty(), "{wrong}: {why}"),
        }
    }
}

fn wide(msi: u8, msix: Option<Msix>) -> Generated {
    Generated::new(Identity {
        vendor: 0x1b36,
        device: 0x4c60,
        msi,
        msix,
        bars: vec![
            Bar::registers(0, 0x4000).wide(),
            Bar::registers(2, 16),
            Bar::registers(3, 0x1000),
            Bar::registers(4, 1 << 30).wide().prefetchable(),
        ],
        ..Identity::default()
    })
}

/// Connects a wire to each of `count` vectors, as many at once as a message has room for.
fn wires(machine: &mut crate::support::Machine, index: u32, count: u32) -> Vec<EventFd> {
    let event = |_| EventFd::new(libc::EFD_NONBLOCK).expect("event");
    let wires: Vec<_> = (0..count).map(event).collect();
    for (chunk, start) in wires.chunks(8).zip((0..).step_by(8)) {
        let fds: Vec<_> = chunk.iter().map(AsRawFd::as_raw_fd).collect();
        let count = fds.len() as u32;
        let set = machine.client.set_irqs(index, 4 | 32, start, count, &fds);
        set.expect("connected");
    }
    wires
}

/// A table of 64 vectors in BAR 0, and 32 messages: each vector has its own wire.
#[test]
fn every_vector_has_its_wire() {
    let place = |offset| Place { bar: 0, offset };
    let msix = Msix::new(64).at(place(0x2000), place(0x3000));
    for (function, index, vectors) in [(wide(0, Some(msix)), 2, 64u8), (wide(32, None), 1, 32)] {
        let mut machine = plug(Box::new(function));
        let info = machine.client.get_irq_info(index).expect("described");
        assert_eq!(info.count, u32::from(vectors));
        let wires = wires(&mut machine, index, vectors.into());
        for vector in (0..vectors).rev() {
            machine
                .client
                .region_write(0, 0, &[vector])
                .expect("written");
            assert!(signalled(&wires[usize::from(vector)]), "vector {vector}");
        }
        assert!(wires.iter().all(|wire| wire.read().is_err()), "each once");
    }
}

/// Memory that is mapped is one memory: the machine's mapping, its accesses by messages, and the function's.
#[test]
fn mapped_memory_is_one_memory() {
    let backing = Backing::new(1 << 16).expect("memory");
    let function = Generated::new(Identity {
        vendor: 0x1b36,
        device: 0x4c61,
        bars: vec![
            Bar::registers(0, 0x1000),
            Bar::memory(2, &backing).wide().prefetchable().mapped(),
        ],
        ..Identity::default()
    });
    let mut machine = plug(Box::new(function));
    let region = machine.client.region(2).expect("described");
    let place = region.file_offset.as_ref().expect("mapped");
    let start = place.start();
    place
        .file()
        .write_all_at(b"guest", start + 100)
        .expect("written");
    let mut bytes = [0; 5];
    machine
        .client
        .region_read(2, 100, &mut bytes)
        .expect("read");
    assert_eq!(&bytes, b"guest");
    machine
        .client
        .region_write(2, 100, b"again")
        .expect("written");
    backing.read(100, &mut bytes);
    assert_eq!(&bytes, b"again");
    machine
        .client
        .region_write(CONFIG, 4, &[4, 0])
        .expect("off");
    machine
        .client
        .region_read(2, 100, &mut bytes)
        .expect("read");
    assert_eq!(bytes, [0xff; 5], "nothing is decoded");
}

/// The witness has its BAR only where the function leaves it free, and its mailbox always.
#[test]
fn the_witness_finds_its_place() {
    let bars = |count: u8| {
        (0..count)
            .map(|index| Bar::registers(index, 0x1000))
            .collect()
    };
    let upper = vec![Bar::registers(4, 0x1000).wide()];
    for (bars, has) in [(bars(5), true), (bars(6), false), (upper, false)] {
        let function = Generated::new(Identity {
            vendor: 0x1b36,
            device: 0x4c62,
            bars,
            capabilities: vec![Capability::vendor(&[7; 40])],
            ..Identity::default()
        });
        let options = Options {
            witness: true,
            ..Options::default()
        };
        let mut card = LocalCard::plug(Box::new(function), options).expect("can be had");
        let mut mailbox = [0; 8];
        card.read_config(0xc0, &mut mailbox);
        assert_eq!(mailbox[..4], [9, 0, 16, has.into()]);
        assert_eq!(card.read(5, 0) == u32::from_le_bytes(*b"LFWT"), has);
    }
}

#[test]
fn what_the_function_lacks_is_listed_with_its_count() {
    let mut card = LocalCard::new(Box::new(wide(1, None)));
    for _ in 0..300 {
        card.read(0, 0x100);
    }
    card.write_bytes(3, 0x101, &[1]);
    card.write_config(4, &[0, 0]);
    card.write(0, 0x200, 1); // reaches nobody: not unknown
    let found: Vec<_> = card
        .missing()
        .unknown
        .iter()
        .map(|one| (one.bar, one.offset, one.width, one.write, one.count))
        .collect();
    assert_eq!(found, [(0, 0x100, 4, false, 300), (3, 0x101, 1, true, 1)]);
    let entries = card.journal().entries_from(0);
    let told = entries
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Unclaimed { .. }));
    assert_eq!(told.count(), 64 + 2 + 1 + 1);
}

/// A guest that does nothing but read one register is said to, once; two seconds pass.
#[test]
fn a_guest_that_spins_is_told_of() {
    let mut card = LocalCard::new(Box::new(wide(1, None)));
    let began = std::time::Instant::now();
    while card.missing().spinning.is_empty() {
        assert_eq!(card.read(3, 4), 0);
        assert!(
            began.elapsed() < std::time::Duration::from_secs(60),
            "it is never told"
        );
    }
    for _ in 0..1000 {
        card.read(3, 4);
    }
    let spinning = card.missing().spinning;
    assert_eq!(spinning.len(), 1);
    assert_eq!(
        (spinning[0].bar, spinning[0].offset, spinning[0].value),
        (3, 4, 0)
    );
    assert!(spinning[0].lasted_ns >= 2_000_000_000);
}

#[test]
fn the_generated_function_conforms() {
    let make = || -> Box<dyn Function> {
        Box::new(wide(
            4,
            Some(Msix::new(3).at(
                Place { bar: 3, offset: 64 },
                Place {
                    bar: 3,
                    offset: 256,
                },
            )),
        ))
    };
    assert_eq!(conforms(&make), Ok(()));
}

/// A check that cannot fail is none: each of these is wrong in one way.
mod wrong {
    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    enum Wrong {
        Remembers,
        Line,
        Blank,
        TwoFaced,
        Interrupts,
    }

    struct Bad(Wrong, u32, std::cell::Cell<u16>);

    impl Device for Bad {
        fn identity(&self) -> Identity {
            if self.0 == Wrong::TwoFaced {
                self.2.set(self.2.get() + 1);
            }
            Identity {
                vendor: 1,
                device: self.2.get(),
                bars: vec![Bar::registers(0, 16)],
                ..Identity::default()
            }
        }
        fn declares(&self) -> Declares {
            Declares {
                interrupts: true,
                ..Declares::default()
            }
        }
        fn reset(&mut self, _kind: Reset) {
            if self.0 != Wrong::Remembers {
                self.1 = 0;
            }
        }
        fn step(&mut self, host: &mut dyn Host) -> Next {
            if self.0 == Wrong::Interrupts {
                host.raise(Vector(0));
            }
            Next::Idle
        }
        fn line(&self) -> bool {
            self.0 == Wrong::Line
        }
    }

    impl Registers for Bad {
        fn register(&self, _bar: u8, offset: u64) -> Option<RegisterName> {
            (offset == 0 && self.0 != Wrong::Blank).then(|| RegisterName::plain("KEPT"))
        }
        fn read(&self, _bar: u8, _offset: u64) -> u32 {
            self.1
        }
        fn write(&mut self, _bar: u8, _offset: u64, value: u32, _host: &mut dyn Host) {
            self.1 = value;
        }
    }

    #[test]
    fn each_wrong_device_is_named_and_says_how() {
        let said = |wrong| {
            let make = || -> Box<dyn Function> { Box::new(Bad(wrong, 0, 0.into())) };
            conforms(&make).expect_err("it is wrong")
        };
        assert!(said(Wrong::Remembers).contains("after a reset"));
        assert!(said(Wrong::Line).contains("line"));
        assert!(said(Wrong::Blank).contains("neither registers nor memory"));
        assert!(said(Wrong::TwoFaced).contains("two ways"));
        assert!(said(Wrong::Interrupts).contains("seed"));
    }
}
