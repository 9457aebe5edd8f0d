// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest itself, without a card.

use landfall::guest::{GuestOptions, PoolOptions};
use landfall_tests::{SHORT, boot, prepared};

/// The stock kernel of the set-up boots, the agent does what it is asked, and the guest powers itself off.
#[test]
fn a_guest_boots_answers_and_powers_off() -> landfall::guest::Result<()> {
    let options = GuestOptions {
        cards: Vec::new(),
        pool: PoolOptions { size: 0, ..PoolOptions::default() },
        ..GuestOptions::default()
    };
    let guest = boot(options)?;

    assert_eq!(guest.kernel_release(), prepared().kernel_release);
    assert_eq!(guest.read_text("/proc/1/comm")?.trim(), "init");
    assert!(guest.list("/sys/bus/pci/devices")?.len() > 1, "a PCI bus");

    let ran = guest.run(&["/bin/busybox", "sh", "-c", "echo out; echo err >&2; exit 3"], SHORT)?;
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (3, "out\n", "err\n"));

    guest.power_off()
}

/// A program that does not end is killed when its time is up, and what it started with it.
#[test]
fn a_program_that_hangs_is_killed_with_its_children() -> landfall::guest::Result<()> {
    let guest = boot(GuestOptions { cards: Vec::new(), ..GuestOptions::default() })?;

    let argv = ["/bin/busybox", "sh", "-c", "sleep 1000 & sleep 1000"];
    let ran = guest.run(&argv, std::time::Duration::from_millis(500))?;
    assert!(ran.timed_out);

    let left = guest.run(&["/bin/busybox", "pgrep", "sleep"], SHORT)?;
    assert_eq!(left.stdout, "", "no child is left");
    guest.power_off()
}

/// A request that the guest's kernel refuses comes back with its errno, and the guest lives on.
#[test]
fn a_refused_request_leaves_the_guest_alive() -> landfall::guest::Result<()> {
    let guest = boot(GuestOptions { cards: Vec::new(), ..GuestOptions::default() })?;

    assert_eq!(guest.read_file("/no/such/file").unwrap_err().errno(), Some(2));
    assert_eq!(guest.load_module("no_such_module", "").unwrap_err().errno(), Some(2));

    guest.ping()?;
    guest.power_off()
}
