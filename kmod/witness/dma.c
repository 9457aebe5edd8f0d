// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The calls of the DMA API. What lends is traced by the kernel when it is done, before the call returns; what takes
 * back is told before it is done: the lists are traced so (where nothing is traced, see untraced.h). Unmaps of single ranges and dma_free_attrs are not (the
 * former are traced afterwards, the latter not if the memory is the device's own, and also if there is nothing to free),
 * and a hook sees them at their entry.
 */
#include <linux/array_size.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/string.h>

#include "witness.h"

/* The IOMMU's domain of a device, if addresses are translated. */
static struct iommu_domain *domain_of(struct device *dev)
{
	return IS_ENABLED(CONFIG_IOMMU_API) ? iommu_get_domain_for_dev(dev) : NULL;
}

/* Where the device's accesses end up: the memory itself, or a bounce buffer. */
static u64 behind(struct device *dev, dma_addr_t address)
{
	struct iommu_domain *domain = domain_of(dev);

	return domain ? iommu_iova_to_phys(domain, address) : address;
}

static u8 direction(enum dma_data_direction given)
{
	return given == DMA_TO_DEVICE || given == DMA_FROM_DEVICE ? given : LW_DIRECTION_BOTH;
}

/* Where memory that was allocated lies; with NO_KERNEL_MAPPING `virt` is no address. */
u64 witness_phys_of(const void *virt, unsigned long attrs)
{
	if (attrs & DMA_ATTR_NO_KERNEL_MAPPING)
		return WITNESS_NOT_TOLD;
	if (is_vmalloc_addr(virt))
		return PFN_PHYS(vmalloc_to_pfn(virt)) + offset_in_page(virt);
	return virt_addr_valid(virt) ? virt_to_phys((void *)virt) : WITNESS_NOT_TOLD;
}

bool witness_skips;

/* By CPU: an event is being told; a test aid. */
static DEFINE_PER_CPU(int, telling);
static atomic_t missed = ATOMIC_INIT(0);

u32 witness_dma_missed(void)
{
	return atomic_read(&missed);
}

/* Tells one event; `from` is the return address of the call, if that is known, else 0. */
static void tell_from(struct device *dev, struct witness_event *event, unsigned long from)
{
	struct witness_card *card;
	bool pool;

	rcu_read_lock();
	card = witness_find(dev);
	if (card) {
		event->caller = from ? witness_caller_if_driver(from, &pool) : witness_caller(&pool);
		/* What a pool allocates and frees; its blocks come by way of it too. */
		event->backing = pool && (event->op == LW_OP_ALLOC || event->op == LW_OP_FREE);
		witness_post(card, event);
	}
	rcu_read_unlock();
}

void witness_tell_one(struct device *dev, u8 op, u64 address, u64 phys, u64 length, u8 dir, u8 memory, bool bounced,
		     unsigned long attrs)
{
	struct witness_event event = {
		.op = op,
		.address = address,
		.phys = phys,
		.length = length,
		.direction = dir,
		.memory = memory,
		.bounced = bounced,
		.skip_sync = attrs & DMA_ATTR_SKIP_CPU_SYNC,
	};

	tell_from(dev, &event, 0);
}

void witness_tell_unheard(struct device *dev, const char *what)
{
	struct witness_card *card;

	rcu_read_lock();
	card = witness_find(dev);
	if (card)
		witness_post_unheard(card, what, false);
	rcu_read_unlock();
}

/* Whether anybody listens to a device: what an event takes to put together is spared for all others. */
bool witness_watches(struct device *dev)
{
	bool is;

	rcu_read_lock();
	is = witness_find(dev);
	rcu_read_unlock();
	return is;
}

/*
 * A device that needs no syncs leaves them out, in the caller, and so nobody would hear of them; and its driver may
 * leave out unmaps. What is set here, and all that the witness sets of a device's, is that it needs them.
 */
static void hear_syncs(struct device *dev)
{
#ifdef HAVE_DMA_RESET_NEED_SYNC
	dma_reset_need_sync(dev);
#endif
}

void witness_dma_binding(struct device *dev)
{
	if (!witness_watches(dev))
		return;
	hear_syncs(dev);
	/* A driver that leaves its device to others: VFIO, whose maps are none of the DMA API's. */
	if (dev->driver && to_pci_driver(dev->driver)->driver_managed_dma)
		witness_tell_unheard(dev, "maps of a driver that manages its DMA itself (ioctls of VFIO)");
}

static void tell_mapped(struct device *dev, phys_addr_t phys, dma_addr_t address, size_t size,
			enum dma_data_direction dir, unsigned long attrs, bool mmio)
{
	if (address != DMA_MAPPING_ERROR)
		witness_others_lend(dev, address, size, direction(dir));
	if (!witness_watches(dev))
		return;
	hear_syncs(dev);
	if (address == DMA_MAPPING_ERROR)
		witness_tell_one(dev, LW_OP_MAP_FAILED, ~0ULL, phys, size, direction(dir), witness_memory(phys, size, mmio),
			 false, attrs);
	else
		witness_tell_one(dev, LW_OP_MAP, address, phys, size, direction(dir), witness_memory(phys, size, mmio),
			 behind(dev, address) != phys, attrs);
}

#ifdef HAVE_DMA_MAP_PHYS
static void on_map_phys(void *data, struct device *dev, phys_addr_t phys, dma_addr_t address, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	tell_mapped(dev, phys, address, size, dir, attrs, attrs & DMA_ATTR_MMIO);
}

#define MAPPED(X) X(dma_map_phys, on_map_phys)
#else
static void on_map_page(void *data, struct device *dev, phys_addr_t phys, dma_addr_t address, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	tell_mapped(dev, phys, address, size, dir, attrs, false);
}

static void on_map_resource(void *data, struct device *dev, phys_addr_t phys, dma_addr_t address, size_t size,
			    enum dma_data_direction dir, unsigned long attrs)
{
	tell_mapped(dev, phys, address, size, dir, attrs, true);
}

#define MAPPED(X) X(dma_map_page, on_map_page) X(dma_map_resource, on_map_resource)
#endif

static void on_alloc(void *data, struct device *dev, void *virt, dma_addr_t address, size_t size,
		     enum dma_data_direction dir, gfp_t flags, unsigned long attrs)
{
	if (virt)
		witness_others_lend(dev, address, size, direction(dir));
	if (!witness_watches(dev))
		return;
	hear_syncs(dev);
	if (virt)
		witness_tell_one(dev, LW_OP_ALLOC, address, witness_phys_of(virt, attrs), size, direction(dir), LW_MEMORY_PLAIN,
			 false, 0);
	else
		witness_tell_one(dev, LW_OP_MAP_FAILED, ~0ULL, WITNESS_NOT_TOLD, size, direction(dir), LW_MEMORY_PLAIN,
			 false, 0);
}

static void on_alloc_sgt(void *data, struct device *dev, struct sg_table *sgt, size_t size,
			 enum dma_data_direction dir, gfp_t flags, unsigned long attrs)
{
	/* However many pages it has: to the device it is one range. */
	witness_others_lend(dev, sg_dma_address(sgt->sgl), size, direction(dir));
	if (!witness_watches(dev))
		return;
	hear_syncs(dev);
	witness_tell_one(dev, LW_OP_ALLOC, sg_dma_address(sgt->sgl), sg_phys(sgt->sgl), size, direction(dir), LW_MEMORY_PLAIN,
		 false, 0);
}

static void on_free(void *data, struct device *dev, void *virt, dma_addr_t address, size_t size,
		    enum dma_data_direction dir, unsigned long attrs)
{
	witness_others_return(dev, address, size);
	if (witness_watches(dev))
		witness_tell_one(dev, LW_OP_FREE, address, WITNESS_NOT_TOLD, size, direction(dir), LW_MEMORY_PLAIN, false, 0);
}

static void on_free_sgt(void *data, struct device *dev, struct sg_table *sgt, size_t size,
			enum dma_data_direction dir)
{
	on_free(data, dev, NULL, sg_dma_address(sgt->sgl), size, dir, 0);
}

/*
 * One event for each mapped segment: entries that follow one another in bus addresses may be one segment, and the
 * first of length 0 ends the list. `nents` is as the caller gave it.
 */
static void tell_list(struct device *dev, u8 op, struct scatterlist *list, int nents, int mapped,
		      enum dma_data_direction dir, unsigned long attrs, bool lends)
{
	struct witness_event event = {
		.op = op,
		.direction = direction(dir),
		.listed = true,
		.entries = nents,
		.group = WITNESS_NOT_TOLD,
		.skip_sync = attrs & DMA_ATTR_SKIP_CPU_SYNC,
	};
	struct witness_card *card;
	struct scatterlist *entry;
	u64 number;
	bool pool;
	int i;

	rcu_read_lock();
	card = witness_find(dev);
	if (!card)
		goto out;
	if (lends)
		hear_syncs(dev);
	event.caller = witness_caller(&pool);
	for_each_sg(list, entry, mapped, i) {
		if (!sg_dma_len(entry))
			break;
		event.part = i;
		event.address = sg_dma_address(entry);
		event.length = sg_dma_len(entry);
		event.phys = WITNESS_NOT_TOLD;
		if (lends) {
			const u64 reached = behind(dev, event.address);

			/* Behind an IOMMU segments are not entries, and what is reached is what is told. */
			event.phys = domain_of(dev) ? reached : sg_phys(entry);
			event.bounced = event.phys != reached;
			event.memory = witness_memory(sg_phys(entry), entry->length, false);
		}
		number = witness_post(card, &event);
		if (event.group == WITNESS_NOT_TOLD)
			event.group = number;
	}
	if (lends || op == LW_OP_SYNC_FOR_DEVICE || (op == LW_OP_SYNC_FOR_CPU && dir == DMA_FROM_DEVICE))
		witness_arrive(card);
out:
	rcu_read_unlock();
}

static void on_map_sg(void *data, struct device *dev, struct scatterlist *list, int nents, int mapped,
		      enum dma_data_direction dir, unsigned long attrs)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, mapped, i) {
		if (!sg_dma_len(entry))
			break;
		witness_others_lend(dev, sg_dma_address(entry), sg_dma_len(entry), direction(dir));
	}
	tell_list(dev, LW_OP_MAP_LIST, list, nents, mapped, dir, attrs, true);
}

static void on_map_sg_err(void *data, struct device *dev, struct scatterlist *list, int nents, int error,
			  enum dma_data_direction dir, unsigned long attrs)
{
	if (witness_watches(dev))
		witness_tell_one(dev, LW_OP_MAP_FAILED, ~0ULL, sg_phys(list), list->length, direction(dir), LW_MEMORY_PLAIN,
			 false, attrs);
}

static void on_unmap_sg(void *data, struct device *dev, struct scatterlist *list, int nents,
			enum dma_data_direction dir, unsigned long attrs)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, nents, i) {
		if (!sg_dma_len(entry))
			break;
		witness_others_return(dev, sg_dma_address(entry), sg_dma_len(entry));
	}
	tell_list(dev, LW_OP_UNMAP_LIST, list, nents, nents, dir, attrs, false);
}

static void on_sync_cpu(void *data, struct device *dev, dma_addr_t address, size_t size, enum dma_data_direction dir)
{
	if (witness_watches(dev))
		witness_tell_one(dev, LW_OP_SYNC_FOR_CPU, address, WITNESS_NOT_TOLD, size, direction(dir), LW_MEMORY_PLAIN,
			 false, 0);
}

static void on_sync_device(void *data, struct device *dev, dma_addr_t address, size_t size,
			   enum dma_data_direction dir)
{
	if (witness_watches(dev))
		witness_tell_one(dev, LW_OP_SYNC_FOR_DEVICE, address, WITNESS_NOT_TOLD, size, direction(dir),
			 LW_MEMORY_PLAIN, false, 0);
}

static void on_sync_sg_cpu(void *data, struct device *dev, struct scatterlist *list, int nents,
			   enum dma_data_direction dir)
{
	tell_list(dev, LW_OP_SYNC_FOR_CPU, list, nents, nents, dir, 0, false);
}

static void on_sync_sg_device(void *data, struct device *dev, struct scatterlist *list, int nents,
			      enum dma_data_direction dir)
{
	tell_list(dev, LW_OP_SYNC_FOR_DEVICE, list, nents, nents, dir, 0, false);
}

/* Whether a call may be told now; a test aid says no, amid another one. Then that something is missed is told. */
static bool enter(struct device *dev)
{
	if (!witness_skips || this_cpu_inc_return(telling) == 1)
		return true;
	this_cpu_dec(telling);
	atomic_inc(&missed);
	witness_tell_unheard(dev, "calls in interrupts, which were missed");
	return false;
}

static void leave(void)
{
	if (witness_skips)
		this_cpu_dec(telling);
}

#define ARGUMENT(regs, n) ftrace_regs_get_argument(regs, n)

static void at_unmap(struct ftrace_regs *regs, unsigned long caller)
{
	struct device *dev = (void *)ARGUMENT(regs, 0);
	struct witness_event event = {
		.op = LW_OP_UNMAP,
		.address = ARGUMENT(regs, 1),
		.phys = WITNESS_NOT_TOLD,
		.length = ARGUMENT(regs, 2),
		.direction = direction((enum dma_data_direction)ARGUMENT(regs, 3)),
		.skip_sync = ARGUMENT(regs, 4) & DMA_ATTR_SKIP_CPU_SYNC,
	};

	witness_others_return(dev, event.address, event.length);
	if (!witness_watches(dev))
		return;
	preempt_disable();
	if (enter(dev)) {
		tell_from(dev, &event, caller);
		leave();
	}
	preempt_enable();
}

static void at_free(struct ftrace_regs *regs, unsigned long caller)
{
	struct device *dev = (void *)ARGUMENT(regs, 0);

	/* Of nothing, the kernel frees nothing. */
	if (ARGUMENT(regs, 2))
		on_free(NULL, dev, NULL, ARGUMENT(regs, 3), ARGUMENT(regs, 1), DMA_BIDIRECTIONAL, 0);
}

#ifdef HAVE_DMA_NEED_UNMAP
static void at_need_unmap(struct ftrace_regs *regs, unsigned long caller)
{
	struct device *dev = (void *)ARGUMENT(regs, 0);

	if (witness_watches(dev))
		hear_syncs(dev);
}
#endif

#if IS_ENABLED(CONFIG_IOMMU_DMA) && defined(HAVE_DMA_IOVA)
#define HEARS_IOVA
/*
 * Bus addresses that a driver has of its own, and links memory to, piece by piece. What other devices' drivers link is
 * not kept: it comes back by ranges.
 */
static int instead_of_link(struct device *dev, struct dma_iova_state *state, phys_addr_t phys, size_t offset,
			   size_t size, enum dma_data_direction dir, unsigned long attrs)
{
	struct witness_event event = {
		.op = LW_OP_LINK,
		.address = state->addr + offset,
		.phys = phys,
		.length = size,
		.group = state->addr,
		.direction = direction(dir),
		.listed = true,
		.skip_sync = attrs & DMA_ATTR_SKIP_CPU_SYNC,
	};
	struct witness_card *card;
	bool pool;
	int error;

	witness_instead_begin();
	error = dma_iova_link(dev, state, phys, offset, size, dir, attrs);
	if (error)
		goto out;
	rcu_read_lock();
	card = witness_find(dev);
	if (card) {
		event.memory = witness_memory(phys, size, attrs & DMA_ATTR_MMIO);
		event.bounced = behind(dev, event.address) != phys;
		event.caller = witness_caller(&pool);
		witness_post(card, &event);
		witness_arrive(card);
	}
	rcu_read_unlock();
out:
	witness_instead_end();
	return error;
}

static void tell_unlinked(struct device *dev, const struct dma_iova_state *state, size_t offset, size_t size,
			  enum dma_data_direction dir)
{
	/* Of a range to which nothing was linked, the kernel unlinks nothing. */
	if (size && witness_watches(dev))
		witness_tell_one(dev, LW_OP_UNLINK, state->addr + offset, WITNESS_NOT_TOLD, size, direction(dir),
				 LW_MEMORY_PLAIN, false, 0);
}

static void at_unlink(struct ftrace_regs *regs, unsigned long caller)
{
	tell_unlinked((void *)ARGUMENT(regs, 0), (void *)ARGUMENT(regs, 1), ARGUMENT(regs, 2), ARGUMENT(regs, 3),
		      (enum dma_data_direction)ARGUMENT(regs, 4));
}

static void at_iova_destroy(struct ftrace_regs *regs, unsigned long caller)
{
	tell_unlinked((void *)ARGUMENT(regs, 0), (void *)ARGUMENT(regs, 1), 0, ARGUMENT(regs, 2),
		      (enum dma_data_direction)ARGUMENT(regs, 3));
}
#endif

static void at_attach(struct ftrace_regs *regs, unsigned long caller)
{
	witness_tell_unheard((void *)ARGUMENT(regs, 1), "iommu_map, after iommu_attach_device");
}

static int instead_of_set_mask(struct device *dev, u64 mask)
{
	int error;

	witness_instead_begin();
	error = dma_set_mask(dev, mask);
	if (!error && witness_watches(dev))
		hear_syncs(dev);
	witness_instead_end();
	return error;
}

#ifdef HAVE_DMA_EVENTS
#include "traced.h"
#else
#include "untraced.h"
#endif

static const struct witness_hook hooks[] = {
	UNTRACED
#ifdef HAVE_DMA_MAP_PHYS
	{ dma_unmap_phys, .entry = at_unmap },
#else
	{ dma_unmap_page_attrs, .entry = at_unmap },
	{ dma_unmap_resource, .entry = at_unmap },
#endif
	{ dma_free_attrs, .entry = at_free },
#ifdef HAVE_DMA_NEED_UNMAP
	{ dma_need_unmap, .entry = at_need_unmap },
#endif
	{ dma_pool_destroy, .entry = witness_at_pool_destroy },
	{ dma_pool_free, .entry = witness_at_pool_free },
#ifdef HEARS_IOVA
	{ dma_iova_link, .instead = instead_of_link },
	{ dma_iova_unlink, .entry = at_unlink },
	{ dma_iova_destroy, .entry = at_iova_destroy },
#endif
#if IS_ENABLED(CONFIG_IOMMU_API)
	{ iommu_attach_device, .entry = at_attach },
#endif
	{ dma_set_mask, .instead = instead_of_set_mask },
#ifdef HAVE_DMA_POOL_NODES
	{ dma_pool_create_node, .instead = witness_instead_of_pool_create },
#else
	{ dma_pool_create, .instead = witness_instead_of_pool_create },
#endif
	{ dma_pool_alloc, .instead = witness_instead_of_pool_alloc },
	{ pci_bus_write_config_byte, .instead = witness_instead_of_bus_write_byte },
	{ pci_bus_write_config_word, .instead = witness_instead_of_bus_write_word },
	{ pci_bus_write_config_dword, .instead = witness_instead_of_bus_write_dword },
	{ pci_user_write_config_byte, .instead = witness_instead_of_user_write_byte },
	{ pci_user_write_config_word, .instead = witness_instead_of_user_write_word },
	{ pci_user_write_config_dword, .instead = witness_instead_of_user_write_dword },
};

void witness_dma_stop(void)
{
	witness_hooks_stop();
	probes_stop();
	witness_forget_pools();
}

int witness_dma_start(void)
{
	int error = probes_start();

	if (!error)
		error = witness_hooks_start(hooks, ARRAY_SIZE(hooks));
	if (error)
		witness_dma_stop();
	return error;
}
