// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver that nobody here wrote: Debian's own dt3155.

use std::time::Duration;

use landfall::guest::{Booted, CardKind, Guest, GuestOptions};
use landfall_device::devices::dt3155::Dt3155Options;
use landfall_tests::{Result, SHORT, boot, kernel_log, prepared};

const DEVICE: &str = "/dev/video0";

fn grabber(options: Dt3155Options) -> Result<Guest<Booted>> {
    let guest = boot(GuestOptions {
        cards: vec![CardKind::Dt3155(options)],
        ..GuestOptions::default()
    })?;
    let t = std::time::Instant::now();
    guest.add_video(prepared())?;
    eprintln!("add video {:?}", t.elapsed());
    let t = std::time::Instant::now();
    guest.load_module("dt3155", "")?;
    guest.wait_for_path(DEVICE, SHORT)?;
    eprintln!("load {:?}", t.elapsed());
    Ok(guest)
}

#[test]
fn probe() -> Result {
    let guest = grabber(Dt3155Options::default())?;
    eprintln!("{:?}", guest.run(&["/usr/bin/v4l2-ctl", "-D"], SHORT)?);
    let t = std::time::Instant::now();
    eprintln!("{:?}", guest.run(&["/usr/bin/v4l2-ctl", "-d", DEVICE, "--stream-mmap=4", "--stream-count=100", "--stream-to=/tmp/f.raw", "--verbose"], Duration::from_secs(60))?);
    eprintln!("100 frames {:?}", t.elapsed());
    let t = std::time::Instant::now();
    eprintln!("{}", guest.run(&["/usr/bin/v4l2-compliance", "-d", DEVICE, "-s10"], Duration::from_secs(120))?.stdout);
    eprintln!("compliance {:?}", t.elapsed());
    eprintln!("{}", kernel_log(&guest)?);
    eprintln!("journal {}", guest.journal(0).unwrap().len());
    Ok(guest.power_off()?)
}
