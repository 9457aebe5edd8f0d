// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The card's registers, its interrupts and its queues. */
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/iopoll.h>

#include "gallery.h"

#define POLL_US 100

u32 card_read(const struct gallery *g, unsigned int offset)
{
	return readl(g->bar + offset);
}

void card_write(const struct gallery *g, unsigned int offset, u32 value)
{
	writel(value, g->bar + offset);
}

int card_examine(struct gallery *g)
{
	u32 id = card_read(g, RING_ID);

	if (id == U32_MAX)
		return -EIO;
	return FIELD_GET(RING_ID_MAGIC, id) == RING_MAGIC && FIELD_GET(RING_ID_LAYOUT, id) == RING_LAYOUT ?
		       0 : -ENODEV;
}

static void told(struct gallery *g, u32 causes)
{
	atomic_or(causes, &g->told);
	atomic_inc(&g->interrupts);
	if (g->on_interrupt)
		g->on_interrupt(g, causes);
	wake_up(&g->wait);
}

static irqreturn_t interrupt(int irq, void *data)
{
	struct vector *vector = data;
	struct gallery *g = vector->g;
	u32 causes = vector->causes;

	if (!causes)
		causes = card_read(g, RING_CAUSE) & ~card_read(g, RING_MASK);
	if (!causes || causes == U32_MAX)
		return IRQ_NONE;
	/* First the causes are cleared, then memory is looked at: what is over in between raises anew. */
	if (!g->clears_late)
		card_write(g, RING_CAUSE, causes);
	/* A card that keeps silent while it has a cause must have heard that it has none before memory is looked at. */
	if (g->edge)
		card_read(g, RING_CAUSE);
	told(g, causes);
	if (g->clears_late)
		card_write(g, RING_CAUSE, causes);
	return IRQ_HANDLED;
}

/* Which vector a queue, or the rest, has. */
static unsigned int vector_of(const struct gallery *g, unsigned int index)
{
	return min(index, g->vector_count - 1);
}

void card_restore(struct gallery *g)
{
	unsigned int i;

	for (i = 0; i < RING_QUEUES; i++)
		card_write(g, RING_VECTOR(i), vector_of(g, i));
	card_write(g, RING_OTHER, vector_of(g, RING_QUEUES));
	card_write(g, RING_CONTROL, g->edge ? RING_CONTROL_EDGE : 0);
	card_write(g, RING_CAUSE, RING_CAUSES);
	card_write(g, RING_MASK, 0);
}

static int request(struct gallery *g, struct vector *vector, bool pin)
{
	if (g->pattern->threaded)
		return request_threaded_irq(vector->irq, NULL, interrupt, IRQF_ONESHOT, KBUILD_MODNAME, vector);
	return request_irq(vector->irq, interrupt, pin ? IRQF_SHARED : 0, KBUILD_MODNAME, vector);
}

int card_attach(struct gallery *g)
{
	const struct pattern *p = g->pattern;
	unsigned int i;
	bool pin;
	int count = pci_alloc_irq_vectors(g->pdev, 1, p->vectors ?: RING_QUEUES + 1,
					  p->kind ?: PCI_IRQ_ALL_TYPES);
	int error;

	if (count < 0)
		return count;
	g->vector_count = count;
	pin = !g->pdev->msi_enabled && !g->pdev->msix_enabled;
	for (i = 0; i < count; i++) {
		struct vector *vector = &g->vectors[i];

		vector->g = g;
		vector->irq = pci_irq_vector(g->pdev, i);
		vector->causes = 0;
		if (count == RING_QUEUES + 1)
			vector->causes = i < RING_QUEUES ? BIT(i) : RING_CAUSES & ~RING_CAUSE_QUEUES;
		error = request(g, vector, pin);
		if (error) {
			while (i--)
				free_irq(g->vectors[i].irq, &g->vectors[i]);
			pci_free_irq_vectors(g->pdev);
			return error;
		}
	}
	card_restore(g);
	return 0;
}

void card_quiet(struct gallery *g)
{
	card_write(g, RING_MASK, U32_MAX);
	card_write(g, RING_CAUSE, U32_MAX);
	card_read(g, RING_MASK);
}

void card_detach(struct gallery *g)
{
	unsigned int i;

	card_quiet(g);
	for (i = 0; i < g->vector_count; i++)
		free_irq(g->vectors[i].irq, &g->vectors[i]);
	pci_free_irq_vectors(g->pdev);
}

void queue_run(struct queue *q)
{
	const struct wish *wish = &q->wish;
	struct gallery *g = q->g;
	unsigned int i = q->index;

	/* Whatever the mode, none is the card's: the bit of the first round is 1. */
	memset(q->ring, 0, wish->count * sizeof(*q->ring));
	q->armed = 0;
	q->seen = 0;
	card_write(g, RING_RING_LO(i), lower_32_bits(q->ring_dma));
	card_write(g, RING_RING_HI(i), upper_32_bits(q->ring_dma));
	card_write(g, RING_BLOCK_LO(i), lower_32_bits(wish->block));
	card_write(g, RING_BLOCK_HI(i), upper_32_bits(wish->block));
	card_write(g, RING_SHAPE(i), FIELD_PREP(RING_SHAPE_MODE, wish->mode) |
		   FIELD_PREP(RING_SHAPE_COUNT, wish->count));
	card_write(g, RING_COALESCE(i), FIELD_PREP(RING_COALESCE_MICROSECONDS, wish->coalesce_us) |
		   FIELD_PREP(RING_COALESCE_COUNT, wish->coalesce));
	card_write(g, RING_PACE(i), wish->pace_us);
	card_write(g, RING_RUN(i), RING_RUN_RUN | (wish->polls ? RING_RUN_POLL : 0));
}

int queue_open(struct gallery *g, unsigned int index, const struct wish *wish)
{
	struct queue *q = &g->queues[index];

	q->g = g;
	q->index = index;
	q->wish = *wish;
	q->wish.count = wish->count ?: 8;
	q->ring = dma_alloc_coherent(g->dev, q->wish.count * sizeof(*q->ring), &q->ring_dma, GFP_KERNEL);
	if (!q->ring)
		return -ENOMEM;
	q->open = true;
	queue_run(q);
	return 0;
}

int queue_stop(struct queue *q)
{
	struct gallery *g = q->g;
	u32 state;
	int error;

	card_write(g, RING_RUN(q->index), 0);
	error = read_poll_timeout(card_read, state, state == U32_MAX || !(state & RING_STATE_BUSY), POLL_US,
				  5 * USEC_PER_SEC, false, g, RING_STATE(q->index));
	if (error)
		dev_err(g->dev, "queue %u does not stop\n", q->index);
	return error;
}

void queue_free(struct queue *q)
{
	dma_free_coherent(q->g->dev, q->wish.count * sizeof(*q->ring), q->ring, q->ring_dma);
	q->ring = NULL;
	q->open = false;
}

void queue_close(struct queue *q)
{
	/* One that does not stop is kept off the memory. */
	if (queue_stop(q))
		pci_clear_master(q->g->pdev);
	queue_free(q);
}

void close_all(struct gallery *g)
{
	unsigned int i;

	for (i = 0; i < RING_QUEUES; i++)
		if (g->queues[i].open)
			queue_close(&g->queues[i]);
}

static struct descriptor *at(const struct queue *q, unsigned int number)
{
	return &q->ring[number % q->wish.count];
}

/* What bit 31 of a descriptor is when it is the card's. */
static u32 handed_over(const struct queue *q, unsigned int number)
{
	switch (q->wish.mode) {
	case RING_MODE_OWN:
		return VALID;
	case RING_MODE_PHASE:
		return number / q->wish.count % 2 ? 0 : VALID;
	default:
		return 0;
	}
}

void put(struct queue *q, u32 control, dma_addr_t address, u32 length, dma_addr_t second)
{
	struct descriptor *d = at(q, q->armed);

	d->address = cpu_to_le64(address);
	d->length = cpu_to_le32(length);
	d->second = cpu_to_le64(second);
	/* The card sees all of it before it sees that it is its own. */
	dma_wmb();
	WRITE_ONCE(d->control, cpu_to_le32(control | handed_over(q, q->armed)));
	q->armed++;
}

void ring_doorbell(struct queue *q)
{
	card_write(q->g, RING_DOORBELL(q->index), q->armed % q->wish.count);
}

void arm(struct queue *q, u32 control, dma_addr_t address, u32 length, dma_addr_t second)
{
	put(q, control, address, length, second);
	if (!q->wish.polls)
		ring_doorbell(q);
}

bool is_over(struct queue *q)
{
	return q->seen != q->armed && le32_to_cpu(READ_ONCE(at(q, q->seen)->control)) & DONE;
}

bool take(struct queue *q, struct over *over)
{
	struct descriptor *d = at(q, q->seen);
	u32 control;

	if (!is_over(q))
		return false;
	control = le32_to_cpu(READ_ONCE(d->control));
	/* And the rest of it, and what it is about, is read after that. */
	dma_rmb();
	*over = (struct over){
		.number = le32_to_cpu(d->number),
		.check = le32_to_cpu(d->check),
		.moved = le32_to_cpu(d->length),
		.error = control & ERROR,
	};
	q->seen++;
	return true;
}

void tell_taken(struct queue *q)
{
	card_write(q->g, RING_TAKEN(q->index), q->seen % q->wish.count);
}

int reap(struct queue *q, struct over *over)
{
	unsigned long deadline = jiffies + DEADLINE;

	if (!q->wish.quiet) {
		if (!wait_event_timeout(q->g->wait, take(q, over), DEADLINE))
			return -ETIMEDOUT;
	} else {
		while (!take(q, over)) {
			if (time_after(jiffies, deadline))
				return -ETIMEDOUT;
			usleep_range(50, 200);
		}
	}
	tell_taken(q);
	return over->error ? -EIO : 0;
}
