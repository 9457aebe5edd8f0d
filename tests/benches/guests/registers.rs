// SPDX-License-Identifier: MIT OR Apache-2.0

//! Registers and interrupts of a card in another process, beside QEMU's own `edu` device in the same guest.

use std::time::Duration;

use landfall::Cancel;
use landfall::guest::{Booted, Card, Guest, GuestOptions, PoolOptions, RegisterWrite, Timed};
use landfall_cards::template::Scratch;
use landfall_guest::SetupOptions;
use landfall_tests::{Result, prepared, with_capture_card};

use super::table::{Table, ratio, time};
use super::{median, p99};

const UIO: &str = "uio_pci_generic";

/// What is timed of a device.
type Access = fn(&Device) -> Timed;

/// One of the two devices.
struct Device {
    name: &'static str,
    /// Vendor and device number, as sysfs writes them.
    identity: (&'static str, &'static str),
    /// A register that can be read and written without effect.
    scratch: u32,
    trigger: RegisterWrite,
    acknowledge: RegisterWrite,
}

const fn write(offset: u32, value: u32) -> RegisterWrite {
    RegisterWrite { offset, value }
}

/// QEMU's `docs/specs/edu.rst`, and the data sheet of our template.
const DEVICES: [Device; 2] = [
    Device {
        name: "edu, in QEMU",
        identity: ("0x1234", "0x11e8"),
        scratch: 0x04,
        trigger: write(0x60, 1),
        acknowledge: write(0x64, 1),
    },
    Device {
        name: "template, over vfio-user",
        identity: ("0x1b36", "0x4c47"),
        scratch: 0x04,
        trigger: write(0x0c, 1),
        acknowledge: write(0x10, 1),
    },
];

/// `None`, with a printed reason, if the set-up came without the kernel's own modules.
pub(crate) fn measure() -> Result<Option<Table>> {
    let stock = prepared().vmlinux.parent().ok_or("a directory")?;
    let uio = stock.join(format!("modules/kernel/drivers/uio/{UIO}.ko.xz"));
    if !uio.is_file() {
        super::say("registers: skipped, this set-up was imported and has no uio_pci_generic\n");
        return Ok(None);
    }
    let options = SetupOptions {
        modules: vec![uio],
        ..SetupOptions::new(&prepared().cache)
    };
    let with_uio = landfall_guest::prepare(&options, &Cancel::default(), &mut |_| ())?;
    let options = GuestOptions {
        cards: vec![Card::new("template", Scratch::default)],
        pool: PoolOptions {
            size: 0,
            ..PoolOptions::default()
        },
        qemu_arguments: vec!["-device".into(), "edu".into()],
        ..with_capture_card()
    };
    let guest = Guest::configure(options).boot(&with_uio, &Cancel::default())?;
    guest.load_module(UIO, "")?;
    let functions = DEVICES
        .iter()
        .map(|device| claim(&guest, device))
        .collect::<Result<Vec<_>>>()?;

    let mut table = Table::new(
        "Registers and interrupts",
        "Seen from user space of one guest; the devices in turn. Interrupts by INTx and `uio_pci_generic`.",
        &["what", "device", "median", "of edu", "p99"],
    );
    let kinds: [(&str, Access, u32); 3] = [
        (
            "read",
            |device| Timed::Read {
                offset: device.scratch,
            },
            1000,
        ),
        (
            "posted write",
            |device| Timed::Write(write(device.scratch, 0)),
            100,
        ),
        ("command to user space", interrupt, 100),
    ];
    for (what, timed, count) in kinds {
        let mut times: [Vec<Duration>; 2] = Default::default();
        for _ in 0..5 {
            for ((device, function), times) in DEVICES.iter().zip(&functions).zip(&mut times) {
                times.extend(guest.time(function, timed(device), count)?);
            }
        }
        let edu = median(&times[0]);
        for (device, times) in DEVICES.iter().zip(&times) {
            let median = median(times);
            table.row([
                what.to_owned(),
                device.name.to_owned(),
                time(median),
                ratio(median, edu),
                time(p99(times)),
            ]);
        }
    }
    guest.power_off()?;
    Ok(Some(table))
}

fn interrupt(device: &Device) -> Timed {
    Timed::Interrupt {
        trigger: device.trigger,
        acknowledge: device.acknowledge,
    }
}

/// Finds a device and gives it to `uio_pci_generic`; its PCI address.
fn claim(guest: &Guest<Booted>, device: &Device) -> Result<String> {
    for function in guest.list("/sys/bus/pci/devices")? {
        let number = |what| guest.read_text(&format!("/sys/bus/pci/devices/{function}/{what}"));
        let identity = (number("vendor")?, number("device")?);
        if (identity.0.trim(), identity.1.trim()) == device.identity {
            let numbers = format!("{} {}", device.identity.0, device.identity.1);
            let path = format!("/sys/bus/pci/drivers/{UIO}/new_id");
            guest.write_file(&path, numbers)?;
            return Ok(function);
        }
    }
    Err(format!("no {} in the guest", device.name).into())
}
