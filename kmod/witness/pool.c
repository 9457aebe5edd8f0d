// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What landfall_pool lends, which may never pass the DMA API. Neither module needs the other. */
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/string.h>

#include "landfall_pool.h"
#include "witness.h"

static void tell(struct witness_card *card, void *event)
{
	if (!card->mute)
		witness_post(card, event);
}

static void on_pool(bool lends, u64 phys, u64 bytes)
{
	bool pool;
	struct witness_event event = {
		.op = lends ? LW_OP_POOL_LEND : LW_OP_POOL_RETURN,
		.address = phys,
		.phys = phys,
		.length = bytes,
		.caller = witness_caller(&pool),
	};

	witness_each(tell, &event);
}

/* Asks the pool to call, or to call no more; when it returns from that, no call is under way. */
static void ask(landfall_pool_watcher watcher)
{
	void (*watch)(landfall_pool_watcher watcher) = symbol_get(landfall_pool_watch);

	if (!watch)
		return;
	watch(watcher);
	symbol_put(landfall_pool_watch);
}

static int module_changed(struct notifier_block *block, unsigned long state, void *module)
{
	if (state == MODULE_STATE_LIVE && !strcmp(((struct module *)module)->name, "landfall_pool"))
		ask(on_pool);
	return NOTIFY_DONE;
}

static struct notifier_block modules = { .notifier_call = module_changed };

int witness_pool_start(void)
{
	int error = register_module_notifier(&modules);

	if (!error)
		ask(on_pool);
	return error;
}

void witness_pool_stop(void)
{
	unregister_module_notifier(&modules);
	ask(NULL);
}
