/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Between pool/shim.c and pool/shim.rs, which repeats these prototypes.
 *
 * Memory is named by its physical address; 0 means none. `address_bits` picks the highest zone that lies
 * below 2^address_bits as a whole; where there is no such zone, the caller has to look at what it got.
 */
#ifndef LANDFALL_POOL_SHIM_H
#define LANDFALL_POOL_SHIM_H

#include <linux/mm_types.h>
#include <linux/types.h>

struct kmem_cache;
struct page;

const char *landfall_pool_shim_source(void);
const char *landfall_pool_shim_reserve_name(void);
const char *landfall_pool_shim_fit(void);
void landfall_pool_shim_caller(unsigned long address, char *name, unsigned long size);

unsigned long landfall_pool_shim_available_pages(void);
unsigned long landfall_pool_shim_total_pages(void);
void *landfall_pool_shim_direct_map(u64 phys, u64 bytes);

u64 landfall_pool_shim_contig(unsigned long pages, unsigned int address_bits);
u64 landfall_pool_shim_block(unsigned int order, unsigned int address_bits);
void landfall_pool_shim_free_block(u64 phys, unsigned int order);
void landfall_pool_shim_split(u64 phys, unsigned int order);
void landfall_pool_shim_free_range(u64 phys, unsigned long pages);
u64 landfall_pool_shim_exact(unsigned long bytes, unsigned int address_bits);
void landfall_pool_shim_free_exact(u64 phys, unsigned long bytes);
bool landfall_pool_shim_has_cma(void);
u64 landfall_pool_shim_cma(unsigned long pages);
void landfall_pool_shim_free_cma(u64 phys, unsigned long pages);
u64 landfall_pool_shim_kmalloc(unsigned long bytes, unsigned int address_bits);
unsigned long landfall_pool_shim_kmalloc_size(u64 phys);
void landfall_pool_shim_kfree(u64 phys);
struct kmem_cache *landfall_pool_shim_slab(unsigned int address_bits);
void landfall_pool_shim_free_slab(struct kmem_cache *cache);
u64 landfall_pool_shim_slab_page(struct kmem_cache *cache);
void landfall_pool_shim_free_slab_page(struct kmem_cache *cache, u64 phys);
void *landfall_pool_shim_vmalloc(unsigned long bytes, unsigned int address_bits);
void landfall_pool_shim_vfree(void *address);
u64 landfall_pool_shim_vmalloc_phys(void *address);

int landfall_pool_shim_map_carveout(u64 phys, u64 bytes, void **address);
void landfall_pool_shim_unmap_carveout(u64 phys, u64 bytes, void *address);

int landfall_pool_shim_pin(unsigned long address, unsigned long pages, struct page **list);
void landfall_pool_shim_unpin(struct page **list, unsigned long pages);
void landfall_pool_shim_tell(bool lends, u64 phys, u64 bytes);

u64 landfall_pool_shim_page_phys(struct page *page);

int landfall_pool_shim_uncached(void *address, unsigned long pages, bool uncached);
pgprot_t landfall_pool_shim_uncached_protection(pgprot_t protection);

#endif
