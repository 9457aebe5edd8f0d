// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What is not legal: patterns with one bug each, and for those that have no twin among the others, a twin that differs
 * in nothing else.
 */
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/dmapool.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

#include "gallery.h"

#define BYTES 2048

/* Another device, which has nothing to do with the card. */
static struct platform_device *other;

int bugs_init(void)
{
	const struct platform_device_info info = {
		.name = "landfall_gallery_other",
		.id = PLATFORM_DEVID_NONE,
		.dma_mask = DMA_BIT_MASK(64),
	};

	other = platform_device_register_full(&info);
	return PTR_ERR_OR_ZERO(other);
}

void bugs_exit(void)
{
	platform_device_unregister(other);
}

/* A buffer is mapped for both devices; the card is given the address that one of them got. */
static int mapped_for(struct gallery *g, bool right)
{
	struct queue *q = &g->queues[0];
	struct buffer mine, its;
	struct gallery theirs = { .dev = &other->dev };
	struct over over;
	struct buffer *told = right ? &mine : &its;
	int error = queue_open(g, 0, &(struct wish){}) ?: buffer_get(g, &mine, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	error = buffer_get(&theirs, &its, BYTES, DMA_FROM_DEVICE);
	if (!error) {
		arm(q, RECEIVE, told->dma, BYTES, 0);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		dma_sync_single_for_cpu(right ? g->dev : theirs.dev, told->dma, BYTES, DMA_FROM_DEVICE);
		error = error ?: received(q, &over, told->virt, 0, BYTES);
		buffer_unmap(&theirs, &its);
		buffer_put(&theirs, &its);
	}
	buffer_unmap(g, &mine);
	buffer_put(g, &mine);
	return error;
}

static int elsewhere(struct gallery *g)
{
	return mapped_for(g, false);
}

static int here(struct gallery *g)
{
	return mapped_for(g, true);
}

/* A descriptor is armed again, with the address or with what the card left there. */
static int armed_again(struct gallery *g, bool right)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	struct over over;
	int error = queue_open(g, 0, &(struct wish){ .count = 1 }) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	arm(q, RECEIVE, b.dma, BYTES, 0);
	error = reap(q, &over);
	if (!error) {
		dma_sync_single_for_cpu(g->dev, b.dma, BYTES, DMA_FROM_DEVICE);
		error = received(q, &over, b.virt, 0, BYTES);
		arm(q, RECEIVE, right ? b.dma : le64_to_cpu(q->ring[0].address), BYTES, 0);
		error = error ?: reap(q, &over);
	}
	if (error)
		queue_stop(q);
	buffer_unmap(g, &b);
	buffer_put(g, &b);
	return error;
}

static int written_back(struct gallery *g)
{
	return armed_again(g, false);
}

static int rewritten(struct gallery *g)
{
	return armed_again(g, true);
}

/* A list's block goes back to its pool when the card was told of it, and the next list gets it. */
static int pool_freed(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct dma_pool *pool = dma_pool_create("gallery", g->dev, 64, 16, 0);
	struct buffer a, b;
	struct over over;
	struct entry *list;
	dma_addr_t dma;
	unsigned int tries;
	/* A guest that stands still for a while must not miss its moment. */
	int error = pool ? queue_open(g, 0, &(struct wish){ .polls = true, .pace_us = 300000 }) : -ENOMEM;

	error = error ?: one_receive(q, BYTES) ?: buffer_get(g, &a, BYTES, DMA_FROM_DEVICE) ?:
		buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
	if (error)
		goto destroy;
	list = dma_pool_alloc(pool, GFP_KERNEL, &dma);
	list[0] = (struct entry){ cpu_to_le64(a.dma), cpu_to_le32(BYTES) };
	for (tries = 0; tries < 8; tries++) {
		arm(q, RECEIVE | LIST, dma, 1, 0);
		/* The card has the job by now, and has not looked into the list; else this was no bug. */
		usleep_range(5000, 6000);
		if (!is_over(q))
			break;
		error = reap(q, &over);
		if (error)
			break;
	}
	dma_pool_free(pool, list, dma);
	list = dma_pool_alloc(pool, GFP_KERNEL, &dma);
	list[0] = (struct entry){ cpu_to_le64(b.dma), cpu_to_le32(BYTES) };
	error = error ?: reap(q, &over);
	queue_stop(q);
	dma_pool_free(pool, list, dma);
	buffer_unmap(g, &a);
	buffer_unmap(g, &b);
	buffer_put(g, &a);
	buffer_put(g, &b);
destroy:
	close_all(g);
	dma_pool_destroy(pool);
	return error;
}

/* A buffer that stays mapped is read and armed again without any sync. */
static int never_syncs(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){}) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	for (round = 0; round < 4; round++) {
		struct over over;

		arm(q, RECEIVE, b.dma, BYTES, 0);
		error = reap(q, &over) ?: received(q, &over, b.virt, 0, BYTES) ?: error;
	}
	queue_stop(q);
	buffer_unmap(g, &b);
	buffer_put(g, &b);
	return error;
}

/* A job of three descriptors is given back when the first is over. */
static int first_of_chain(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer buffers[3];
	struct over over;
	unsigned int i;
	int error = queue_open(g, 0, &(struct wish){ .quiet = true, .pace_us = 300000 });

	for (i = 0; i < ARRAY_SIZE(buffers) && !error; i++)
		error = buffer_get(g, &buffers[i], BYTES, DMA_FROM_DEVICE);
	if (error)
		return error;
	for (i = 0; i < ARRAY_SIZE(buffers); i++)
		put(q, RECEIVE | (i < 2 ? MORE : 0), buffers[i].dma, BYTES, 0);
	ring_doorbell(q);
	error = reap(q, &over);
	for (i = 0; i < ARRAY_SIZE(buffers); i++)
		buffer_unmap(g, &buffers[i]);
	/* The card goes on meanwhile. */
	error = error ?: reap(q, &over) ?: reap(q, &over);
	for (i = 0; i < ARRAY_SIZE(buffers); i++)
		buffer_put(g, &buffers[i]);
	return error;
}

/* How many were seen by the interrupt, which does not look again when it has cleared the cause. */
static void see(struct gallery *g, u32 causes)
{
	struct queue *q = &g->queues[0];
	struct over over;

	unsigned int polls;

	while (take(q, &over))
		tell_taken(q);
	/* The next job is over before the cause is cleared. */
	for (polls = 2000; g->clears_late && q->seen != q->armed && !is_over(q) && polls; polls--)
		mdelay(1);
}

/* Two jobs on a card that interrupts only when no cause is pending. */
static int seen_by_interrupt(struct gallery *g, bool right)
{
	struct queue *q = &g->queues[0];
	struct buffer a, b;
	int error = buffer_get(g, &a, BYTES, DMA_FROM_DEVICE) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	g->edge = true;
	card_restore(g);
	g->clears_late = !right;
	g->on_interrupt = see;
	error = queue_open(g, 0, &(struct wish){ .pace_us = 300000 });
	if (!error) {
		put(q, RECEIVE, a.dma, BYTES, 0);
		put(q, RECEIVE, b.dma, BYTES, 0);
		ring_doorbell(q);
		if (!wait_event_timeout(g->wait, READ_ONCE(q->seen) == 2, DEADLINE))
			error = -ETIMEDOUT;
		queue_stop(q);
	}
	buffer_unmap(g, &a);
	buffer_unmap(g, &b);
	gallery_jobs += error ? 0 : 2;
	buffer_put(g, &a);
	buffer_put(g, &b);
	return error;
}

static int cause_cleared_late(struct gallery *g)
{
	return seen_by_interrupt(g, false);
}

static int cause_cleared_first(struct gallery *g)
{
	return seen_by_interrupt(g, true);
}

/* Nothing is looked at before the card has told: legal, and without end on a card that does not. */
static int coalesced(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer a, b;
	struct over over;
	int error = queue_open(g, 0, &(struct wish){ .coalesce = 4, .coalesce_us = 500 }) ?:
		    buffer_get(g, &a, BYTES, DMA_FROM_DEVICE) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	put(q, RECEIVE, a.dma, BYTES, 0);
	put(q, RECEIVE, b.dma, BYTES, 0);
	ring_doorbell(q);
	if (!wait_event_timeout(g->wait, atomic_read(&g->told) & BIT(0), DEADLINE))
		error = -ETIMEDOUT;
	error = error ?: reap(q, &over) ?: reap(q, &over);
	if (error)
		queue_stop(q);
	buffer_unmap(g, &a);
	buffer_unmap(g, &b);
	error = error ?: received(q, &over, b.virt, 0, BYTES);
	buffer_put(g, &a);
	buffer_put(g, &b);
	return error;
}

const struct pattern bug_patterns[] = {
	{ .name = "coalesced", .run = coalesced },
	{ .name = "elsewhere", .run = elsewhere },
	{ .name = "here", .run = here },
	{ .name = "written-back", .run = written_back },
	{ .name = "rewritten", .run = rewritten },
	{ .name = "pool-freed", .run = pool_freed },
	{ .name = "never-syncs", .run = never_syncs },
	{ .name = "first-of-chain", .run = first_of_chain },
	{ .name = "cause-cleared-late", .run = cause_cleared_late },
	{ .name = "cause-cleared-first", .run = cause_cleared_first },
	{}
};
