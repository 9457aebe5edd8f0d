// SPDX-License-Identifier: MIT OR Apache-2.0

//! Instructions that put accesses to memory in order.

use crate::stamps::Kind;

/// What an instruction does to the accesses of its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// Loads behind it come after those before it, for a device's writes too: `dma_rmb()`, `rmb()`.
    Loads,
    /// Stores likewise, for a device's reads: `dma_wmb()`, `wmb()`, what `writel()` begins with.
    Stores,
    /// Both: `mb()`.
    Both,
    /// For what other CPUs do alone: `smp_rmb()`, `smp_mb()`.
    Cpus,
    /// It is a load, and what is behind it comes after it: `smp_load_acquire()`.
    Acquire,
}

impl Barrier {
    /// Whether it matters to loads.
    pub const fn orders_loads(self) -> bool {
        !matches!(self, Self::Stores)
    }

    /// Whether it puts stores in order for a device.
    pub const fn orders_stores(self) -> bool {
        matches!(self, Self::Stores | Self::Both)
    }
}

/// What the instruction of these bytes does.
pub fn of(kind: Kind, bytes: &[u8]) -> Option<Barrier> {
    match kind {
        Kind::None => None,
        Kind::Marks => marked(bytes),
        Kind::Arm64 => arm64(u32::from_le_bytes(*bytes.first_chunk()?)),
    }
}

/// A mark: `nopl 0x4c46nn00(%rax)`, which no compiler makes; `kmod/include/landfall_marks.h`.
fn marked(bytes: &[u8]) -> Option<Barrier> {
    let [0x0f, 0x1f, 0x80, 0x00, number, 0x46, 0x4c, ..] = bytes else {
        return None;
    };
    match number {
        1 => Some(Barrier::Loads),
        2 => Some(Barrier::Cpus),
        3 => Some(Barrier::Stores),
        4 => Some(Barrier::Both),
        _ => None,
    }
}

/// "Arm Architecture Reference Manual", C6.2: DMB, DSB, LDAR, LDAPR, LDAXR, STLR.
fn arm64(code: u32) -> Option<Barrier> {
    // Bits 11 to 10: the domain, 2 is the inner one; 9 to 8: 1 loads, 2 stores, 3 both.
    if code & 0xffff_f0df == 0xd503_309f {
        let dmb = code & 0x20 != 0;
        let inner = dmb && code >> 10 & 3 == 2;
        return match (code >> 8 & 3, inner) {
            (1 | 3, true) => Some(Barrier::Cpus),
            (1, false) => Some(Barrier::Loads),
            (2, false) => Some(Barrier::Stores),
            (3, false) => Some(Barrier::Both),
            _ => None,
        };
    }
    match code & 0x3fff_fc00 {
        0x08df_fc00 | 0x38bf_c000 | 0x085f_fc00 => Some(Barrier::Acquire),
        0x089f_fc00 => Some(Barrier::Stores),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_are_known_and_other_no_ops_are_none() {
        let mark = |n| [0x0f, 0x1f, 0x80, 0x00, n, 0x46, 0x4c, 0x90];
        let known = [1, 2, 3, 4].map(|n| of(Kind::Marks, &mark(n)));
        let all = [
            Barrier::Loads,
            Barrier::Cpus,
            Barrier::Stores,
            Barrier::Both,
        ];
        assert_eq!(known, all.map(Some));
        assert_eq!(of(Kind::Marks, &mark(0)), None);
        assert_eq!(of(Kind::Marks, &[0x0f, 0x1f, 0x80, 0, 0, 0, 0]), None);
        assert_eq!(of(Kind::Marks, &[]), None);
        assert_eq!(of(Kind::None, &mark(1)), None);
    }

    #[test]
    fn the_kernels_barriers_are_known_on_arm64() {
        let table = [
            (0xd503_31bf, Some(Barrier::Loads), "dmb oshld: dma_rmb"),
            (0xd503_3d9f, Some(Barrier::Loads), "dsb ld: rmb"),
            (0xd503_3f9f, Some(Barrier::Both), "dsb sy: mb"),
            (0xd503_33bf, Some(Barrier::Both), "dmb osh: dma_mb"),
            (0xd503_32bf, Some(Barrier::Stores), "dmb oshst: dma_wmb"),
            (0xd503_3e9f, Some(Barrier::Stores), "dsb st: wmb"),
            (0xd503_39bf, Some(Barrier::Cpus), "dmb ishld: smp_rmb"),
            (0xd503_3bbf, Some(Barrier::Cpus), "dmb ish: smp_mb"),
            (0xd503_3abf, None, "dmb ishst: smp_wmb"),
            (0xd503_3b9f, Some(Barrier::Both), "dsb ish"),
            (0x88df_fc20, Some(Barrier::Acquire), "ldar w0, [x1]"),
            (0xc8df_fc20, Some(Barrier::Acquire), "ldar x0, [x1]"),
            (0xb8bf_c020, Some(Barrier::Acquire), "ldapr w0, [x1]"),
            (0x885f_fc20, Some(Barrier::Acquire), "ldaxr w0, [x1]"),
            (0x889f_fc20, Some(Barrier::Stores), "stlr w0, [x1]"),
            (0xb940_0020, None, "ldr w0, [x1]"),
            (0xb900_0020, None, "str w0, [x1]"),
            (0xd503_201f, None, "nop"),
        ];
        for (code, barrier, name) in table {
            assert_eq!(of(Kind::Arm64, &u32::to_le_bytes(code)), barrier, "{name}");
        }
    }
}
