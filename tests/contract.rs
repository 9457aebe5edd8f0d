// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cards of other shapes than ours, in front of the stock kernel.

use landfall::guest::{Booted, Card, Guest, GuestOptions, PoolOptions};
use landfall_device::contract::*;
use landfall_tests::{Result, SHORT, boot, with_capture_card};

const GIB: u64 = 1 << 30;

/// A register of 64 bits, and one that reading clears, in a BAR with the table of MSI-X; memory in two more.
struct Wide {
    small: Backing,
    large: Backing,
    register: u64,
    once: u64,
}

impl Wide {
    fn new() -> Self {
        Self {
            small: Backing::new(1 << 16).expect("memory"),
            large: Backing::new(GIB).expect("memory"),
            register: 0,
            once: 0,
        }
    }
}

impl Device for Wide {
    fn identity(&self) -> Identity {
        let place = |offset| Place { bar: 0, offset };
        Identity {
            vendor: 0x1b36,
            device: 0x4c70,
            subsystem: Some((0xabcd, 0x1234)),
            class: 0x12_00_42,
            msix: Some(Msix::new(64).at(place(0x2000), place(0x3000))),
            bars: vec![
                Bar::registers(0, 0x4000).wide(),
                Bar::memory(2, &self.large).wide().prefetchable().mapped(),
                Bar::memory(4, &self.small),
            ],
            capabilities: vec![Capability::vendor(b"own"), Capability::extended(3, [7; 8])],
            ..Identity::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {
        (self.register, self.once) = (0, 7);
    }

    fn step(&mut self, _host: &mut dyn Host) -> Next {
        Next::Idle
    }

    fn line(&self) -> bool {
        false
    }
}

impl Function for Wide {
    fn name(&self, access: Access) -> Option<RegisterName> {
        match access.offset {
            0..8 => Some(RegisterName::plain("WIDE")),
            8 => Some(RegisterName::plain("ONCE")),
            _ => None,
        }
    }

    fn load(&mut self, access: Access, _host: &mut dyn Host) -> u64 {
        match access.offset {
            0..8 => access.lanes(0).extract(self.register),
            _ => std::mem::take(&mut self.once),
        }
    }

    fn store(&mut self, access: Access, value: u64, _host: &mut dyn Host) {
        if access.offset < 8 {
            self.register = access.lanes(0).insert(self.register, value);
        }
    }
}

fn with_wide() -> GuestOptions {
    GuestOptions {
        cards: vec![Card::new("wide", Wide::new)],
        pool: PoolOptions {
            size: 0,
            ..PoolOptions::default()
        },
        ..with_capture_card()
    }
}

/// Where the kernel has the card, in sysfs.
fn place(guest: &Guest<Booted>) -> Result<String> {
    for name in guest.list("/sys/bus/pci/devices")? {
        let path = format!("/sys/bus/pci/devices/{name}");
        if guest.read_text(&format!("{path}/device"))?.trim() == "0x4c70" {
            return Ok(path);
        }
    }
    Err("the kernel has no such card".into())
}

/// Reads, or writes, so many bits at a physical address, as a driver does.
fn devmem(guest: &Guest<Booted>, address: u64, bits: u32, value: Option<u64>) -> Result<String> {
    let (address, bits) = (format!("{address:#x}"), bits.to_string());
    let value = value.map(|value| format!("{value:#x}"));
    let mut argv = vec!["/bin/busybox", "devmem", &address, &bits];
    argv.extend(value.as_deref());
    let ran = guest.run(&argv, SHORT)?;
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    Ok(ran.stdout.trim().to_owned())
}

/// The kernel finds subsystem, class, 64-bit and prefetchable BARs and a gibibyte of memory where the card says they are;
/// registers keep their lanes, a read that clears clears, memory is memory; and what is not there is listed.
#[test]
fn the_kernel_finds_a_card_of_any_shape() -> Result {
    let guest = boot(with_wide())?;
    let path = place(&guest)?;
    let file = |name: &str| guest.read_text(&format!("{path}/{name}"));
    let ids = [
        file("subsystem_vendor")?,
        file("subsystem_device")?,
        file("class")?,
    ];
    assert_eq!(
        ids.map(|id| id.trim().to_owned()),
        ["0xabcd", "0x1234", "0x120042"]
    );
    let mut bars = Vec::new();
    for line in file("resource")?.lines().take(6) {
        let numbers = line
            .split(' ')
            .map(|number| u64::from_str_radix(&number[2..], 16));
        let numbers = numbers.collect::<std::result::Result<Vec<_>, _>>()?;
        bars.push((
            numbers[0],
            numbers[1].wrapping_sub(numbers[0]).wrapping_add(1),
            numbers[2],
        ));
    }
    let sizes: Vec<_> = bars
        .iter()
        .map(|(_, size, flags)| (*flags != 0).then_some(*size))
        .collect();
    assert_eq!(
        sizes,
        [Some(0x4000), None, Some(GIB), None, Some(0x1_0000), None]
    );
    let wide = bars
        .iter()
        .map(|(_, _, flags)| (flags >> 20 & 1, flags >> 13 & 1));
    assert_eq!(
        wide.step_by(2).collect::<Vec<_>>(),
        [(1, 0), (1, 1), (0, 0)]
    );

    guest.write_file(&format!("{path}/enable"), "1")?;
    let registers = bars[0].0;
    devmem(&guest, registers, 64, Some(0x1122_3344_5566_7788))?;
    devmem(&guest, registers + 2, 16, Some(0xaabb))?;
    devmem(&guest, registers + 7, 8, Some(0xcc))?;
    assert_eq!(devmem(&guest, registers, 64, None)?, "0xCC223344AABB7788");
    assert_eq!(devmem(&guest, registers + 4, 32, None)?, "0xCC223344");
    let once = [(); 2].map(|()| devmem(&guest, registers + 8, 32, None));
    let once: Result<Vec<_>> = once.into_iter().collect();
    assert_eq!(once?, ["0x00000007", "0x00000000"]);
    for memory in [bars[2].0 + GIB - 8, bars[4].0 + 0x100] {
        devmem(&guest, memory, 64, Some(memory))?;
        assert_eq!(
            devmem(&guest, memory, 64, None)?,
            format!("{memory:#018X}").replace('X', "x")
        );
    }
    devmem(&guest, registers + 0x1000, 32, Some(1))?;

    let missing = guest.missing(0).expect("a card").unknown;
    let found: Vec<_> = missing
        .iter()
        .map(|one| (one.bar, one.offset, one.write))
        .collect();
    assert_eq!(found, [(0, 0x1000, true)]);
    Ok(guest.power_off()?)
}
