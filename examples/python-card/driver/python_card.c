// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A driver of the card in card.py: has it fill a buffer when it is bound, and compares. With `early=1` it unmaps the buffer
 * before the card has filled it. */
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define ID 0x00
#define DESCRIPTOR 0x04
#define DESCRIPTOR_HIGH 0x08
#define CONTROL 0x0c
#define STATUS 0x10

#define BYTES (192 << 10)

static bool early;
module_param(early, bool, 0444);

static uint rounds = 4;
module_param(rounds, uint, 0444);

static uint patience = 10;
module_param(patience, uint, 0444);

struct descriptor {
	__le64 address;
	__le32 bytes;
	__le32 seed;
};

struct card {
	void __iomem *bar;
	struct descriptor *descriptor;
	dma_addr_t descriptor_at;
	struct completion done;
};

static irqreturn_t done(int irq, void *data)
{
	struct card *c = data;

	if (!(readl(c->bar + STATUS) & 1))
		return IRQ_NONE;
	writel(1, c->bar + STATUS);
	complete(&c->done);
	return IRQ_HANDLED;
}

static int fill(struct pci_dev *pdev, struct card *c, u32 seed)
{
	u8 *buffer = kmalloc(BYTES, GFP_KERNEL);
	dma_addr_t at;
	int error = 0;
	size_t i;

	if (!buffer)
		return -ENOMEM;
	at = dma_map_single(&pdev->dev, buffer, BYTES, DMA_FROM_DEVICE);
	if (dma_mapping_error(&pdev->dev, at)) {
		kfree(buffer);
		return -EIO;
	}
	c->descriptor->address = cpu_to_le64(at);
	c->descriptor->bytes = cpu_to_le32(BYTES);
	c->descriptor->seed = cpu_to_le32(seed);
	if (early)
		dma_unmap_single(&pdev->dev, at, BYTES, DMA_FROM_DEVICE);
	writel(1, c->bar + CONTROL);
	if (!wait_for_completion_timeout(&c->done, patience * HZ))
		error = -ETIMEDOUT;
	if (!early)
		dma_unmap_single(&pdev->dev, at, BYTES, DMA_FROM_DEVICE);
	for (i = 0; !error && !early && i < BYTES; i++)
		if (buffer[i] != (u8)(seed + i))
			error = -EILSEQ;
	kfree(buffer);
	return error;
}

static int card_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct card *c = devm_kzalloc(&pdev->dev, sizeof(*c), GFP_KERNEL);
	int error;
	u32 round;

	if (!c)
		return -ENOMEM;
	init_completion(&c->done);
	error = pcim_enable_device(pdev) ?: dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (error)
		return error;
	c->bar = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(c->bar))
		return PTR_ERR(c->bar);
	if (readl(c->bar + ID) != 0x59504331)
		return -ENODEV;
	c->descriptor = dmam_alloc_coherent(&pdev->dev, sizeof(*c->descriptor), &c->descriptor_at, GFP_KERNEL);
	if (!c->descriptor)
		return -ENOMEM;
	writel(lower_32_bits(c->descriptor_at), c->bar + DESCRIPTOR);
	writel(upper_32_bits(c->descriptor_at), c->bar + DESCRIPTOR_HIGH);
	pci_set_master(pdev);
	error = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_ALL_TYPES);
	if (error < 0)
		return error;
	error = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), done, IRQF_SHARED, KBUILD_MODNAME, c);
	for (round = 0; round < rounds && !error; round++)
		error = fill(pdev, c, round);
	dev_info(&pdev->dev, "%u buffers, %d\n", round, error);
	return error;
}

static const struct pci_device_id card_ids[] = { { PCI_DEVICE(0x1b36, 0x5059) }, {} };
MODULE_DEVICE_TABLE(pci, card_ids);

static struct pci_driver card_driver = {
	.name = KBUILD_MODNAME,
	.id_table = card_ids,
	.probe = card_probe,
};
module_pci_driver(card_driver);

MODULE_DESCRIPTION("A driver of a card in Python");
MODULE_LICENSE("Dual MIT/GPL");
