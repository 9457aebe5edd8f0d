// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the Rust half of landfall_pool cannot say in Linux 7.3: exports, string parameters and inline
 * functions of <linux/mm.h>. No decisions are made here.
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>

#include "landfall_pool.h"
#include "pool_shim.h"

static char *source = "reserve";
module_param(source, charp, 0444);
MODULE_PARM_DESC(source,
	"Where the region comes from: reserve (boot option reserve_mem=, the default), contig (any page count, found at load time) or buddy (one block, at most 4 MiB)");

static char *reserve_name = "landfall";
module_param(reserve_name, charp, 0444);
MODULE_PARM_DESC(reserve_name,
	"source=reserve: the NAME in the boot option reserve_mem=SIZE:ALIGN:NAME (default landfall)");

const char *landfall_pool_shim_source(void)
{
	return source;
}

const char *landfall_pool_shim_reserve_name(void)
{
	return reserve_name;
}

u64 landfall_pool_shim_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}

/* Only RAM that is in the direct map, wholly; else NULL. No mapping is made, so none is to be undone. */
void *landfall_pool_shim_direct_map(u64 phys, u64 bytes)
{
	if (!bytes || phys + bytes < phys)
		return NULL;
	if (region_intersects(phys, bytes, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != REGION_INTERSECTS)
		return NULL;
	if (!pfn_valid(PHYS_PFN(phys)) || !pfn_valid(PHYS_PFN(phys + bytes - 1)))
		return NULL;
	return phys_to_virt(phys);
}

struct page *landfall_pool_shim_contig(unsigned long pages, unsigned int address_bits)
{
	return alloc_contig_pages(pages, GFP_KERNEL | __GFP_NOWARN | landfall_pool_shim_zone(address_bits),
				  numa_node_id(), NULL);
}

struct page *landfall_pool_shim_buddy(unsigned int order, unsigned int address_bits)
{
	return alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY | landfall_pool_shim_zone(address_bits),
			   order);
}

EXPORT_SYMBOL_GPL(landfall_pool_allocate);
EXPORT_SYMBOL_GPL(landfall_pool_free);
