/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Between the files of landfall_gallery, a driver of the ring card that does one small thing each time it is bound: a
 * pattern, which is what correct drivers do somewhere.
 *
 *   main.c        binding and unbinding
 *   card.c        registers, interrupts, queues
 *   memory.c      what is lent, and whether the right bytes came
 *
 * The patterns: rings.c, jobs.c, interrupts.c, mappings.c, memories.c, lives.c, cpu.c, orders.c. And bugs.c, in which some of them are
 * done wrong.
 */
#ifndef LANDFALL_GALLERY_H
#define LANDFALL_GALLERY_H

#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/wait.h>

#include "landfall_kernel.h"
#include "landfall_ring.h"

/* How long anything may take that the card does by itself. */
#define DEADLINE msecs_to_jiffies(gallery_patience)
extern unsigned int gallery_patience;
/* Longer than any pattern lasts: a job with this pace is never over. */
#define NEVER_US (1000 * USEC_PER_SEC)

/* The bits of a descriptor's control word. */
#define VALID BIT(31)
#define DONE BIT(30)
#define ERROR BIT(29)
#define MORE BIT(28)
#define LIST BIT(27)
#define OPERATION GENMASK(25, 24)
#define RECEIVE FIELD_PREP_CONST(OPERATION, RING_OP_RECEIVE)
#define TRANSMIT FIELD_PREP_CONST(OPERATION, RING_OP_TRANSMIT)
#define COPY FIELD_PREP_CONST(OPERATION, RING_OP_COPY)

/* A descriptor, as it is armed and as it is written back. */
struct descriptor {
	union {
		__le64 address;
		struct {
			__le32 number;
			__le32 check;
		};
	};
	__le32 length;
	__le32 control;
	__le64 second;
	__le64 own;
};
static_assert(sizeof(struct descriptor) == RING_DESCRIPTOR);

/* An entry of a list. */
struct entry {
	__le64 address;
	__le32 length;
	__le32 nothing;
};
static_assert(sizeof(struct entry) == RING_ENTRY);

/* A status block. */
struct block {
	__le32 number;
	__le32 count;
};

struct gallery;

/* What a queue is to be like. */
struct wish {
	/* Descriptors; 0: 8. */
	unsigned int count;
	/* RING_MODE_*. */
	u8 mode;
	/* The card looks by itself; no doorbell is rung. */
	bool polls;
	/* Nobody waits for interrupts: the descriptors are looked at. */
	bool quiet;
	u32 pace_us;
	/* Every so many completions, or after so long. */
	u8 coalesce;
	u32 coalesce_us;
	/* Where the status block is; 0: none. */
	dma_addr_t block;
};

struct queue {
	struct gallery *g;
	unsigned int index;
	struct wish wish;
	bool open;
	struct descriptor *ring;
	dma_addr_t ring_dma;
	/* Descriptors that were armed, and that were found over, ever. */
	unsigned int armed;
	unsigned int seen;
};

/* What a descriptor says that is over. */
struct over {
	u32 number;
	u32 check;
	u32 moved;
	bool error;
};

/* A vector's interrupt. */
struct vector {
	struct gallery *g;
	/* The causes that are its alone; 0: it has to look. */
	u32 causes;
	int irq;
};

/* Memory that is lent. */
struct buffer {
	void *virt;
	dma_addr_t dma;
	size_t bytes;
	enum dma_data_direction direction;
	bool lent;
};

struct pattern;

/* A card that is bound. */
struct gallery {
	struct pci_dev *pdev;
	struct device *dev;
	void __iomem *bar;
	const struct pattern *pattern;
	struct queue queues[RING_QUEUES];
	struct vector vectors[RING_QUEUES + 1];
	unsigned int vector_count;
	wait_queue_head_t wait;
	/* Causes that interrupts told of, all together, and how many interrupts came. */
	atomic_t told;
	atomic_t interrupts;
	/* In the interrupt, for patterns that do something there. */
	void (*on_interrupt)(struct gallery *g, u32 causes);
	/* The card interrupts only when a vector has no cause. */
	bool edge;
	/* A bug: causes are cleared when everything has been looked at. */
	bool clears_late;
	/* What was read, so that it is read. */
	u64 sum;
	/* The pattern's own. */
	void *own;
};

struct pattern {
	const char *name;
	/* What it does while it is bound; 0 or an errno. */
	int (*run)(struct gallery *g);
	/* What it does when it is to go, before anything is taken away; NULL: nothing. */
	void (*remove)(struct gallery *g);
	/* Vectors; 0: as many as there are queues, and one more. */
	unsigned int vectors;
	/* PCI_IRQ_*; 0: any. */
	unsigned int kind;
	/* How often it is bound and unbound besides. */
	unsigned int rebinds;
	/* It refuses the card when it has run. */
	bool refuses;
	/* It leaves the card asleep when it is unbound. */
	bool sleeps;
	/* Its interrupts are handled by threads. */
	bool threaded;
};

/* card.c */
u32 card_read(const struct gallery *g, unsigned int offset);
void card_write(const struct gallery *g, unsigned int offset, u32 value);
int card_examine(struct gallery *g);
/* Gets vectors and interrupts, and gives each queue its vector; everything is unmasked then. */
int card_attach(struct gallery *g);
void card_detach(struct gallery *g);
/* Masks everything; what was on its way has arrived. */
void card_quiet(struct gallery *g);
/* Everything that a reset forgets is as card_attach left it. */
void card_restore(struct gallery *g);
int queue_open(struct gallery *g, unsigned int index, const struct wish *wish);
/* Likewise without a ring of its own: the queue runs from the first descriptor on. */
void queue_run(struct queue *q);
/* No byte follows. */
int queue_stop(struct queue *q);
void queue_free(struct queue *q);
void queue_close(struct queue *q);
void close_all(struct gallery *g);
/* Fills the next descriptor, and hands it over. `control`: operation, LIST, MORE. */
void arm(struct queue *q, u32 control, dma_addr_t address, u32 length, dma_addr_t second);
/* Likewise, without the doorbell. */
void put(struct queue *q, u32 control, dma_addr_t address, u32 length, dma_addr_t second);
void ring_doorbell(struct queue *q);
/* Whether the oldest descriptor that was not taken is over. */
bool is_over(struct queue *q);
/* Likewise; takes it. */
bool take(struct queue *q, struct over *over);
/* Tells the card how far the driver has taken; `take` does not. */
void tell_taken(struct queue *q);
/* Waits until the oldest descriptor is over, and takes it. */
int reap(struct queue *q, struct over *over);

/* memory.c */
extern unsigned int gallery_jobs;
extern unsigned long gallery_bytes;
/* Fills memory for the card to read. */
void fill(void *virt, size_t bytes, u32 seed);
/* 0 if these are the bytes of a job from byte `from` of it on, else -EIO. */
int received(struct queue *q, const struct over *over, const void *virt, size_t from, size_t bytes);
/* 0 if the card read just these bytes; several pieces: go on from `check`. */
u32 checked(u32 check, const void *virt, size_t bytes);
#define UNCHECKED 0x811c9dc5
int sent(const struct over *over, u32 check, size_t bytes);
int buffer_get(struct gallery *g, struct buffer *b, size_t bytes, enum dma_data_direction direction);
int buffer_map(struct gallery *g, struct buffer *b);
void buffer_unmap(struct gallery *g, struct buffer *b);
void buffer_put(struct gallery *g, struct buffer *b);
/* One job from one end to the other: memory, mapping, arming, waiting, unmapping, comparing. */
int one_receive(struct queue *q, size_t bytes);
int one_transmit(struct queue *q, size_t bytes);
/* `count` of them, `depth` at once. */
int many_receives(struct queue *q, unsigned int count, unsigned int depth, size_t bytes);

/* The patterns, each list ended by one without a name. */
extern const struct pattern ring_patterns[], job_patterns[], interrupt_patterns[], mapping_patterns[],
	memory_patterns[], life_patterns[], cpu_patterns[], order_patterns[], bug_patterns[], cpu_bugs[], order_bugs[];
/* bugs.c: for main.c, around everything else. */
int bugs_init(void);
void bugs_exit(void);

/* The CPU after this one, and after the last the first. */
static inline unsigned int next_cpu(unsigned int cpu)
{
	const unsigned int next = cpumask_next(cpu, cpu_online_mask);

	return next < nr_cpu_ids ? next : cpumask_first(cpu_online_mask);
}

#endif
