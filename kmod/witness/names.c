// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What instructions are called, for whoever asks: those of the kernel, of a module, and of one that has gone, of which the
 * last few are remembered.
 */
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "witness.h"

#define GONE 16

struct named {
	unsigned long address;
	unsigned long size;
	/* Offset in `strings`. */
	size_t name;
};

/* A module that has gone. */
static struct gone {
	char name[MODULE_NAME_LEN];
	unsigned long first;
	unsigned long end;
	unsigned int count;
	struct named *symbols;
	char *strings;
} gone[GONE];

static unsigned int next;
static DEFINE_MUTEX(lock);

static void forget(struct gone *module)
{
	kvfree(module->symbols);
	kvfree(module->strings);
	memset(module, 0, sizeof(*module));
}

#ifdef CONFIG_KALLSYMS
static bool is_code(const struct mod_kallsyms *from, unsigned int n)
{
	return strchr("tTwW", from->typetab[n]) && from->strtab[from->symtab[n].st_name];
}

/* A kernel without memory for it has no names then. */
static void keep(struct gone *into, const struct module *module, const struct mod_kallsyms *from)
{
	unsigned int n, count = 0;
	size_t bytes = 0;

	for (n = 0; n < from->num_symtab; n++) {
		if (is_code(from, n)) {
			count++;
			bytes += strlen(from->strtab + from->symtab[n].st_name) + 1;
		}
	}
	forget(into);
	into->symbols = kvmalloc_array(count, sizeof(*into->symbols), GFP_KERNEL);
	into->strings = kvmalloc(bytes, GFP_KERNEL);
	if (!count || !into->symbols || !into->strings) {
		forget(into);
		return;
	}
	strscpy(into->name, module->name, sizeof(into->name));
	into->first = ULONG_MAX;
	for (n = 0, bytes = 0; n < from->num_symtab; n++) {
		const char *name = from->strtab + from->symtab[n].st_name;
		struct named *symbol = into->symbols + into->count;

		if (!is_code(from, n) || into->count == count)
			continue;
		symbol->address = from->symtab[n].st_value;
		symbol->size = from->symtab[n].st_size;
		symbol->name = bytes;
		memcpy(into->strings + bytes, name, strlen(name) + 1);
		bytes += strlen(name) + 1;
		into->first = min(into->first, symbol->address);
		into->end = max(into->end, symbol->address + symbol->size);
		into->count++;
	}
}

/* Whether a module that comes has addresses that one had which has gone. */
static bool is_where(const struct gone *before, const struct mod_kallsyms *from)
{
	unsigned int n;

	for (n = 0; n < from->num_symtab; n++) {
		const unsigned long address = from->symtab[n].st_value;

		if (is_code(from, n) && before->first <= address && address < before->end)
			return true;
	}
	return false;
}

static int module_changed(struct notifier_block *block, unsigned long state, void *data)
{
	const struct module *module = data;
	/* It is about to begin, or to be freed, and by nobody else. */
	const struct mod_kallsyms *from = rcu_dereference_protected(module->kallsyms, true);
	unsigned int i;

	mutex_lock(&lock);
	if (state == MODULE_STATE_GOING && module != THIS_MODULE) {
		keep(&gone[next++ % GONE], module, from);
	} else if (state == MODULE_STATE_COMING) {
		for (i = 0; i < GONE; i++)
			if (is_where(&gone[i], from))
				forget(&gone[i]);
	}
	mutex_unlock(&lock);
	return NOTIFY_DONE;
}
#else
static int module_changed(struct notifier_block *block, unsigned long state, void *data)
{
	return NOTIFY_DONE;
}
#endif

static struct notifier_block modules = { .notifier_call = module_changed };

/* Under the lock. */
static int name_of_gone(unsigned long address, char *into, size_t size)
{
	unsigned int i, n;

	/* The last that went first: others may have had its addresses before. */
	for (i = 1; i <= GONE; i++) {
		const struct gone *module = &gone[(next - i) % GONE];

		if (address < module->first || address >= module->end)
			continue;
		for (n = 0; n < module->count; n++) {
			const struct named *symbol = module->symbols + n;
			const unsigned long offset = address - symbol->address;

			if (address >= symbol->address && offset < symbol->size)
				return scnprintf(into, size, "%s+0x%lx/0x%lx [%s]", module->strings + symbol->name,
						 offset, symbol->size, module->name);
		}
	}
	return 0;
}

int witness_names(unsigned long address, char *into, size_t size)
{
	char text[KSYM_SYMBOL_LEN];
	int length;

	/* First those that have gone: the kernel may remember another who was there before them. */
	mutex_lock(&lock);
	length = name_of_gone(address, into, size);
	mutex_unlock(&lock);
	if (length)
		return length;
	/* What is not known is given as its address. */
	if (sprint_symbol(text, address) > 0 && strncmp(text, "0x", 2))
		return scnprintf(into, size, "%s", text);
	return 0;
}

int witness_names_start(void)
{
	return register_module_notifier(&modules);
}

void witness_names_stop(void)
{
	unsigned int i;

	unregister_module_notifier(&modules);
	for (i = 0; i < GONE; i++)
		forget(&gone[i]);
}
