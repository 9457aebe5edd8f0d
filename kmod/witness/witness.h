/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Between the files of landfall_witness. */
#ifndef LANDFALL_WITNESS_INTERNAL_H
#define LANDFALL_WITNESS_INTERNAL_H

#include <linux/device.h>
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "landfall_witness.h"

#define WITNESS_MAX_CARDS 64
#define WITNESS_DRIVER_NAME 64

/* A card that has a witness BAR. */
struct witness_card {
	struct device *dev;
	void __iomem *bar;
	/* Around one event: their order is one over all CPUs. */
	raw_spinlock_t lock;
	/* Number of the next event. */
	u64 number;
	/* Its place in the table; a bit of witness_symbol.told. */
	unsigned int slot;
	/* Its calls are not told: a measurement asks for that. */
	bool mute;
	/* Of the driver that was bound last. */
	char driver[WITNESS_DRIVER_NAME];
};

/* A call of a driver. */
struct witness_event {
	u64 address;
	u64 length;
	/* All-ones: not told. */
	u64 phys;
	/* Return address in the caller; 0: not known. */
	unsigned long caller;
	u32 entries;
	u32 part;
	u8 op;
	u8 direction;
	u8 memory;
	bool bounced;
};

#define WITNESS_NOT_TOLD (~0ULL)

/* table.c. Cards come and go in process context. */
int witness_attach(struct pci_dev *pdev, bool assign);
void witness_detach(struct device *dev);
void witness_detach_all(void);
/* The card of a device, if it has one and is not mute. The caller holds rcu_read_lock() until it is done with it. */
struct witness_card *witness_find(const struct device *dev);
/* Calls `each` for every card, under rcu_read_lock(). From any context. */
void witness_each(void (*each)(struct witness_card *card, void *data), void *data);
bool witness_wanted(const struct device *dev);

/* channel.c. Any context but NMI; when they return, what they tell is on its way, before any later register write. */
void witness_post(struct witness_card *card, const struct witness_event *event);
void witness_post_attached(struct witness_card *card);
void witness_post_driver(struct witness_card *card, u8 state);
void witness_post_down(struct witness_card *card);
void witness_find_text(void);
/* Whether a physical address is the kernel's text or read-only data. */
bool witness_is_text(u64 phys);
/* Test aid: the event of this number is not sent. */
extern unsigned long long witness_drop;

/* caller.c */
/* Who called: the driver's function, as far as the stack tells. Any context but NMI. */
unsigned long witness_caller(void);
/* Likewise, if `address` is where the call was made: the stack is only looked at if that is no driver's. */
unsigned long witness_caller_if_driver(unsigned long address);
/*
 * The name of a return address, if a card was not told it yet: its length, or 0. Under the card's lock; the name
 * is valid until witness_name_done().
 */
unsigned int witness_name(unsigned long address, unsigned int slot, const char **name);
void witness_name_done(void);
/* A new card has this place: it was told nothing. */
void witness_forget_told(unsigned int slot);
int witness_caller_start(void);
void witness_caller_stop(void);
/* Whether a function lies in that module. */
bool witness_is_in(unsigned long address, const char *module);

/* memory.c: what kind of memory a mapping is of, LW_MEMORY_*. */
u8 witness_memory(u64 phys, u64 length, bool mmio);

/* dma.c, vb2.c, pool.c, life.c: what is listened to. */
int witness_dma_start(void);
void witness_dma_stop(void);
unsigned long witness_dma_missed(void);
int witness_vb2_start(void);
void witness_vb2_stop(void);
int witness_pool_start(void);
void witness_pool_stop(void);
int witness_life_start(void);
void witness_life_stop(void);

/* order.c: test aids. Results are lines `key=value` in debugfs. */
int witness_order(struct seq_file *into);
int witness_order_run(unsigned int pairs, unsigned int handoffs, unsigned int maps, unsigned int offset);

#endif
