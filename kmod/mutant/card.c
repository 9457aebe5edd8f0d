// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The card's registers and its interrupt. What is read from them is a claim, not a fact. */
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/iopoll.h>

#include "mutant.h"

/* What every register reads when nobody answers. */
#define NOBODY U32_MAX
/* How long the card may take until it is idle, and how often to look. */
#define IDLE_US (2 * USEC_PER_SEC)
#define POLL_US 200

u32 card_read(const struct mutant *m, unsigned int offset)
{
	return readl(m->bar + offset);
}

void card_write(const struct mutant *m, unsigned int offset, u32 value)
{
	writel(value, m->bar + offset);
}

int card_examine(struct mutant *m)
{
	struct limits *limits = &m->limits;
	u32 id = card_read(m, CARD_ID);
	u32 raw = card_read(m, CARD_LIMITS);
	unsigned int boundary = FIELD_GET(CARD_LIMITS_BOUNDARY_SHIFT, raw);
	unsigned int alignment = FIELD_GET(CARD_LIMITS_ALIGN_SHIFT, raw);

	if (id == NOBODY)
		return -EIO;
	if (FIELD_GET(CARD_ID_MAGIC, id) != CARD_MAGIC ||
	    FIELD_GET(CARD_ID_LAYOUT, id) != CARD_LAYOUT)
		return -ENODEV;
	limits->slots = FIELD_GET(CARD_LIMITS_SLOTS, raw);
	limits->address_bits = FIELD_GET(CARD_LIMITS_ADDRESS_BITS, raw);
	limits->max_frame = card_read(m, CARD_MAX_FRAME);
	if (limits->slots < 1 || limits->slots > CARD_SLOTS || limits->address_bits < 24 ||
	    limits->address_bits > 64 || alignment > 30 || boundary > 63)
		return -EPROTO;
	limits->alignment = 1u << alignment;
	limits->boundary = boundary ? 1ull << boundary : 0;
	return 0;
}

static int wait_idle(struct mutant *m)
{
	u32 status;
	int error = read_poll_timeout(card_read, status,
				      status == NOBODY || !(status & CARD_STATUS_BUSY), POLL_US,
				      IDLE_US, false, m, CARD_STATUS);

	return status == NOBODY ? -EIO : error;
}

void card_quiet(struct mutant *m)
{
	card_write(m, CARD_IRQ_ENABLE, 0);
	card_write(m, CARD_DONE, U32_MAX);
	card_write(m, CARD_IRQ_STATUS, U32_MAX);
}

int card_stop(struct mutant *m)
{
	int error;

	card_write(m, CARD_CONTROL, 0);
	error = wait_idle(m);
	if (error == -ETIMEDOUT) {
		card_write(m, CARD_CONTROL, CARD_CONTROL_RESET);
		error = wait_idle(m);
	}
	if (!error) {
		card_quiet(m);
		/* What was written is there before the memory goes back. */
		card_read(m, CARD_STATUS);
	}
	return error;
}

bool card_in_work(struct mutant *m, unsigned int left)
{
	u32 status;

	return !read_poll_timeout(card_read, status,
				  status == NOBODY ||
				  (status & CARD_STATUS_BUSY &&
				   FIELD_GET(CARD_STATUS_QUEUED, status) <= left),
				  0, IDLE_US, false, m, CARD_STATUS) &&
	       status != NOBODY;
}

void card_write_shape(struct mutant *m, u32 height)
{
	card_write(m, CARD_FORMAT, 0);
	card_write(m, CARD_GEOMETRY, FIELD_PREP(CARD_GEOMETRY_HEIGHT, height) |
		   FIELD_PREP(CARD_GEOMETRY_WIDTH, m->shape.width));
	card_write(m, CARD_STRIDE, m->shape.stride);
	card_write(m, CARD_INTERVAL, m->shape.interval_us);
}

void card_write_slot(struct mutant *m, unsigned int slot, dma_addr_t base, u32 bytes)
{
	dma_addr_t clip = m->clip.virt ? m->clip.dma + m->clip.offset : 0;

	card_write(m, CARD_SLOT_BASE_LO(slot), lower_32_bits(base));
	card_write(m, CARD_SLOT_BASE_HI(slot), upper_32_bits(base));
	card_write(m, CARD_SLOT_SIZE(slot), bytes);
	card_write(m, CARD_SLOT_CLIP_LO(slot), lower_32_bits(clip));
	card_write(m, CARD_SLOT_CLIP_HI(slot), upper_32_bits(clip));
	card_write(m, CARD_SLOT_CLIP_SIZE(slot), m->clip.virt ? m->shape.clip_bytes : 0);
}

irqreturn_t card_interrupt(int irq, void *data)
{
	struct mutant *m = data;
	u32 causes = card_read(m, CARD_IRQ_STATUS);

	if (causes == NOBODY || !causes)
		return IRQ_NONE;
	/* First the causes are cleared, then the done bits read: what completes in between raises anew. */
	card_write(m, CARD_IRQ_STATUS, causes);
	if (causes & CARD_IRQ_STATUS_DONE) {
		/*
		 * With the lock, or a slot might be taken back and queued between the read and here. All-ones is
		 * nothing special: the card may have 32 slots.
		 */
		spin_lock(&m->lock);
		mutant_done(m, card_read(m, CARD_DONE));
		spin_unlock(&m->lock);
	}
	wake_up(&m->changed);
	return IRQ_HANDLED;
}
