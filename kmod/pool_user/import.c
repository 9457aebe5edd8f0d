// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Imports a dma-buf as another driver would: attaches a device to it, maps it for DMA, looks at where that
 * is, and lets go. The device is a faux one: it has a DMA mask and does no DMA.
 */
#include <linux/device/faux.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/scatterlist.h>

#include "pool_user.h"

static void tell(struct sg_table *table)
{
	struct scatterlist *sg;
	unsigned int i;

	pool_user_result("import_pieces", table->nents);
	for_each_sgtable_dma_sg(table, sg, i) {
		if (i == 4)
			break;
		pool_user_result_at("import_dma", i, sg_dma_address(sg));
		pool_user_result_at("import_length", i, sg_dma_len(sg));
	}
}

int pool_user_import(int fd, unsigned int address_bits)
{
	struct dma_buf_attachment *attachment;
	struct faux_device *device;
	struct dma_buf *buffer;
	struct sg_table *table;
	int error;

	buffer = dma_buf_get(fd);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	device = faux_device_create(KBUILD_MODNAME, NULL, NULL);
	if (!device) {
		error = -ENODEV;
		goto put;
	}
	error = dma_coerce_mask_and_coherent(&device->dev, DMA_BIT_MASK(address_bits));
	if (error)
		goto destroy;
	pool_user_result("import_size", buffer->size);
	attachment = dma_buf_attach(buffer, &device->dev);
	if (IS_ERR(attachment)) {
		pool_user_result("import_attach", PTR_ERR(attachment));
		goto destroy;
	}
	pool_user_result("import_attach", 0);
	table = dma_buf_map_attachment_unlocked(attachment, DMA_BIDIRECTIONAL);
	if (IS_ERR(table)) {
		pool_user_result("import_map", PTR_ERR(table));
	} else {
		pool_user_result("import_map", 0);
		tell(table);
		dma_buf_unmap_attachment_unlocked(attachment, table, DMA_BIDIRECTIONAL);
	}
	dma_buf_detach(buffer, attachment);
destroy:
	faux_device_destroy(device);
put:
	dma_buf_put(buffer);
	return error;
}

MODULE_IMPORT_NS("DMA_BUF");
