// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A driver of the window: writes into the card's memory, has the card send it, and compares. */
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define GO 0x00
#define EVENTS 0x08
#define BYTES 4096

static irqreturn_t sent(int irq, void *data)
{
	complete(data);
	return IRQ_HANDLED;
}

static int send(struct pci_dev *pdev, void __iomem *regs, void __iomem *memory, struct completion *done)
{
	u8 *buffer = kzalloc(BYTES, GFP_KERNEL);
	dma_addr_t at;
	int error = 0;

	if (!buffer)
		return -ENOMEM;
	memset_io(memory, 0x5a, BYTES);
	wmb();
	at = dma_map_single(&pdev->dev, buffer, BYTES, DMA_FROM_DEVICE);
	if (dma_mapping_error(&pdev->dev, at)) {
		kfree(buffer);
		return -EIO;
	}
	writeq(at, regs + GO);
	if (!wait_for_completion_timeout(done, 10 * HZ))
		error = -ETIMEDOUT;
	dma_unmap_single(&pdev->dev, at, BYTES, DMA_FROM_DEVICE);
	if (!error && memchr_inv(buffer, 0x5a, BYTES))
		error = -EILSEQ;
	/* It counts one, and reading it clears it. */
	if (!error && (readq(regs + EVENTS) != 1 || readq(regs + EVENTS) != 0))
		error = -EPROTO;
	kfree(buffer);
	return error;
}

static int window_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct completion *done = devm_kzalloc(&pdev->dev, sizeof(*done), GFP_KERNEL);
	void __iomem *regs, *memory;
	int error;

	if (!done)
		return -ENOMEM;
	init_completion(done);
	error = pcim_enable_device(pdev) ?: dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (error)
		return error;
	if (pdev->subsystem_vendor != 0x1af4 || pdev->subsystem_device != 0x42 ||
	    pci_resource_len(pdev, 2) != SZ_1M || !(pci_resource_flags(pdev, 2) & IORESOURCE_PREFETCH))
		return -ENODEV;
	regs = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	memory = pcim_iomap_region(pdev, 2, KBUILD_MODNAME);
	if (IS_ERR(regs) || IS_ERR(memory))
		return -EIO;
	pci_set_master(pdev);
	error = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI);
	if (error < 0)
		return error;
	error = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), sent, 0, KBUILD_MODNAME, done) ?:
		send(pdev, regs, memory, done);
	dev_info(&pdev->dev, "sent, %d\n", error);
	return error;
}

static const struct pci_device_id window_ids[] = { { PCI_DEVICE(0x1b36, 0x4f32) }, {} };
MODULE_DEVICE_TABLE(pci, window_ids);

static struct pci_driver window_driver = {
	.name = KBUILD_MODNAME,
	.id_table = window_ids,
	.probe = window_probe,
};
module_pci_driver(window_driver);

MODULE_DESCRIPTION("The window's driver");
MODULE_LICENSE("Dual MIT/GPL");
