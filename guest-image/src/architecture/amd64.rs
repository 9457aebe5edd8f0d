// SPDX-License-Identifier: MIT OR Apache-2.0

//! 64-bit PCs.

use super::{Architecture, series};

pub(super) static AMD64: Architecture = Architecture {
    name: "amd64",
    // arch/x86/include/asm/setup.h
    most_words: 2047,
    first: &series("7.3", true, None),
    others: &[
        series("7.2", false, None),
        series("6.12", false, None),
        series("6.1", false, Some("bookworm")),
    ],
    emulator: ("qemu-system-x86", "qemu-system-x86_64"),
    firmware: &["qemu", "seabios"],
    triple: "x86_64-linux-gnu",
    compiler: &["gcc-14"],
    make: "CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14",
    source: &["arch/x86/*", "tools/arch/x86/*"],
    harmless: &[],
    uname: "x86_64",
    machine: 62,
    early: &[],
    target: "x86_64-unknown-linux-gnu",
    libc: &[],
};
