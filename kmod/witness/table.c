// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The cards that have a witness's registers. Of a card only COMMAND.memory is ever set: no enable count of its driver's is
 * touched, and no region is requested that the driver could want.
 */
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "witness.h"

static char *device = "";
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "PCI addresses of the cards to watch, separated by commas (default: all that have a witness's registers)");

static struct witness_card __rcu *cards[WITNESS_MAX_CARDS];
/* Places that were ever used. */
static unsigned int places;
static DEFINE_MUTEX(lock);

struct witness_card *witness_find(const struct device *dev)
{
	unsigned int i, count = READ_ONCE(places);

	for (i = 0; i < count; i++) {
		struct witness_card *card = rcu_dereference(cards[i]);

		if (card && card->dev == dev)
			return READ_ONCE(card->mute) ? NULL : card;
	}
	return NULL;
}

void witness_each(void (*each)(struct witness_card *card, void *data), void *data)
{
	unsigned int i, count = READ_ONCE(places);

	rcu_read_lock();
	for (i = 0; i < count; i++) {
		struct witness_card *card = rcu_dereference(cards[i]);

		if (card)
			each(card, data);
	}
	rcu_read_unlock();
}

bool witness_wanted(const struct device *dev)
{
	const char *name = dev_name(dev), *at = device;
	size_t length = strlen(name);

	if (!*device)
		return true;
	while ((at = strstr(at, name))) {
		if ((at == device || at[-1] == ',') && (!at[length] || at[length] == ','))
			return true;
		at += length;
	}
	return false;
}

/* Where a card's mailbox is; 0: it has none, and is no card of ours. */
static u16 find_mailbox(struct pci_dev *pdev)
{
	u8 at, length;
	u32 magic;

	for (at = pci_find_capability(pdev, PCI_CAP_ID_VNDR); at;
	     at = pci_find_next_capability(pdev, at, PCI_CAP_ID_VNDR)) {
		pci_read_config_byte(pdev, at + PCI_CAP_FLAGS, &length);
		if (length != LW_MAILBOX_SIZE)
			continue;
		pci_read_config_dword(pdev, at + LW_MAILBOX_MAGIC, &magic);
		if (magic == LW_MAGIC_VALUE)
			return at;
	}
	return 0;
}

/* Maps the BAR, if there is one. Whether it is decoded is seen when it is used. */
static void __iomem *map(struct pci_dev *pdev)
{
	struct resource *resource = &pdev->resource[LW_BAR];
	u16 command;

	if (!(resource->flags & IORESOURCE_MEM) || resource_size(resource) != LW_BAR_SIZE)
		return NULL;
	if (!resource->parent && pci_assign_resource(pdev, LW_BAR))
		return NULL;
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	if (!(command & PCI_COMMAND_MEMORY))
		pci_write_config_word(pdev, PCI_COMMAND, command | PCI_COMMAND_MEMORY);
	return ioremap(resource->start, LW_BAR_SIZE);
}

/* A card that finds no room is told that nothing of it is. */
static void tell_not_watched(struct pci_dev *pdev, u16 mailbox, const char *why)
{
	struct witness_card card = { .dev = &pdev->dev, .mailbox = mailbox, .selected = U32_MAX };

	raw_spin_lock_init(&card.lock);
	witness_post_unheard(&card, why, false);
}

/*
 * Puts a device into the table if it has a witness's registers and is not in it yet. -EBUSY: a driver is bound to it,
 * whose lends are not known any more.
 */
static int attach_locked(struct pci_dev *pdev, bool assign)
{
	struct witness_card *card;
	unsigned int slot, i;
	u16 mailbox;
	u32 place;
	u8 flags;

	for (slot = WITNESS_MAX_CARDS, i = WITNESS_MAX_CARDS; i-- > 0;) {
		card = rcu_dereference_protected(cards[i], lockdep_is_held(&lock));
		if (card && card->dev == &pdev->dev)
			return 0;
		if (!card)
			slot = i;
	}
	mailbox = find_mailbox(pdev);
	if (!mailbox || !witness_is_ours(pdev, mailbox, &place))
		return 0;
	pci_read_config_byte(pdev, mailbox + LW_MAILBOX_FLAGS, &flags);
	/* A card that is being plugged in gets its addresses later, and is attached then. */
	if (!assign && flags & LW_MAILBOX_HAS_BAR && !pdev->resource[LW_BAR].parent)
		return 0;
	/* Set right before the probe, and so not yet when a driver is about to be bound. */
	if (assign && pdev->driver)
		return -EBUSY;
	if (slot == WITNESS_MAX_CARDS) {
		tell_not_watched(pdev, mailbox, "anything: too many cards are watched");
		return -ENOSPC;
	}
	card = kzalloc(sizeof(*card), GFP_KERNEL);
	if (!card) {
		tell_not_watched(pdev, mailbox, "anything: no memory");
		return -ENOMEM;
	}
	card->dev = get_device(&pdev->dev);
	card->mailbox = mailbox;
	card->selected = U32_MAX;
	card->away = true;
	if (flags & LW_MAILBOX_HAS_BAR)
		card->bar = map(pdev);
	card->slot = slot;
	card->place = place;
	raw_spin_lock_init(&card->lock);
	witness_forget_told(slot);
	witness_post_attached(card);
	rcu_assign_pointer(cards[slot], card);
	WRITE_ONCE(places, max(places, slot + 1));
	return 0;
}

int witness_attach(struct pci_dev *pdev, bool assign)
{
	int error;

	if (!witness_wanted(&pdev->dev))
		return 0;
	mutex_lock(&lock);
	error = attach_locked(pdev, assign);
	mutex_unlock(&lock);
	return error;
}

static void detach(unsigned int slot)
{
	struct witness_card *card = rcu_replace_pointer(cards[slot], NULL, lockdep_is_held(&lock));

	if (!card)
		return;
	synchronize_rcu();
	witness_echo_detached(card);
	if (card->bar)
		iounmap(card->bar);
	put_device(card->dev);
	kfree(card);
}

void witness_detach(struct device *dev)
{
	unsigned int i;

	mutex_lock(&lock);
	for (i = 0; i < places; i++) {
		struct witness_card *card = rcu_dereference_protected(cards[i], lockdep_is_held(&lock));

		if (card && card->dev == dev)
			detach(i);
	}
	mutex_unlock(&lock);
}

void witness_detach_all(void)
{
	unsigned int i;

	mutex_lock(&lock);
	for (i = 0; i < places; i++)
		detach(i);
	mutex_unlock(&lock);
}
