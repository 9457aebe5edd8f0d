/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * For dma.c, of kernels without tracepoints in the DMA API: what lends is a function in the call's place, which tells
 * when it is done and before it returns; what takes back is heard at its entry.
 */
static dma_addr_t instead_of_map_page(struct device *dev, struct page *page, size_t offset, size_t size,
				      enum dma_data_direction dir, unsigned long attrs)
{
	dma_addr_t address;

	witness_instead_begin();
	address = dma_map_page_attrs(dev, page, offset, size, dir, attrs);
	on_map_page(NULL, dev, page_to_phys(page) + offset, address, size, dir, attrs);
	witness_instead_end();
	return address;
}

static dma_addr_t instead_of_map_resource(struct device *dev, phys_addr_t phys, size_t size,
					  enum dma_data_direction dir, unsigned long attrs)
{
	dma_addr_t address;

	witness_instead_begin();
	address = dma_map_resource(dev, phys, size, dir, attrs);
	on_map_resource(NULL, dev, phys, address, size, dir, attrs);
	witness_instead_end();
	return address;
}

static unsigned int instead_of_map_sg(struct device *dev, struct scatterlist *list, int nents,
				      enum dma_data_direction dir, unsigned long attrs)
{
	unsigned int mapped;

	witness_instead_begin();
	mapped = dma_map_sg_attrs(dev, list, nents, dir, attrs);
	if (mapped)
		on_map_sg(NULL, dev, list, nents, mapped, dir, attrs);
	else
		on_map_sg_err(NULL, dev, list, nents, -EIO, dir, attrs);
	witness_instead_end();
	return mapped;
}

static int instead_of_map_sgtable(struct device *dev, struct sg_table *table, enum dma_data_direction dir,
				  unsigned long attrs)
{
	int error;

	witness_instead_begin();
	error = dma_map_sgtable(dev, table, dir, attrs);
	if (error)
		on_map_sg_err(NULL, dev, table->sgl, table->orig_nents, error, dir, attrs);
	else
		on_map_sg(NULL, dev, table->sgl, table->orig_nents, table->nents, dir, attrs);
	witness_instead_end();
	return error;
}

static void *instead_of_alloc(struct device *dev, size_t size, dma_addr_t *handle, gfp_t flags, unsigned long attrs)
{
	void *virt;

	witness_instead_begin();
	virt = dma_alloc_attrs(dev, size, handle, flags, attrs);
	on_alloc(NULL, dev, virt, virt ? *handle : 0, size, DMA_BIDIRECTIONAL, flags, attrs);
	witness_instead_end();
	return virt;
}

static struct page *instead_of_alloc_pages(struct device *dev, size_t size, dma_addr_t *handle,
					   enum dma_data_direction dir, gfp_t flags)
{
	struct page *page;

	witness_instead_begin();
	page = dma_alloc_pages(dev, size, handle, dir, flags);
	on_alloc(NULL, dev, page ? page_to_virt(page) : NULL, page ? *handle : 0, size, dir, flags, 0);
	witness_instead_end();
	return page;
}

static struct sg_table *instead_of_alloc_sgt(struct device *dev, size_t size, enum dma_data_direction dir, gfp_t flags,
					     unsigned long attrs)
{
	struct sg_table *table;

	witness_instead_begin();
	table = dma_alloc_noncontiguous(dev, size, dir, flags, attrs);
	if (table)
		on_alloc_sgt(NULL, dev, table, size, dir, flags, attrs);
	else
		on_alloc(NULL, dev, NULL, 0, size, dir, flags, attrs);
	witness_instead_end();
	return table;
}

static void at_unmap_sg(struct ftrace_regs *regs, unsigned long caller)
{
	on_unmap_sg(NULL, (void *)ARGUMENT(regs, 0), (void *)ARGUMENT(regs, 1), ARGUMENT(regs, 2),
		    (enum dma_data_direction)ARGUMENT(regs, 3), ARGUMENT(regs, 4));
}

static void at_free_pages(struct ftrace_regs *regs, unsigned long caller)
{
	on_free(NULL, (void *)ARGUMENT(regs, 0), NULL, ARGUMENT(regs, 3), ARGUMENT(regs, 1),
		(enum dma_data_direction)ARGUMENT(regs, 4), 0);
}

static void at_free_sgt(struct ftrace_regs *regs, unsigned long caller)
{
	on_free_sgt(NULL, (void *)ARGUMENT(regs, 0), (void *)ARGUMENT(regs, 2), ARGUMENT(regs, 1),
		    (enum dma_data_direction)ARGUMENT(regs, 3));
}

static void at_sync_cpu(struct ftrace_regs *regs, unsigned long caller)
{
	on_sync_cpu(NULL, (void *)ARGUMENT(regs, 0), ARGUMENT(regs, 1), ARGUMENT(regs, 2),
		    (enum dma_data_direction)ARGUMENT(regs, 3));
}

static void at_sync_device(struct ftrace_regs *regs, unsigned long caller)
{
	on_sync_device(NULL, (void *)ARGUMENT(regs, 0), ARGUMENT(regs, 1), ARGUMENT(regs, 2),
		       (enum dma_data_direction)ARGUMENT(regs, 3));
}

static void at_sync_sg_cpu(struct ftrace_regs *regs, unsigned long caller)
{
	on_sync_sg_cpu(NULL, (void *)ARGUMENT(regs, 0), (void *)ARGUMENT(regs, 1), ARGUMENT(regs, 2),
		       (enum dma_data_direction)ARGUMENT(regs, 3));
}

static void at_sync_sg_device(struct ftrace_regs *regs, unsigned long caller)
{
	on_sync_sg_device(NULL, (void *)ARGUMENT(regs, 0), (void *)ARGUMENT(regs, 1), ARGUMENT(regs, 2),
			  (enum dma_data_direction)ARGUMENT(regs, 3));
}

#define UNTRACED                                                              \
	{ dma_map_page_attrs, .instead = instead_of_map_page },               \
	{ dma_map_resource, .instead = instead_of_map_resource },             \
	{ dma_map_sg_attrs, .instead = instead_of_map_sg },                   \
	{ dma_map_sgtable, .instead = instead_of_map_sgtable },               \
	{ dma_alloc_attrs, .instead = instead_of_alloc },                     \
	{ dma_alloc_pages, .instead = instead_of_alloc_pages },               \
	{ dma_alloc_noncontiguous, .instead = instead_of_alloc_sgt },         \
	{ dma_unmap_sg_attrs, .entry = at_unmap_sg },                         \
	{ dma_free_pages, .entry = at_free_pages },                           \
	{ dma_free_noncontiguous, .entry = at_free_sgt },                     \
	{ dma_sync_single_for_cpu, .entry = at_sync_cpu },                    \
	{ dma_sync_single_for_device, .entry = at_sync_device },              \
	{ dma_sync_sg_for_cpu, .entry = at_sync_sg_cpu },                     \
	{ dma_sync_sg_for_device, .entry = at_sync_sg_device },

static void probes_stop(void)
{
}

static int probes_start(void)
{
	return 0;
}
