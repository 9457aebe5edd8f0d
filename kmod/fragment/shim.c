// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the Rust half of landfall_fragment cannot say in Linux 7.3: macros and inline functions of
 * <linux/gfp.h>, <linux/mm.h> and <linux/mmzone.h>. No decisions are made here.
 */
#include <linux/array_size.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "fragment_shim.h"

/* By number, lowest first. Each takes from those below it too. */
static const gfp_t zones[] = { __GFP_DMA, __GFP_DMA32, 0 };

/*
 * 2^order pages, split. Whatever is free is taken, that which the kernel keeps for emergencies included, and
 * nothing else: no reclaim, no waiting, nobody killed.
 */
struct page *landfall_fragment_shim_take(unsigned int zone, unsigned int order)
{
	const gfp_t flags = zones[zone % ARRAY_SIZE(zones)] | __GFP_NOWARN | __GFP_NORETRY;
	struct page *page = alloc_pages(flags | __GFP_MEMALLOC, order);

	/* Blocks that are kept for atomic use are only reached so. */
	if (!page)
		page = alloc_pages(flags | __GFP_HIGH, order);
	if (page)
		split_page(page, order);
	return page;
}

struct page *landfall_fragment_shim_page(struct page *first, unsigned int index)
{
	return first + index;
}

struct page *landfall_fragment_shim_next(struct page *page)
{
	return (struct page *)page_private(page);
}

void landfall_fragment_shim_link(struct page *page, struct page *next)
{
	set_page_private(page, (unsigned long)next);
}

void landfall_fragment_shim_release(struct page *page)
{
	set_page_private(page, 0);
	__free_page(page);
}

/* Where a page that is ours lies, in blocks of 2^spacing pages. */
u64 landfall_fragment_shim_block(struct page *page, unsigned int spacing)
{
	return page_to_pfn(page) >> spacing;
}

/* Blocks of 2^spacing pages up to the end of memory. */
u64 landfall_fragment_shim_blocks(unsigned int spacing)
{
	u64 end = 0;
	int node;

	for_each_online_node(node)
		end = max_t(u64, end, node_end_pfn(node));
	return end >> spacing;
}

/* A page of a block that is free, or can be moved away from: which one is. The other pages stay what they are. */
struct page *landfall_fragment_shim_take_within(u64 block, unsigned int spacing)
{
	const unsigned long first = block << spacing, end = first + (1UL << spacing);
	unsigned long movable = end;
	unsigned long pfn;

	for (pfn = first; pfn < end; pfn++) {
		if (!pfn_valid(pfn) || PageReserved(pfn_to_page(pfn)))
			continue;
		if (PageBuddy(pfn_to_page(pfn)))
			break;
		if (movable == end && PageLRU(pfn_to_page(pfn)))
			movable = pfn;
	}
	if (pfn == end)
		pfn = movable;
	if (pfn == end || alloc_contig_range(pfn, pfn + 1, ACR_FLAGS_NONE, GFP_KERNEL | __GFP_NOWARN))
		return NULL;
	return pfn_to_page(pfn);
}

/* Pages that the CPUs keep at hand go back to the zone, where they merge: taking a range drains them first. */
void landfall_fragment_shim_flush(unsigned int zone)
{
	struct page *page = alloc_contig_pages(1, GFP_KERNEL | __GFP_NOWARN | zones[zone % ARRAY_SIZE(zones)],
					       numa_node_id(), NULL);

	if (page)
		free_contig_range(page_to_pfn(page), 1);
}

/* Free blocks larger than 2^order pages, as /proc/buddyinfo counts them; those in CMA areas included. */
u64 landfall_fragment_shim_left(unsigned int order)
{
	u64 left = 0;
	int node;

	for_each_online_node(node) {
		for (int zone = 0; zone < MAX_NR_ZONES; zone++) {
			for (unsigned int above = order + 1; above < NR_PAGE_ORDERS; above++)
				left += data_race(NODE_DATA(node)->node_zones[zone].free_area[above].nr_free);
		}
	}
	return left;
}

u64 landfall_fragment_shim_ram_pages(void)
{
	return totalram_pages();
}

/* Lets others run. True if whoever loads the module is being killed. */
bool landfall_fragment_shim_pause(void)
{
	cond_resched();
	return fatal_signal_pending(current);
}

/* The kernel asks those who hold memory before it looks for somebody to kill, and tries again with what they gave. */
static int relieve(struct notifier_block *block, unsigned long unused, void *given)
{
	*(unsigned long *)given += landfall_fragment_relieve();
	return NOTIFY_OK;
}

static struct notifier_block relief = { .notifier_call = relieve };

int landfall_fragment_shim_heed(void)
{
	return register_oom_notifier(&relief);
}

void landfall_fragment_shim_unheed(void)
{
	unregister_oom_notifier(&relief);
}
