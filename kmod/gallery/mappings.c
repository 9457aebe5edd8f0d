// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Patterns: streaming mappings, where and when they are made and undone, and syncs. */
#include <linux/bitfield.h>
#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "gallery.h"

#define BYTES 1200

/* Two buffers are the halves of a page; each is mapped, used and given back by itself. */
static int halves(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned int round;
	int error = page ? queue_open(g, 0, &(struct wish){ .polls = true }) : -ENOMEM;

	for (round = 0; round < 10 && !error; round++) {
		const size_t half = PAGE_SIZE / 2;
		dma_addr_t first = dma_map_page(g->dev, page, 0, half, DMA_FROM_DEVICE), second;
		struct over over;

		if (dma_mapping_error(g->dev, first)) {
			error = -ENOMEM;
			break;
		}
		second = dma_map_page(g->dev, page, half, half, DMA_FROM_DEVICE);
		if (dma_mapping_error(g->dev, second)) {
			dma_unmap_page(g->dev, first, half, DMA_FROM_DEVICE);
			error = -ENOMEM;
			break;
		}
		arm(q, RECEIVE, first, half, 0);
		arm(q, RECEIVE, second, half, 0);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		dma_unmap_page(g->dev, first, half, DMA_FROM_DEVICE);
		error = error ?: received(q, &over, page_address(page), 0, half) ?: reap(q, &over);
		if (error)
			queue_stop(q);
		dma_unmap_page(g->dev, second, half, DMA_FROM_DEVICE);
		error = error ?: received(q, &over, page_address(page) + half, 0, half);
	}
	if (page)
		__free_page(page);
	return error;
}

/* One page is mapped twice, to be read: two jobs at once. */
static int twice(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer one;
	struct over over;
	dma_addr_t other;
	int error = queue_open(g, 0, &(struct wish){}) ?: buffer_get(g, &one, BYTES, DMA_TO_DEVICE);

	if (error)
		return error;
	other = dma_map_single(g->dev, one.virt, BYTES, DMA_TO_DEVICE);
	if (!dma_mapping_error(g->dev, other)) {
		put(q, TRANSMIT, one.dma, BYTES, 0);
		put(q, TRANSMIT, other, BYTES, 0);
		ring_doorbell(q);
		error = reap(q, &over) ?: sent(&over, checked(UNCHECKED, one.virt, BYTES), BYTES);
		error = error ?: reap(q, &over) ?: sent(&over, checked(UNCHECKED, one.virt, BYTES), BYTES);
		if (error)
			queue_stop(q);
		dma_unmap_single(g->dev, other, BYTES, DMA_TO_DEVICE);
	}
	buffer_unmap(g, &one);
	buffer_put(g, &one);
	return error;
}

/* Small pieces of kmalloc, which may share a cache line, at once. */
static int neighbours(struct gallery *g)
{
	return queue_open(g, 0, &(struct wish){}) ?: many_receives(&g->queues[0], 40, 7, 24);
}

/* The card reads and writes the same buffer. */
static int bidirectional(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	struct over over;
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){}) ?: buffer_get(g, &b, BYTES, DMA_BIDIRECTIONAL);

	if (error)
		return error;
	for (round = 0; round < 5 && !error; round++) {
		u32 check;

		/* The card may write there: whoever looks takes it back first. */
		dma_sync_single_for_cpu(g->dev, b.dma, BYTES, DMA_BIDIRECTIONAL);
		check = checked(UNCHECKED, b.virt, BYTES);
		dma_sync_single_for_device(g->dev, b.dma, BYTES, DMA_BIDIRECTIONAL);
		arm(q, TRANSMIT, b.dma, BYTES, 0);
		error = reap(q, &over) ?: sent(&over, check, BYTES);
		if (error)
			break;
		arm(q, RECEIVE, b.dma, BYTES, 0);
		error = reap(q, &over);
		if (error)
			break;
		dma_sync_single_for_cpu(g->dev, b.dma, BYTES, DMA_BIDIRECTIONAL);
		error = received(q, &over, b.virt, 0, BYTES);
		fill(b.virt, BYTES, round);
		dma_sync_single_for_device(g->dev, b.dma, BYTES, DMA_BIDIRECTIONAL);
	}
	if (error)
		queue_stop(q);
	buffer_unmap(g, &b);
	buffer_put(g, &b);
	return error;
}

/* As page pools do: mapped without a sync, and only what the card wrote is synced, by hand. */
static int skip_sync(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned int round;
	dma_addr_t dma;
	int error = page ? queue_open(g, 0, &(struct wish){}) : -ENOMEM;

	if (error)
		goto free;
	dma = dma_map_page_attrs(g->dev, page, 0, PAGE_SIZE, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	error = dma_mapping_error(g->dev, dma);
	if (error)
		goto free;
	for (round = 0; round < 8 && !error; round++) {
		const size_t offset = 256, bytes = 100 + 200 * round;
		struct over over;

		dma_sync_single_range_for_device(g->dev, dma, offset, bytes, DMA_FROM_DEVICE);
		arm(q, RECEIVE, dma + offset, bytes, 0);
		error = reap(q, &over);
		if (error)
			break;
		dma_sync_single_range_for_cpu(g->dev, dma, offset, over.moved, DMA_FROM_DEVICE);
		error = received(q, &over, page_address(page) + offset, 0, bytes);
	}
	if (error)
		queue_stop(q);
	dma_unmap_page_attrs(g->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
free:
	if (page)
		__free_page(page);
	return error;
}

/* Where the kernel says that nothing has to be undone, nothing is. */
static int need_unmap(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer buffers[6];
	unsigned int i, round;
	int error = queue_open(g, 0, &(struct wish){});

	for (round = 0; round < 3 && !error; round++) {
		for (i = 0; i < ARRAY_SIZE(buffers) && !error; i++)
			error = buffer_get(g, &buffers[i], BYTES, DMA_TO_DEVICE);
		if (error)
			return error;
		for (i = 0; i < ARRAY_SIZE(buffers); i++)
			put(q, TRANSMIT, buffers[i].dma, BYTES, 0);
		ring_doorbell(q);
		for (i = 0; i < ARRAY_SIZE(buffers); i++) {
			struct over over;

			error = error ?: reap(q, &over) ?:
				sent(&over, checked(UNCHECKED, buffers[i].virt, BYTES), BYTES);
		}
		if (error)
			queue_stop(q);
		for (i = 0; i < ARRAY_SIZE(buffers); i++) {
			if (dma_need_unmap(g->dev))
				buffer_unmap(g, &buffers[i]);
			buffer_put(g, &buffers[i]);
		}
	}
	return error;
}

/* Receives into a buffer that stays mapped, and does what `look` does with what came. */
static int kept(struct gallery *g, const struct wish *wish, int (*look)(struct queue *q, struct buffer *b,
									const struct over *over))
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	unsigned int round;
	int error = queue_open(g, 0, wish) ?: buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);

	if (error)
		return error;
	for (round = 0; round < 8 && !error; round++) {
		struct over over;

		arm(q, RECEIVE, b.dma, BYTES, 0);
		error = reap(q, &over) ?: look(q, &b, &over);
	}
	if (error)
		queue_stop(q);
	buffer_unmap(g, &b);
	buffer_put(g, &b);
	return error;
}

/* First the header, then what it says that follows. */
static int look_in_parts(struct queue *q, struct buffer *b, const struct over *over)
{
	struct device *dev = q->g->dev;
	int error;

	dma_sync_single_range_for_cpu(dev, b->dma, 0, 64, b->direction);
	error = received(q, over, b->virt, 0, 64);
	dma_sync_single_range_for_cpu(dev, b->dma, 64, BYTES - 64, b->direction);
	error = error ?: received(q, over, b->virt + 64, 64, BYTES - 64);
	dma_sync_single_for_device(dev, b->dma, BYTES, b->direction);
	return error;
}

static int partial_syncs(struct gallery *g)
{
	return kept(g, &(struct wish){}, look_in_parts);
}

/* Nobody needs to give back to the card what only the card writes; see the kernel's dma-api-howto.rst. */
static int look_only(struct queue *q, struct buffer *b, const struct over *over)
{
	dma_sync_single_for_cpu(q->g->dev, b->dma, BYTES, b->direction);
	return received(q, over, b->virt, 0, BYTES);
}

static int requeue(struct gallery *g)
{
	return kept(g, &(struct wish){ .polls = true }, look_only);
}

/* A frame that nobody wants is not even looked at; every second one is. */
static int look_seldom(struct queue *q, struct buffer *b, const struct over *over)
{
	gallery_jobs++;
	return over->number % 2 ? look_only(q, b, over) : 0;
}

static int unread(struct gallery *g)
{
	return kept(g, &(struct wish){}, look_seldom);
}

/* The CPU writes into what the card reads, between the syncs. */
static int rewrite(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){ .polls = true }) ?: buffer_get(g, &b, BYTES, DMA_TO_DEVICE);

	if (error)
		return error;
	for (round = 0; round < 8 && !error; round++) {
		struct over over;

		dma_sync_single_for_cpu(g->dev, b.dma, BYTES, DMA_TO_DEVICE);
		fill(b.virt, BYTES, round);
		dma_sync_single_for_device(g->dev, b.dma, BYTES, DMA_TO_DEVICE);
		arm(q, TRANSMIT, b.dma, BYTES, 0);
		error = reap(q, &over) ?: sent(&over, checked(UNCHECKED, b.virt, BYTES), BYTES);
	}
	if (error)
		queue_stop(q);
	buffer_unmap(g, &b);
	buffer_put(g, &b);
	return error;
}

struct elsewhere {
	struct gallery *g;
	struct buffer *b;
};

static long unmap_there(void *data)
{
	struct elsewhere *there = data;

	buffer_unmap(there->g, there->b);
	return 0;
}

/* What one CPU mapped another one unmaps. */
static int other_cpu(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	unsigned int round, cpu = cpumask_first(cpu_online_mask);
	int error = queue_open(g, 0, &(struct wish){ .polls = true });

	for (round = 0; round < 12 && !error; round++) {
		struct buffer b;
		struct elsewhere there = { .g = g, .b = &b };
		struct over over;

		error = buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
		if (error)
			break;
		arm(q, RECEIVE, b.dma, BYTES, 0);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		work_on_cpu(cpu, unmap_there, &there);
		cpu = next_cpu(cpu);
		error = error ?: received(q, &over, b.virt, 0, BYTES);
		buffer_put(g, &b);
	}
	return error;
}

#define PAGES 4

/* A timer's interrupts, which map, and unmap what the last one mapped, while a task does the same. */
struct ticking {
	struct hrtimer timer;
	struct gallery *g;
	struct page *pages[PAGES];
	struct scatterlist list[PAGES];
	bool lists;
	bool lent;
	dma_addr_t dma;
	unsigned int ticks;
};

static void tick(struct ticking *t)
{
	struct device *dev = t->g->dev;

	if (t->lists) {
		if (t->lent)
			dma_unmap_sg(dev, t->list, PAGES, DMA_TO_DEVICE);
		t->lent = dma_map_sg(dev, t->list, PAGES, DMA_TO_DEVICE);
	} else {
		if (t->lent)
			dma_unmap_page(dev, t->dma, PAGE_SIZE, DMA_TO_DEVICE);
		t->dma = dma_map_page(dev, t->pages[0], 0, PAGE_SIZE, DMA_TO_DEVICE);
		t->lent = !dma_mapping_error(dev, t->dma);
	}
	t->ticks++;
}

static enum hrtimer_restart ticks(struct hrtimer *timer)
{
	tick(container_of(timer, struct ticking, timer));
	hrtimer_forward_now(timer, us_to_ktime(300));
	return HRTIMER_RESTART;
}

static void stop_ticking(struct ticking *t)
{
	unsigned int i;

	hrtimer_cancel(&t->timer);
	if (t->lent && t->lists)
		dma_unmap_sg(t->g->dev, t->list, PAGES, DMA_TO_DEVICE);
	else if (t->lent)
		dma_unmap_page(t->g->dev, t->dma, PAGE_SIZE, DMA_TO_DEVICE);
	for (i = 0; i < PAGES; i++)
		if (t->pages[i])
			__free_page(t->pages[i]);
	kfree(t);
}

static struct ticking *start_ticking(struct gallery *g, bool lists)
{
	struct ticking *t = kzalloc(sizeof(*t), GFP_KERNEL);
	unsigned int i;
	bool all = true;

	if (!t)
		return NULL;
	t->g = g;
	t->lists = lists;
	hrtimer_setup(&t->timer, ticks, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	sg_init_table(t->list, PAGES);
	for (i = 0; i < PAGES; i++) {
		t->pages[i] = alloc_page(GFP_KERNEL);
		all &= !!t->pages[i];
		if (t->pages[i])
			sg_set_page(&t->list[i], t->pages[i], PAGE_SIZE, 0);
	}
	if (!all) {
		stop_ticking(t);
		return NULL;
	}
	hrtimer_start(&t->timer, us_to_ktime(300), HRTIMER_MODE_REL_HARD);
	return t;
}

/* Single mappings in a timer's interrupt, and in a task. */
static int timer(struct gallery *g)
{
	struct ticking *t;
	int error = queue_open(g, 0, &(struct wish){ .polls = true });

	if (error)
		return error;
	t = start_ticking(g, false);
	if (!t)
		return -ENOMEM;
	while (!error && READ_ONCE(t->ticks) < 100)
		error = many_receives(&g->queues[0], 16, 5, BYTES);
	stop_ticking(t);
	return error;
}

/* A list of single pages, told to the card as what it was mapped to. */
static int send_list(struct queue *q, struct page **pages, struct entry *list, dma_addr_t list_dma)
{
	struct device *dev = q->g->dev;
	struct scatterlist sgl[PAGES], *sg;
	struct over over;
	u32 check = UNCHECKED;
	unsigned int i;
	int count, error;

	sg_init_table(sgl, PAGES);
	for (i = 0; i < PAGES; i++) {
		sg_set_page(&sgl[i], pages[i], PAGE_SIZE, 0);
		fill(page_address(pages[i]), PAGE_SIZE, i);
		check = checked(check, page_address(pages[i]), PAGE_SIZE);
	}
	count = dma_map_sg(dev, sgl, PAGES, DMA_TO_DEVICE);
	if (!count)
		return -ENOMEM;
	for_each_sg(sgl, sg, count, i)
		list[i] = (struct entry){
			.address = cpu_to_le64(sg_dma_address(sg)),
			.length = cpu_to_le32(sg_dma_len(sg)),
		};
	arm(q, TRANSMIT | LIST, list_dma, count, 0);
	error = reap(q, &over);
	if (error)
		queue_stop(q);
	dma_unmap_sg(dev, sgl, PAGES, DMA_TO_DEVICE);
	return error ?: sent(&over, check, PAGES * PAGE_SIZE);
}

static int lists_in(struct gallery *g, bool ticking)
{
	struct queue *q = &g->queues[0];
	struct page *pages[PAGES] = {};
	struct ticking *t = NULL;
	struct entry *list;
	dma_addr_t list_dma;
	unsigned int i, round;
	int error = queue_open(g, 0, &(struct wish){ .polls = true });

	if (error)
		return error;
	list = dma_alloc_coherent(g->dev, PAGES * sizeof(*list), &list_dma, GFP_KERNEL);
	if (!list)
		return -ENOMEM;
	for (i = 0; i < PAGES; i++) {
		pages[i] = alloc_page(GFP_KERNEL);
		if (!pages[i])
			error = -ENOMEM;
	}
	if (ticking && !error) {
		t = start_ticking(g, true);
		if (!t)
			error = -ENOMEM;
	}
	for (round = 0; !error && (round < 10 || (t && READ_ONCE(t->ticks) < 60)); round++)
		error = send_list(q, pages, list, list_dma);
	if (t)
		stop_ticking(t);
	for (i = 0; i < PAGES; i++)
		if (pages[i])
			__free_page(pages[i]);
	dma_free_coherent(g->dev, PAGES * sizeof(*list), list, list_dma);
	return error;
}

static int lists(struct gallery *g)
{
	return lists_in(g, false);
}

/* Lists in a timer's interrupt, and in a task. */
static int lists_in_irq(struct gallery *g)
{
	return lists_in(g, true);
}

/* What is over is unmapped in a timer's interrupt. */
struct later {
	struct hrtimer timer;
	struct gallery *g;
	struct buffer *b;
	struct completion done;
};

static enum hrtimer_restart unmap_now(struct hrtimer *timer)
{
	struct later *later = container_of(timer, struct later, timer);

	buffer_unmap(later->g, later->b);
	complete(&later->done);
	return HRTIMER_NORESTART;
}

static int unmap_in_timer(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	struct later later = { .g = g };
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){});

	hrtimer_setup_on_stack(&later.timer, unmap_now, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	for (round = 0; round < 12 && !error; round++) {
		struct buffer b;
		struct over over;

		error = buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
		if (error)
			break;
		arm(q, RECEIVE, b.dma, BYTES, 0);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		later.b = &b;
		init_completion(&later.done);
		hrtimer_start(&later.timer, us_to_ktime(50), HRTIMER_MODE_REL_HARD);
		wait_for_completion(&later.done);
		hrtimer_cancel(&later.timer);
		error = error ?: received(q, &over, b.virt, 0, BYTES);
		buffer_put(g, &b);
	}
	destroy_hrtimer_on_stack(&later.timer);
	return error;
}

/* A mapping that may fail, as one of this size does through bounce buffers: then it is done with less. */
static int mapping_error(struct gallery *g)
{
	struct queue *q = &g->queues[0];
	size_t bytes = SZ_512K;
	unsigned int round;
	int error = queue_open(g, 0, &(struct wish){});

	for (round = 0; round < 4 && !error; round++) {
		void *virt = kmalloc(bytes, GFP_KERNEL);
		dma_addr_t dma;
		struct over over;

		if (!virt)
			return -ENOMEM;
		dma = dma_map_single_attrs(g->dev, virt, bytes, DMA_FROM_DEVICE, DMA_ATTR_NO_WARN);
		if (dma_mapping_error(g->dev, dma)) {
			kfree(virt);
			bytes = SZ_16K;
			continue;
		}
		arm(q, RECEIVE, dma, SZ_16K, 0);
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		dma_unmap_single(g->dev, dma, bytes, DMA_FROM_DEVICE);
		error = error ?: received(q, &over, virt, 0, SZ_16K);
		kfree(virt);
	}
	return error;
}

const struct pattern mapping_patterns[] = {
	{ .name = "halves", .run = halves },
	{ .name = "twice", .run = twice },
	{ .name = "neighbours", .run = neighbours },
	{ .name = "bidirectional", .run = bidirectional },
	{ .name = "skip-sync", .run = skip_sync },
	{ .name = "need-unmap", .run = need_unmap },
	{ .name = "partial-syncs", .run = partial_syncs },
	{ .name = "requeue", .run = requeue },
	{ .name = "unread", .run = unread },
	{ .name = "rewrite", .run = rewrite },
	{ .name = "other-cpu", .run = other_cpu },
	{ .name = "timer", .run = timer },
	{ .name = "lists", .run = lists },
	{ .name = "lists-in-irq", .run = lists_in_irq },
	{ .name = "unmap-in-timer", .run = unmap_in_timer },
	{ .name = "mapping-error", .run = mapping_error },
	{}
};
