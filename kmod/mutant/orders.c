// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Bugs of ordering and coherency, and of the CPU's side. */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/irqflags.h>

#include "catalogue.h"

static void leave(struct mutant *m, struct loan *loan)
{
}

/* 34: missing write barrier before the doorbell. STM32H5 HAL #37; switchtec-dma #4, #5. */
static void fill_frames_only(struct mutant *m, struct loan *loan, u8 byte)
{
	if (loan->slot >= 0)
		mutant_fill(m, loan, byte);
}

static void queue_and_fill(struct mutant *m, unsigned int slot)
{
	mutant_queue(m, slot);
	/* The doorbell is at the card; on another processor the mask's bytes would just be late. */
	card_read(m, CARD_STATUS);
	if (m->clip.virt)
		mutant_fill(m, &m->clip, m->shape.clip);
}

const struct mutant_bug mutant_bug_34 = {
	.steps.fill = fill_frames_only,
	.steps.queue = queue_and_fill,
};

/*
 * 35: missing dma_rmb() after the ownership check. openwrt #24417; Mellanox/libxlio #311; xdna-driver #1065. readl_relaxed() keeps no
 * order with memory: the processor may have loaded the frame before. No interrupt helps it.
 */
static void program_quiet(struct mutant *m)
{
	mutant_program(m);
	card_write(m, CARD_IRQ_ENABLE, 0);
}

static int wait_relaxed(struct mutant *m, unsigned int slot, struct record *record)
{
	const struct loan *frame = &m->frames[slot];
	unsigned long flags;
	u32 done;
	int error;

	/* As under a lock: any interrupt would put in order what was written before it. */
	local_irq_save(flags);
	error = readl_relaxed_poll_timeout_atomic(m->bar + CARD_DONE, done, done & BIT(slot), 0, 2 * USEC_PER_SEC);
	READ_ONCE(*(const u32 *)(frame->virt + frame->offset + m->shape.bytes - sizeof(u32)));
	local_irq_restore(flags);
	if (error)
		return error;
	record->result = readl_relaxed(m->bar + CARD_SLOT_STATUS(slot));
	record->sequence = readl_relaxed(m->bar + CARD_SLOT_SEQUENCE(slot));
	record->bytes = readl_relaxed(m->bar + CARD_SLOT_BYTES(slot));
	card_write(m, CARD_DONE, BIT(slot));
	return 0;
}

const struct mutant_bug mutant_bug_35 = {
	.steps.program = program_quiet,
	.steps.wait = wait_relaxed,
	.memory = COHERENT,
	/* The next frame is waited for, too. */
	.interval_us = 5 * USEC_PER_MSEC,
};

/*
 * 36: posted write not flushed before free. Prandr/dma_ip_drivers #24. As always when a stream is stopped, frames are
 * queued. The memory is freed only when the card is idle, for the guest's sake.
 */
static void stop_unflushed(struct mutant *m)
{
	unsigned int slot;

	/* The interrupt reads registers, and a read flushes. */
	disable_irq(m->irq);
	for (slot = 0; slot < m->buffers && m->frames[slot].lent; slot++)
		mutant_recycle(m, slot);
	card_read(m, CARD_STATUS);
	card_write(m, CARD_CONTROL, 0);
	mutant_unmap_all(m);
	if (slot)
		msleep(200);
	enable_irq(m->irq);
	mutant_stop(m);
}

const struct mutant_bug mutant_bug_36 = {
	.steps.stop = stop_unflushed,
	.interval_us = 100 * USEC_PER_MSEC,
};

/* 37: missing sync for the CPU. apache/nuttx #19506; openmv #1610. Shows with bounce buffers. */
const struct mutant_bug mutant_bug_37 = {
	.steps.to_cpu = leave,
};

/* 38: missing sync for the device. raspberrypi/linux #5727. Of frames it is none: only the card writes them. */
const struct mutant_bug mutant_bug_38 = {
	.steps.to_card = leave,
};

/* 39: wrong direction flag. igb_avb #11; xdna-driver #181; raspberrypi/linux #6995. */
static int map_to_device(struct mutant *m, struct loan *loan)
{
	loan->direction = DMA_TO_DEVICE;
	return mutant_map(m, loan);
}

const struct mutant_bug mutant_bug_39 = {
	.steps.map = map_to_device,
};

/* 40: sync of a range never mapped. dma-debug: check_sync. Far enough behind the frame to be nobody's. */
static void to_cpu_beside(struct mutant *m, struct loan *loan)
{
	mutant_to_cpu(m, loan);
	dma_sync_single_for_cpu(m->dev, loan->dma + SZ_1M, loan->bytes, loan->direction);
}

const struct mutant_bug mutant_bug_40 = {
	.steps.to_cpu = to_cpu_beside,
};

/*
 * 61: the CPU looks into what is the card's. On a coherent machine it sees what is there; on another its cache keeps that, and shows
 * it when the card has written. Before the doorbell, so that it is certain who was first.
 */
static void look_and_queue(struct mutant *m, unsigned int slot)
{
	const struct loan *frame = &m->frames[slot % m->buffers];

	READ_ONCE(*(const u32 *)frame->virt);
	mutant_queue(m, slot);
}

const struct mutant_bug mutant_bug_61 = {
	.steps.queue = look_and_queue,
};

/* 62: what the card is about to read is filled after it was mapped, and no sync for the device follows. */
static void fill_and_queue(struct mutant *m, unsigned int slot)
{
	if (m->clip.virt)
		mutant_fill(m, &m->clip, m->shape.clip);
	mutant_queue(m, slot);
}

const struct mutant_bug mutant_bug_62 = {
	.steps.queue = fill_and_queue,
};
