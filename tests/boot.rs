// SPDX-License-Identifier: MIT OR Apache-2.0

//! The guest itself, without a card.

use std::time::Duration;

use landfall::guest::{GuestOptions, PoolOptions};
use landfall_tests::errno::ENOENT;
use landfall_tests::{Result, SHORT, assert_refused, boot, prepared, processes, with_capture_card};

fn without_cards() -> GuestOptions {
    GuestOptions {
        cards: Vec::new(),
        spare_ports: 1,
        pool: PoolOptions {
            size: 0,
            ..PoolOptions::default()
        },
        ..with_capture_card()
    }
}

/// The stock kernel of the set-up boots, the agent does what it is asked, and the guest powers itself off.
#[test]
fn a_guest_boots_answers_and_powers_off() -> Result {
    let guest = boot(without_cards())?;

    assert_eq!(guest.kernel_release(), prepared().kernel_release);
    assert!(!guest.list("/sys/bus/pci/devices")?.is_empty(), "a PCI bus");
    let script = "echo out; echo err >&2; exit 3";
    let ran = guest.run(&["/bin/busybox", "sh", "-c", script], SHORT)?;
    assert_eq!(
        (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
        (3, "out\n", "err\n")
    );

    Ok(guest.power_off()?)
}

/// The modules were built without a warning, for the kernel that boots.
#[test]
fn the_modules_build_without_warnings() {
    let prepared = prepared();

    assert_eq!(prepared.module_warnings, [""; 0]);
    for module in ["landfall_pool", "landfall_capture", "landfall_fragment"] {
        assert!(
            prepared.modules.iter().any(|name| name == module),
            "{module}"
        );
    }
}

/// A program that does not end is killed when its time is up, and what it started with it.
#[test]
fn a_program_that_hangs_is_killed_with_its_children() -> Result {
    let guest = boot(without_cards())?;

    let script = "/bin/busybox sleep 1000 & /bin/busybox sleep 1000";
    let ran = guest.run(
        &["/bin/busybox", "sh", "-c", script],
        Duration::from_millis(500),
    )?;
    assert!(ran.timed_out);

    let sleep = ["/bin/busybox", "sleep", "1000"];
    assert_eq!(processes(&guest, &sleep)?, 0, "no child is left");
    let stays = "/bin/busybox sleep 1000 >/dev/null 2>&1 &";
    guest.run(&["/bin/busybox", "sh", "-c", stays], SHORT)?;
    assert_eq!(processes(&guest, &sleep)?, 1, "one that is left shows");
    Ok(guest.power_off()?)
}

/// A request that the guest's kernel refuses comes back with its errno, and the guest lives on.
#[test]
fn a_refused_request_leaves_the_guest_alive() -> Result {
    let guest = boot(without_cards())?;

    assert_refused(guest.read_file("/no/such/file"), ENOENT);
    assert_refused(guest.load_module("no_such_module", ""), ENOENT);

    guest.ping()?;
    Ok(guest.power_off()?)
}
