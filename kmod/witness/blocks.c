// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Blocks of a dma_pool: lends within pages, which the pool allocates as coherent memory. A block is as long as whoever
 * made the pool asked for.
 */
#include <linux/dmapool.h>
#include <linux/list.h>
#include <linux/slab.h>

#include "witness.h"

/* Pools of cards: what a block is. */
struct pool {
	struct list_head list;
	struct dma_pool *pool;
	struct device *dev;
	size_t size;
};

static LIST_HEAD(pools);
static DEFINE_RAW_SPINLOCK(pools_lock);

struct dma_pool *witness_instead_of_pool_create(const char *name, struct device *dev, size_t size, size_t align,
					       size_t boundary POOL_NODE)
{
	struct dma_pool *made;
	struct pool *pool = NULL;
	unsigned long flags;

	witness_instead_begin();
#ifdef HAVE_DMA_POOL_NODES
	made = dma_pool_create_node(name, dev, size, align, boundary, node);
#else
	made = dma_pool_create(name, dev, size, align, boundary);
#endif
	if (made && witness_watches(dev)) {
		pool = kmalloc(sizeof(*pool), GFP_KERNEL);
		if (!pool)
			witness_tell_unheard(dev, "a dma_pool's blocks: no memory");
	}
	if (pool) {
		*pool = (struct pool){ .pool = made, .dev = dev, .size = size };
		raw_spin_lock_irqsave(&pools_lock, flags);
		list_add(&pool->list, &pools);
		raw_spin_unlock_irqrestore(&pools_lock, flags);
	}
	witness_instead_end();
	return made;
}

/* Gives a copy: a pool that is destroyed amid its use is the driver's fault, and not ours to die of. */
static bool pool_of(struct dma_pool *made, struct pool *copy, bool forget)
{
	struct pool *pool, *found = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&pools_lock, flags);
	list_for_each_entry(pool, &pools, list) {
		if (pool->pool == made) {
			found = pool;
			break;
		}
	}
	if (found) {
		*copy = *found;
		if (forget)
			list_del(&found->list);
	}
	raw_spin_unlock_irqrestore(&pools_lock, flags);
	if (forget)
		kfree(found);
	return found;
}

void witness_forget_pools(void)
{
	struct pool *pool, *next;

	list_for_each_entry_safe(pool, next, &pools, list)
		kfree(pool);
	INIT_LIST_HEAD(&pools);
}

void witness_at_pool_destroy(struct ftrace_regs *regs, unsigned long caller)
{
	struct pool copy;

	pool_of((void *)ftrace_regs_get_argument(regs, 0), &copy, true);
}

void *witness_instead_of_pool_alloc(struct dma_pool *made, gfp_t flags, dma_addr_t *handle)
{
	struct pool pool;
	void *block;

	witness_instead_begin();
	block = dma_pool_alloc(made, flags, handle);
	if (pool_of(made, &pool, false)) {
		if (block)
			witness_tell_one(pool.dev, LW_OP_BLOCK_ALLOC, *handle, witness_phys_of(block, 0), pool.size,
				 LW_DIRECTION_BOTH, LW_MEMORY_PLAIN, false, 0);
		else
			witness_tell_one(pool.dev, LW_OP_MAP_FAILED, ~0ULL, WITNESS_NOT_TOLD, pool.size, LW_DIRECTION_BOTH,
				 LW_MEMORY_PLAIN, false, 0);
	}
	witness_instead_end();
	return block;
}

void witness_at_pool_free(struct ftrace_regs *regs, unsigned long caller)
{
	struct pool pool;

	if (pool_of((void *)ftrace_regs_get_argument(regs, 0), &pool, false))
		witness_tell_one(pool.dev, LW_OP_BLOCK_FREE, ftrace_regs_get_argument(regs, 2), WITNESS_NOT_TOLD, pool.size,
			 LW_DIRECTION_BOTH, LW_MEMORY_PLAIN, false, 0);
}
