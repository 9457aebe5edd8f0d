// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Patterns: a driver's life with its card. */
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/slab.h>

#include "gallery.h"

#define BYTES 800

/* The queue rests, stopped, while the card sleeps; what was lent stays lent. */
static int sleep_and_wake(struct gallery *g)
{
	card_quiet(g);
	pci_save_state(g->pdev);
	return pci_set_power_state(g->pdev, PCI_D3hot);
}

static int wake_up_again(struct gallery *g)
{
	int error = pci_set_power_state(g->pdev, PCI_D0);

	pci_restore_state(g->pdev);
	pci_set_master(g->pdev);
	card_restore(g);
	return error;
}

static int d3(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){ .polls = true });

	for (round = 0; round < 3 && !error; round++) {
		error = many_receives(q, 4, 2, BYTES) ?: queue_stop(q) ?: sleep_and_wake(g) ?: wake_up_again(g);
		if (!error)
			queue_run(q);
	}
	return error ?: many_receives(q, 4, 2, BYTES);
}

/* Memory is given back, and other memory lent, while the card sleeps. */
static int d3_memory(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){});

	for (round = 0; round < 3 && !error; round++) {
		struct buffer before, after;
		struct over over;

		error = buffer_get(g, &before, BYTES, DMA_FROM_DEVICE);
		if (error)
			break;
		arm(q, RECEIVE, before.dma, BYTES, 0);
		error = reap(q, &over) ?: queue_stop(q) ?: sleep_and_wake(g);
		buffer_unmap(g, &before);
		error = error ?: received(q, &over, before.virt, 0, BYTES);
		buffer_put(g, &before);
		queue_free(q);
		error = error ?: buffer_get(g, &after, BYTES, DMA_FROM_DEVICE);
		if (error)
			break;
		error = wake_up_again(g) ?: queue_open(g, 0, &(struct wish){ .polls = true });
		if (!error) {
			arm(q, RECEIVE, after.dma, BYTES, 0);
			error = reap(q, &over);
			if (error)
				queue_stop(q);
		}
		buffer_unmap(g, &after);
		error = error ?: received(q, &over, after.virt, 0, BYTES);
		buffer_put(g, &after);
	}
	return error;
}

static int some(struct gallery *g)
{
	return queue_open(g, 0, &(struct wish){ .polls = true }) ?: many_receives(&g->queues[0], 4, 3, BYTES);
}

static int few(struct gallery *g)
{
	return queue_open(g, 0, &(struct wish){}) ?: many_receives(&g->queues[0], 1, 1, BYTES);
}

/* A function-level reset between two uses; what was lent outlives it. */
static int flr(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){}) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	for (round = 0; round < 2 && !error; round++) {
		struct over over;

		arm(q, RECEIVE, b.dma, BYTES, 0);
		error = reap(q, &over);
		if (error)
			break;
		dma_sync_single_for_cpu(g->dev, b.dma, BYTES, DMA_FROM_DEVICE);
		error = received(q, &over, b.virt, 0, BYTES);
		card_quiet(g);
		pci_save_state(g->pdev);
		error = error ?: pcie_flr(g->pdev);
		pci_restore_state(g->pdev);
		card_restore(g);
		queue_run(q);
	}
	if (error)
		queue_stop(q);
	buffer_unmap(g, &b);
	buffer_put(g, &b);
	return error;
}

#define HELD 5

/* Jobs that the card has, and never ends by itself. */
static int hold(struct queue *q, struct buffer *held)
{
	unsigned int i;
	int error = 0;

	for (i = 0; i < HELD && !error; i++) {
		error = buffer_get(q->g, &held[i], BYTES, DMA_FROM_DEVICE);
		if (!error)
			arm(q, RECEIVE, held[i].dma, BYTES, 0);
	}
	return error;
}

static void let_go(struct gallery *g, struct buffer *held)
{
	unsigned int i;

	for (i = 0; i < HELD; i++) {
		if (held[i].lent)
			buffer_unmap(g, &held[i]);
		buffer_put(g, &held[i]);
	}
}

/* Waits until the card has fetched: not only memory, but the card holds a job. */
static const struct wish held_wish = { .polls = true, .pace_us = NEVER_US };

/* The queue is stopped with jobs in hand, and only then are they given back. */
static int stop_outstanding(struct gallery *g)
{
	unsigned int round;
	int error = 0;

	for (round = 0; round < 4 && !error; round++) {
		struct buffer held[HELD] = {};

		error = queue_open(g, 0, &held_wish) ?: hold(&g->queues[0], held);
		usleep_range(500, 600);
		error = error ?: queue_stop(&g->queues[0]);
		let_go(g, held);
		queue_free(&g->queues[0]);
	}
	return error ?: few(g);
}

/* One job is cancelled: the queue is stopped, that one given back, and the others are armed again. */
static int cancel(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer held[HELD] = {};
	struct over over;
	unsigned int i;
	int error = queue_open(g, 0, &held_wish) ?: hold(q, held) ?: queue_stop(q);

	if (!error) {
		buffer_unmap(g, &held[0]);
		q->wish.pace_us = 0;
		queue_run(q);
		for (i = 1; i < HELD; i++)
			arm(q, RECEIVE, held[i].dma, BYTES, 0);
		for (i = 1; i < HELD && !error; i++) {
			error = reap(q, &over);
			if (error)
				break;
			buffer_unmap(g, &held[i]);
			error = received(q, &over, held[i].virt, 0, BYTES);
		}
	}
	if (error)
		queue_stop(q);
	let_go(g, held);
	return error;
}

/* The card is reset with jobs in hand, by a register of its own. */
static int card_reset(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer held[HELD] = {};
	int error = queue_open(g, 0, &held_wish) ?: hold(q, held);

	usleep_range(500, 600);
	card_write(g, RING_CONTROL, RING_CONTROL_RESET);
	/* It has arrived when this is answered. */
	card_read(g, RING_ID);
	let_go(g, held);
	card_restore(g);
	q->wish.pace_us = 0;
	if (!error)
		queue_run(q);
	return error ?: many_receives(q, 5, 3, BYTES);
}

/* The card is kept off the bus, and its queue not stopped before its memory is given back. */
static int master_off(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer held[HELD] = {};
	int error = queue_open(g, 0, &held_wish) ?: hold(q, held);

	usleep_range(500, 600);
	pci_clear_master(g->pdev);
	/* A read's answer comes behind all that the card has written. */
	card_read(g, RING_ID);
	let_go(g, held);
	error = error ?: queue_stop(q);
	queue_free(q);
	pci_set_master(g->pdev);
	return error ?: few(g);
}

/* The card has jobs for as long as it is bound. */
static int stays_lent(struct gallery *g)
{
	struct buffer *held = kcalloc(HELD, sizeof(*held), GFP_KERNEL);

	if (!held)
		return -ENOMEM;
	g->own = held;
	return queue_open(g, 0, &held_wish) ?: hold(&g->queues[0], held) ?:
	       queue_open(g, 1, &(struct wish){}) ?: many_receives(&g->queues[1], 4, 2, BYTES);
}

static void give_back(struct gallery *g)
{
	close_all(g);
	if (g->own)
		let_go(g, g->own);
	kfree(g->own);
}

const struct pattern life_patterns[] = {
	{ .name = "d3", .run = d3 },
	{ .name = "d3-memory", .run = d3_memory },
	{ .name = "left-in-d3", .run = some, .sleeps = true, .rebinds = 3 },
	{ .name = "flr", .run = flr },
	{ .name = "rebind", .run = few, .rebinds = 20 },
	{ .name = "refused", .run = some, .refuses = true },
	{ .name = "stop-outstanding", .run = stop_outstanding },
	{ .name = "cancel", .run = cancel },
	{ .name = "card-reset", .run = card_reset },
	{ .name = "master-off", .run = master_off },
	{ .name = "stays-lent", .run = stays_lent, .remove = give_back, .rebinds = 2 },
	{}
};
