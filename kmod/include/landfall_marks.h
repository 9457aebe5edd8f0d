/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Where a processor keeps loads, and stores, in order by itself, barriers leave no trace in its code, and nobody can tell whether a driver
 * has them. With this they leave marks: no-ops that no compiler makes. It is included before all else, by
 * ccflags-y += -include landfall_marks.h, in the driver under test alone; nothing that it does changes.
 *
 * A mark is `nopl 0x4c46nn00(%rax)`, of 7 bytes; nn says what stands there:
 *	1	what is loaded after it is, for a device's writes too, not loaded before
 *	2	loads and stores likewise, for what other CPUs do alone
 *	3	what was stored before it is, for a device's reads too, not stored after
 *	4	1 and 3
 *
 * It is known to guest-image/plugin/src/barrier.rs.
 */
#ifndef LANDFALL_MARKS_H
#define LANDFALL_MARKS_H

#if defined(CONFIG_X86_64) && !defined(__ASSEMBLY__) && !defined(__ASSEMBLER__)

#include <linux/compiler.h>
#include <asm/barrier.h>
#include <linux/io.h>

#define LANDFALL_MARK(nn) asm volatile(".byte 0x0f, 0x1f, 0x80, 0x00, " #nn ", 0x46, 0x4c" ::: "memory")

/* A function of this name says that the module has marks. */
static noinline void __used landfall_marked(void)
{
}

#undef dma_rmb
#define dma_rmb() do { LANDFALL_MARK(1); barrier(); } while (0)
#undef dma_wmb
#define dma_wmb() do { LANDFALL_MARK(3); barrier(); } while (0)
#undef dma_mb
#define dma_mb() mb()
#undef rmb
#define rmb() do { asm volatile("lfence" ::: "memory"); LANDFALL_MARK(1); } while (0)
#undef wmb
#define wmb() do { asm volatile("sfence" ::: "memory"); LANDFALL_MARK(3); } while (0)
#undef mb
#define mb() do { asm volatile("mfence" ::: "memory"); LANDFALL_MARK(4); } while (0)
#undef smp_rmb
#define smp_rmb() do { LANDFALL_MARK(2); barrier(); } while (0)
#undef smp_load_acquire
#define smp_load_acquire(p) \
	({ typeof(*(p)) landfall_value = READ_ONCE(*(p)); LANDFALL_MARK(1); landfall_value; })
#undef smp_store_release
#define smp_store_release(p, v) do { LANDFALL_MARK(3); barrier(); WRITE_ONCE(*(p), v); } while (0)

/* Registers that are read and written in order with memory. */
#define LANDFALL_REGISTERS(reads, writes, type) \
	static __always_inline type landfall_##reads(const volatile void __iomem *address) \
	{ \
		type value = reads(address); \
\
		LANDFALL_MARK(1); \
		return value; \
	} \
	static __always_inline void landfall_##writes(type value, volatile void __iomem *address) \
	{ \
		LANDFALL_MARK(3); \
		writes(value, address); \
	}
LANDFALL_REGISTERS(readb, writeb, u8)
LANDFALL_REGISTERS(readw, writew, u16)
LANDFALL_REGISTERS(readl, writel, u32)
LANDFALL_REGISTERS(readq, writeq, u64)
#undef readb
#define readb landfall_readb
#undef readw
#define readw landfall_readw
#undef readl
#define readl landfall_readl
#undef readq
#define readq landfall_readq
#undef writeb
#define writeb landfall_writeb
#undef writew
#define writew landfall_writew
#undef writel
#define writel landfall_writel
#undef writeq
#define writeq landfall_writeq

#endif
#endif
