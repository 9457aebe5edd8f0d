// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scratch.

use std::time::Duration;

use landfall::guest::GuestOptions;
use landfall::qemu::qmp::Command;
use landfall_tests::{Result, boot, kernel_log, SHORT};

#[test]
fn aer_try() -> Result {
    let options = GuestOptions {
        witness: true,
        append: std::env::var("TRY_APPEND").unwrap_or("loglevel=7".into()),
        ..GuestOptions::default()
    };
    let guest = boot(options)?;
    guest.load_module("landfall_witness", "")?;
    guest.load_module("landfall_mutant", &std::env::var("TRY_PARAMS").unwrap_or_default())?;
    let sh = |line: &str| guest.run(&["/bin/busybox", "sh", "-c", line], SHORT);
    println!("{:?}", sh("ls /sys/bus/pci_express/devices /sys/bus/pci_express/drivers/*; cat /proc/interrupts; grep -r . /sys/bus/pci/devices/*/aer_dev_fatal")?);
    let before = guest.journal(0).unwrap().entries_from(0).len();
    for kind in std::env::var("TRY_KIND").unwrap_or("MALF_TLP".into()).split(' ') {
        let _ = kind;
        println!("{:?}", guest.monitor(&Command::InjectFatalError { index: 0 }));
    }
    std::thread::sleep(Duration::from_secs(5));
    for entry in &guest.journal(0).unwrap().entries_from(0)[before..] {
        println!("{entry:?}");
    }
    let at = guest.journal(0).unwrap().entries_from(0).len();
    println!("{}", kernel_log(&guest)?);
    println!("unload {:?}", guest.unload_module("landfall_mutant"));
    for entry in &guest.journal(0).unwrap().entries_from(0)[at..] {
        println!("{entry:?}");
    }
    println!("{}", guest.console_log());
    println!("{:?}", sh("cat /proc/interrupts; grep -r . /sys/bus/pci/devices/*/aer_*")?);
    Ok(guest.power_off()?)
}
