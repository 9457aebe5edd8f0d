// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Telling a card's model: one event at a time, by posted writes to the card's witness BAR; or, while that may not be
 * decoded, by way of the mailbox in configuration space, whose writes are not posted.
 *
 * Posted writes keep their order among all writes to the card's registers, and have none with memory: a card that polls
 * a ring in memory would see a descriptor before the event that its buffer was lent. So what lends is read back.
 */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/ktime.h>

#include "witness.h"

/*
 * Posted writes wait in the machine until the card's model has taken them, and a register read waits behind all of
 * them; one that waits 5 s is the card's end. A read of ours, after this many events, keeps the queue short.
 */
#define EVENTS_IN_FLIGHT 256

/* The kernel's text and its read-only data. What lies between the two is ordinary memory: the kernel frees it. */
static struct {
	u64 start;
	u64 end;
} parts[2];

unsigned long long witness_drop = U64_MAX;
bool witness_posted;

/* Writes to configuration space that are under way. */
static atomic_t config_writes = ATOMIC_INIT(0);

/* Both are parts of RAM whose resources have these names. Read once, when the module is loaded. */
void witness_find_text(void)
{
	static const char *const names[] = { "Kernel code", "Kernel rodata" };
	struct resource *ram, *part;
	unsigned int i;

	for (ram = iomem_resource.child; ram; ram = ram->sibling) {
		for (part = ram->child; part; part = part->sibling) {
			for (i = 0; i < ARRAY_SIZE(names); i++) {
				if (!strcmp(part->name, names[i])) {
					parts[i].start = part->start;
					parts[i].end = part->end + 1;
				}
			}
		}
	}
}

bool witness_is_text(u64 phys)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		if (phys >= parts[i].start && phys < parts[i].end)
			return true;
	}
	return false;
}

static void mailbox_put(struct witness_card *card, unsigned int reg, u32 value)
{
	struct pci_dev *pdev = to_pci_dev(card->dev);

	if (card->selected != reg)
		pci_bus_write_config_dword(pdev->bus, pdev->devfn, card->mailbox + LW_MAILBOX_SELECT, reg);
	pci_bus_write_config_dword(pdev->bus, pdev->devfn, card->mailbox + LW_MAILBOX_DATA, value);
	card->selected = reg + sizeof(u32);
}

static u32 mailbox_get(struct pci_dev *pdev, u16 mailbox, unsigned int reg)
{
	u32 value;

	pci_bus_write_config_dword(pdev->bus, pdev->devfn, mailbox + LW_MAILBOX_SELECT, reg);
	pci_bus_read_config_dword(pdev->bus, pdev->devfn, mailbox + LW_MAILBOX_DATA, &value);
	return value;
}

bool witness_is_ours(struct pci_dev *pdev, u16 mailbox, u32 *place)
{
	*place = mailbox_get(pdev, mailbox, LW_PLACE);
	return mailbox_get(pdev, mailbox, LW_MAGIC) == LW_MAGIC_VALUE &&
	       mailbox_get(pdev, mailbox, LW_VERSION) == LW_VERSION_VALUE;
}

static bool bar_answers(struct witness_card *card)
{
	return readl(card->bar + LW_MAGIC) == LW_MAGIC_VALUE;
}

/* Takes the way of the next event; under the card's lock. */
static void begin(struct witness_card *card)
{
	if (card->bar && card->away && !atomic_read(&config_writes))
		card->away = !bar_answers(card);
	card->by_bar = card->bar && !card->away;
}

static void go_away(struct witness_card *card, void *unused)
{
	unsigned long flags;

	/* Under the lock: an event that is being told is told whole before it. */
	raw_spin_lock_irqsave(&card->lock, flags);
	card->away = true;
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

/*
 * Power states, decoding, addresses, resets, of a card or of a bridge above it: all are switched by such a write. None
 * may come amid an event, and after it a card's BAR is looked at before it is used again.
 */
void witness_config_begin(void)
{
	/* Who sees none under way has the lock before we do, and is done when we have it. */
	atomic_inc(&config_writes);
	witness_each(go_away, NULL);
}

void witness_config_end(void)
{
	atomic_dec(&config_writes);
}

static void put(struct witness_card *card, unsigned int reg, u64 value)
{
	if (card->by_bar) {
		writeq(value, card->bar + reg);
	} else {
		mailbox_put(card, reg, lower_32_bits(value));
		mailbox_put(card, reg + sizeof(u32), upper_32_bits(value));
	}
}

static void put_text(struct witness_card *card, const char *text, unsigned int length)
{
	unsigned int done;

	for (done = 0; done < length; done += sizeof(u64)) {
		u64 word = 0;

		memcpy(&word, text + done, min_t(unsigned int, length - done, sizeof(word)));
		put(card, LW_TEXT, word);
	}
}

static void commit(struct witness_card *card, u64 rest)
{
	const u64 word = (card->number & U32_MAX) << LW_NUMBER_SHIFT | rest;

	put(card, LW_COMMIT, word);
	witness_echo_commit(card, word);
	card->number++;
	if (card->by_bar && card->number % EVENTS_IN_FLIGHT == 0)
		readl(card->bar + LW_EVENTS);
}

/* Whether all that was told has arrived; else the BAR was not decoded. */
static bool arrived(struct witness_card *card)
{
	if (card->by_bar && !witness_posted && !bar_answers(card))
		card->away = true;
	return !card->away || !card->by_bar;
}

static u64 op(u64 number)
{
	return number << LW_OP_SHIFT;
}

/* Tells what a caller is called, unless this card knows. */
static void tell_name(struct witness_card *card, unsigned long address)
{
	const char *name;
	unsigned int length = witness_name(address, card->slot, &name);

	if (!length)
		return;
	put(card, LW_ADDRESS, address);
	put_text(card, name, length);
	witness_name_done();
	commit(card, op(LW_OP_SYMBOL));
}

static void tell(struct witness_card *card, const struct witness_event *event)
{
	const bool short_caller = event->caller >> 32 == U32_MAX || !event->caller;
	const bool short_length = event->length <= U32_MAX;
	const bool direct = event->phys == event->address;
	const u64 cpu = raw_smp_processor_id() & 0x3fff;

	put(card, LW_ADDRESS, event->address);
	if (!direct && event->phys != WITNESS_NOT_TOLD)
		put(card, LW_PHYS, event->phys);
	if (!short_length)
		put(card, LW_LENGTH, event->length);
	if (!short_caller)
		put(card, LW_CALLER, event->caller);
	put(card, LW_SHORT, (event->length & U32_MAX) | (u64)event->caller << 32);
	put(card, LW_TIME, ktime_get_mono_fast_ns());
	if (event->listed) {
		put(card, LW_LIST, event->entries | (u64)event->part << 32);
		put(card, LW_GROUP, event->group == WITNESS_NOT_TOLD ? card->number : event->group);
	}
	witness_echo(card, event);
	commit(card, op(event->op) | (u64)event->direction << LW_DIRECTION_SHIFT |
		     (u64)event->memory << LW_MEMORY_SHIFT | (u64)event->bounced << LW_BOUNCED_SHIFT |
		     (u64)direct << LW_DIRECT_SHIFT | cpu << LW_CPU_SHIFT |
		     (u64)event->skip_sync << LW_SKIP_SYNC_SHIFT | (u64)event->backing << LW_BACKING_SHIFT);
}

/* Whether the card may use what the event tells of from now on. */
static bool lends(const struct witness_event *event)
{
	switch (event->op) {
	case LW_OP_MAP:
	case LW_OP_MAP_LIST:
	case LW_OP_ALLOC:
	case LW_OP_BLOCK_ALLOC:
	case LW_OP_LINK:
	case LW_OP_POOL_LEND:
	case LW_OP_SYNC_FOR_DEVICE:
	case LW_OP_QUEUE:
		return true;
	case LW_OP_SYNC_FOR_CPU:
		/* What only the card writes may be handed over again without another word. */
		return event->direction == LW_DIRECTION_FROM_DEVICE;
	default:
		return false;
	}
}

u64 witness_post(struct witness_card *card, const struct witness_event *event)
{
	unsigned long flags;
	u64 number;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	if (event->caller)
		tell_name(card, event->caller);
	number = card->number;
	if (number == witness_drop) {
		card->number++;
	} else {
		tell(card, event);
		if (lends(event) && !event->listed && !arrived(card)) {
			/* By the mailbox. If others before it did not arrive, the model misses their numbers. */
			card->number = number;
			begin(card);
			tell(card, event);
		}
	}
	raw_spin_unlock_irqrestore(&card->lock, flags);
	return number;
}

void witness_arrive(struct witness_card *card)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	arrived(card);
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_attached(struct witness_card *card)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	put(card, LW_ADDRESS, parts[0].start);
	put(card, LW_PHYS, max(parts[0].end, parts[1].end));
	commit(card, op(LW_OP_ATTACHED));
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_driver(struct witness_card *card, u8 state)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	put_text(card, card->driver, strnlen(card->driver, sizeof(card->driver)));
	commit(card, op(LW_OP_DRIVER) | (u64)state << LW_DIRECTION_SHIFT);
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_down(struct witness_card *card)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	commit(card, op(LW_OP_KERNEL_DOWN));
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_unheard(struct witness_card *card, const char *what, bool others)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	put_text(card, what, strnlen(what, LW_MAX_TEXT));
	commit(card, op(LW_OP_UNHEARD) | (u64)others << LW_DIRECTION_SHIFT);
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_elsewhere(struct witness_card *card, const char *names, u64 address, u64 length, u8 direction,
			    u64 begun, u64 ended)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	put(card, LW_ADDRESS, address);
	put(card, LW_PHYS, ended);
	put(card, LW_LENGTH, length);
	put(card, LW_TIME, begun);
	put_text(card, names, strnlen(names, LW_MAX_TEXT));
	commit(card, op(LW_OP_ELSEWHERE) | (u64)direction << LW_DIRECTION_SHIFT |
		     (u64)(ended != 0) << LW_BOUNCED_SHIFT);
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

static u32 get(struct witness_card *card, unsigned int reg)
{
	card->selected = U32_MAX;
	return card->by_bar ? readl(card->bar + reg) : mailbox_get(to_pci_dev(card->dev), card->mailbox, reg);
}

void witness_counts(struct witness_card *card, u32 *taken, u32 *refused)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	begin(card);
	*taken = get(card, LW_EVENTS);
	*refused = get(card, LW_REFUSED);
	raw_spin_unlock_irqrestore(&card->lock, flags);
}
