// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Patterns: interrupts, and what is done in them. */
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "gallery.h"

#define BYTES 600

static int plain(struct gallery *g)
{
	return queue_open(g, 0, &(struct wish){}) ?: many_receives(&g->queues[0], 12, 3, BYTES);
}

/* All queues, whatever vectors there are. */
static int all_queues(struct gallery *g)
{
	unsigned int i;
	int error = 0;

	for (i = 0; i < RING_QUEUES && !error; i++)
		error = queue_open(g, i, &(struct wish){ .polls = i % 2 }) ?:
			many_receives(&g->queues[i], 6, 3, BYTES);
	for (i = 0; i < 8 && !error; i++)
		error = many_receives(&g->queues[i % RING_QUEUES], 2, 2, BYTES);
	return error;
}

/* Every fourth completion interrupts, and the card's timer for those that are left. */
static int coalesce(struct gallery *g)
{
	return queue_open(g, 0, &(struct wish){ .count = 16, .coalesce = 4, .coalesce_us = 500 }) ?:
	       many_receives(&g->queues[0], 42, 9, BYTES);
}

/* Likewise without a timer: what is left is found by looking. */
static int coalesce_count(struct gallery *g)
{
	return queue_open(g, 0, &(struct wish){ .count = 16, .coalesce = 4, .quiet = true }) ?:
	       many_receives(&g->queues[0], 42, 9, BYTES);
}

/* The card interrupts only when no cause is pending. */
static int edge(struct gallery *g)
{
	g->edge = true;
	card_restore(g);
	return queue_open(g, 0, &(struct wish){ .polls = true }) ?: many_receives(&g->queues[0], 40, 7, BYTES);
}

static int happens(struct gallery *g, u32 cause)
{
	if (!wait_event_timeout(g->wait, atomic_read(&g->told) & cause, DEADLINE))
		return -ETIMEDOUT;
	atomic_andnot(cause, &g->told);
	return 0;
}

/* The link changes, the timer runs out, an error comes, while jobs are in work and while none is. */
static int other_causes(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	struct over over;
	int error;

	card_write(g, RING_HAPPEN, RING_HAPPEN_LINK);
	error = happens(g, RING_CAUSE_LINK) ?: queue_open(g, 0, &(struct wish){ .pace_us = 20000 }) ?:
		buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
	if (error)
		return error;
	arm(q, RECEIVE, b.dma, BYTES, 0);
	card_write(g, RING_HAPPEN, RING_HAPPEN_ERROR | RING_HAPPEN_LINK);
	card_write(g, RING_TIMER, 1000);
	error = happens(g, RING_CAUSE_LINK) ?: happens(g, RING_CAUSE_ERROR) ?: happens(g, RING_CAUSE_TIMER) ?:
		reap(q, &over);
	if (error)
		queue_stop(q);
	buffer_unmap(g, &b);
	error = error ?: received(q, &over, b.virt, 0, BYTES);
	buffer_put(g, &b);
	return error;
}

/* What is over while the queue is masked interrupts when it is unmasked. */
static int masked(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){});

	for (round = 0; round < 4 && !error; round++) {
		unsigned int before = atomic_read(&g->interrupts);
		struct buffer b;
		struct over over;
		u32 causes;

		card_write(g, RING_MASK, BIT(0));
		error = buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
		if (error)
			return error;
		arm(q, RECEIVE, b.dma, BYTES, 0);
		do {
			causes = card_read(g, RING_CAUSE);
		} while (!(causes & BIT(0)));
		if (atomic_read(&g->interrupts) != before)
			error = -EPROTO;
		card_write(g, RING_MASK, 0);
		error = error ?: happens(g, BIT(0)) ?: reap(q, &over);
		if (error)
			queue_stop(q);
		buffer_unmap(g, &b);
		error = error ?: received(q, &over, b.virt, 0, BYTES);
		buffer_put(g, &b);
	}
	card_write(g, RING_MASK, 0);
	return error;
}

/* The kernel keeps the interrupt off meanwhile. */
static int disabled(struct gallery *g)
{
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){});

	for (round = 0; round < 4 && !error; round++) {
		struct queue *q = &g->queues[0];
		struct over over;
		struct buffer b;

		error = buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
		if (error)
			return error;
		disable_irq(g->vectors[0].irq);
		arm(q, RECEIVE, b.dma, BYTES, 0);
		while (!(card_read(g, RING_CAUSE) & BIT(0)))
			cpu_relax();
		enable_irq(g->vectors[0].irq);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		buffer_unmap(g, &b);
		error = error ?: received(q, &over, b.virt, 0, BYTES);
		buffer_put(g, &b);
	}
	return error;
}

#define DEPTH 6
#define TARGET 60

/* Buffers that are given to the card again and again, in the interrupt or in a task that it wakes. */
struct refill {
	struct gallery *g;
	struct buffer buffers[DEPTH];
	unsigned int over;
	int error;
	struct work_struct work;
	bool remaps;
};

/* Takes what is over, and arms it again until there was enough of it. */
static void refill(struct refill *r)
{
	struct gallery *g = r->g;
	struct queue *q = &g->queues[0];
	struct over over;

	while (take(q, &over)) {
		struct buffer *b = &r->buffers[r->over % DEPTH];

		if (r->remaps)
			buffer_unmap(g, b);
		else
			dma_sync_single_for_cpu(g->dev, b->dma, b->bytes, b->direction);
		r->error = r->error ?: over.error ? -EIO : received(q, &over, b->virt, 0, b->bytes);
		tell_taken(q);
		r->over++;
		if (r->over + DEPTH > TARGET)
			continue;
		if (r->remaps) {
			r->error = r->error ?: buffer_map(g, b);
			if (r->error)
				continue;
		} else {
			dma_sync_single_for_device(g->dev, b->dma, b->bytes, b->direction);
		}
		arm(q, RECEIVE, b->dma, b->bytes, 0);
	}
}

static void refill_now(struct gallery *g, u32 causes)
{
	if (causes & BIT(0))
		refill(g->own);
}

static void refill_work(struct work_struct *work)
{
	struct refill *r = container_of(work, struct refill, work);

	refill(r);
	/* What was over before this is not told again. */
	card_write(r->g, RING_MASK, 0);
	refill(r);
	wake_up(&r->g->wait);
}

/* As network drivers do: the interrupt masks its queue and leaves the rest to a task, which unmasks when all is done. */
static void refill_later(struct gallery *g, u32 causes)
{
	struct refill *r = g->own;

	if (!(causes & BIT(0)))
		return;
	card_write(g, RING_MASK, BIT(0));
	queue_work(system_bh_wq, &r->work);
}

static int refilled(struct gallery *g, const struct wish *wish, bool remaps,
		    void (*on_interrupt)(struct gallery *g, u32 causes))
{
	struct refill *r = kzalloc(sizeof(*r), GFP_KERNEL);
	unsigned int i;
	int error;

	if (!r)
		return -ENOMEM;
	r->g = g;
	r->remaps = remaps;
	INIT_WORK(&r->work, refill_work);
	for (i = 0; i < DEPTH; i++) {
		error = buffer_get(g, &r->buffers[i], BYTES, DMA_FROM_DEVICE);
		if (error)
			goto undo;
	}
	g->own = r;
	g->on_interrupt = on_interrupt;
	error = queue_open(g, 0, wish);
	if (error)
		goto undo;
	/* The interrupt may come before all are armed: they are handed over at once. */
	for (i = 0; i < DEPTH; i++)
		put(&g->queues[0], RECEIVE, r->buffers[i].dma, BYTES, 0);
	ring_doorbell(&g->queues[0]);
	if (!wait_event_timeout(g->wait, READ_ONCE(r->over) >= TARGET || READ_ONCE(r->error), DEADLINE))
		error = -ETIMEDOUT;
	card_write(g, RING_MASK, BIT(0));
	for (i = 0; i < g->vector_count; i++)
		synchronize_irq(g->vectors[i].irq);
	cancel_work_sync(&r->work);
	queue_close(&g->queues[0]);
	error = error ?: r->error;
undo:
	g->on_interrupt = NULL;
	g->own = NULL;
	for (i = 0; i < DEPTH; i++) {
		if (r->buffers[i].lent)
			buffer_unmap(g, &r->buffers[i]);
		buffer_put(g, &r->buffers[i]);
	}
	kfree(r);
	return error;
}

/* The interrupt takes what is over, unmaps it, maps it again and arms it. */
static int refill_in_irq(struct gallery *g)
{
	return refilled(g, &(struct wish){}, true, refill_now);
}

/* The interrupt syncs, and arms again what stays mapped. */
static int sync_in_irq(struct gallery *g)
{
	return refilled(g, &(struct wish){}, false, refill_now);
}

static int napi(struct gallery *g)
{
	return refilled(g, &(struct wish){}, true, refill_later);
}

static int napi_coalesced(struct gallery *g)
{
	return refilled(g, &(struct wish){ .coalesce = 3, .coalesce_us = 300 }, false, refill_later);
}

const struct pattern interrupt_patterns[] = {
	{ .name = "vectors", .run = all_queues },
	{ .name = "two-vectors", .run = all_queues, .vectors = 2 },
	{ .name = "one-vector", .run = all_queues, .vectors = 1 },
	{ .name = "line", .run = all_queues, .kind = PCI_IRQ_INTX },
	{ .name = "message", .run = all_queues, .kind = PCI_IRQ_MSI },
	{ .name = "threaded", .run = plain, .threaded = true },
	{ .name = "coalesce", .run = coalesce },
	{ .name = "coalesce-count", .run = coalesce_count },
	{ .name = "edge", .run = edge },
	{ .name = "other-causes", .run = other_causes },
	{ .name = "masked", .run = masked },
	{ .name = "disabled", .run = disabled },
	{ .name = "refill-in-irq", .run = refill_in_irq },
	{ .name = "sync-in-irq", .run = sync_in_irq },
	{ .name = "napi", .run = napi },
	{ .name = "napi-coalesced", .run = napi_coalesced },
	{}
};
