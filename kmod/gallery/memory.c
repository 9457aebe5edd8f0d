// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What is lent, and whether the right bytes came. */
#include <linux/bitfield.h>
#include <linux/slab.h>

#include "gallery.h"

unsigned int gallery_jobs;
unsigned long gallery_bytes;

void fill(void *virt, size_t bytes, u32 seed)
{
	u8 *at = virt;
	size_t i;

	for (i = 0; i < bytes; i++)
		at[i] = (seed + i * 7 + (i >> 8)) & 0xff;
}

/* The bytes of a job are those of 64-bit words; see the card's data sheet. */
int received(struct queue *q, const struct over *over, const void *virt, size_t from, size_t bytes)
{
	u64 seed = (u64)(0xc0 | q->index) << 56 | (u64)(over->number & 0xffffff) << 32;
	const u8 *at = virt;
	size_t i;

	for (i = 0; i < bytes; i++) {
		u64 word = seed | (from + i) / 8;

		if (at[i] != (word >> 8 * ((from + i) % 8) & 0xff)) {
			dev_err(q->g->dev, "job %u: byte %zu is %#x\n", over->number, from + i, at[i]);
			return -EIO;
		}
	}
	gallery_bytes += bytes;
	gallery_jobs++;
	return 0;
}

u32 checked(u32 check, const void *virt, size_t bytes)
{
	const u8 *at = virt;

	while (bytes--)
		check = (check ^ *at++) * 0x01000193;
	return check;
}

int sent(const struct over *over, u32 check, size_t bytes)
{
	if (over->check != check || over->moved != bytes)
		return -EIO;
	gallery_bytes += bytes;
	gallery_jobs++;
	return 0;
}

int buffer_map(struct gallery *g, struct buffer *b)
{
	b->dma = dma_map_single(g->dev, b->virt, b->bytes, b->direction);
	b->lent = !dma_mapping_error(g->dev, b->dma);
	return b->lent ? 0 : -ENOMEM;
}

int buffer_get(struct gallery *g, struct buffer *b, size_t bytes, enum dma_data_direction direction)
{
	int error;

	b->bytes = bytes;
	b->direction = direction;
	b->virt = kmalloc(bytes, GFP_KERNEL);
	if (!b->virt)
		return -ENOMEM;
	if (direction == DMA_FROM_DEVICE)
		memset(b->virt, 0x5a, bytes);
	else
		fill(b->virt, bytes, bytes);
	error = buffer_map(g, b);
	if (error)
		buffer_put(g, b);
	return error;
}

void buffer_unmap(struct gallery *g, struct buffer *b)
{
	dma_unmap_single(g->dev, b->dma, b->bytes, b->direction);
	b->lent = false;
}

void buffer_put(struct gallery *g, struct buffer *b)
{
	kfree(b->virt);
	b->virt = NULL;
}

int one_receive(struct queue *q, size_t bytes)
{
	return many_receives(q, 1, 1, bytes);
}

int one_transmit(struct queue *q, size_t bytes)
{
	struct buffer b;
	struct over over;
	int error = buffer_get(q->g, &b, bytes, DMA_TO_DEVICE);

	if (error)
		return error;
	arm(q, TRANSMIT, b.dma, bytes, 0);
	error = reap(q, &over);
	if (error)
		queue_stop(q);
	buffer_unmap(q->g, &b);
	error = error ?: sent(&over, checked(UNCHECKED, b.virt, bytes), bytes);
	buffer_put(q->g, &b);
	return error;
}

int many_receives(struct queue *q, unsigned int count, unsigned int depth, size_t bytes)
{
	struct buffer *buffers = kcalloc(depth, sizeof(*buffers), GFP_KERNEL);
	unsigned int begun = 0, done = 0;
	int error = buffers ? 0 : -ENOMEM;

	while (!error && done < count) {
		struct buffer *b = &buffers[done % depth];
		struct over over;

		while (!error && begun < count && begun - done < depth) {
			struct buffer *next = &buffers[begun % depth];

			error = buffer_get(q->g, next, bytes, DMA_FROM_DEVICE);
			if (!error) {
				arm(q, RECEIVE, next->dma, bytes, 0);
				begun++;
			}
		}
		error = error ?: reap(q, &over);
		if (error)
			break;
		buffer_unmap(q->g, b);
		error = received(q, &over, b->virt, 0, bytes);
		buffer_put(q->g, b);
		done++;
	}
	if (error && begun != done)
		queue_stop(q);
	for (; done < begun; done++) {
		buffer_unmap(q->g, &buffers[done % depth]);
		buffer_put(q->g, &buffers[done % depth]);
	}
	kfree(buffers);
	return error;
}
