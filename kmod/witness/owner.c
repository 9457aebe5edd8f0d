// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Who owns a byte of memory now, as far as its struct page tells. It is looked at while it may change: an answer is what
 * was so a moment ago.
 */
#include <linux/kernel.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-flags.h>

#include "witness.h"

#if __has_include(<../mm/slab.h>)
#include <../mm/slab.h>

static const char *cache_of(const struct page *page)
{
	const struct slab *slab = page_slab(page);

	return slab && slab->slab_cache ? slab->slab_cache->name : "";
}
#else
static const char *cache_of(const struct page *page)
{
	return "";
}
#endif

#ifndef MAX_PAGE_ORDER
#define MAX_PAGE_ORDER (MAX_ORDER - 1)
#endif

/* The free block that a page is of: its order, or -1. */
static int free_order(unsigned long pfn)
{
	unsigned int order;

	for (order = 0; order <= MAX_PAGE_ORDER; order++) {
		const unsigned long first = pfn & ~((1UL << order) - 1);
		struct page *head = pfn_to_online_page(first);

		if (!head)
			break;
		/* Of a free block the first page has the order. */
		if (PageBuddy(head) && READ_ONCE(head->private) >= order && READ_ONCE(head->private) <= MAX_PAGE_ORDER)
			return READ_ONCE(head->private);
	}
	return -1;
}

int witness_owner(u64 phys, char *into, size_t size)
{
	const unsigned long pfn = PHYS_PFN(phys);
	struct page *page = pfn_to_online_page(pfn);
	struct folio *folio;
	int order;

	if (!page)
		return scnprintf(into, size, "none\n");
	if (witness_is_text(phys))
		return scnprintf(into, size, "kernel text\n");
	order = free_order(pfn);
	if (order >= 0)
		return scnprintf(into, size, "free order=%d\n", order);
	folio = page_folio(page);
	order = folio_order(folio);
	if (PageReserved(page))
		return scnprintf(into, size, "reserved\n");
	if (PageSlab(page))
		return scnprintf(into, size, "slab %s order=%d\n", cache_of(page), order);
	if (PageTable(page))
		return scnprintf(into, size, "page table\n");
	if (!folio_ref_count(folio))
		return scnprintf(into, size, "free order=0\n");
	if (folio_test_hugetlb(folio))
		return scnprintf(into, size, "huge page order=%d refs=%d\n", order, folio_ref_count(folio));
	if (folio_test_anon(folio))
		return scnprintf(into, size, "anonymous order=%d refs=%d\n", order, folio_ref_count(folio));
	if (READ_ONCE(folio->mapping))
		return scnprintf(into, size, "page cache order=%d refs=%d\n", order, folio_ref_count(folio));
	return scnprintf(into, size, "kernel order=%d refs=%d\n", order, folio_ref_count(folio));
}
