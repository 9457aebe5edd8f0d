// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Functions of the kernel's that have no tracepoint at the right place. A kprobe there is skipped while another one runs
 * on its CPU, as when an interrupt comes; and so may be an fprobe. These hooks are ftrace's own: their trampolines call
 * us with no guard around, in any context, and nothing can switch them off. None of what they do calls what they hook.
 */
#include <linux/delay.h>
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "witness.h"

#define MOST 40
/* A function's trampoline is called in its first bytes. */
#define PROLOGUE 16

static const struct witness_hook *all;
static unsigned int known;
/* Functions in another's place that run. */
static atomic_t running = ATOMIC_INIT(0);

static const struct witness_hook *find(unsigned long ip)
{
	unsigned int i;

	for (i = 0; i < known; i++) {
		if (ip - (unsigned long)all[i].function < PROLOGUE)
			return &all[i];
	}
	return NULL;
}

static void notrace at_entry(unsigned long ip, unsigned long caller, struct ftrace_ops *ops, struct ftrace_regs *regs)
{
	const struct witness_hook *hook = find(ip);

	if (hook)
		hook->entry(regs, caller);
}

static void notrace in_place(unsigned long ip, unsigned long caller, struct ftrace_ops *ops, struct ftrace_regs *regs)
{
	const struct witness_hook *hook = find(ip);

	if (hook && !within_module(caller, THIS_MODULE))
		ftrace_regs_set_instruction_pointer(regs, (unsigned long)hook->instead);
}

static struct ftrace_ops entries = { .func = at_entry, .flags = FTRACE_OPS_FL_PERMANENT };
static struct ftrace_ops places = {
	.func = in_place,
	.flags = FTRACE_OPS_FL_PERMANENT | FTRACE_OPS_FL_IPMODIFY,
};
static bool entries_on, places_on;

void witness_instead_begin(void)
{
	atomic_inc(&running);
}

void witness_instead_end(void)
{
	atomic_dec(&running);
}

static int start(struct ftrace_ops *ops, bool in_place, bool *on)
{
	unsigned long functions[MOST];
	unsigned int i, count = 0;
	int error;

	for (i = 0; i < known; i++) {
		if (!all[i].instead == !in_place)
			functions[count++] = (unsigned long)all[i].function;
	}
	error = ftrace_set_filter_ips(ops, functions, count, 0, 1);
	if (!error)
		error = register_ftrace_function(ops);
	*on = !error;
	return error;
}

static void stop(struct ftrace_ops *ops, bool *on)
{
	if (*on)
		unregister_ftrace_function(ops);
	*on = false;
	ftrace_free_filter(ops);
}

void witness_hooks_stop(void)
{
	stop(&entries, &entries_on);
	/* From here on none begins; who is about to has not slept since it was sent here, and that was waited for. */
	stop(&places, &places_on);
	while (atomic_read(&running))
		msleep(1);
	/* And the last instructions of those that have ended. */
	synchronize_rcu_tasks();
}

int witness_hooks_start(const struct witness_hook *hooks, unsigned int count)
{
	int error;

	if (count > MOST)
		return -E2BIG;
	all = hooks;
	known = count;
	error = start(&entries, false, &entries_on);
	if (!error)
		error = start(&places, true, &places_on);
	if (error) {
		pr_err(KBUILD_MODNAME ": cannot hook the kernel's functions: %d\n", error);
		witness_hooks_stop();
	}
	return error;
}
