// SPDX-License-Identifier: MIT OR Apache-2.0

//! Instructions that put loads in order.

use crate::stamps::Kind;

/// What an instruction does to the loads of its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// Loads behind it come after those before it, for a device's writes too: `dma_rmb()`, `rmb()`, `mb()`.
    Device,
    /// For what other CPUs write alone: `smp_rmb()`, `smp_mb()`.
    Cpus,
    /// It is a load, and what is behind it comes after it: `smp_load_acquire()`.
    Acquire,
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
    match bytes {
        [0x0f, 0x1f, 0x80, 0x00, 1, 0x46, 0x4c, ..] => Some(Barrier::Device),
        [0x0f, 0x1f, 0x80, 0x00, 2, 0x46, 0x4c, ..] => Some(Barrier::Cpus),
        _ => None,
    }
}

/// "Arm Architecture Reference Manual", C6.2: DMB, DSB, LDAR, LDAPR, LDAXR.
fn arm64(code: u32) -> Option<Barrier> {
    // Bits 11 to 10: the domain, 2 is the inner one; 9 to 8: 1 loads, 2 stores, 3 both.
    if code & 0xffff_f0df == 0xd503_309f {
        let dmb = code & 0x20 != 0;
        return match (code >> 8 & 1 != 0, dmb && code >> 10 & 3 == 2) {
            (false, _) => None,
            (true, true) => Some(Barrier::Cpus),
            (true, false) => Some(Barrier::Device),
        };
    }
    let acquires = code & 0x3fff_fc00 == 0x08df_fc00
        || code & 0x3fff_fc00 == 0x38bf_c000
        || code & 0x3fff_fc00 == 0x085f_fc00;
    acquires.then_some(Barrier::Acquire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_are_known_and_other_no_ops_are_none() {
        let mark = |n| [0x0f, 0x1f, 0x80, 0x00, n, 0x46, 0x4c, 0x90];
        assert_eq!(of(Kind::Marks, &mark(1)), Some(Barrier::Device));
        assert_eq!(of(Kind::Marks, &mark(2)), Some(Barrier::Cpus));
        assert_eq!(of(Kind::Marks, &mark(0)), None);
        assert_eq!(of(Kind::Marks, &[0x0f, 0x1f, 0x80, 0, 0, 0, 0]), None);
        assert_eq!(of(Kind::Marks, &[]), None);
        assert_eq!(of(Kind::None, &mark(1)), None);
    }

    #[test]
    fn the_kernels_barriers_are_known_on_arm64() {
        let table = [
            (0xd503_31bf, Some(Barrier::Device), "dmb oshld: dma_rmb"),
            (0xd503_3d9f, Some(Barrier::Device), "dsb ld: rmb"),
            (0xd503_3f9f, Some(Barrier::Device), "dsb sy: mb"),
            (0xd503_33bf, Some(Barrier::Device), "dmb osh: dma_mb"),
            (0xd503_32bf, None, "dmb oshst: dma_wmb"),
            (0xd503_3e9f, None, "dsb st: wmb"),
            (0xd503_39bf, Some(Barrier::Cpus), "dmb ishld: smp_rmb"),
            (0xd503_3bbf, Some(Barrier::Cpus), "dmb ish: smp_mb"),
            (0xd503_3abf, None, "dmb ishst: smp_wmb"),
            (0xd503_3b9f, Some(Barrier::Device), "dsb ish"),
            (0x88df_fc20, Some(Barrier::Acquire), "ldar w0, [x1]"),
            (0xc8df_fc20, Some(Barrier::Acquire), "ldar x0, [x1]"),
            (0xb8bf_c020, Some(Barrier::Acquire), "ldapr w0, [x1]"),
            (0x885f_fc20, Some(Barrier::Acquire), "ldaxr w0, [x1]"),
            (0xb940_0020, None, "ldr w0, [x1]"),
            (0xd503_201f, None, "nop"),
        ];
        for (code, barrier, name) in table {
            assert_eq!(of(Kind::Arm64, &u32::to_le_bytes(code)), barrier, "{name}");
        }
    }
}
