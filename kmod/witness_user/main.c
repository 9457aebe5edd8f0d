// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * landfall_witness_user: a driver that does little but lend, for tests of landfall_witness. Its card is the poller. What
 * it does, `work` says, `count` times; it does so in its probe.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/string.h>

#include "landfall_kernel.h"

#define POLLER_VENDOR 0x1b36
#define POLLER_DEVICE 0x4c48
#define POLLER_SCRATCH 4

static char *work = "";
module_param(work, charp, 0644);
MODULE_PARM_DESC(work, "timer, lists, power, raw-power, blocks, masks, iova, others, many-others, or nothing");

static uint count = 1;
module_param(count, uint, 0644);
MODULE_PARM_DESC(count, "How often");

static bool asleep;
module_param(asleep, bool, 0644);
MODULE_PARM_DESC(asleep, "Its remove puts the card to D3hot, and gives its memory back then");

static ulong ns;
module_param(ns, ulong, 0444);
MODULE_PARM_DESC(ns, "Result: nanoseconds for one");

static uint found;
module_param(found, uint, 0444);
MODULE_PARM_DESC(found, "Result: what was found, by bits; or how often the timer ran");

#define ENTRIES 8

struct lender {
	struct pci_dev *pdev;
	struct device *dev;
	void __iomem *bar;
	void *memory;
	dma_addr_t address;
	/* Pages of the process and of the timer. */
	struct page *pages[2 * ENTRIES];
	struct scatterlist lists[2][ENTRIES];
	struct hrtimer timer;
	bool listed;
	bool stop;
};

/* Maps and unmaps once: whoever's pages, `which` says. */
static void lend(struct lender *lender, unsigned int which)
{
	struct scatterlist *list = lender->lists[which];
	/* The timer's are shorter, so that one can tell them from each other. */
	const unsigned int entries = which ? ENTRIES - 3 : ENTRIES, length = which ? 512 : 1024;
	unsigned int i;
	dma_addr_t address;

	if (!lender->listed) {
		address = dma_map_page(lender->dev, lender->pages[which], 0, length, DMA_FROM_DEVICE);
		if (!dma_mapping_error(lender->dev, address))
			dma_unmap_page(lender->dev, address, length, DMA_FROM_DEVICE);
		return;
	}
	sg_init_table(list, entries);
	for (i = 0; i < entries; i++)
		sg_set_page(&list[i], lender->pages[which * ENTRIES + i], length, 0);
	if (dma_map_sg(lender->dev, list, entries, DMA_FROM_DEVICE))
		dma_unmap_sg(lender->dev, list, entries, DMA_FROM_DEVICE);
}

static enum hrtimer_restart tick(struct hrtimer *timer)
{
	struct lender *lender = container_of(timer, struct lender, timer);

	if (READ_ONCE(lender->stop))
		return HRTIMER_NORESTART;
	lend(lender, 1);
	found++;
	hrtimer_forward_now(timer, us_to_ktime(200));
	return HRTIMER_RESTART;
}

/* On one CPU: process context lends, and a timer in a hard interrupt does too, over and over. */
static int with_timer(struct lender *lender, bool listed)
{
	unsigned int i;

	lender->listed = listed;
	lender->stop = false;
	found = 0;
	migrate_disable();
	hrtimer_setup(&lender->timer, tick, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	hrtimer_start(&lender->timer, us_to_ktime(200), HRTIMER_MODE_REL_PINNED_HARD);
	for (i = 0; i < count; i++) {
		lend(lender, 0);
		cond_resched();
	}
	WRITE_ONCE(lender->stop, true);
	hrtimer_cancel(&lender->timer);
	migrate_enable();
	return 0;
}

static void set_power(struct lender *lender, bool raw, pci_power_t state)
{
	/* Raw: the kernel does not know that the card sleeps. */
	if (raw)
		pci_write_config_word(lender->pdev, lender->pdev->pm_cap + PCI_PM_CTRL, state == PCI_D0 ? 0 : 3);
	else
		pci_set_power_state(lender->pdev, state);
}

/* Lends and takes back before, while and after the card sleeps; and writes a register when it is awake. */
static int sleep_and_wake(struct lender *lender, bool raw)
{
	dma_addr_t before, amid, coherent;
	unsigned int i;
	void *memory;

	for (i = 0; i < count; i++) {
		before = dma_map_page(lender->dev, lender->pages[0], 0, 64, DMA_TO_DEVICE);
		memory = dma_alloc_coherent(lender->dev, 256, &coherent, GFP_KERNEL);
		writel(2 * i, lender->bar + POLLER_SCRATCH);
		set_power(lender, raw, PCI_D3hot);
		dma_unmap_page(lender->dev, before, 64, DMA_TO_DEVICE);
		dma_free_coherent(lender->dev, 256, memory, coherent);
		amid = dma_map_page(lender->dev, lender->pages[1], 0, 128, DMA_TO_DEVICE);
		set_power(lender, raw, PCI_D0);
		writel(2 * i + 1, lender->bar + POLLER_SCRATCH);
		dma_unmap_page(lender->dev, amid, 128, DMA_TO_DEVICE);
	}
	return 0;
}

/* What is neither mapped nor allocated as a whole; and what is no lend at all. */
static int blocks(struct lender *lender)
{
	struct dma_pool *pool = dma_pool_create("blocks", lender->dev, 100, 64, 0);
	dma_addr_t address[3], single;
	struct sg_table *table;
	struct page *page;
	void *block[3];
	unsigned int i;

	if (!pool)
		return -ENOMEM;
	for (i = 0; i < 3; i++)
		block[i] = dma_pool_alloc(pool, GFP_KERNEL, &address[i]);
	for (i = 0; i < 3; i++)
		dma_pool_free(pool, block[i], address[i]);
	dma_pool_destroy(pool);
	dma_free_coherent(lender->dev, 4096, NULL, 0x1000);
	table = dma_alloc_noncontiguous(lender->dev, 3 * PAGE_SIZE, DMA_FROM_DEVICE, GFP_KERNEL, 0);
	if (table)
		dma_free_noncontiguous(lender->dev, 3 * PAGE_SIZE, table, DMA_FROM_DEVICE);
	page = dma_alloc_pages(lender->dev, 5000, &single, DMA_TO_DEVICE, GFP_KERNEL);
	if (page)
		dma_free_pages(lender->dev, 5000, page, single, DMA_TO_DEVICE);
	single = dma_map_page_attrs(lender->dev, lender->pages[0], 0, 200, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	dma_sync_single_for_cpu(lender->dev, single, 100, DMA_FROM_DEVICE);
	dma_sync_single_for_device(lender->dev, single, 100, DMA_FROM_DEVICE);
	dma_unmap_page_attrs(lender->dev, single, 200, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	return 0;
}

/* Whether a driver hears that syncs and unmaps are needed, right after it set its mask. */
static int masks(struct lender *lender)
{
	int error = dma_set_mask_and_coherent(lender->dev, DMA_BIT_MASK(64));

	found = dma_dev_need_sync(lender->dev) | dma_need_unmap(lender->dev) << 1;
	return error;
}

/* Two pages linked and given back as one, then each by itself. Found: whether the kernel has that for this device. */
#ifdef HAVE_DMA_IOVA
static int iova(struct lender *lender)
{
	const phys_addr_t phys[2] = { page_to_phys(lender->pages[0]), page_to_phys(lender->pages[1]) };
	struct dma_iova_state state = {};
	unsigned int i;

	found = dma_iova_try_alloc(lender->dev, &state, phys[0], 2 * PAGE_SIZE);
	if (!found)
		return 0;
	for (i = 0; i < 2; i++) {
		if (dma_iova_link(lender->dev, &state, phys[i], i * PAGE_SIZE, PAGE_SIZE, DMA_TO_DEVICE, 0))
			return -EIO;
	}
	if (dma_iova_sync(lender->dev, &state, 0, 2 * PAGE_SIZE))
		return -EIO;
	dma_iova_unlink(lender->dev, &state, 0, 2 * PAGE_SIZE, DMA_TO_DEVICE, 0);
	if (dma_iova_link(lender->dev, &state, phys[1], 0, PAGE_SIZE, DMA_TO_DEVICE, 0))
		return -EIO;
	dma_iova_destroy(lender->dev, &state, PAGE_SIZE, DMA_TO_DEVICE, 0);
	return 0;
}
#else
static int iova(struct lender *lender)
{
	return 0;
}
#endif

/* Lends to a device that is no card: some that last, some that came back, and many for their cost. */
static int others(struct lender *lender)
{
	const struct platform_device_info info = {
		.name = "landfall_other",
		.id = PLATFORM_DEVID_NONE,
		.dma_mask = DMA_BIT_MASK(64),
	};
	struct platform_device *other = platform_device_register_full(&info);
	dma_addr_t address = 0;
	unsigned int i;
	u64 began;

	if (IS_ERR(other))
		return PTR_ERR(other);
	began = ktime_get_ns();
	for (i = 0; i < count; i++) {
		address = dma_map_page(&other->dev, lender->pages[0], 0, 256, DMA_TO_DEVICE);
		dma_unmap_page(&other->dev, address, 256, DMA_TO_DEVICE);
		cond_resched();
	}
	ns = (ktime_get_ns() - began) / max(count, 1U) / 2;
	for (i = 0; i < ENTRIES; i++)
		dma_map_page(&other->dev, lender->pages[ENTRIES + i], 0, 512, DMA_FROM_DEVICE);
	platform_device_unregister(other);
	return 0;
}

/* More at once than the table of other devices' lends has room for. */
static int many_others(struct lender *lender)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		dma_map_page(lender->dev, lender->pages[0], 0, 64, DMA_TO_DEVICE);
		cond_resched();
	}
	for (i = 0; i < count; i++) {
		dma_unmap_page(lender->dev, page_to_phys(lender->pages[0]), 64, DMA_TO_DEVICE);
		cond_resched();
	}
	return 0;
}

static int do_work(struct lender *lender)
{
	if (!strcmp(work, "timer") || !strcmp(work, "lists"))
		return with_timer(lender, *work == 'l');
	if (!strcmp(work, "power") || !strcmp(work, "raw-power"))
		return sleep_and_wake(lender, *work == 'r');
	if (!strcmp(work, "blocks"))
		return blocks(lender);
	if (!strcmp(work, "masks"))
		return masks(lender);
	if (!strcmp(work, "iova"))
		return iova(lender);
	if (!strcmp(work, "others"))
		return others(lender);
	if (!strcmp(work, "many-others"))
		return many_others(lender);
	return *work ? -EINVAL : 0;
}

static void end(struct lender *lender)
{
	unsigned int i;

	if (lender->memory)
		dma_free_coherent(lender->dev, PAGE_SIZE, lender->memory, lender->address);
	for (i = 0; i < ARRAY_SIZE(lender->pages); i++) {
		if (lender->pages[i])
			__free_page(lender->pages[i]);
	}
	if (lender->bar)
		pci_iounmap(lender->pdev, lender->bar);
	kfree(lender);
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct lender *lender = kzalloc(sizeof(*lender), GFP_KERNEL);
	unsigned int i;
	int error;

	if (!lender)
		return -ENOMEM;
	lender->pdev = pdev;
	lender->dev = &pdev->dev;
	error = pci_enable_device(pdev);
	if (error)
		goto fail;
	error = dma_set_mask_and_coherent(lender->dev, DMA_BIT_MASK(64));
	if (error)
		goto disable;
	error = -ENOMEM;
	lender->bar = pci_iomap(pdev, 0, 0);
	lender->memory = dma_alloc_coherent(lender->dev, PAGE_SIZE, &lender->address, GFP_KERNEL);
	if (!lender->bar || !lender->memory)
		goto disable;
	for (i = 0; i < ARRAY_SIZE(lender->pages); i++) {
		lender->pages[i] = alloc_page(GFP_KERNEL);
		if (!lender->pages[i])
			goto disable;
	}
	pci_set_drvdata(pdev, lender);
	error = do_work(lender);
	if (!error)
		return 0;
disable:
	pci_disable_device(pdev);
fail:
	end(lender);
	return error;
}

static void remove(struct pci_dev *pdev)
{
	struct lender *lender = pci_get_drvdata(pdev);

	pci_disable_device(pdev);
	if (asleep)
		pci_set_power_state(pdev, PCI_D3hot);
	end(lender);
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(POLLER_VENDOR, POLLER_DEVICE) },
	{}
};
/* No MODULE_DEVICE_TABLE: it is loaded by name. */

static struct pci_driver witness_user = {
	.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
};
module_pci_driver(witness_user);

MODULE_AUTHOR("The Landfall contributors");
MODULE_DESCRIPTION("A driver that lends, for tests of landfall_witness");
MODULE_LICENSE("Dual MIT/GPL");
