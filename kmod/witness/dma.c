// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The calls of the DMA API. What lends is traced by the kernel when it is done, before the call returns; what takes
 * back is told before it is done: free, and the lists, are traced so, dma_unmap_phys is not, and a kprobe sees it
 * at its entry.
 */
#include <linux/array_size.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/dma.h>

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
static u64 phys_of(const void *virt, unsigned long attrs)
{
	if (attrs & DMA_ATTR_NO_KERNEL_MAPPING)
		return WITNESS_NOT_TOLD;
	if (is_vmalloc_addr(virt))
		return PFN_PHYS(vmalloc_to_pfn(virt)) + offset_in_page(virt);
	return virt_addr_valid(virt) ? virt_to_phys((void *)virt) : WITNESS_NOT_TOLD;
}

/* Tells one event; `from` is the return address of the call, if that is known, else 0. */
static void tell_from(struct device *dev, struct witness_event *event, unsigned long from)
{
	struct witness_card *card;

	rcu_read_lock();
	card = witness_find(dev);
	if (card) {
		event->caller = from ? witness_caller_if_driver(from) : witness_caller();
		witness_post(card, event);
	}
	rcu_read_unlock();
}

static void tell_one(struct device *dev, u8 op, u64 address, u64 phys, u64 length, u8 dir, u8 memory, bool bounced)
{
	struct witness_event event = {
		.op = op,
		.address = address,
		.phys = phys,
		.length = length,
		.direction = dir,
		.memory = memory,
		.bounced = bounced,
	};

	tell_from(dev, &event, 0);
}

/* Whether anybody listens to a device: what an event takes to put together is spared for all others. */
static bool watched(struct device *dev)
{
	bool is;

	rcu_read_lock();
	is = witness_find(dev);
	rcu_read_unlock();
	return is;
}

static void on_map_phys(void *data, struct device *dev, phys_addr_t phys, dma_addr_t address, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	const bool mmio = attrs & DMA_ATTR_MMIO;

	if (!watched(dev))
		return;
	if (address == DMA_MAPPING_ERROR)
		tell_one(dev, LW_OP_MAP_FAILED, ~0ULL, phys, size, direction(dir), witness_memory(phys, size, mmio),
			 false);
	else
		tell_one(dev, LW_OP_MAP, address, phys, size, direction(dir), witness_memory(phys, size, mmio),
			 behind(dev, address) != phys);
}

static void on_alloc(void *data, struct device *dev, void *virt, dma_addr_t address, size_t size,
		     enum dma_data_direction dir, gfp_t flags, unsigned long attrs)
{
	if (!watched(dev))
		return;
	if (virt)
		tell_one(dev, LW_OP_ALLOC, address, phys_of(virt, attrs), size, direction(dir), LW_MEMORY_PLAIN,
			 false);
	else
		tell_one(dev, LW_OP_MAP_FAILED, ~0ULL, WITNESS_NOT_TOLD, size, direction(dir), LW_MEMORY_PLAIN,
			 false);
}

static void on_alloc_sgt(void *data, struct device *dev, struct sg_table *sgt, size_t size,
			 enum dma_data_direction dir, gfp_t flags, unsigned long attrs)
{
	if (watched(dev))
		tell_one(dev, LW_OP_ALLOC, sg_dma_address(sgt->sgl), sg_phys(sgt->sgl), size, direction(dir),
			 LW_MEMORY_PLAIN, false);
}

static void on_free(void *data, struct device *dev, void *virt, dma_addr_t address, size_t size,
		    enum dma_data_direction dir, unsigned long attrs)
{
	if (watched(dev))
		tell_one(dev, LW_OP_FREE, address, WITNESS_NOT_TOLD, size, direction(dir), LW_MEMORY_PLAIN, false);
}

static void on_free_sgt(void *data, struct device *dev, struct sg_table *sgt, size_t size,
			enum dma_data_direction dir)
{
	if (watched(dev))
		tell_one(dev, LW_OP_FREE, sg_dma_address(sgt->sgl), WITNESS_NOT_TOLD, size, direction(dir),
			 LW_MEMORY_PLAIN, false);
}

/*
 * One event for each mapped segment: entries that follow one another in bus addresses may be one segment, and the
 * first of length 0 ends the list. `nents` is as the caller gave it.
 */
static void tell_list(struct device *dev, u8 op, struct scatterlist *list, int nents, int mapped,
		      enum dma_data_direction dir, bool lends)
{
	struct witness_event event = { .op = op, .direction = direction(dir), .entries = nents };
	struct witness_card *card;
	struct scatterlist *entry;
	int i;

	rcu_read_lock();
	card = witness_find(dev);
	if (!card)
		goto out;
	event.caller = witness_caller();
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
		witness_post(card, &event);
	}
out:
	rcu_read_unlock();
}

static void on_map_sg(void *data, struct device *dev, struct scatterlist *list, int nents, int mapped,
		      enum dma_data_direction dir, unsigned long attrs)
{
	tell_list(dev, LW_OP_MAP_LIST, list, nents, mapped, dir, true);
}

static void on_map_sg_err(void *data, struct device *dev, struct scatterlist *list, int nents, int error,
			  enum dma_data_direction dir, unsigned long attrs)
{
	if (watched(dev))
		tell_one(dev, LW_OP_MAP_FAILED, ~0ULL, sg_phys(list), list->length, direction(dir), LW_MEMORY_PLAIN,
			 false);
}

static void on_unmap_sg(void *data, struct device *dev, struct scatterlist *list, int nents,
			enum dma_data_direction dir, unsigned long attrs)
{
	tell_list(dev, LW_OP_UNMAP_LIST, list, nents, nents, dir, false);
}

static void on_sync_cpu(void *data, struct device *dev, dma_addr_t address, size_t size, enum dma_data_direction dir)
{
	if (watched(dev))
		tell_one(dev, LW_OP_SYNC_FOR_CPU, address, WITNESS_NOT_TOLD, size, direction(dir), LW_MEMORY_PLAIN,
			 false);
}

static void on_sync_device(void *data, struct device *dev, dma_addr_t address, size_t size,
			   enum dma_data_direction dir)
{
	if (watched(dev))
		tell_one(dev, LW_OP_SYNC_FOR_DEVICE, address, WITNESS_NOT_TOLD, size, direction(dir),
			 LW_MEMORY_PLAIN, false);
}

static void on_sync_sg_cpu(void *data, struct device *dev, struct scatterlist *list, int nents,
			   enum dma_data_direction dir)
{
	tell_list(dev, LW_OP_SYNC_FOR_CPU, list, nents, nents, dir, false);
}

static void on_sync_sg_device(void *data, struct device *dev, struct scatterlist *list, int nents,
			      enum dma_data_direction dir)
{
	tell_list(dev, LW_OP_SYNC_FOR_DEVICE, list, nents, nents, dir, false);
}

#define PROBES(X)                                          \
	X(dma_map_phys, on_map_phys)                       \
	X(dma_alloc, on_alloc)                             \
	X(dma_alloc_pages, on_alloc)                       \
	X(dma_alloc_sgt, on_alloc_sgt)                     \
	X(dma_alloc_sgt_err, on_alloc)                     \
	X(dma_free, on_free)                               \
	X(dma_free_pages, on_free)                         \
	X(dma_free_sgt, on_free_sgt)                       \
	X(dma_map_sg, on_map_sg)                           \
	X(dma_map_sg_err, on_map_sg_err)                   \
	X(dma_unmap_sg, on_unmap_sg)                       \
	X(dma_sync_single_for_cpu, on_sync_cpu)            \
	X(dma_sync_single_for_device, on_sync_device)      \
	X(dma_sync_sg_for_cpu, on_sync_sg_cpu)             \
	X(dma_sync_sg_for_device, on_sync_sg_device)

static struct probe {
	const char *name;
	void *function;
	struct tracepoint *point;
	bool attached;
} probes[] = {
#define X(name, function) { #name, function },
	PROBES(X)
#undef X
};

/* Does nothing; a probe of another prototype than its tracepoint's does not compile. */
static void check_prototypes(void)
{
#define X(name, function) check_trace_callback_type_##name(function);
	PROBES(X)
#undef X
}

static int on_unmap_phys(struct kprobe *kprobe, struct pt_regs *regs)
{
	struct device *dev = (void *)regs_get_kernel_argument(regs, 0);

	if (watched(dev)) {
		struct witness_event event = {
			.op = LW_OP_UNMAP,
			.address = regs_get_kernel_argument(regs, 1),
			.phys = WITNESS_NOT_TOLD,
			.length = regs_get_kernel_argument(regs, 2),
			.direction = direction((enum dma_data_direction)regs_get_kernel_argument(regs, 3)),
		};

		/* At a function's entry its return address is the stack's top. */
		tell_from(dev, &event, regs_get_kernel_stack_nth(regs, 0));
	}
	return 0;
}

static struct kprobe unmap_phys = { .symbol_name = "dma_unmap_phys", .pre_handler = on_unmap_phys };
static bool unmap_phys_attached;

unsigned long witness_dma_missed(void)
{
	return unmap_phys.nmissed;
}

static void find(struct tracepoint *point, void *data)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!strcmp(point->name, probes[i].name))
			probes[i].point = point;
	}
}

void witness_dma_stop(void)
{
	unsigned int i;

	if (unmap_phys_attached)
		unregister_kprobe(&unmap_phys);
	unmap_phys_attached = false;
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (probes[i].attached)
			tracepoint_probe_unregister(probes[i].point, probes[i].function, NULL);
		probes[i].attached = false;
	}
	tracepoint_synchronize_unregister();
}

int witness_dma_start(void)
{
	unsigned int i;
	int error;

	check_prototypes();
	for_each_kernel_tracepoint(find, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		error = -ENOENT;
		if (probes[i].point)
			error = tracepoint_probe_register(probes[i].point, probes[i].function, NULL);
		if (error) {
			pr_err(KBUILD_MODNAME ": cannot attach to the tracepoint %s: %d\n", probes[i].name, error);
			goto stop;
		}
		probes[i].attached = true;
	}
	error = register_kprobe(&unmap_phys);
	if (error) {
		pr_err(KBUILD_MODNAME ": cannot attach to %s: %d\n", unmap_phys.symbol_name, error);
		goto stop;
	}
	unmap_phys_attached = true;
	return 0;
stop:
	witness_dma_stop();
	return error;
}
