/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Between pool/shim.c and pool/shim.rs, which repeats these prototypes. */
#ifndef LANDFALL_POOL_SHIM_H
#define LANDFALL_POOL_SHIM_H

#include <linux/gfp.h>
#include <linux/types.h>

struct page;

const char *landfall_pool_shim_source(void);
const char *landfall_pool_shim_reserve_name(void);
u64 landfall_pool_shim_page_to_phys(struct page *page);
void *landfall_pool_shim_direct_map(u64 phys, u64 bytes);
struct page *landfall_pool_shim_contig(unsigned long pages, unsigned int address_bits);
struct page *landfall_pool_shim_buddy(unsigned int order, unsigned int address_bits);

/* The highest zone whose pages all lie below 2^address_bits; others have to be checked afterwards. */
static inline gfp_t landfall_pool_shim_zone(unsigned int address_bits)
{
	if (address_bits < 32)
		return GFP_DMA;
	return address_bits == 32 ? GFP_DMA32 : 0;
}

#endif
