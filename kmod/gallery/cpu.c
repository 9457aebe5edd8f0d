// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The CPU's side: who loads from what is the card's, and who stores to it. What looks like a wrong access and is none; and what is
 * wrong, which shows on no coherent machine.
 */
#include <linux/kthread.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "gallery.h"

#define BYTES 2048
/* What is synced of it where only a part is. */
#define PART 256

static unsigned int handoffs = 2000;
module_param(handoffs, uint, 0444);
MODULE_PARM_DESC(handoffs, "How often one CPU hands a buffer to another, in the patterns that do (default 2000)");

/* A buffer that one CPU maps, and another looks into. */
struct handoff {
	struct buffer b;
	/* The other's. */
	u32 turn;
	u64 sum;
};

static int look(void *data)
{
	struct handoff *h = data;
	unsigned int round;

	for (round = 0; round < handoffs; round++) {
		u64 *words = h->b.virt;

		while (!smp_load_acquire(&h->turn))
			cond_resched();
		h->sum += READ_ONCE(words[round % 8]);
		WRITE_ONCE(words[8 + round % 8], round);
		smp_store_release(&h->turn, 0);
	}
	while (!kthread_should_stop())
		cond_resched();
	return 0;
}

static void hand_over(struct handoff *h)
{
	smp_store_release(&h->turn, 1);
	while (smp_load_acquire(&h->turn))
		cond_resched();
}

/* One CPU maps, syncs and unmaps; the other loads and stores when it is told to: while it may, or while the card has it. */
static int between_cpus(struct gallery *g, bool right)
{
	struct queue *q = &g->queues[0];
	struct handoff h = {};
	struct task_struct *task;
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){}) ?: one_receive(q, BYTES) ?:
		    buffer_get(g, &h.b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	buffer_unmap(g, &h.b);
	task = kthread_create(look, &h, "gallery_look");
	if (IS_ERR(task)) {
		buffer_put(g, &h.b);
		return PTR_ERR(task);
	}
	kthread_bind(task, next_cpu(raw_smp_processor_id()));
	wake_up_process(task);
	for (round = 0; round < handoffs; round++) {
		/* Who waits must not be left alone. */
		error = buffer_map(g, &h.b) ?: error;
		if (!right) {
			hand_over(&h);
			buffer_unmap(g, &h.b);
		} else if (round % 2) {
			buffer_unmap(g, &h.b);
			hand_over(&h);
		} else {
			dma_sync_single_for_cpu(g->dev, h.b.dma, BYTES, DMA_FROM_DEVICE);
			hand_over(&h);
			dma_sync_single_for_device(g->dev, h.b.dma, BYTES, DMA_FROM_DEVICE);
			buffer_unmap(g, &h.b);
		}
	}
	kthread_stop(task);
	gallery_bytes += 16UL * handoffs;
	buffer_put(g, &h.b);
	return error;
}

static int handed_over(struct gallery *g)
{
	return between_cpus(g, true);
}

static int while_lent(struct gallery *g)
{
	return between_cpus(g, false);
}

/* Receives into a buffer that stays mapped, and looks at so much of it, of which so much was synced; `wipes` it before. */
static int receive_once(struct gallery *g, size_t synced, size_t looked, bool wipes, bool given)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	struct over over;
	int error = queue_open(g, 0, &(struct wish){}) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	if (wipes)
		memset(b.virt, 0xff, BYTES);
	if (given)
		dma_sync_single_for_device(g->dev, b.dma, BYTES, DMA_FROM_DEVICE);
	arm(q, RECEIVE, b.dma, BYTES, 0);
	error = reap(q, &over);
	if (error)
		queue_stop(q);
	dma_sync_single_for_cpu(g->dev, b.dma, synced, DMA_FROM_DEVICE);
	error = error ?: received(q, &over, b.virt, 0, looked);
	buffer_unmap(g, &b);
	buffer_put(g, &b);
	return error;
}

/* A buffer is wiped after it was mapped, as many drivers do, and then given to the card. */
static int wiped(struct gallery *g)
{
	return receive_once(g, BYTES, BYTES, true, true);
}

/* Or it is not given to the card. */
static int wiped_late(struct gallery *g)
{
	return receive_once(g, BYTES, BYTES, true, false);
}

static int part_of_it(struct gallery *g)
{
	return receive_once(g, PART, PART, false, false);
}

static int beyond_the_part(struct gallery *g)
{
	return receive_once(g, PART, PART + 8, false, false);
}

/* What the card reads may be read by anybody, and what lies beside a lend is nobody's concern. */
static int beside(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer b = { .bytes = BYTES, .direction = DMA_FROM_DEVICE };
	u8 *page = (u8 *)__get_free_page(GFP_KERNEL | __GFP_ZERO);
	struct over over;
	u32 check;
	int error = page ? queue_open(g, 0, &(struct wish){}) : -ENOMEM;

	if (error)
		goto free;
	/* A string that ends right before the buffer is read by words. */
	b.virt = page + 1024;
	memset(page, 'x', 1023);
	error = buffer_map(g, &b);
	if (error)
		goto free;
	arm(q, RECEIVE, b.dma, BYTES, 0);
	error = strlen(page) == 1023 ? 0 : -EIO;
	memset(page, 'y', 1023);
	memset(page + 1024 + BYTES, 'z', 1024);
	error = reap(q, &over) ?: error;
	buffer_unmap(g, &b);
	error = error ?: received(q, &over, b.virt, 0, BYTES);
	if (error)
		goto free;
	b.direction = DMA_TO_DEVICE;
	error = buffer_map(g, &b);
	if (error)
		goto free;
	arm(q, TRANSMIT, b.dma, BYTES, 0);
	check = checked(UNCHECKED, b.virt, BYTES);
	error = reap(q, &over) ?: sent(&over, check, BYTES);
	buffer_unmap(g, &b);
free:
	queue_stop(q);
	free_page((unsigned long)page);
	return error;
}

const struct pattern cpu_patterns[] = {
	{ .name = "handed-over", .run = handed_over },
	{ .name = "wiped", .run = wiped },
	{ .name = "part-of-it", .run = part_of_it },
	{ .name = "beside", .run = beside },
	{}
};

const struct pattern cpu_bugs[] = {
	{ .name = "while-lent", .run = while_lent },
	{ .name = "wiped-late", .run = wiped_late },
	{ .name = "beyond-the-part", .run = beyond_the_part },
	{}
};
