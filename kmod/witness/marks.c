// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Modules that were built with marks (include/landfall_marks.h): where their code lies, for whoever follows the CPUs from outside. It is
 * told in the echo, before a module's first function runs.
 */
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/string.h>

#include "witness.h"

#define MARKED "landfall_marked"

static struct marked {
	unsigned long first;
	unsigned long end;
} marked[16];
static DEFINE_MUTEX(lock);

#ifdef CONFIG_KALLSYMS
static bool has_marks(const struct module *module)
{
	const struct mod_kallsyms *from = rcu_dereference_protected(module->kallsyms, true);
	unsigned int n;

	for (n = 0; n < from->num_symtab; n++)
		if (!strcmp(from->strtab + from->symtab[n].st_name, MARKED))
			return true;
	return false;
}
#else
static bool has_marks(const struct module *module)
{
	return false;
}
#endif

static struct marked text_of(const struct module *module)
{
#ifdef HAVE_MODULE_MEMORY
	const struct module_memory *text = &module->mem[MOD_TEXT];
	const unsigned long first = (unsigned long)text->base;

	return (struct marked){ first, first + text->size };
#else
	const unsigned long first = (unsigned long)module->core_layout.base;

	return (struct marked){ first, first + module->core_layout.text_size };
#endif
}

static void comes(const struct module *module)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(marked); i++) {
		if (marked[i].first)
			continue;
		marked[i] = text_of(module);
		witness_echo_module(marked[i].first, marked[i].end);
		return;
	}
}

static void goes(const struct module *module)
{
	const struct marked text = text_of(module);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(marked); i++) {
		if (!marked[i].first || marked[i].first != text.first)
			continue;
		witness_echo_module(text.first, 0);
		marked[i] = (struct marked){};
	}
}

static int module_changed(struct notifier_block *block, unsigned long state, void *data)
{
	const struct module *module = data;

	mutex_lock(&lock);
	if (state == MODULE_STATE_COMING && has_marks(module))
		comes(module);
	else if (state == MODULE_STATE_GOING)
		goes(module);
	mutex_unlock(&lock);
	return NOTIFY_DONE;
}

static struct notifier_block modules = { .notifier_call = module_changed };

void witness_marks_show(struct seq_file *file)
{
	unsigned int i;

	mutex_lock(&lock);
	for (i = 0; i < ARRAY_SIZE(marked); i++)
		if (marked[i].first)
			seq_printf(file, "%lx %lx\n", marked[i].first, marked[i].end);
	mutex_unlock(&lock);
}

int witness_marks_start(void)
{
	return register_module_notifier(&modules);
}

void witness_marks_stop(void)
{
	unregister_module_notifier(&modules);
}
