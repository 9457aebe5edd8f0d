// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What kind of memory is lent, as far as it must not be. */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/vmalloc.h>

#include "witness.h"

/* Whether a physical page is one of the running task's stack, which is mapped page by page. */
static bool is_stack(unsigned long pfn)
{
	void *stack = task_stack_page(current);
	unsigned int i;

	for (i = 0; i < THREAD_SIZE / PAGE_SIZE; i++) {
		void *at = stack + i * PAGE_SIZE;
		unsigned long page = is_vmalloc_addr(at) ? vmalloc_to_pfn(at) : PHYS_PFN(__pa(at));

		if (page == pfn)
			return true;
	}
	return false;
}

u8 witness_memory(u64 phys, u64 length, bool mmio)
{
	const u64 last = phys + (length ? length - 1 : 0);

	if (witness_is_text(phys) || witness_is_text(last))
		return LW_MEMORY_TEXT;
	/* A driver that lends another device's registers, or a carve-out, says so. */
	if (mmio)
		return LW_MEMORY_PLAIN;
	if (last < phys || !pfn_valid(PHYS_PFN(phys)) || !pfn_valid(PHYS_PFN(last)))
		return LW_MEMORY_INVALID;
	/* Whoever maps much does not map a stack. */
	if (length <= THREAD_SIZE && (is_stack(PHYS_PFN(phys)) || is_stack(PHYS_PFN(last))))
		return LW_MEMORY_STACK;
	return LW_MEMORY_PLAIN;
}
