// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A buffer of the pool as a dma-buf: one physically contiguous piece, for other drivers and for user space.
 *
 * The dma-buf holds the buffer, and the module that made it.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/iosys-map.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "landfall_pool.h"
#include "pool_shim.h"

MODULE_IMPORT_NS("DMA_BUF");

/* What a dma-buf holds. */
struct exported {
	struct landfall_pool_buffer buffer;
	void (*release)(void *hold);
	void *hold;
};

/* What one importer has mapped; dma_buf.attachments is protected by the reservation lock. */
struct mapping {
	struct sg_table table;
	enum dma_data_direction direction;
	bool mapped;
};

static int attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment)
{
	const struct exported *exported = dmabuf->priv;
	struct mapping *mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);
	int error;

	if (!mapping)
		return -ENOMEM;
	error = sg_alloc_table(&mapping->table, 1, GFP_KERNEL);
	if (error) {
		kfree(mapping);
		return error;
	}
	sg_set_page(mapping->table.sgl, phys_to_page(exported->buffer.phys), exported->buffer.allocated, 0);
	attachment->priv = mapping;
	return 0;
}

static void detach(struct dma_buf *dmabuf, struct dma_buf_attachment *attachment)
{
	struct mapping *mapping = attachment->priv;

	sg_free_table(&mapping->table);
	kfree(mapping);
}

static struct sg_table *map(struct dma_buf_attachment *attachment, enum dma_data_direction direction)
{
	struct mapping *mapping = attachment->priv;
	int error = dma_map_sgtable(attachment->dev, &mapping->table, direction, 0);

	if (error)
		return ERR_PTR(error);
	mapping->direction = direction;
	mapping->mapped = true;
	return &mapping->table;
}

static void unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
		  enum dma_data_direction direction)
{
	struct mapping *mapping = attachment->priv;

	mapping->mapped = false;
	dma_unmap_sgtable(attachment->dev, table, direction, 0);
}

static int sync(struct dma_buf *dmabuf, bool for_cpu)
{
	struct dma_buf_attachment *attachment;
	int error = dma_resv_lock_interruptible(dmabuf->resv, NULL);

	if (error)
		return error;
	list_for_each_entry(attachment, &dmabuf->attachments, node) {
		struct mapping *mapping = attachment->priv;

		if (!mapping->mapped)
			continue;
		if (for_cpu)
			dma_sync_sgtable_for_cpu(attachment->dev, &mapping->table, mapping->direction);
		else
			dma_sync_sgtable_for_device(attachment->dev, &mapping->table, mapping->direction);
	}
	dma_resv_unlock(dmabuf->resv);
	return 0;
}

static int begin_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	return sync(dmabuf, true);
}

static int end_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction direction)
{
	return sync(dmabuf, false);
}

/* dma-buf has checked the range, and the area holds the dma-buf. */
static int map_user(struct dma_buf *dmabuf, struct vm_area_struct *area)
{
	const struct exported *exported = dmabuf->priv;

	return remap_pfn_range(area, area->vm_start, PHYS_PFN(exported->buffer.phys) + area->vm_pgoff,
			       area->vm_end - area->vm_start, area->vm_page_prot);
}

static int map_kernel(struct dma_buf *dmabuf, struct iosys_map *map)
{
	const struct exported *exported = dmabuf->priv;

	iosys_map_set_vaddr(map, exported->buffer.virt);
	return 0;
}

static void release(struct dma_buf *dmabuf)
{
	struct exported *exported = dmabuf->priv;

	exported->release(exported->hold);
	kfree(exported);
}

static const struct dma_buf_ops operations = {
	.attach = attach,
	.detach = detach,
	.map_dma_buf = map,
	.unmap_dma_buf = unmap,
	.begin_cpu_access = begin_cpu_access,
	.end_cpu_access = end_cpu_access,
	.mmap = map_user,
	.vmap = map_kernel,
	.release = release,
};

struct dma_buf *landfall_pool_export(const struct landfall_pool_buffer *buffer, int flags, struct module *owner,
				     void (*release)(void *hold), void *hold)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct exported *exported;
	struct dma_buf *dmabuf;

	/* A dma-buf is a list of page structures, which a carve-out does not have. */
	if (!landfall_pool_shim_direct_map(buffer->phys, buffer->allocated))
		return ERR_PTR(-EOPNOTSUPP);
	exported = kzalloc(sizeof(*exported), GFP_KERNEL);
	if (!exported)
		return ERR_PTR(-ENOMEM);
	exported->buffer = *buffer;
	exported->release = release;
	exported->hold = hold;
	info.exp_name = "landfall_pool";
	info.owner = owner;
	info.ops = &operations;
	info.size = buffer->allocated;
	info.flags = flags;
	info.priv = exported;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf))
		kfree(exported);
	return dmabuf;
}
EXPORT_SYMBOL_GPL(landfall_pool_export);
