// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Patterns: rings, and how each side finds out what the other has done. */
#include <linux/bitfield.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/slab.h>

#include "gallery.h"

#define BYTES 1500

static int with(struct gallery *g, const struct wish *wish, unsigned int count, unsigned int depth)
{
	return queue_open(g, 0, wish) ?: many_receives(&g->queues[0], count, depth, BYTES);
}

/* The card polls the ring in memory, and takes a descriptor as soon as its bit is set. */
static int own(struct gallery *g)
{
	return with(g, &(struct wish){ .polls = true }, 32, 7);
}

/* Likewise, with a bit that changes its meaning from round to round. */
static int phase(struct gallery *g)
{
	return with(g, &(struct wish){ .mode = RING_MODE_PHASE, .polls = true }, 37, 7);
}

static int doorbell(struct gallery *g)
{
	return with(g, &(struct wish){ .mode = RING_MODE_TAIL }, 32, 7);
}

/* Each of several descriptors is armed, and the doorbell rung for all of them. */
static int batch(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer buffers[6];
	unsigned int i, round;
	int error = queue_open(g, 0, &(struct wish){});

	for (round = 0; !error && round < 4; round++) {
		for (i = 0; i < ARRAY_SIZE(buffers) && !error; i++) {
			error = buffer_get(g, &buffers[i], BYTES, DMA_FROM_DEVICE);
			if (error)
				break;
			put(q, RECEIVE, buffers[i].dma, BYTES, 0);
		}
		ring_doorbell(q);
		while (i--) {
			struct buffer *b = &buffers[(q->seen) % ARRAY_SIZE(buffers)];
			struct over over;
			int failed = reap(q, &over);

			if (failed)
				return failed;
			buffer_unmap(g, b);
			error = error ?: received(q, &over, b->virt, 0, BYTES);
			buffer_put(g, b);
		}
	}
	return error;
}

/* No interrupt and no doorbell: both sides look at memory. */
static int quiet(struct gallery *g)
{
	card_write(g, RING_MASK, U32_MAX);
	return with(g, &(struct wish){ .polls = true, .quiet = true }, 32, 7);
}

/* Takes what a status block says is over; the descriptors are not looked at before. */
static int by_block(struct queue *q, const struct block *block, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct buffer b;
		struct over over;
		int error = buffer_get(q->g, &b, BYTES, DMA_FROM_DEVICE);

		if (error)
			return error;
		arm(q, RECEIVE, b.dma, BYTES, 0);
		if (!wait_event_timeout(q->g->wait, le32_to_cpu(READ_ONCE(block->count)) == q->armed, DEADLINE))
			return -ETIMEDOUT;
		dma_rmb();
		buffer_unmap(q->g, &b);
		if (!take(q, &over))
			return -EPROTO;
		tell_taken(q);
		error = received(q, &over, b.virt, 0, BYTES);
		buffer_put(q->g, &b);
		if (error)
			return error;
	}
	return 0;
}

/* The card counts in memory how far it is. */
static int block(struct gallery *g)
{
	dma_addr_t dma;
	struct block *block = dma_alloc_coherent(g->dev, sizeof(*block), &dma, GFP_KERNEL);
	int error;

	if (!block)
		return -ENOMEM;
	error = queue_open(g, 0, &(struct wish){ .block = dma }) ?: by_block(&g->queues[0], block, 20);
	close_all(g);
	dma_free_coherent(g->dev, sizeof(*block), block, dma);
	return error;
}

/* Two queues count in one page, one beside the other. */
static int shared_block(struct gallery *g)
{
	dma_addr_t dma;
	struct block *blocks = dma_alloc_coherent(g->dev, 2 * sizeof(*blocks), &dma, GFP_KERNEL);
	unsigned int i;
	int error = 0;

	if (!blocks)
		return -ENOMEM;
	for (i = 0; i < 2 && !error; i++)
		error = queue_open(g, i, &(struct wish){ .block = dma + i * sizeof(*blocks), .polls = i });
	for (i = 0; i < 8 && !error; i++)
		error = by_block(&g->queues[i % 2], &blocks[i % 2], 2);
	close_all(g);
	dma_free_coherent(g->dev, 2 * sizeof(*blocks), blocks, dma);
	return error;
}

/* Hundreds of buffers are lent at once, each armed right after it was mapped, while the card polls. */
static int deep(struct gallery *g)
{
	return queue_open(g, 0, &(struct wish){ .count = 512, .polls = true }) ?:
	       many_receives(&g->queues[0], 768, 256, 128);
}

/* A ring of two: every descriptor wraps. */
static int tiny(struct gallery *g)
{
	return with(g, &(struct wish){ .count = 2, .mode = RING_MODE_PHASE }, 9, 1);
}

struct worker {
	struct queue *q;
	struct completion done;
	int error;
};

static int work(void *data)
{
	struct worker *worker = data;

	worker->error = many_receives(worker->q, 100, 5, BYTES);
	complete(&worker->done);
	return 0;
}

/* Runs `count` queues at once, each from a thread on a CPU of its own. */
static int at_once(struct gallery *g, unsigned int count, const struct wish *wish)
{
	struct worker workers[RING_QUEUES] = {};
	unsigned int i, begun, cpu = cpumask_first(cpu_online_mask);
	int error = 0;

	for (begun = 0; begun < count; begun++) {
		struct worker *worker = &workers[begun];
		struct task_struct *task;

		error = queue_open(g, begun, wish);
		if (error)
			break;
		worker->q = &g->queues[begun];
		init_completion(&worker->done);
		task = kthread_create(work, worker, "landfall_gallery");
		if (IS_ERR(task)) {
			error = PTR_ERR(task);
			break;
		}
		kthread_bind(task, cpu);
		cpu = next_cpu(cpu);
		wake_up_process(task);
	}
	for (i = 0; i < begun; i++) {
		wait_for_completion(&workers[i].done);
		error = error ?: workers[i].error;
	}
	return error;
}

static int two_cpus(struct gallery *g)
{
	return at_once(g, 2, &(struct wish){ .polls = true });
}

static int four_queues(struct gallery *g)
{
	return at_once(g, 4, &(struct wish){ .mode = RING_MODE_TAIL });
}

/* One queue is stopped, its ring freed, and opened again, over and over, while the other works. */
static int one_stops(struct gallery *g)
{
	struct queue *one = &g->queues[0], *other = &g->queues[1];
	unsigned int i;
	int error = queue_open(g, 0, &(struct wish){});

	for (i = 0; i < 5 && !error; i++) {
		struct buffer held, lent;
		struct over over;

		error = queue_open(g, 1, &(struct wish){ .polls = true, .pace_us = NEVER_US }) ?:
			buffer_get(g, &held, BYTES, DMA_FROM_DEVICE);
		if (error)
			break;
		error = buffer_get(g, &lent, BYTES, DMA_FROM_DEVICE);
		if (error) {
			queue_close(other);
			buffer_unmap(g, &held);
			buffer_put(g, &held);
			break;
		}
		arm(other, RECEIVE, held.dma, BYTES, 0);
		arm(one, RECEIVE, lent.dma, BYTES, 0);
		queue_close(other);
		buffer_unmap(g, &held);
		buffer_put(g, &held);
		error = reap(one, &over);
		if (error)
			queue_close(one);
		buffer_unmap(g, &lent);
		error = error ?: received(one, &over, lent.virt, 0, BYTES);
		buffer_put(g, &lent);
		error = error ?: many_receives(one, 3, 2, BYTES);
	}
	return error;
}

/* A queue is stopped and begins again with the same ring. */
static int restart(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int i;
	int error = queue_open(g, 0, &(struct wish){ .polls = true });

	for (i = 0; i < 6 && !error; i++) {
		error = many_receives(q, 5, 3, BYTES) ?: queue_stop(q);
		if (!error)
			queue_run(q);
	}
	return error;
}

const struct pattern ring_patterns[] = {
	{ .name = "own", .run = own },
	{ .name = "phase", .run = phase },
	{ .name = "doorbell", .run = doorbell },
	{ .name = "batch", .run = batch },
	{ .name = "quiet", .run = quiet },
	{ .name = "block", .run = block },
	{ .name = "shared-block", .run = shared_block },
	{ .name = "deep", .run = deep },
	{ .name = "tiny", .run = tiny },
	{ .name = "two-cpus", .run = two_cpus },
	{ .name = "four-queues", .run = four_queues },
	{ .name = "one-stops", .run = one_stops },
	{ .name = "restart", .run = restart },
	{}
};
