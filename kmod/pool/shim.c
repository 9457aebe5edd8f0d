// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the Rust half of landfall_pool cannot say in Linux 7.3: exports, string parameters, macros and
 * inline functions. Two decisions are made here: which zone an address width means, and what is a carve-out.
 */
#include <linux/cma.h>
#include <linux/dma-map-ops.h>
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/rcupdate.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "landfall_pool.h"
#include "pool_shim.h"

static char *source = "reserve";
module_param(source, charp, 0444);
MODULE_PARM_DESC(source,
	"Where the memory comes from, as NAME[:PAGES[:BITS]]; alternatives separated by commas, several regions joined by +. Kept at boot: reserve (reserve_mem=, the default), carveout (mem= or memmap=), cma (cma=). Found when asked: contig, cluster, bitmap (any page count), exact (up to 4 MiB), buddy (powers of two up to 4 MiB). Contrasts: kmalloc, and, scattered, pages, order, slab, vmalloc");

static char *reserve_name = "landfall";
module_param(reserve_name, charp, 0444);
MODULE_PARM_DESC(reserve_name,
	"source=reserve: the NAME in the boot option reserve_mem=SIZE:ALIGN:NAME (default landfall)");

static char *fit = "first";
module_param(fit, charp, 0444);
MODULE_PARM_DESC(fit, "first: the lowest gap that fits (default); best: the smallest");

const char *landfall_pool_shim_source(void)
{
	return source;
}

const char *landfall_pool_shim_reserve_name(void)
{
	return reserve_name;
}

const char *landfall_pool_shim_fit(void)
{
	return fit;
}

/* Names the function that a return address lies in, and its module. */
void landfall_pool_shim_caller(unsigned long address, char *name, unsigned long size)
{
	snprintf(name, size, "%ps", (void *)address);
}

unsigned long landfall_pool_shim_available_pages(void)
{
	return max(si_mem_available(), 0L);
}

unsigned long landfall_pool_shim_total_pages(void)
{
	return totalram_pages();
}

static gfp_t zone(unsigned int address_bits)
{
	if (address_bits < 32)
		return GFP_DMA;
	return address_bits < 36 ? GFP_DMA32 : 0;
}

/* Tries, but neither waits for others to be killed nor complains. */
static gfp_t modest(unsigned int address_bits)
{
	return GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY | zone(address_bits);
}

static u64 phys_of(struct page *page)
{
	return page ? page_to_phys(page) : 0;
}

static u64 phys_of_address(void *address)
{
	return address ? virt_to_phys(address) : 0;
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

u64 landfall_pool_shim_contig(unsigned long pages, unsigned int address_bits)
{
	return phys_of(alloc_contig_pages(pages, GFP_KERNEL | __GFP_NOWARN | zone(address_bits),
					  numa_node_id(), NULL));
}

u64 landfall_pool_shim_block(unsigned int order, unsigned int address_bits)
{
	return phys_of(alloc_pages(modest(address_bits), order));
}

void landfall_pool_shim_free_block(u64 phys, unsigned int order)
{
	__free_pages(phys_to_page(phys), order);
}

void landfall_pool_shim_split(u64 phys, unsigned int order)
{
	split_page(phys_to_page(phys), order);
}

/* Single pages, in a row: from alloc_contig_pages, of order 0, or of blocks that were split. */
void landfall_pool_shim_free_range(u64 phys, unsigned long pages)
{
	free_contig_range(PHYS_PFN(phys), pages);
}

u64 landfall_pool_shim_exact(unsigned long bytes, unsigned int address_bits)
{
	return phys_of_address(alloc_pages_exact(bytes, modest(address_bits)));
}

void landfall_pool_shim_free_exact(u64 phys, unsigned long bytes)
{
	free_pages_exact(phys_to_virt(phys), bytes);
}

bool landfall_pool_shim_has_cma(void)
{
	return dev_get_cma_area(NULL);
}

u64 landfall_pool_shim_cma(unsigned long pages)
{
	struct cma *area = dev_get_cma_area(NULL);

	return area ? phys_of(cma_alloc(area, pages, 0, true)) : 0;
}

void landfall_pool_shim_free_cma(u64 phys, unsigned long pages)
{
	cma_release(dev_get_cma_area(NULL), phys_to_page(phys), pages);
}

/* kmalloc knows no zone for 32 bits. */
u64 landfall_pool_shim_kmalloc(unsigned long bytes, unsigned int address_bits)
{
	gfp_t flags = GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY;

	return phys_of_address(kmalloc(bytes, address_bits < 32 ? flags | GFP_DMA : flags));
}

unsigned long landfall_pool_shim_kmalloc_size(u64 phys)
{
	return ksize(phys_to_virt(phys));
}

void landfall_pool_shim_kfree(u64 phys)
{
	kfree(phys_to_virt(phys));
}

/* A cache of objects of one page, each aligned to a page. */
struct kmem_cache *landfall_pool_shim_slab(unsigned int address_bits)
{
	slab_flags_t flags = SLAB_NO_MERGE;

	if (address_bits < 32)
		flags |= SLAB_CACHE_DMA;
	else if (address_bits < 36)
		flags |= SLAB_CACHE_DMA32;
	return kmem_cache_create("landfall_pool", PAGE_SIZE, PAGE_SIZE, flags, NULL);
}

void landfall_pool_shim_free_slab(struct kmem_cache *cache)
{
	kmem_cache_destroy(cache);
}

u64 landfall_pool_shim_slab_page(struct kmem_cache *cache)
{
	return phys_of_address(kmem_cache_alloc(cache, GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY));
}

void landfall_pool_shim_free_slab_page(struct kmem_cache *cache, u64 phys)
{
	kmem_cache_free(cache, phys_to_virt(phys));
}

/* Takes no zone as a flag; below 4 GiB there is a call of its own, and below 16 MiB there is none. */
void *landfall_pool_shim_vmalloc(unsigned long bytes, unsigned int address_bits)
{
	return zone(address_bits) ? vmalloc_32(bytes) : __vmalloc(bytes, modest(address_bits));
}

void landfall_pool_shim_vfree(void *address)
{
	vfree(address);
}

u64 landfall_pool_shim_vmalloc_phys(void *address)
{
	return phys_of(vmalloc_to_page(address));
}

/*
 * Maps memory that was kept from the kernel, and marks it ours. -EEXIST if the kernel uses some of it, -EBUSY
 * if a device or another driver does, -ENXIO if nothing stores what is written there, -ENOMEM.
 */
int landfall_pool_shim_map_carveout(u64 phys, u64 bytes, void **address)
{
	static const u64 probe = 0x4c616e6466616c6cULL;
	u64 at[2] = { 0, bytes - sizeof(probe) };
	void *mapped;
	int i;

	if (region_intersects(phys, bytes, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != REGION_DISJOINT)
		return -EEXIST;
	/* Reserved as a whole (memmap=), or unknown to the kernel as a whole (mem=): nothing of a device's. */
	if (region_intersects(phys, bytes, IORESOURCE_MEM, IORES_DESC_RESERVED) != REGION_INTERSECTS &&
	    region_intersects(phys, bytes, IORESOURCE_MEM, IORES_DESC_NONE) != REGION_DISJOINT)
		return -EBUSY;
	if (!request_mem_region(phys, bytes, "landfall_pool"))
		return -EBUSY;
	mapped = memremap(phys, bytes, MEMREMAP_WB);
	if (!mapped) {
		release_mem_region(phys, bytes);
		return -ENOMEM;
	}
	for (i = 0; i < 2; i++) {
		u64 *word = mapped + at[i];
		u64 before = READ_ONCE(*word), after;

		WRITE_ONCE(*word, ~before ^ probe);
		after = READ_ONCE(*word);
		WRITE_ONCE(*word, before);
		if (after != (~before ^ probe) || READ_ONCE(*word) != before) {
			landfall_pool_shim_unmap_carveout(phys, bytes, mapped);
			return -ENXIO;
		}
	}
	*address = mapped;
	return 0;
}

void landfall_pool_shim_unmap_carveout(u64 phys, u64 bytes, void *address)
{
	memunmap(address);
	release_mem_region(phys, bytes);
}

/* All of them, or an error. */
int landfall_pool_shim_pin(unsigned long address, unsigned long pages, struct page **list)
{
	unsigned long done = 0;

	while (done < pages) {
		int more = pin_user_pages_fast(address + done * PAGE_SIZE, min(pages - done, 1UL << 18),
					       FOLL_WRITE | FOLL_LONGTERM, list + done);

		if (more <= 0) {
			unpin_user_pages(list, done);
			return more ? more : -EFAULT;
		}
		done += more;
	}
	return 0;
}

void landfall_pool_shim_unpin(struct page **list, unsigned long pages)
{
	unpin_user_pages_dirty_lock(list, pages, true);
}

u64 landfall_pool_shim_page_phys(struct page *page)
{
	return page_to_phys(page);
}

#ifdef HAVE_SET_MEMORY_UC
int landfall_pool_shim_uncached(void *address, unsigned long pages, bool uncached)
{
	return uncached ? set_memory_uc((unsigned long)address, pages) :
			  set_memory_wb((unsigned long)address, pages);
}
#else
int landfall_pool_shim_uncached(void *address, unsigned long pages, bool uncached)
{
	if (!uncached)
		return 0;
	pr_err(KBUILD_MODNAME ": refused a buffer of uncached memory: this machine's kernel cannot make its own mapping uncached\n");
	return -EOPNOTSUPP;
}
#endif

pgprot_t landfall_pool_shim_uncached_protection(pgprot_t protection)
{
	return pgprot_noncached(protection);
}

/* Who is told of each buffer that is lent or given back: a landfall_pool_watcher. */
static void __rcu *watcher;

void landfall_pool_watch(landfall_pool_watcher told)
{
	rcu_assign_pointer(watcher, (void *)told);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(landfall_pool_watch);

void landfall_pool_shim_tell(bool lends, u64 phys, u64 bytes)
{
	landfall_pool_watcher tell;

	rcu_read_lock();
	tell = (landfall_pool_watcher)rcu_dereference(watcher);
	if (tell)
		tell(lends, phys, bytes);
	rcu_read_unlock();
}

/* The old two calls, under their old names; Rust has no __builtin_return_address. */
void *bmalloc(unsigned long size)
{
	return landfall_pool_bmalloc(size, (unsigned long)__builtin_return_address(0));
}
EXPORT_SYMBOL_GPL(bmalloc);

EXPORT_SYMBOL_GPL(bfree);
EXPORT_SYMBOL_GPL(landfall_pool_allocate);
EXPORT_SYMBOL_GPL(landfall_pool_free);
EXPORT_SYMBOL_GPL(landfall_pool_grow);
EXPORT_SYMBOL_GPL(landfall_pool_shrink);
