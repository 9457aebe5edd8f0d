// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Cards that come and go, drivers that are bound to them and unbound, and the kernel's end. */
#include <linux/device/bus.h>
#include <linux/notifier.h>
#include <linux/rcupdate.h>
#include <linux/syscore_ops.h>

#include "witness.h"

static void tell_driver(struct device *dev, u8 state)
{
	struct witness_card *card;

	rcu_read_lock();
	card = witness_find(dev);
	if (card) {
		if (state == LW_DRIVER_BINDING && dev->driver)
			strscpy(card->driver, dev->driver->name, sizeof(card->driver));
		witness_post_driver(card, state);
	}
	rcu_read_unlock();
}

static int bus_changed(struct notifier_block *block, unsigned long action, void *data)
{
	struct device *dev = data;

	switch (action) {
	case BUS_NOTIFY_ADD_DEVICE:
		witness_attach(to_pci_dev(dev), false);
		break;
	case BUS_NOTIFY_BIND_DRIVER:
		/* A card that was plugged in has its addresses by now, and its driver has not run yet. */
		if (witness_attach(to_pci_dev(dev), true))
			pr_err(KBUILD_MODNAME ": %s is not watched\n", dev_name(dev));
		tell_driver(dev, LW_DRIVER_BINDING);
		witness_dma_binding(dev);
		break;
	case BUS_NOTIFY_BOUND_DRIVER:
		tell_driver(dev, LW_DRIVER_BOUND);
		break;
	case BUS_NOTIFY_DRIVER_NOT_BOUND:
		tell_driver(dev, LW_DRIVER_NOT_BOUND);
		break;
	case BUS_NOTIFY_UNBIND_DRIVER:
		tell_driver(dev, LW_DRIVER_UNBINDING);
		break;
	case BUS_NOTIFY_UNBOUND_DRIVER:
		tell_driver(dev, LW_DRIVER_UNBOUND);
		break;
	case BUS_NOTIFY_REMOVED_DEVICE:
		witness_detach(dev);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block bus = { .notifier_call = bus_changed, .priority = INT_MAX };

static void tell_down(struct witness_card *card, void *unused)
{
	witness_post_down(card);
}

/* Runs after every driver's shutdown, on one CPU, with interrupts off. */
#ifdef HAVE_SYSCORE
static void going_down(void *data)
{
	witness_each(tell_down, NULL);
}

static const struct syscore_ops operations = { .shutdown = going_down };
static struct syscore syscore = { .ops = &operations };
#else
static void going_down(void)
{
	witness_each(tell_down, NULL);
}

static struct syscore_ops syscore = { .shutdown = going_down };
#define register_syscore register_syscore_ops
#define unregister_syscore unregister_syscore_ops
#endif

int witness_life_start(void)
{
	struct pci_dev *pdev = NULL;
	int error = bus_register_notifier(&pci_bus_type, &bus);

	if (error)
		return error;
	for_each_pci_dev(pdev) {
		error = witness_attach(pdev, true);
		if (error) {
			if (error == -EBUSY)
				pr_err(KBUILD_MODNAME ": %s has a driver already, whose lends are not known\n",
				       pci_name(pdev));
			pci_dev_put(pdev);
			bus_unregister_notifier(&pci_bus_type, &bus);
			witness_detach_all();
			return error;
		}
	}
	register_syscore(&syscore);
	return 0;
}

void witness_life_stop(void)
{
	unregister_syscore(&syscore);
	bus_unregister_notifier(&pci_bus_type, &bus);
}
