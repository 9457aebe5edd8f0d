/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Where a processor keeps loads in order by itself, read barriers leave no trace in its code, and nobody can tell whether a driver has
 * them. With this they leave marks: no-ops that no compiler makes. It is included before all else, by
 * ccflags-y += -include landfall_marks.h, in the driver under test alone; nothing that it does changes.
 *
 * A mark is `nopl 0x4c46nn00(%rax)`, of 7 bytes; nn says what stands there:
 *	1	what is loaded after it is, for a device's writes too, not loaded before
 *	2	the same for what other CPUs write alone
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
#undef dma_mb
#define dma_mb() do { mb(); } while (0)
#undef rmb
#define rmb() do { asm volatile("lfence" ::: "memory"); LANDFALL_MARK(1); } while (0)
#undef mb
#define mb() do { asm volatile("mfence" ::: "memory"); LANDFALL_MARK(1); } while (0)
#undef smp_rmb
#define smp_rmb() do { LANDFALL_MARK(2); barrier(); } while (0)
#undef smp_load_acquire
#define smp_load_acquire(p) \
	({ typeof(*(p)) landfall_value = READ_ONCE(*(p)); LANDFALL_MARK(1); landfall_value; })

/* Reads of registers that are in order with memory. */
#define LANDFALL_READS(name, type) \
	static __always_inline type landfall_##name(const volatile void __iomem *address) \
	{ \
		type value = name(address); \
\
		LANDFALL_MARK(1); \
		return value; \
	}
LANDFALL_READS(readb, u8)
LANDFALL_READS(readw, u16)
LANDFALL_READS(readl, u32)
LANDFALL_READS(readq, u64)
#undef readb
#define readb landfall_readb
#undef readw
#define readw landfall_readw
#undef readl
#define readl landfall_readl
#undef readq
#define readq landfall_readq

#endif
#endif
