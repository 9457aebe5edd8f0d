// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Patterns: what a job is made of. */
#include <linux/bitfield.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "gallery.h"

/* The card reads. */
static int transmit(struct gallery *g)
{
	static const size_t sizes[] = { 1, 16, 54, 64, 1514, 4096, 9000 };
	unsigned int i;
	int error = queue_open(g, 0, &(struct wish){});

	for (i = 0; i < ARRAY_SIZE(sizes) && !error; i++)
		error = one_transmit(&g->queues[0], sizes[i]);
	return error;
}

/* One queue reads while another writes. */
static int both_ways(struct gallery *g)
{
	unsigned int i;
	int error = queue_open(g, 0, &(struct wish){ .polls = true }) ?: queue_open(g, 1, &(struct wish){});

	for (i = 0; i < 8 && !error; i++)
		error = one_transmit(&g->queues[0], 700) ?: many_receives(&g->queues[1], 3, 3, 900);
	return error;
}

#define PIECES 5

/* Buffers of odd sizes and a list of them, in memory of their own. */
struct gathered {
	struct buffer buffers[PIECES];
	unsigned int count;
	struct entry *list;
	dma_addr_t list_dma;
};

static void let_go(struct gallery *g, struct gathered *all)
{
	while (all->count--) {
		buffer_unmap(g, &all->buffers[all->count]);
		buffer_put(g, &all->buffers[all->count]);
	}
	dma_free_coherent(g->dev, PIECES * sizeof(*all->list), all->list, all->list_dma);
}

static int gather(struct gallery *g, struct gathered *all, enum dma_data_direction direction)
{
	static const size_t sizes[PIECES] = { 14, 40, 1, 4096, 777 };

	all->count = 0;
	all->list = dma_alloc_coherent(g->dev, PIECES * sizeof(*all->list), &all->list_dma, GFP_KERNEL);
	if (!all->list)
		return -ENOMEM;
	for (; all->count < PIECES; all->count++) {
		struct buffer *b = &all->buffers[all->count];
		int error = buffer_get(g, b, sizes[all->count], direction);

		if (error) {
			let_go(g, all);
			return error;
		}
		all->list[all->count] = (struct entry){
			.address = cpu_to_le64(b->dma),
			.length = cpu_to_le32(b->bytes),
		};
	}
	return 0;
}

/* The card reads a list of pieces. */
static int gather_list(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int i, round;
	int error = queue_open(g, 0, &(struct wish){});

	for (round = 0; round < 3 && !error; round++) {
		struct gathered all;
		struct over over;
		u32 check = UNCHECKED;
		size_t bytes = 0;

		error = gather(g, &all, DMA_TO_DEVICE);
		if (error)
			break;
		arm(q, TRANSMIT | LIST, all.list_dma, PIECES, 0);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		for (i = 0; i < PIECES; i++) {
			check = checked(check, all.buffers[i].virt, all.buffers[i].bytes);
			bytes += all.buffers[i].bytes;
		}
		let_go(g, &all);
		error = error ?: sent(&over, check, bytes);
	}
	return error;
}

/* The card writes into a list of pieces. */
static int scatter_list(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int i, round;
	int error = queue_open(g, 0, &(struct wish){ .polls = true });

	for (round = 0; round < 3 && !error; round++) {
		struct gathered all;
		struct over over;
		size_t from = 0;

		error = gather(g, &all, DMA_FROM_DEVICE);
		if (error)
			break;
		arm(q, RECEIVE | LIST, all.list_dma, PIECES, 0);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		for (i = 0; i < PIECES; i++) {
			struct buffer *b = &all.buffers[i];

			dma_sync_single_for_cpu(g->dev, b->dma, b->bytes, b->direction);
			error = error ?: received(q, &over, b->virt, from, b->bytes);
			from += b->bytes;
		}
		let_go(g, &all);
	}
	return error;
}

/* A job of several descriptors. It is given back when the last is over; one in four crosses the ring's end. */
static int chain(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int i, round;
	int error = queue_open(g, 0, &(struct wish){ .pace_us = 100 });

	for (round = 0; round < 8 && !error; round++) {
		struct buffer buffers[3];
		struct over over;
		size_t from = 0;

		for (i = 0; i < ARRAY_SIZE(buffers) && !error; i++)
			error = buffer_get(g, &buffers[i], 64 + 500 * i, DMA_FROM_DEVICE);
		if (error)
			return error;
		for (i = 0; i < ARRAY_SIZE(buffers); i++)
			put(q, RECEIVE | (i + 1 < ARRAY_SIZE(buffers) ? MORE : 0), buffers[i].dma, buffers[i].bytes, 0);
		ring_doorbell(q);
		for (i = 0; i < ARRAY_SIZE(buffers) && !error; i++)
			error = reap(q, &over);
		if (error)
			queue_stop(q);
		for (i = 0; i < ARRAY_SIZE(buffers); i++) {
			buffer_unmap(g, &buffers[i]);
			error = error ?: received(q, &over, buffers[i].virt, from, buffers[i].bytes);
			from += buffers[i].bytes;
			buffer_put(g, &buffers[i]);
		}
	}
	return error;
}

/* Pages in a table that is mapped as a whole, and given to the card as the segments that this makes. */
static int sg_table(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct sg_table table;
	struct scatterlist *sg;
	struct entry *list;
	dma_addr_t list_dma;
	struct page *pages[6] = {};
	struct over over;
	unsigned int i;
	size_t from = 0;
	int error = queue_open(g, 0, &(struct wish){}) ?:
		    sg_alloc_table(&table, ARRAY_SIZE(pages), GFP_KERNEL);

	if (error)
		return error;
	list = dma_alloc_coherent(g->dev, ARRAY_SIZE(pages) * sizeof(*list), &list_dma, GFP_KERNEL);
	if (!list)
		error = -ENOMEM;
	for_each_sgtable_sg(&table, sg, i) {
		pages[i] = alloc_page(GFP_KERNEL);
		if (!pages[i])
			error = -ENOMEM;
		else
			sg_set_page(sg, pages[i], PAGE_SIZE, 0);
	}
	error = error ?: dma_map_sgtable(g->dev, &table, DMA_FROM_DEVICE, 0);
	if (error)
		goto free;
	for_each_sgtable_dma_sg(&table, sg, i)
		list[i] = (struct entry){
			.address = cpu_to_le64(sg_dma_address(sg)),
			.length = cpu_to_le32(sg_dma_len(sg)),
		};
	arm(q, RECEIVE | LIST, list_dma, table.nents, 0);
	error = reap(q, &over);
	if (error)
		queue_stop(q);
	dma_sync_sgtable_for_cpu(g->dev, &table, DMA_FROM_DEVICE);
	for (i = 0; i < ARRAY_SIZE(pages) && !error; i++, from += PAGE_SIZE)
		error = received(q, &over, page_address(pages[i]), from, PAGE_SIZE);
	dma_sync_sgtable_for_device(g->dev, &table, DMA_FROM_DEVICE);
	dma_unmap_sgtable(g->dev, &table, DMA_FROM_DEVICE, 0);
free:
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		if (pages[i])
			__free_page(pages[i]);
	if (list)
		dma_free_coherent(g->dev, ARRAY_SIZE(pages) * sizeof(*list), list, list_dma);
	sg_free_table(&table);
	return error;
}

/* The card copies from one buffer to another. */
static int copy(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){ .polls = true });

	for (round = 0; round < 10 && !error; round++) {
		struct buffer from, to;
		struct over over;

		error = buffer_get(g, &from, 3000, DMA_TO_DEVICE);
		if (error)
			break;
		error = buffer_get(g, &to, 3000, DMA_FROM_DEVICE);
		if (!error) {
			arm(q, COPY, from.dma, 3000, to.dma);
			error = reap(q, &over);
			if (error)
				queue_stop(q);
			buffer_unmap(g, &to);
			if (!error && memcmp(from.virt, to.virt, 3000))
				error = -EIO;
			error = error ?: sent(&over, checked(UNCHECKED, to.virt, 3000), 3000);
			buffer_put(g, &to);
		}
		buffer_unmap(g, &from);
		buffer_put(g, &from);
	}
	return error;
}

/* Two jobs of which the second reads what the first is writing, as it may: from coherent memory, to coherent memory. */
static int copy_back(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct over first, second;
	dma_addr_t dma;
	u8 *virt = dma_alloc_coherent(g->dev, 8192, &dma, GFP_KERNEL);
	int error;

	if (!virt)
		return -ENOMEM;
	error = queue_open(g, 0, &(struct wish){});
	if (!error) {
		put(q, RECEIVE, dma, 4096, 0);
		put(q, COPY, dma, 4096, dma + 4096);
		ring_doorbell(q);
		error = reap(q, &first) ?: reap(q, &second);
		queue_close(q);
	}
	error = error ?: received(q, &first, virt, 0, 4096) ?: received(q, &first, virt + 4096, 0, 4096);
	dma_free_coherent(g->dev, 8192, virt, dma);
	return error;
}

/* A job that fails, and is known to have: its list has too many entries. Nothing is wrong with memory. */
static int failed_job(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct over over;
	int error = queue_open(g, 0, &(struct wish){});

	if (error)
		return error;
	put(q, RECEIVE | LIST, q->ring_dma, RING_MOST_ENTRIES + 1, 0);
	ring_doorbell(q);
	error = reap(q, &over);
	return error == -EIO && over.error ? many_receives(q, 4, 2, 100) : error ?: -EPROTO;
}

const struct pattern job_patterns[] = {
	{ .name = "transmit", .run = transmit },
	{ .name = "both-ways", .run = both_ways },
	{ .name = "gather", .run = gather_list },
	{ .name = "scatter", .run = scatter_list },
	{ .name = "chain", .run = chain },
	{ .name = "sg-table", .run = sg_table },
	{ .name = "copy", .run = copy },
	{ .name = "copy-back", .run = copy_back },
	{ .name = "failed-job", .run = failed_job },
	{}
};
