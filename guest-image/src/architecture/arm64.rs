// SPDX-License-Identifier: MIT OR Apache-2.0

//! 64-bit ARM.

use super::{Architecture, series};

pub(super) static ARM64: Architecture = Architecture {
    name: "arm64",
    // include/uapi/asm-generic/setup.h gives 512; arch/arm64/include/uapi/asm/setup.h this.
    most_words: 2047,
    first: &series("7.3", true, None),
    others: &[series("7.2", false, None), series("6.12", false, None)],
    emulator: ("qemu-system-arm", "qemu-system-aarch64"),
    firmware: &["qemu"],
    triple: "aarch64-linux-gnu",
    compiler: &["gcc-14", "gcc-14-aarch64-linux-gnu"],
    make: "ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc-14 HOSTCC=gcc-14",
    source: &[
        "arch/arm64/*",
        // The list of system calls is compared with it.
        "arch/x86/entry/syscalls/syscall_32.tbl",
        "lib/vdso/*",
        // The host's own programs are built, too.
        "tools/arch/x86/*",
    ],
    // All three are about programs and a vDSO of 32 bits, which take compilers that are not there.
    harmless: &[
        "CONFIG_CC_CAN_LINK",
        "CONFIG_COMPAT_VDSO",
        "CONFIG_THUMB2_COMPAT_VDSO",
    ],
    uname: "aarch64",
    machine: 183,
    // The IOMMU's driver: without it no device behind that is probed.
    early: &["virtio_iommu"],
    target: "aarch64-unknown-linux-gnu",
    libc: &["libc6-dev-arm64-cross"],
};
