// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A driver of the ring card: fills eight buffers when it is bound, and compares them. With `early=1` it unmaps a buffer
 * before the card has filled it. */
#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define RING_LO 0x08
#define RING_HI 0x0c
#define COUNT 0x10
#define TAIL 0x14

#define ENTRIES 8
#define BYTES 2048

static bool early;
module_param(early, bool, 0444);

struct entry {
	__le64 address;
	__le32 bytes;
	__le32 word;
};

struct ring_card {
	void __iomem *bar;
	struct entry *ring;
	dma_addr_t ring_dma;
	struct completion full;
	unsigned int failed;
};

static irqreturn_t full(int irq, void *data)
{
	struct ring_card *c = data;

	complete(&c->full);
	return IRQ_HANDLED;
}

static irqreturn_t failed(int irq, void *data)
{
	struct ring_card *c = data;

	c->failed++;
	complete(&c->full);
	return IRQ_HANDLED;
}

static int fill(struct pci_dev *pdev, struct ring_card *c, unsigned int number)
{
	struct entry *entry = &c->ring[number % ENTRIES];
	u8 *buffer = kzalloc(BYTES, GFP_KERNEL);
	dma_addr_t at;
	int error = 0;

	if (!buffer)
		return -ENOMEM;
	at = dma_map_single(&pdev->dev, buffer, BYTES, DMA_FROM_DEVICE);
	if (dma_mapping_error(&pdev->dev, at)) {
		kfree(buffer);
		return -EIO;
	}
	entry->address = cpu_to_le64(at);
	entry->bytes = cpu_to_le32(BYTES);
	entry->word = 0;
	dma_wmb();
	if (early)
		dma_unmap_single(&pdev->dev, at, BYTES, DMA_FROM_DEVICE);
	writel((number + 1) % ENTRIES, c->bar + TAIL);
	if (!wait_for_completion_timeout(&c->full, 10 * HZ))
		error = -ETIMEDOUT;
	if (!early)
		dma_unmap_single(&pdev->dev, at, BYTES, DMA_FROM_DEVICE);
	dma_rmb();
	if (!error && le32_to_cpu(READ_ONCE(entry->word)) != 1)
		error = -EIO;
	if (!error && !early && memchr_inv(buffer, number + 1, BYTES))
		error = -EILSEQ;
	kfree(buffer);
	return error;
}

static void quiet(void *data)
{
	struct ring_card *c = data;

	writel(0, c->bar + COUNT);
	readl(c->bar + COUNT);
}

static int ring_card_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ring_card *c = devm_kzalloc(&pdev->dev, sizeof(*c), GFP_KERNEL);
	unsigned int number;
	int error;

	if (!c)
		return -ENOMEM;
	init_completion(&c->full);
	error = pcim_enable_device(pdev) ?: dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (error)
		return error;
	c->bar = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(c->bar))
		return PTR_ERR(c->bar);
	c->ring = dmam_alloc_coherent(&pdev->dev, ENTRIES * sizeof(*c->ring), &c->ring_dma, GFP_KERNEL);
	if (!c->ring)
		return -ENOMEM;
	pci_set_master(pdev);
	error = pci_alloc_irq_vectors(pdev, 2, 2, PCI_IRQ_MSIX);
	if (error < 0)
		return error;
	error = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), full, 0, "ring-card-full", c) ?:
		devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 1), failed, 0, "ring-card-failed", c) ?:
		devm_add_action_or_reset(&pdev->dev, quiet, c);
	writel(lower_32_bits(c->ring_dma), c->bar + RING_LO);
	writel(upper_32_bits(c->ring_dma), c->bar + RING_HI);
	writel(ENTRIES, c->bar + COUNT);
	for (number = 0; number < ENTRIES && !error; number++)
		error = fill(pdev, c, number);
	dev_info(&pdev->dev, "%u buffers, %d\n", number, error);
	return error;
}

static const struct pci_device_id ring_card_ids[] = { { PCI_DEVICE(0x1b36, 0x4f31) }, {} };
MODULE_DEVICE_TABLE(pci, ring_card_ids);

static struct pci_driver ring_card_driver = {
	.name = KBUILD_MODNAME,
	.id_table = ring_card_ids,
	.probe = ring_card_probe,
};
module_pci_driver(ring_card_driver);

MODULE_DESCRIPTION("The ring card's driver");
MODULE_LICENSE("Dual MIT/GPL");
