/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Between the files of landfall_witness. */
#ifndef LANDFALL_WITNESS_INTERNAL_H
#define LANDFALL_WITNESS_INTERNAL_H

#include <linux/device.h>
#include <linux/ftrace.h>
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#ifndef HAVE_FTRACE_REGS
#define ftrace_regs_get_argument(regs, n) regs_get_kernel_argument(&(regs)->regs, n)
#define ftrace_regs_set_instruction_pointer(regs, ip) ftrace_instruction_pointer_set(regs, ip)
#endif

#include "landfall_witness.h"

#define WITNESS_MAX_CARDS 64
#define WITNESS_DRIVER_NAME 64

/* A card that has a witness's registers. */
struct witness_card {
	struct device *dev;
	/* BAR 5, if it is the witness's. */
	void __iomem *bar;
	/* Where in configuration space the mailbox is, and the register that it leads to; all-ones: not known. */
	u16 mailbox;
	u32 selected;
	/* The BAR may not be decoded: somebody wrote to configuration space since it was seen. */
	bool away;
	/* The event in hand goes by the BAR. */
	bool by_bar;
	/* Around one event: their order is one over all CPUs. */
	raw_spinlock_t lock;
	/* Number of the next event. */
	u64 number;
	/* Its place in the table and in the echo; a bit of witness_symbol.told. */
	unsigned int slot;
	/* Which of the machine's cards it is. */
	u32 place;
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
	/* Of a list: entries, which segment, and the number of its first segment's event; all-ones: this is it. */
	u32 entries;
	u32 part;
	u64 group;
	u8 op;
	u8 direction;
	u8 memory;
	bool bounced;
	bool skip_sync;
	/* Memory behind a dma_pool. */
	bool backing;
	/* A segment of a list; whoever tells of it calls witness_arrive() after the last. */
	bool listed;
};

#define WITNESS_NOT_TOLD (~0ULL)

/* others.c: what all devices are lent, in memory; told when somebody asks. Any context but NMI. */
int witness_others_start(void);
void witness_others_stop(void);
void witness_others_lend(const struct device *dev, u64 address, u64 length, u8 direction);
void witness_others_return(const struct device *dev, u64 address, u64 length);
/* Tells all cards. Process context. */
int witness_others_tell(void);
void witness_others_show(struct seq_file *into);

/* names.c: what an instruction is called, "function+0x12/0x34 [module]"; its length, or 0: that is not known. Process context. */
int witness_names(unsigned long address, char *into, size_t size);
int witness_names_start(void);
void witness_names_stop(void);

/* marks.c: modules whose barriers can be told. Process context. */
struct seq_file;
void witness_marks_show(struct seq_file *into);
int witness_marks_start(void);
void witness_marks_stop(void);

/* owner.c: who owns a byte of memory now. */
int witness_owner(u64 phys, char *into, size_t size);

/* hooks.c: a kernel function's entry, and a function in its place, neither of which can be skipped. */
struct ftrace_regs;
struct witness_hook {
	void *function;
	/* Called at its entry, with its caller's address. */
	void (*entry)(struct ftrace_regs *regs, unsigned long caller);
	/* Or called instead of it, unless by this module. */
	void *instead;
};
int witness_hooks_start(const struct witness_hook *hooks, unsigned int count);
/* When this returns, no hook runs. */
void witness_hooks_stop(void);
/* Around all that a function in another's place does. */
void witness_instead_begin(void);
void witness_instead_end(void);

/* table.c. Cards come and go in process context. */
int witness_attach(struct pci_dev *pdev, bool assign);
void witness_detach(struct device *dev);
void witness_detach_all(void);
/* The card of a device, if it has one and is not mute. The caller holds rcu_read_lock() until it is done with it. */
struct witness_card *witness_find(const struct device *dev);
/* Calls `each` for every card, under rcu_read_lock(). From any context. */
void witness_each(void (*each)(struct witness_card *card, void *data), void *data);
bool witness_wanted(const struct device *dev);

/*
 * channel.c. Any context but NMI; when they return, what they tell is on its way, before any later register write; and
 * what lends has arrived, before any later write to memory.
 */
/* Returns the event's number. */
u64 witness_post(struct witness_card *card, const struct witness_event *event);
/* When it returns, all that was told has arrived. */
void witness_arrive(struct witness_card *card);
void witness_post_attached(struct witness_card *card);
void witness_post_driver(struct witness_card *card, u8 state);
void witness_post_down(struct witness_card *card);
/* Something is not heard, or was lost. */
void witness_post_unheard(struct witness_card *card, const char *what, bool others);
/* Another device's lend; `names` are its own and its driver's, with a line feed between. */
void witness_post_elsewhere(struct witness_card *card, const char *names, u64 address, u64 length, u8 direction,
			    u64 begun, u64 ended);
/* Of a card: how many events it took, and how many made no sense. */
void witness_counts(struct witness_card *card, u32 *taken, u32 *refused);
/* Around a write to anybody's configuration space by anybody but us. */
void witness_config_begin(void);
void witness_config_end(void);
/* Whether the registers behind a mailbox are of our version; and which of the machine's cards theirs is. */
bool witness_is_ours(struct pci_dev *pdev, u16 mailbox, u32 *place);
void witness_find_text(void);
/* Whether a physical address is the kernel's text or read-only data. */
bool witness_is_text(u64 phys);
/* Test aid: the event of this number is not sent. */
extern unsigned long long witness_drop;
/* Test aid: what lends is posted like all else. */
extern bool witness_posted;

/* echo.c */
/* An event, before its commit. Under the card's lock. */
void witness_echo(const struct witness_card *card, const struct witness_event *event);
void witness_echo_commit(const struct witness_card *card, u64 word);
void witness_echo_detached(const struct witness_card *card);
/* A module with marks, or, with no end, its going. One at a time. */
void witness_echo_module(unsigned long first, unsigned long end);
u64 witness_echo_phys(void);
int witness_echo_start(void);
/* No card is attached any more. */
void witness_echo_stop(void);

/* caller.c */
/*
 * Who called: the driver's function, as far as the stack tells; and whether by way of a dma_pool. Any context but NMI.
 */
unsigned long witness_caller(bool *pool);
/* Likewise, if `address` is where the call was made: the stack is only looked at if that is no driver's. */
unsigned long witness_caller_if_driver(unsigned long address, bool *pool);
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

/* dma.c, and for those of its hooks that are elsewhere. */
bool witness_watches(struct device *dev);
u64 witness_phys_of(const void *virt, unsigned long attrs);
void witness_tell_one(struct device *dev, u8 op, u64 address, u64 phys, u64 length, u8 dir, u8 memory, bool bounced,
		      unsigned long attrs);
void witness_tell_unheard(struct device *dev, const char *what);

/* blocks.c, config.c: what dma.c hooks. */
struct dma_pool;
#ifdef HAVE_DMA_POOL_NODES
#define POOL_NODE , int node
#else
#define POOL_NODE
#endif
struct dma_pool *witness_instead_of_pool_create(const char *name, struct device *dev, size_t size, size_t align,
						size_t boundary POOL_NODE);
void *witness_instead_of_pool_alloc(struct dma_pool *made, gfp_t flags, dma_addr_t *handle);
void witness_at_pool_destroy(struct ftrace_regs *regs, unsigned long caller);
void witness_at_pool_free(struct ftrace_regs *regs, unsigned long caller);
void witness_forget_pools(void);
int witness_instead_of_bus_write_byte(struct pci_bus *bus, unsigned int devfn, int where, u8 value);
int witness_instead_of_bus_write_word(struct pci_bus *bus, unsigned int devfn, int where, u16 value);
int witness_instead_of_bus_write_dword(struct pci_bus *bus, unsigned int devfn, int where, u32 value);
int witness_instead_of_user_write_byte(struct pci_dev *pdev, int where, u8 value);
int witness_instead_of_user_write_word(struct pci_dev *pdev, int where, u16 value);
int witness_instead_of_user_write_dword(struct pci_dev *pdev, int where, u32 value);

/* dma.c, vb2.c, pool.c, life.c: what is listened to. */
int witness_dma_start(void);
void witness_dma_stop(void);
/* Test aid: calls in an interrupt amid another one are missed, as a kprobe's would be. */
extern bool witness_skips;
u32 witness_dma_missed(void);
/* At a driver's binding: its device's syncs are heard from now on. */
void witness_dma_binding(struct device *dev);
int witness_vb2_start(void);
void witness_vb2_stop(void);
int witness_pool_start(void);
void witness_pool_stop(void);
int witness_life_start(void);
void witness_life_stop(void);

/* order.c: test aids. Results are lines `key=value` in debugfs. */
int witness_order(struct seq_file *into);
int witness_order_run(unsigned int pairs, unsigned int handoffs, unsigned int maps, unsigned int polled,
		      unsigned int offset);

#endif
