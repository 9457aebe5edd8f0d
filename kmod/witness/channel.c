// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Telling a card's model: one event at a time, by posted writes to the card's witness BAR. */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

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

static void put(struct witness_card *card, unsigned int reg, u64 value)
{
	writeq(value, card->bar + reg);
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
	put(card, LW_COMMIT, (card->number & U32_MAX) << LW_NUMBER_SHIFT | rest);
	card->number++;
	if (card->number % EVENTS_IN_FLIGHT == 0)
		readl(card->bar + LW_EVENTS);
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
	if (event->entries)
		put(card, LW_LIST, event->entries | (u64)event->part << 32);
	commit(card, op(event->op) | (u64)event->direction << LW_DIRECTION_SHIFT |
		     (u64)event->memory << LW_MEMORY_SHIFT | (u64)event->bounced << LW_BOUNCED_SHIFT |
		     (u64)direct << LW_DIRECT_SHIFT | cpu << LW_CPU_SHIFT);
}

void witness_post(struct witness_card *card, const struct witness_event *event)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	if (event->caller)
		tell_name(card, event->caller);
	if (card->number == witness_drop)
		card->number++;
	else
		tell(card, event);
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_attached(struct witness_card *card)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	put(card, LW_ADDRESS, parts[0].start);
	put(card, LW_PHYS, max(parts[0].end, parts[1].end));
	commit(card, op(LW_OP_ATTACHED));
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_driver(struct witness_card *card, u8 state)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	put_text(card, card->driver, strnlen(card->driver, sizeof(card->driver)));
	commit(card, op(LW_OP_DRIVER) | (u64)state << LW_DIRECTION_SHIFT);
	raw_spin_unlock_irqrestore(&card->lock, flags);
}

void witness_post_down(struct witness_card *card)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&card->lock, flags);
	commit(card, op(LW_OP_KERNEL_DOWN));
	raw_spin_unlock_irqrestore(&card->lock, flags);
}
