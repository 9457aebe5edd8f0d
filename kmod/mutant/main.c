// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * landfall_mutant: a second driver of Landfall's capture card, small and in C, in which one bug of the catalogue of
 * DMA bug classes can be planted. It captures once while it binds, and tears down when it unbinds; what it did is to
 * be judged from outside. Never loaded together with landfall_capture, whose card it takes.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "bugs.h"
#include "mutant.h"
#include "parameters.h"

/* From frame to frame of a capture that goes on. */
#define LASTING_US (10 * USEC_PER_MSEC)

struct mutant_parameters mutant_parameters = {
	.frames = 8,
	.buffers = 3,
	.width = 64,
	.height = 32,
	.interrupt = 3,
	.patience = 10,
	.clip = true,
};

#define PARAMETER(name, type, text) \
	module_param_named(name, mutant_parameters.name, type, 0444); \
	MODULE_PARM_DESC(name, text)

PARAMETER(bug, uint, "Number of the bug to plant; 0 (default): none");
PARAMETER(frames, uint, "Frames to capture (default 8)");
PARAMETER(buffers, uint, "Buffers that take turns, a slot each (default 3)");
PARAMETER(width, uint, "Pixels of a line, a multiple of 4 (default 64); a pixel is 2 bytes");
PARAMETER(height, uint, "Lines (default 32); fewer if the card takes no such frame");
PARAMETER(interval, uint, "Time from frame to frame, microseconds (default 0: as fast as it goes)");
PARAMETER(interrupt, uint, "0: INTx, 1: MSI, 2: MSI-X, each of them or none; 3 (default): any");
PARAMETER(memory, uint, "Frames are 0 (default): dma_map_single, 1: dma_map_page, 2: coherent, 3: dma_map_sg");
PARAMETER(room, uint, "Bytes to allocate behind each frame besides (default 0)");
PARAMETER(large, uint, "Which buffer, from 1, is of half a MiB; 0 (default): none");
PARAMETER(patience, uint, "Seconds after which waits end that would not end (default 10)");
PARAMETER(clip, bool, "The card reads a clip mask (default 1)");
PARAMETER(remask, bool, "The clip mask is written anew before each frame; with one buffer (default 0)");
PARAMETER(busy, bool, "A frame is in work whenever the driver has to stop the card (default 0)");
PARAMETER(cancel, bool, "The capture is begun and cancelled at once (default 0)");
PARAMETER(lasting, bool, "The card goes on capturing while it is bound (default 0)");

module_param_named(completed, mutant_completed, uint, 0444);
MODULE_PARM_DESC(completed, "Told by the driver: frames that the card called complete");
module_param_named(right, mutant_right, uint, 0444);
MODULE_PARM_DESC(right, "Told by the driver: frames with the right bytes");

#define MUTANT_INFO(number, text) MODULE_INFO(bug, #number ": " text);
MUTANT_BUGS(MUTANT_INFO)

unsigned int mutant_patience(void)
{
	return mutant_parameters.patience;
}

int mutant_set_mask(struct mutant *m)
{
	return dma_set_mask_and_coherent(m->dev, DMA_BIT_MASK(m->limits.address_bits));
}

int mutant_vectors(struct mutant *m)
{
	static const unsigned int kinds[] = { PCI_IRQ_INTX, PCI_IRQ_MSI, PCI_IRQ_MSIX,
					      PCI_IRQ_ALL_TYPES };
	unsigned int kind = min_t(unsigned int, mutant_parameters.interrupt, 3);
	int count = pci_alloc_irq_vectors(m->pdev, 1, 1, kinds[kind]);

	return min(count, 0);
}

void mutant_free_interrupt(struct mutant *m)
{
	free_irq(m->irq, m);
	pci_free_irq_vectors(m->pdev);
}

void mutant_disable(struct mutant *m)
{
	pci_clear_master(m->pdev);
	pci_disable_device(m->pdev);
}

void mutant_make_busy(struct mutant *m)
{
	int error = mutant_parameters.busy ? mutant_begin_stream(m) : 0;

	if (error)
		dev_warn(m->dev, "no frame is in work: %d\n", error);
}

/* With the parameter lasting: captures on and on. */
static void go_on(struct mutant *m)
{
	int error = mutant_parameters.lasting ? mutant_begin_lasting(m, LASTING_US) : 0;

	if (error)
		dev_warn(m->dev, "the capture does not go on: %d\n", error);
}

/* Takes the card and captures. That a capture failed is told, and is no reason to refuse the card. */
static int bind(struct mutant *m)
{
	struct pci_dev *pdev = m->pdev;
	bool pin;
	int error;

	error = card_examine(m) ?: card_stop(m) ?: STEP(m, set_mask)(m);
	if (error)
		return error;
	pci_set_master(pdev);
	pci_save_state(pdev);
	error = STEP(m, vectors)(m);
	if (error)
		goto no_vectors;
	pin = !pdev->msi_enabled && !pdev->msix_enabled;
	m->irq = pci_irq_vector(pdev, 0);
	error = request_irq(m->irq, m->bug->interrupt ?: card_interrupt, pin ? IRQF_SHARED : 0,
			    KBUILD_MODNAME, m);
	if (error)
		goto no_irq;
	error = STEP(m, run)(m);
	dev_info(m->dev, "bug %u: capture %d, %u of %u frames complete, %u right\n",
		 mutant_parameters.bug, error, mutant_completed, mutant_parameters.frames,
		 mutant_right);
	go_on(m);
	return 0;
no_irq:
	pci_free_irq_vectors(pdev);
no_vectors:
	pci_clear_master(pdev);
	return error;
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct mutant *m = kzalloc(sizeof(*m), GFP_KERNEL);
	int error;

	if (!m)
		return -ENOMEM;
	m->pdev = pdev;
	m->dev = &pdev->dev;
	m->bug = mutant_find(mutant_parameters.bug);
	spin_lock_init(&m->lock);
	init_waitqueue_head(&m->changed);
	pci_set_drvdata(pdev, m);

	error = pci_enable_device(pdev);
	if (error)
		goto no_device;
	error = pci_request_region(pdev, 0, KBUILD_MODNAME);
	if (error)
		goto no_region;
	m->bar = pci_iomap(pdev, 0, CARD_BAR0_SIZE);
	error = m->bar ? bind(m) : -ENOMEM;
	if (!error)
		return 0;
	dev_err(m->dev, "the card is not taken: %d\n", error);
	if (m->bar)
		pci_iounmap(pdev, m->bar);
	pci_release_region(pdev, 0);
no_region:
	pci_disable_device(pdev);
no_device:
	kfree(m);
	return error;
}

void mutant_remove(struct mutant *m)
{
	mutant_make_busy(m);
	mutant_end(m);
	mutant_free_interrupt(m);
	mutant_disable(m);
}

static void remove(struct pci_dev *pdev)
{
	struct mutant *m = pci_get_drvdata(pdev);

	STEP(m, remove)(m);
	if (m->bar)
		pci_iounmap(pdev, m->bar);
	pci_release_region(pdev, 0);
	kfree(m->own);
	kfree(m);
}

void mutant_shutdown(struct mutant *m)
{
	mutant_make_busy(m);
	mutant_end(m);
	mutant_disable(m);
}

static void shutdown(struct pci_dev *pdev)
{
	struct mutant *m = pci_get_drvdata(pdev);

	STEP(m, shutdown)(m);
}

/* No MODULE_DEVICE_TABLE: the card is landfall_capture's unless this module is asked for by name. */
static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(CARD_VENDOR, CARD_DEVICE) },
	{}
};

static struct pci_driver driver = {
	.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
	.shutdown = shutdown,
};

static int __init mutant_init(void)
{
	const struct mutant_parameters *p = &mutant_parameters;
	const struct mutant_bug *bug = mutant_find(p->bug);

	if (!bug || !p->frames || !p->width || p->width % 4 || p->width > 2048 ||
	    !p->height || p->height > 1024 || p->memory > LIST || p->room > SZ_4M)
		return -EINVAL;
	driver.err_handler = bug->no_recovery ? NULL : &mutant_recovery;
	return pci_register_driver(&driver);
}

static void __exit mutant_exit(void)
{
	pci_unregister_driver(&driver);
	mutant_finish();
}

module_init(mutant_init);
module_exit(mutant_exit);

MODULE_AUTHOR("The Landfall contributors");
MODULE_DESCRIPTION("A driver of Landfall's capture card with one DMA bug to order");
MODULE_LICENSE("Dual MIT/GPL");
