// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What every device is lent, watched or not, in a table in memory: told only when somebody asks, so that of an access
 * that no lend of the card's own explains can be said whose memory it was. The live ones, and of those that came back
 * the latest. What does not fit is counted, and that is told too.
 */
#include <linux/hash.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/ktime.h>

#include "witness.h"

#define MOST_LIVE 8192
#define MOST_PAST 1024
#define MOST_DEVICES 128
#define BUCKETS_BITS 12
#define NAME 48
#define NONE U16_MAX

/* A device, as it was called when it was lent something. */
struct device_name {
	const struct device *dev;
	const struct device_driver *bound;
	char name[NAME];
	char driver[NAME];
};

struct lend {
	u64 address;
	u64 length;
	u64 begun;
	u64 ended;
	u16 device;
	u16 next;
	u8 direction;
};

static struct table {
	struct device_name devices[MOST_DEVICES];
	struct lend live[MOST_LIVE];
	struct lend past[MOST_PAST];
	u16 buckets[1 << BUCKETS_BITS];
	u16 unused;
	unsigned int named;
	/* Place of the next one that comes back. */
	unsigned int at;
	/* Lends for which there was no room. */
	u64 overflowed;
} *table;

static DEFINE_RAW_SPINLOCK(lock);

/* Index of a device's name, which is entered if it is new; NONE: there is no room. */
static u16 name_of(const struct device *dev)
{
	struct device_name *found;
	const char *name = dev_name(dev);
	unsigned int i;

	for (i = table->named; i-- > 0;) {
		found = &table->devices[i];
		if (found->dev == dev && found->bound == dev->driver && !strncmp(found->name, name, NAME - 1))
			return i;
	}
	if (table->named == MOST_DEVICES)
		return NONE;
	found = &table->devices[table->named];
	found->dev = dev;
	found->bound = dev->driver;
	strscpy(found->name, name, sizeof(found->name));
	strscpy(found->driver, dev->driver ? dev->driver->name : "", sizeof(found->driver));
	return table->named++;
}

static u16 *bucket(u64 address)
{
	return &table->buckets[hash_64(address, BUCKETS_BITS)];
}

void witness_others_lend(const struct device *dev, u64 address, u64 length, u8 direction)
{
	unsigned long flags;
	struct lend *lend;
	u16 device, at;

	raw_spin_lock_irqsave(&lock, flags);
	device = name_of(dev);
	at = table->unused;
	if (device == NONE || at == NONE) {
		table->overflowed++;
	} else {
		lend = &table->live[at];
		table->unused = lend->next;
		*lend = (struct lend){
			.address = address,
			.length = length,
			.begun = ktime_get_mono_fast_ns(),
			.device = device,
			.next = *bucket(address),
			.direction = direction,
		};
		*bucket(address) = at;
	}
	raw_spin_unlock_irqrestore(&lock, flags);
}

void witness_others_return(const struct device *dev, u64 address, u64 length)
{
	u16 *link, *best = NULL, at;
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	for (link = bucket(address); *link != NONE; link = &table->live[*link].next) {
		const struct lend *lend = &table->live[*link];

		if (lend->address != address || table->devices[lend->device].dev != dev)
			continue;
		if (!best || lend->length == length)
			best = link;
		if (lend->length == length)
			break;
	}
	if (best) {
		at = *best;
		*best = table->live[at].next;
		table->past[table->at] = table->live[at];
		table->past[table->at].ended = ktime_get_mono_fast_ns();
		table->at = (table->at + 1) % MOST_PAST;
		table->live[at].length = 0;
		table->live[at].begun = 0;
		table->live[at].next = table->unused;
		table->unused = at;
	}
	raw_spin_unlock_irqrestore(&lock, flags);
}

static void tell_lends(struct witness_card *card, const struct table *from, const struct lend *lends, unsigned int count)
{
	char names[2 * NAME];
	unsigned int i;

	for (i = 0; i < count; i++) {
		const struct lend *lend = &lends[i];
		const struct device_name *device = &from->devices[lend->device];

		if (!lend->begun || device->dev == card->dev)
			continue;
		snprintf(names, sizeof(names), "%s\n%s", device->name, device->driver);
		witness_post_elsewhere(card, names, lend->address, lend->length, lend->direction, lend->begun,
				       lend->ended);
	}
}

static void tell_card(struct witness_card *card, void *copy)
{
	const struct table *from = copy;

	tell_lends(card, from, from->live, MOST_LIVE);
	tell_lends(card, from, from->past, MOST_PAST);
	if (from->overflowed)
		witness_post_unheard(card, "lends of other devices, which were too many for the table", true);
}

int witness_others_tell(void)
{
	struct table *copy = kvmalloc(sizeof(*copy), GFP_KERNEL);
	unsigned long flags;

	if (!copy)
		return -ENOMEM;
	raw_spin_lock_irqsave(&lock, flags);
	*copy = *table;
	raw_spin_unlock_irqrestore(&lock, flags);
	witness_each(tell_card, copy);
	kvfree(copy);
	return 0;
}

void witness_others_show(struct seq_file *into)
{
	unsigned int live = 0, past = 0, i;
	unsigned long flags;
	u64 overflowed;

	raw_spin_lock_irqsave(&lock, flags);
	for (i = 0; i < MOST_LIVE; i++)
		live += table->live[i].begun != 0;
	for (i = 0; i < MOST_PAST; i++)
		past += table->past[i].begun != 0;
	overflowed = table->overflowed;
	raw_spin_unlock_irqrestore(&lock, flags);
	seq_printf(into, "live=%u past=%u overflowed=%llu\n", live, past, overflowed);
}

int witness_others_start(void)
{
	unsigned int i;

	table = kvzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		return -ENOMEM;
	memset(table->buckets, 0xff, sizeof(table->buckets));
	for (i = 0; i < MOST_LIVE; i++)
		table->live[i].next = i + 1 < MOST_LIVE ? i + 1 : NONE;
	return 0;
}

void witness_others_stop(void)
{
	kvfree(table);
	table = NULL;
}
