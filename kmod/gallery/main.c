// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * landfall_gallery: a driver of Landfall's ring card that does one small, legal thing each time it is loaded. What it
 * did is to be judged from outside, and nothing may be said.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "gallery.h"

static char *pattern = "own";
module_param(pattern, charp, 0444);
MODULE_PARM_DESC(pattern, "The pattern to show (default own)");

static char *bug = "";
module_param(bug, charp, 0444);
MODULE_PARM_DESC(bug, "The pattern to show, with the bug of that name");

static unsigned int rebinds;
module_param(rebinds, uint, 0444);
MODULE_PARM_DESC(rebinds, "How often it is unbound and bound again (default: as the pattern says)");

unsigned int gallery_patience = 5000;
module_param_named(patience, gallery_patience, uint, 0444);
MODULE_PARM_DESC(patience, "Milliseconds after which waits end that would not end (default 5000)");

module_param_named(jobs, gallery_jobs, uint, 0444);
MODULE_PARM_DESC(jobs, "Told by the driver: jobs with the right bytes");
module_param_named(bytes, gallery_bytes, ulong, 0444);
MODULE_PARM_DESC(bytes, "Told by the driver: bytes that were compared, and right");

static int result = -ENODEV;
module_param(result, int, 0444);
MODULE_PARM_DESC(result, "Told by the driver: 0, or what went wrong first, as an errno");

static unsigned int bindings;
module_param(bindings, uint, 0444);
MODULE_PARM_DESC(bindings, "Told by the driver: how often it was bound");

static const struct pattern *const lists[] = {
	ring_patterns, job_patterns, interrupt_patterns, mapping_patterns, memory_patterns, life_patterns, cpu_patterns,
	order_patterns,
};

static const struct pattern *chosen;

static const struct pattern *search(const struct pattern *list, const char *name)
{
	for (; list->name; list++)
		if (!strcmp(list->name, name))
			return list;
	return NULL;
}

static const struct pattern *choose(void)
{
	const struct pattern *found = NULL;
	unsigned int i;

	if (*bug)
		return search(bug_patterns, bug) ?: search(cpu_bugs, bug) ?: search(order_bugs, bug);
	for (i = 0; !found && i < ARRAY_SIZE(lists); i++)
		found = search(lists[i], pattern);
	return found;
}

/* The first thing that went wrong, over all bindings. */
static void note(int error)
{
	if (!bindings++ || !result)
		result = error;
}

static int bind(struct gallery *g)
{
	int error = card_examine(g) ?: dma_set_mask_and_coherent(g->dev, DMA_BIT_MASK(64));

	if (error)
		return error;
	pci_set_master(g->pdev);
	error = card_attach(g);
	if (error)
		goto no_interrupts;
	error = chosen->run(g);
	note(error);
	/* What is to go on while it is bound is ended by `remove`. */
	if (!chosen->remove)
		close_all(g);
	if (error)
		dev_err(g->dev, "%s: %d\n", chosen->name, error);
	if (!chosen->refuses)
		return 0;
	card_detach(g);
	error = -ENODEV;
no_interrupts:
	pci_clear_master(g->pdev);
	return error;
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct gallery *g = kzalloc(sizeof(*g), GFP_KERNEL);
	int error;

	if (!g)
		return -ENOMEM;
	g->pdev = pdev;
	g->dev = &pdev->dev;
	g->pattern = chosen;
	init_waitqueue_head(&g->wait);
	pci_set_drvdata(pdev, g);
	error = pci_enable_device(pdev);
	if (error)
		goto no_device;
	error = pci_request_region(pdev, 0, KBUILD_MODNAME);
	if (error)
		goto no_region;
	g->bar = pci_iomap(pdev, 0, RING_BAR0_SIZE);
	error = g->bar ? bind(g) : -ENOMEM;
	if (!error)
		return 0;
	if (g->bar)
		pci_iounmap(pdev, g->bar);
	pci_release_region(pdev, 0);
no_region:
	pci_disable_device(pdev);
no_device:
	kfree(g);
	return error;
}

static void remove(struct pci_dev *pdev)
{
	struct gallery *g = pci_get_drvdata(pdev);

	if (chosen->remove)
		chosen->remove(g);
	close_all(g);
	card_detach(g);
	pci_clear_master(pdev);
	pci_iounmap(pdev, g->bar);
	pci_release_region(pdev, 0);
	pci_disable_device(pdev);
	if (chosen->sleeps)
		pci_set_power_state(pdev, PCI_D3hot);
	kfree(g);
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(RING_VENDOR, RING_DEVICE) },
	{}
};

static struct pci_driver driver = {
	.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
};

/* Unbinds and binds every card that often. */
static int bind_again(unsigned int times)
{
	struct pci_dev *pdev = NULL;
	int error = 0;

	while (!error && (pdev = pci_get_device(RING_VENDOR, RING_DEVICE, pdev))) {
		unsigned int i;

		for (i = 0; !error && i < times; i++) {
			device_release_driver(&pdev->dev);
			error = device_driver_attach(&driver.driver, &pdev->dev);
		}
	}
	pci_dev_put(pdev);
	return error;
}

static int __init gallery_init(void)
{
	int error;

	chosen = choose();
	if (!chosen)
		return -EINVAL;
	error = bugs_init();
	if (error)
		return error;
	error = pci_register_driver(&driver);
	if (error)
		goto no_driver;
	error = bind_again(rebinds ?: chosen->rebinds);
	if (!error)
		return 0;
	pci_unregister_driver(&driver);
no_driver:
	bugs_exit();
	return error;
}

static void __exit gallery_exit(void)
{
	pci_unregister_driver(&driver);
	bugs_exit();
}

module_init(gallery_init);
module_exit(gallery_exit);

MODULE_AUTHOR("The Landfall contributors");
MODULE_DESCRIPTION("A driver of Landfall's ring card with one pattern to order");
MODULE_LICENSE("Dual MIT/GPL");
