// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Test aids. Two CPUs each tell an event and write a register of the same card, numbered alike, over and over: the
 * card's journal shows whether their order was kept. Likewise one CPU tells, and another, which has seen that, writes.
 * Two CPUs each tell a lend and write its number to memory, which the card, a poller, polls. And what an event costs.
 */
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "witness.h"

static struct {
	u64 pairs_ns;
	u64 handoffs_ns;
	u64 told_ns;
	u64 untold_ns;
	u64 posted_ns;
	u64 arrived_ns;
	u64 polled_ns;
	u64 drained_ns;
	u32 cpus;
} results;

/* What the threads share. */
struct run {
	struct witness_card *card;
	void __iomem *reg;
	unsigned int count;
	/* Handoffs: how far it is; odd: the second one's turn. */
	unsigned int turn;
	/* In memory that the card polls: the last number of each thread. */
	u64 *ring;
};

struct worker {
	struct run *run;
	struct completion done;
	unsigned int index;
};

static void post_numbered(struct run *run, u8 op, u64 thread, u64 number)
{
	const struct witness_event event = {
		.op = op,
		.address = thread << 32 | number,
		.phys = WITNESS_NOT_TOLD,
		.length = 1,
	};

	witness_post(run->card, &event);
}

static int pair(void *data)
{
	struct worker *worker = data;
	struct run *run = worker->run;
	unsigned int i;

	for (i = 0; i < run->count; i++) {
		post_numbered(run, LW_OP_DONE, worker->index, i);
		writel(worker->index << 31 | i, run->reg);
		cond_resched();
	}
	complete(&worker->done);
	return 0;
}

static int hand_off(void *data)
{
	struct worker *worker = data;
	struct run *run = worker->run;
	unsigned int i;

	for (i = 0; i < run->count; i++) {
		while (smp_load_acquire(&run->turn) != 2 * i + worker->index) {
			cpu_relax();
			cond_resched();
		}
		if (!worker->index)
			post_numbered(run, LW_OP_DONE, 2, i);
		else
			writel(i, run->reg);
		smp_store_release(&run->turn, 2 * i + worker->index + 1);
	}
	complete(&worker->done);
	return 0;
}

static int lend(void *data)
{
	struct worker *worker = data;
	struct run *run = worker->run;
	unsigned int i;

	for (i = 1; i <= run->count; i++) {
		post_numbered(run, LW_OP_MAP, worker->index, i);
		dma_wmb();
		WRITE_ONCE(run->ring[worker->index], i);
		cond_resched();
	}
	complete(&worker->done);
	return 0;
}

/* Runs `work` on two CPUs, if there are two. Returns nanoseconds, or an errno. */
static s64 on_two(struct run *run, int (*work)(void *data))
{
	struct worker workers[2] = { { .run = run }, { .run = run, .index = 1 } };
	struct task_struct *tasks[2];
	unsigned int i, cpu = cpumask_first(cpu_online_mask);
	u64 began;

	for (i = 0; i < 2; i++) {
		init_completion(&workers[i].done);
		tasks[i] = kthread_create(work, &workers[i], "landfall_order");
		if (IS_ERR(tasks[i])) {
			if (i)
				kthread_stop(tasks[0]);
			return PTR_ERR(tasks[i]);
		}
		kthread_bind(tasks[i], cpu);
		results.cpus = i + 1;
		if (cpumask_next(cpu, cpu_online_mask) < nr_cpu_ids)
			cpu = cpumask_next(cpu, cpu_online_mask);
	}
	began = ktime_get_ns();
	for (i = 0; i < 2; i++)
		wake_up_process(tasks[i]);
	/* For as long as the work is, which grows with what was asked for and with the host's load: no hung task. */
	for (i = 0; i < 2; i++)
		wait_for_completion_state(&workers[i].done, TASK_IDLE);
	began = ktime_get_ns() - began;
	/* What is posted is on its way; a read's answer comes behind all of it. */
	readl(run->reg);
	return began;
}

/* Nanoseconds for a page mapped and unmapped so often. */
static noinline u64 time_maps(struct device *dev, struct page *page, unsigned int count)
{
	u64 began = ktime_get_ns();
	unsigned int i;

	for (i = 0; i < count; i++) {
		dma_addr_t address = dma_map_page(dev, page, 0, PAGE_SIZE, DMA_FROM_DEVICE);

		if (!dma_mapping_error(dev, address))
			dma_unmap_page(dev, address, PAGE_SIZE, DMA_FROM_DEVICE);
		cond_resched();
	}
	return ktime_get_ns() - began;
}

static int cost(struct run *run, unsigned int count)
{
	struct page *page = alloc_page(GFP_KERNEL);
	u64 began;
	unsigned int i;

	if (!page)
		return -ENOMEM;
	/* What was posted before is not to be waited for in the measurement. */
	readl(run->reg);
	results.told_ns = time_maps(run->card->dev, page, count) / count / 2;
	readl(run->reg);
	WRITE_ONCE(run->card->mute, true);
	results.untold_ns = time_maps(run->card->dev, page, count) / count / 2;
	WRITE_ONCE(run->card->mute, false);
	began = ktime_get_ns();
	for (i = 0; i < count; i++)
		post_numbered(run, LW_OP_DONE, 3, i);
	results.posted_ns = (ktime_get_ns() - began) / count;
	readl(run->reg);
	results.drained_ns = (ktime_get_ns() - began) / count;
	began = ktime_get_ns();
	for (i = 0; i < count; i++)
		post_numbered(run, LW_OP_QUEUE, 3, i);
	results.arrived_ns = (ktime_get_ns() - began) / count;
	__free_page(page);
	return 0;
}

/* Registers of the poller, device-model/src/devices/poller.rs. */
#define POLLER_RING 8
#define POLLER_POLL 12

static s64 poll(struct run *run, void __iomem *bar)
{
	struct pci_dev *pdev = to_pci_dev(run->card->dev);
	dma_addr_t address;
	s64 ns;

	run->ring = dma_alloc_coherent(&pdev->dev, PAGE_SIZE, &address, GFP_KERNEL);
	if (!run->ring)
		return -ENOMEM;
	pci_set_master(pdev);
	writel(lower_32_bits(address), bar + POLLER_RING);
	writel(1, bar + POLLER_POLL);
	ns = on_two(run, lend);
	writel(0, bar + POLLER_POLL);
	readl(bar + POLLER_POLL);
	pci_clear_master(pdev);
	dma_free_coherent(&pdev->dev, PAGE_SIZE, run->ring, address);
	return ns;
}

static void first(struct witness_card *card, void *into)
{
	struct witness_card **found = into;

	if (!*found)
		*found = card;
}

/* Nothing binds or goes meanwhile: it is a test that loads the module so. */
int witness_order_run(unsigned int pairs, unsigned int handoffs, unsigned int maps, unsigned int polled,
		      unsigned int offset)
{
	struct run run = {};
	void __iomem *bar;
	u16 command;
	s64 ns = 0;

	if (!pairs && !handoffs && !maps && !polled)
		return 0;
	witness_each(first, &run.card);
	if (!run.card)
		return -ENODEV;
	bar = pci_iomap(to_pci_dev(run.card->dev), 0, 0);
	if (!bar)
		return -ENOMEM;
	run.reg = bar + offset;
	/* No driver has the card. */
	pci_read_config_word(to_pci_dev(run.card->dev), PCI_COMMAND, &command);
	pci_write_config_word(to_pci_dev(run.card->dev), PCI_COMMAND, command | PCI_COMMAND_MEMORY);
	if (pairs) {
		run.count = pairs / 2;
		ns = on_two(&run, pair);
		results.pairs_ns = ns;
	}
	if (ns >= 0 && handoffs) {
		run.count = handoffs;
		ns = on_two(&run, hand_off);
		results.handoffs_ns = ns;
	}
	if (ns >= 0 && polled) {
		run.count = polled / 2;
		ns = poll(&run, bar);
		results.polled_ns = ns;
	}
	if (ns >= 0 && maps)
		ns = cost(&run, maps);
	iounmap(bar);
	return min(ns, 0LL);
}

int witness_order(struct seq_file *into)
{
	seq_printf(into, "cpus=%u\npairs_ns=%llu\nhandoffs_ns=%llu\ntold_ns=%llu\nuntold_ns=%llu\nposted_ns=%llu\ndrained_ns=%llu\narrived_ns=%llu\npolled_ns=%llu\n",
		   results.cpus, results.pairs_ns, results.handoffs_ns, results.told_ns, results.untold_ns,
		   results.posted_ns, results.drained_ns, results.arrived_ns, results.polled_ns);
	return 0;
}
