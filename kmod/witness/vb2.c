// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Buffers of videobuf2: handed to the driver, and back to their user. The DMA API sees neither: memory that was
 * allocated for a buffer stays allocated until its user closes the device.
 *
 * videobuf2 may be loaded before or after this module; nothing here needs its symbols.
 */
#include <linux/array_size.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/tracepoint.h>
#include <trace/events/vb2.h>

#include "witness.h"

static u64 tell(struct witness_card *card, struct witness_event *event, u64 address, u64 length)
{
	event->address = address;
	event->length = length;
	return witness_post(card, event);
}

/* A plane's addresses, as its allocator gives them: one, a list, or none at all (vmalloc). */
static void tell_plane(struct vb2_buffer *vb, unsigned int plane, struct witness_card *card,
		       struct witness_event *event)
{
	const struct vb2_mem_ops *ops = vb->vb2_queue->mem_ops;
	const unsigned long function = (unsigned long)ops->cookie;
	void *cookie;

	if (!function || !vb->planes[plane].mem_priv)
		return;
	cookie = ops->cookie(vb, vb->planes[plane].mem_priv);
	if (!cookie)
		return;
	if (witness_is_in(function, "videobuf2_dma_contig]")) {
		tell(card, event, *(dma_addr_t *)cookie, vb->planes[plane].length);
	} else if (witness_is_in(function, "videobuf2_dma_sg]")) {
		struct sg_table *table = cookie;
		struct scatterlist *entry;
		int i;

		event->entries = table->nents;
		event->listed = true;
		event->group = WITNESS_NOT_TOLD;
		for_each_sgtable_dma_sg(table, entry, i) {
			u64 number;

			event->part = i;
			number = tell(card, event, sg_dma_address(entry), sg_dma_len(entry));
			if (event->group == WITNESS_NOT_TOLD)
				event->group = number;
		}
		if (event->op == LW_OP_QUEUE)
			witness_arrive(card);
	}
}

static void tell_buffer(struct vb2_queue *queue, struct vb2_buffer *vb, u8 op)
{
	unsigned int plane;

	rcu_read_lock();
	for (plane = 0; plane < vb->num_planes; plane++) {
		struct device *dev = queue->alloc_devs[plane] ?: queue->dev;
		struct witness_card *card = witness_find(dev);

		if (card) {
			bool pool;
			struct witness_event event = {
				.op = op,
				.phys = WITNESS_NOT_TOLD,
				.direction = queue->dma_dir == DMA_TO_DEVICE || queue->dma_dir == DMA_FROM_DEVICE ?
						     queue->dma_dir :
						     LW_DIRECTION_BOTH,
				.caller = witness_caller(&pool),
			};

			tell_plane(vb, plane, card, &event);
		}
	}
	rcu_read_unlock();
}

static void on_queue(void *data, struct vb2_queue *queue, struct vb2_buffer *vb)
{
	tell_buffer(queue, vb, LW_OP_QUEUE);
}

static void on_done(void *data, struct vb2_queue *queue, struct vb2_buffer *vb)
{
	tell_buffer(queue, vb, LW_OP_DONE);
}

static const struct {
	const char *name;
	void *function;
} probes[] = {
	{ "vb2_buf_queue", on_queue },
	{ "vb2_buf_done", on_done },
};

static void attach(struct tracepoint *point, void *function)
{
	int error = tracepoint_probe_register(point, function, NULL);

	if (error)
		pr_err(KBUILD_MODNAME ": cannot attach to the tracepoint %s: %d\n", point->name, error);
}

/* Also called for each module that is there when it is registered, and for each that is there when it goes. */
static int module_changed(struct notifier_block *block, unsigned long state, void *data)
{
	struct module *module = ((struct tp_module *)data)->mod;
	unsigned int i, n;

	for (n = 0; n < module->num_tracepoints; n++) {
		struct tracepoint *point = tracepoint_ptr_deref(&module->tracepoints_ptrs[n]);

		for (i = 0; i < ARRAY_SIZE(probes); i++) {
			if (strcmp(point->name, probes[i].name))
				continue;
			if (state == MODULE_STATE_COMING)
				attach(point, probes[i].function);
			else if (state == MODULE_STATE_GOING)
				tracepoint_probe_unregister(point, probes[i].function, NULL);
		}
	}
	return NOTIFY_OK;
}

static struct notifier_block modules = { .notifier_call = module_changed };

int witness_vb2_start(void)
{
	check_trace_callback_type_vb2_buf_queue(on_queue);
	check_trace_callback_type_vb2_buf_done(on_done);
	return register_tracepoint_module_notifier(&modules);
}

void witness_vb2_stop(void)
{
	unregister_tracepoint_module_notifier(&modules);
	tracepoint_synchronize_unregister();
}
