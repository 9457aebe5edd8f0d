/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Between the files of landfall_mutant. Five of them are the driver as it should be:
 *
 *   main.c      binding and unbinding
 *   run.c       one capture, from its buffers to its last frame
 *   memory.c    what is lent to the card
 *   card.c      registers and interrupt
 *   recovery.c  an error on the link to the card
 *
 * The rest is the catalogue: bugs.h lists the bugs, and a file for each of its parts has each of them as the few
 * functions in which it differs. The driver takes a step of struct mutant_steps as the bug says, or, where the bug says nothing, as the
 * function mutant_STEP does; without a bug, always so.
 */
#ifndef LANDFALL_MUTANT_H
#define LANDFALL_MUTANT_H

#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/wait.h>

#include "landfall_card.h"
#include "landfall_kernel.h"

/* How a piece of memory is got and mapped. */
enum how {
	/* kmalloc, dma_map_single. */
	SINGLE,
	/* alloc_pages, dma_map_page. */
	PAGE,
	/* dma_alloc_coherent. */
	COHERENT,
	/* alloc_pages, dma_map_sg with an entry for each page. */
	LIST,
};

/* A piece of memory for the card. */
struct loan {
	enum how how;
	enum dma_data_direction direction;
	/* Slot that it is a frame of; -1: the clip mask. */
	int slot;
	/* Bytes that are lent, and bytes that lie behind them and are not. */
	size_t bytes;
	size_t room;
	/* Where in it the card's part begins, bytes. */
	size_t offset;
	/* Where the CPU sees it; NULL: there is none. */
	void *virt;
	/* Where the card sees it, while `lent`. */
	dma_addr_t dma;
	bool lent;
	/* For LIST: the entries, and how many segments they were mapped to. */
	struct sg_table list;
	int segments;
};

/* What a card can take, as it says itself. */
struct limits {
	unsigned int slots;
	unsigned int address_bits;
	u32 alignment;
	u64 boundary;
	u32 max_frame;
};

/* What is captured. */
struct shape {
	u32 width;
	u32 height;
	u32 stride;
	u32 bytes;
	u32 clip_bytes;
	u32 interval_us;
	/* Every byte of the clip mask. */
	u8 clip;
};

/* What the card said of a slot. */
struct record {
	u32 result;
	u32 sequence;
	u32 bytes;
};

struct mutant_bug;

/* A card that is bound. */
struct mutant {
	struct pci_dev *pdev;
	struct device *dev;
	void __iomem *bar;
	const struct mutant_bug *bug;
	struct limits limits;
	int irq;

	/* Slots that are done, as the interrupt found them, and whether it queues them again. */
	spinlock_t lock;
	u32 done;
	bool streaming;
	/* How many more times. */
	unsigned int again;
	wait_queue_head_t changed;

	struct shape shape;
	/* Slots in use, and how many of them are queued when a capture begins. */
	unsigned int buffers;
	unsigned int first;
	struct loan frames[CARD_SLOTS];
	struct loan clip;

	/* For single bugs. */
	void *own;
};

/* What a bug can do otherwise. Those that return an int: 0 or an errno. */
struct mutant_steps {
	/* Binding. */
	int (*set_mask)(struct mutant *m);
	int (*vectors)(struct mutant *m);
	int (*run)(struct mutant *m);

	/* Memory. `release` is called once for each `allocate` that was content, `unmap` for each `map`. */
	int (*allocate)(struct mutant *m, struct loan *loan);
	void (*fill)(struct mutant *m, struct loan *loan, u8 byte);
	int (*map)(struct mutant *m, struct loan *loan);
	int (*accept)(struct mutant *m, struct loan *loan);
	void (*to_cpu)(struct mutant *m, struct loan *loan);
	void (*to_card)(struct mutant *m, struct loan *loan);
	void (*unmap)(struct mutant *m, struct loan *loan);
	void (*release)(struct mutant *m, struct loan *loan);

	/* A capture. */
	void (*measure)(struct mutant *m);
	int (*take)(struct mutant *m);
	/* Gives back what was taken before an error. */
	void (*undo)(struct mutant *m);
	void (*program)(struct mutant *m);
	void (*program_slot)(struct mutant *m, unsigned int slot);
	void (*queue)(struct mutant *m, unsigned int slot);
	int (*wait)(struct mutant *m, unsigned int slot, struct record *record);
	void (*look)(struct mutant *m, unsigned int slot, const struct record *record);
	void (*recycle)(struct mutant *m, unsigned int slot);
	void (*stop)(struct mutant *m);

	/* Going. */
	void (*remove)(struct mutant *m);
	void (*shutdown)(struct mutant *m);
};

/* A deviation from the driver as it should be. */
struct mutant_bug {
	/* Steps that differ; the rest are NULL. */
	struct mutant_steps steps;
	/* What it needs, instead of what the parameters of these names say. */
	enum how memory;
	bool no_clip;
	/* It has no error handlers. */
	bool no_recovery;
	/* Instead of card_interrupt. */
	irq_handler_t interrupt;
	unsigned int room;
	unsigned int large;
	unsigned int interval_us;
};

#define STEP(m, name) ((m)->bug->steps.name ?: mutant_##name)

int mutant_set_mask(struct mutant *m);
int mutant_vectors(struct mutant *m);
int mutant_run(struct mutant *m);
int mutant_allocate(struct mutant *m, struct loan *loan);
void mutant_fill(struct mutant *m, struct loan *loan, u8 byte);
int mutant_map(struct mutant *m, struct loan *loan);
int mutant_accept(struct mutant *m, struct loan *loan);
void mutant_to_cpu(struct mutant *m, struct loan *loan);
void mutant_to_card(struct mutant *m, struct loan *loan);
void mutant_unmap(struct mutant *m, struct loan *loan);
void mutant_release(struct mutant *m, struct loan *loan);
void mutant_measure(struct mutant *m);
int mutant_take(struct mutant *m);
void mutant_undo(struct mutant *m);
void mutant_program(struct mutant *m);
void mutant_program_slot(struct mutant *m, unsigned int slot);
void mutant_queue(struct mutant *m, unsigned int slot);
/* Waits until a slot is done and takes it back from the card. */
int mutant_wait(struct mutant *m, unsigned int slot, struct record *record);
void mutant_look(struct mutant *m, unsigned int slot, const struct record *record);
void mutant_recycle(struct mutant *m, unsigned int slot);
void mutant_stop(struct mutant *m);
void mutant_remove(struct mutant *m);
void mutant_shutdown(struct mutant *m);

/* run.c: parts of a capture. */

/* Takes buffers, programs the card, queues the first slots and starts it; after an error nothing is lent. */
int mutant_begin(struct mutant *m);
/* Likewise, with large frames that are queued again in the interrupt; one is in work when this returns. */
int mutant_begin_stream(struct mutant *m);
/* Likewise, with two frames, that long one after the other. */
int mutant_begin_paced(struct mutant *m, u32 interval_us);
/* The interrupt queues no slot again from now on; those that are queued stay so. */
void mutant_stop_streaming(struct mutant *m);
/* Stops the card, whatever it does, and gives everything back. */
void mutant_end(struct mutant *m);
/* Likewise, but they are queued again in the interrupt: until mutant_end. */
int mutant_begin_lasting(struct mutant *m, u32 interval_us);
/* Ends all loans; frees all memory. The card is idle. */
void mutant_unmap_all(struct mutant *m);
void mutant_release_all(struct mutant *m);
/* Each frame and, if there is one, the mask: those that have memory. */
struct loan *mutant_next_loan(struct mutant *m, struct loan *loan);
#define for_each_loan(m, loan) \
	for ((loan) = NULL; ((loan) = mutant_next_loan(m, loan));)

/* For the interrupt, with the lock: these slots are done. */
void mutant_done(struct mutant *m, u32 slots);

/* main.c: parts of unbinding. */
void mutant_free_interrupt(struct mutant *m);
void mutant_disable(struct mutant *m);
/* With the parameter busy: has a frame in work, so that there is something to stop. */
void mutant_make_busy(struct mutant *m);
/* Seconds that a wait without an end of its own lasts. */
unsigned int mutant_patience(void);

/* card.c */
u32 card_read(const struct mutant *m, unsigned int offset);
void card_write(const struct mutant *m, unsigned int offset, u32 value);
/* Finds out whether this is our card and what it can take. */
int card_examine(struct mutant *m);
/* Clears `run`, waits until the card is idle and disables its interrupt: no byte follows then. */
int card_stop(struct mutant *m);
void card_quiet(struct mutant *m);
/* Waits until a frame is in work and at most `left` slots are yet to begin; false: that never was. */
bool card_in_work(struct mutant *m, unsigned int left);
void card_write_shape(struct mutant *m, u32 height);
void card_write_slot(struct mutant *m, unsigned int slot, dma_addr_t base, u32 bytes);
irqreturn_t card_interrupt(int irq, void *data);

/* recovery.c: for struct pci_driver. */
extern const struct pci_error_handlers mutant_recovery;

/* catalogue.c: the bug of that number; NULL: there is none. 0 is the driver as it should be. */
const struct mutant_bug *mutant_find(unsigned int number);

/* lives.c: what goes on after a card was unbound is over when this returns. */
void mutant_finish(void);

#endif
