// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Who called: of the return addresses on the stack the first in a module that is neither this one, nor the pool,
 * videobuf2 or videodev, which lend for others; if there is none, the first in the kernel outside its DMA code.
 *
 * What an address is, is looked up once and kept, until a module goes and others may get its addresses.
 */
#include <linux/array_size.h>
#include <linux/hash.h>
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/spinlock.h>
#include <linux/stacktrace.h>
#include <linux/string.h>

#include "witness.h"

/* What an address is. */
enum kind { PASSED_OVER, POOL, KERNEL, DRIVER };

static struct symbol {
	unsigned long address;
	enum kind kind;
	/* Bit n: the card in place n of the table knows its name. */
	u64 told;
} symbols[1024];

static unsigned int used;
static char text[KSYM_SYMBOL_LEN];
/* Around all of it. */
static DEFINE_RAW_SPINLOCK(symbols_lock);

static bool begins_with_any(const char *name, const char *const *list, unsigned int count)
{
	while (count--) {
		if (!strncmp(name, list[count], strlen(list[count])))
			return true;
	}
	return false;
}

static enum kind look_up(unsigned long address)
{
	/* Modules that lend for others; functions through which the kernel's DMA code is entered. */
	static const char *const modules[] = { "landfall_witness]", "landfall_pool]", "videobuf2", "videodev]",
					       "__builtin__" };
	static const char *const functions[] = {
		"dma_", "__dma_", "dmam_", "iommu_", "swiotlb_", "__traceiter_", "trace_", "stack_trace_",
		"kprobe_", "__kprobe", "opt_", "optimized_", "ftrace_", "arch_ftrace", "aggr_", "pci_alloc_",
		"debug_dma",
	};
	const char *module;

	sprint_symbol(text, address);
	module = strrchr(text, '[');
	/* The aid that times calls stands for a driver. */
	if (module && !strncmp(text, "time_maps+", 10))
		return DRIVER;
	if (module)
		return begins_with_any(module + 1, modules, ARRAY_SIZE(modules)) ? PASSED_OVER : DRIVER;
	if (!strncmp(text, "dma_pool_", 9))
		return POOL;
	/* Not a symbol: code that was made, such as a kprobe's. */
	if (!strncmp(text, "0x", 2))
		return PASSED_OVER;
	return begins_with_any(text, functions, ARRAY_SIZE(functions)) ? PASSED_OVER : KERNEL;
}

static void forget_all(void)
{
	memset(symbols, 0, sizeof(symbols));
	used = 0;
}

static struct symbol *symbol(unsigned long address)
{
	unsigned int at = hash_long(address, ilog2(ARRAY_SIZE(symbols)));

	while (symbols[at].address && symbols[at].address != address)
		at = (at + 1) % ARRAY_SIZE(symbols);
	if (symbols[at].address)
		return &symbols[at];
	if (used == ARRAY_SIZE(symbols) * 3 / 4) {
		forget_all();
		at = hash_long(address, ilog2(ARRAY_SIZE(symbols)));
	}
	used++;
	symbols[at].address = address;
	symbols[at].kind = look_up(address);
	return &symbols[at];
}

static unsigned long search(const unsigned long *addresses, unsigned int count, unsigned long *kernel, bool *pool)
{
	unsigned long found = 0, flags;
	unsigned int i;

	raw_spin_lock_irqsave(&symbols_lock, flags);
	for (i = 0; i < count && !found; i++) {
		switch (symbol(addresses[i])->kind) {
		case DRIVER:
			found = addresses[i];
			break;
		case KERNEL:
			if (!*kernel)
				*kernel = addresses[i];
			break;
		case POOL:
			*pool = true;
			break;
		case PASSED_OVER:
			break;
		}
	}
	raw_spin_unlock_irqrestore(&symbols_lock, flags);
	return found;
}

unsigned long witness_caller(bool *pool)
{
	unsigned long addresses[32], kernel = 0, found;
	/* Nearly always the driver is near: unwinding is most of what an event costs. */
	unsigned int near = 8, count;

	count = stack_trace_save(addresses, near, 1);
	*pool = false;
	found = search(addresses, count, &kernel, pool);
	if (!found && count == near) {
		count = stack_trace_save(addresses, ARRAY_SIZE(addresses), 1);
		found = search(addresses, count, &kernel, pool);
	}
	return found ?: kernel;
}

unsigned long witness_caller_if_driver(unsigned long address, bool *pool)
{
	unsigned long kernel = 0;

	*pool = false;
	return search(&address, 1, &kernel, pool) ?: witness_caller(pool);
}

unsigned int witness_name(unsigned long address, unsigned int slot, const char **name)
{
	struct symbol *found;
	unsigned int length;

	raw_spin_lock(&symbols_lock);
	found = symbol(address);
	if (found->told & BIT_ULL(slot)) {
		raw_spin_unlock(&symbols_lock);
		return 0;
	}
	found->told |= BIT_ULL(slot);
	length = sprint_symbol(text, address);
	if (length > LW_MAX_TEXT) {
		/* A long name of Rust's: its end tells offset and module. */
		unsigned int tail = LW_MAX_TEXT / 2;

		memmove(text + LW_MAX_TEXT - tail, text + length - tail, tail);
		memcpy(text + LW_MAX_TEXT - tail - 2, "..", 2);
		length = LW_MAX_TEXT;
	}
	*name = text;
	return length;
}

void witness_name_done(void)
{
	raw_spin_unlock(&symbols_lock);
}

void witness_forget_told(unsigned int slot)
{
	unsigned long flags;
	unsigned int i;

	raw_spin_lock_irqsave(&symbols_lock, flags);
	for (i = 0; i < ARRAY_SIZE(symbols); i++)
		symbols[i].told &= ~BIT_ULL(slot);
	raw_spin_unlock_irqrestore(&symbols_lock, flags);
}

bool witness_is_in(unsigned long address, const char *module)
{
	unsigned long flags;
	const char *found;
	bool is;

	raw_spin_lock_irqsave(&symbols_lock, flags);
	sprint_symbol(text, address);
	found = strrchr(text, '[');
	is = found && !strncmp(found + 1, module, strlen(module));
	raw_spin_unlock_irqrestore(&symbols_lock, flags);
	return is;
}

static int module_changed(struct notifier_block *block, unsigned long state, void *module)
{
	unsigned long flags;

	/* At its going its own exit has still to run; at the next one's coming it is gone for sure. */
	if (state == MODULE_STATE_COMING || state == MODULE_STATE_GOING) {
		raw_spin_lock_irqsave(&symbols_lock, flags);
		forget_all();
		raw_spin_unlock_irqrestore(&symbols_lock, flags);
	}
	return NOTIFY_DONE;
}

static struct notifier_block modules = { .notifier_call = module_changed };

int witness_caller_start(void)
{
	return register_module_notifier(&modules);
}

void witness_caller_stop(void)
{
	unregister_module_notifier(&modules);
}
