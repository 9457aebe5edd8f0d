// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Patterns: where memory that is lent comes from. */
#include <linux/bitfield.h>
#include <linux/dmapool.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/slab.h>

#include "gallery.h"

#define BYTES 1000

/* Blocks of a pool, given back and got again, several at once. */
static int pool(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct dma_pool *pool = dma_pool_create("gallery", g->dev, 192, 64, 0);
	unsigned int i, round;
	int error = pool ? queue_open(g, 0, &(struct wish){ .polls = true }) : -ENOMEM;

	for (round = 0; round < 8 && !error; round++) {
		void *blocks[5];
		dma_addr_t dma[5];
		unsigned int count;

		for (count = 0; count < ARRAY_SIZE(blocks); count++) {
			blocks[count] = dma_pool_alloc(pool, GFP_KERNEL, &dma[count]);
			if (!blocks[count])
				break;
			put(q, RECEIVE, dma[count], 192, 0);
		}
		ring_doorbell(q);
		error = count ? 0 : -ENOMEM;
		for (i = 0; i < count; i++) {
			struct over over;

			error = error ?: reap(q, &over);
			if (error)
				queue_stop(q);
			error = error ?: received(q, &over, blocks[i], 0, 192);
			dma_pool_free(pool, blocks[i], dma[i]);
		}
	}
	close_all(g);
	dma_pool_destroy(pool);
	return error;
}

/* Lists in blocks of a pool, and a status block in coherent memory. */
static int pool_lists(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct dma_pool *pool = dma_pool_create("gallery", g->dev, 2 * sizeof(struct entry), 16, 4096);
	dma_addr_t block_dma;
	struct block *block = dma_alloc_coherent(g->dev, sizeof(*block), &block_dma, GFP_KERNEL);
	unsigned int round;
	int error = pool && block ? queue_open(g, 0, &(struct wish){ .block = block_dma }) : -ENOMEM;

	for (round = 0; round < 20 && !error; round++) {
		struct buffer a, b;
		struct over over;
		dma_addr_t list_dma;
		struct entry *list = dma_pool_zalloc(pool, GFP_KERNEL, &list_dma);

		if (!list)
			error = -ENOMEM;
		error = error ?: buffer_get(g, &a, 100, DMA_FROM_DEVICE) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
		if (error)
			break;
		list[0] = (struct entry){ cpu_to_le64(a.dma), cpu_to_le32(100) };
		list[1] = (struct entry){ cpu_to_le64(b.dma), cpu_to_le32(BYTES) };
		arm(q, RECEIVE | LIST, list_dma, 2, 0);
		error = reap(q, &over);
		if (!error && le32_to_cpu(READ_ONCE(block->count)) != q->seen)
			error = -EPROTO;
		if (error)
			queue_stop(q);
		dma_pool_free(pool, list, list_dma);
		buffer_unmap(g, &a);
		buffer_unmap(g, &b);
		error = error ?: received(q, &over, a.virt, 0, 100) ?: received(q, &over, b.virt, 100, BYTES);
		buffer_put(g, &a);
		buffer_put(g, &b);
	}
	close_all(g);
	if (block)
		dma_free_coherent(g->dev, sizeof(*block), block, block_dma);
	dma_pool_destroy(pool);
	return error;
}

/* Everything is the device's own, and goes with it: what was not given back when remove is over is then. */
struct managed {
	void *coherent;
	dma_addr_t dma;
	struct dma_pool *pool;
};

static int managed(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct managed *m = devm_kzalloc(g->dev, sizeof(*m), GFP_KERNEL);
	struct over over;
	dma_addr_t dma;
	void *block;
	int error;

	if (!m)
		return -ENOMEM;
	m->coherent = dmam_alloc_coherent(g->dev, BYTES, &m->dma, GFP_KERNEL);
	m->pool = dmam_pool_create("gallery", g->dev, 64, 64, 0);
	if (!m->coherent || !m->pool)
		return -ENOMEM;
	error = queue_open(g, 0, &(struct wish){});
	if (error)
		return error;
	block = dma_pool_alloc(m->pool, GFP_KERNEL, &dma);
	if (!block)
		return -ENOMEM;
	arm(q, RECEIVE, m->dma, BYTES, 0);
	error = reap(q, &over) ?: received(q, &over, m->coherent, 0, BYTES);
	if (!error) {
		arm(q, RECEIVE, dma, 64, 0);
		error = reap(q, &over) ?: received(q, &over, block, 0, 64);
	}
	dma_pool_free(m->pool, block, dma);
	return error;
}

/* A job of which one side is coherent memory and the other a streaming mapping. */
static int coherent_and_streaming(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	dma_addr_t dma;
	u8 *virt = dma_alloc_coherent(g->dev, BYTES, &dma, GFP_KERNEL);
	unsigned int round;
	int error = virt ? queue_open(g, 0, &(struct wish){}) : -ENOMEM;

	for (round = 0; round < 6 && !error; round++) {
		struct buffer b;
		struct over over;

		error = buffer_get(g, &b, BYTES, round % 2 ? DMA_FROM_DEVICE : DMA_TO_DEVICE);
		if (error)
			break;
		fill(virt, BYTES, round);
		if (round % 2)
			arm(q, COPY, dma, BYTES, b.dma);
		else
			arm(q, COPY, b.dma, BYTES, dma);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		buffer_unmap(g, &b);
		if (!error && memcmp(virt, b.virt, BYTES))
			error = -EIO;
		error = error ?: sent(&over, checked(UNCHECKED, virt, BYTES), BYTES);
		buffer_put(g, &b);
	}
	close_all(g);
	if (virt)
		dma_free_coherent(g->dev, BYTES, virt, dma);
	return error;
}

/* What was never got is given back, as error paths do. */
static int free_null(struct gallery *g)
{
	dma_free_coherent(g->dev, BYTES, NULL, 0);
	dma_free_coherent(g->dev, SZ_1M, NULL, DMA_MAPPING_ERROR);
	dma_pool_destroy(NULL);
	return queue_open(g, 0, &(struct wish){}) ?: many_receives(&g->queues[0], 4, 2, BYTES);
}

/* Padding comes from the page that is always zero: the card only reads it. */
static int zero_page(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	void *zero = page_address(ZERO_PAGE(0));
	dma_addr_t dma = dma_map_page(g->dev, ZERO_PAGE(0), 0, 512, DMA_TO_DEVICE);
	unsigned int round;
	int error = dma_mapping_error(g->dev, dma) ?: queue_open(g, 0, &(struct wish){});

	for (round = 0; round < 4 && !error; round++) {
		struct over over;

		arm(q, TRANSMIT, dma, 512, 0);
		error = reap(q, &over) ?: sent(&over, checked(UNCHECKED, zero, 512), 512);
	}
	close_all(g);
	if (!dma_mapping_error(g->dev, dma))
		dma_unmap_page(g->dev, dma, 512, DMA_TO_DEVICE);
	return error;
}

/* Memory that need not be in one piece for the CPU nor, without an IOMMU, is anything else. */
static int noncontiguous(struct gallery *g)
{
	const size_t bytes = 3 * PAGE_SIZE;
	struct queue *q = &g->queues[0];
	struct sg_table *table = dma_alloc_noncontiguous(g->dev, bytes, DMA_FROM_DEVICE, GFP_KERNEL, 0);
	unsigned int round;
	void *virt;
	int error = table ? queue_open(g, 0, &(struct wish){}) : -ENOMEM;

	if (!table)
		return error;
	virt = dma_vmap_noncontiguous(g->dev, bytes, table);
	if (!virt)
		error = -ENOMEM;
	for (round = 0; round < 4 && !error; round++) {
		struct over over;

		/* In one piece for the device it always is. */
		arm(q, RECEIVE, sg_dma_address(table->sgl), bytes, 0);
		error = reap(q, &over);
		if (error)
			break;
		dma_sync_sgtable_for_cpu(g->dev, table, DMA_FROM_DEVICE);
		invalidate_kernel_vmap_range(virt, bytes);
		error = received(q, &over, virt, 0, bytes);
		dma_sync_sgtable_for_device(g->dev, table, DMA_FROM_DEVICE);
	}
	close_all(g);
	if (virt)
		dma_vunmap_noncontiguous(g->dev, virt);
	dma_free_noncontiguous(g->dev, bytes, table, DMA_FROM_DEVICE);
	return error;
}

/* Pages that are allocated for the device, and are synced as mappings are. */
static int pages(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	dma_addr_t dma;
	struct page *page = dma_alloc_pages(g->dev, 2 * PAGE_SIZE, &dma, DMA_FROM_DEVICE, GFP_KERNEL);
	unsigned int round;
	int error = page ? queue_open(g, 0, &(struct wish){ .polls = true }) : -ENOMEM;

	for (round = 0; round < 4 && !error; round++) {
		struct over over;

		arm(q, RECEIVE, dma, 2 * PAGE_SIZE, 0);
		error = reap(q, &over);
		if (error)
			break;
		dma_sync_single_for_cpu(g->dev, dma, 2 * PAGE_SIZE, DMA_FROM_DEVICE);
		error = received(q, &over, page_address(page), 0, 2 * PAGE_SIZE);
		dma_sync_single_for_device(g->dev, dma, 2 * PAGE_SIZE, DMA_FROM_DEVICE);
	}
	close_all(g);
	if (page)
		dma_free_pages(g->dev, 2 * PAGE_SIZE, page, dma, DMA_FROM_DEVICE);
	return error;
}

/* A driver that says that the card reaches 4 GiB only: where there is more memory, some of it bounces. */
static int narrow(struct gallery *g)
{
	return dma_set_mask_and_coherent(g->dev, DMA_BIT_MASK(32)) ?: queue_open(g, 0, &(struct wish){}) ?:
	       many_receives(&g->queues[0], 20, 7, 3000) ?: one_transmit(&g->queues[0], 3000);
}

/* Part of a large coherent buffer is a ring, and parts of it are buffers. */
static int carved(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	dma_addr_t dma;
	u8 *virt = dma_alloc_coherent(g->dev, SZ_64K, &dma, GFP_KERNEL);
	unsigned int round;
	int error = virt ? 0 : -ENOMEM;

	if (error)
		return error;
	*q = (struct queue){
		.g = g,
		.wish = { .count = 16, .polls = true, .block = dma + 1024 },
		.ring = (void *)virt,
		.ring_dma = dma,
	};
	queue_run(q);
	for (round = 0; round < 20 && !error; round++) {
		const size_t offset = 4096 + round * 1024;
		struct over over;

		arm(q, RECEIVE, dma + offset, BYTES, 0);
		error = reap(q, &over) ?: received(q, &over, virt + offset, 0, BYTES);
	}
	if (queue_stop(q))
		pci_clear_master(g->pdev);
	dma_free_coherent(g->dev, SZ_64K, virt, dma);
	return error;
}

const struct pattern memory_patterns[] = {
	{ .name = "pool", .run = pool },
	{ .name = "pool-lists", .run = pool_lists },
	{ .name = "managed", .run = managed },
	{ .name = "coherent-and-streaming", .run = coherent_and_streaming },
	{ .name = "free-null", .run = free_null },
	{ .name = "zero-page", .run = zero_page },
	{ .name = "noncontiguous", .run = noncontiguous },
	{ .name = "pages", .run = pages },
	{ .name = "narrow", .run = narrow },
	{ .name = "carved", .run = carved },
	{}
};
