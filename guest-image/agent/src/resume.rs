// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest does first when it was restored from a snapshot: what must differ from its twins does from here on.
//!
//! The snapshot brings back the wall clock and the state of the random number generator as they were when it was
//! made. Both are replaced, before any card is plugged in. (`CLOCK_MONOTONIC` goes on from where it was, as it
//! should. `boot_id` is made at its first reading, which nobody does before.)

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::time::Duration;

use landfall_agent::protocol::ENTROPY;
use nix::errno::Errno;
use nix::libc;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use crate::{Outcome, failed};

/// `RNDADDENTROPY`, `RNDRESEEDCRNG` of `linux/random.h`.
const ADD_ENTROPY: libc::Ioctl = 0x4008_5203;
const RESEED: libc::Ioctl = 0x5207;

/// `struct rand_pool_info` of `linux/random.h`, with its bytes.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    bytes: libc::c_int,
    buffer: [u8; ENTROPY],
}

/// Sets the wall clock, and gives the kernel's random number generator new entropy to go on from.
pub(crate) fn resume(unix_ns: u64, entropy: [u8; ENTROPY]) -> Outcome<()> {
    let now = TimeSpec::from_duration(Duration::from_nanos(unix_ns));
    clock_settime(ClockId::CLOCK_REALTIME, now)
        .map_err(|error| failed("set the wall clock", error))?;
    let random = OpenOptions::new().write(true).open("/dev/random");
    let random = random.map_err(|error| failed("open /dev/random", error))?;
    reseed(&random, entropy).map_err(|error| failed("add entropy", error))
}

fn reseed(random: &File, buffer: [u8; ENTROPY]) -> Result<(), Errno> {
    // CAST: both are small constants.
    let bytes = ENTROPY as libc::c_int;
    let info = PoolInfo {
        entropy_bits: bytes * 8,
        bytes,
        buffer,
    };
    // SAFETY: the kernel reads the two counts and `bytes` bytes behind them, all of which `info` has, and keeps no
    // pointer to it.
    let added = unsafe { libc::ioctl(random.as_raw_fd(), ADD_ENTROPY, &raw const info) };
    Errno::result(added)?;
    // SAFETY: this command takes no argument.
    let reseeded = unsafe { libc::ioctl(random.as_raw_fd(), RESEED, 0) };
    Errno::result(reseeded).map(drop)
}
