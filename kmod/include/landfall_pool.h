/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What landfall_pool offers to other modules, C drivers included. Rust drivers mount landfall_pool.rs, which
 * wraps the same calls in a buffer that frees itself.
 *
 * All calls are safe against simultaneous callers. A module that uses them cannot be outlived by the pool:
 * the symbols hold it.
 */
#ifndef LANDFALL_POOL_H
#define LANDFALL_POOL_H

#include <linux/types.h>

struct dma_buf;
struct module;

/* landfall_pool_request.flags: no CPU mapping of the buffer is cached, the kernel's own included. */
#define LANDFALL_POOL_UNCACHED 1u
/* landfall_pool_request.flags: the smallest gap that fits, whatever the parameter fit= says. */
#define LANDFALL_POOL_BEST_FIT 2u

/* What a buffer must be like. */
struct landfall_pool_request {
	/* Who asks, for the used list: printable, no blanks; cut at 31 characters. */
	const char *owner;
	/* Bytes, at least 1; whole pages are lent. */
	u64 bytes;
	/* Base is a multiple of this: a power of two, bytes. Less than a page, 0 too, means a page. */
	u64 alignment;
	/* Bytes must not cross a multiple of this: a power of two; 0: no such limit. */
	u64 boundary;
	/* The base is exactly this physical address; 0: anywhere. */
	u64 at;
	/* Every byte lies below 2^address_bits; 1 to 64. */
	u32 address_bits;
	/* LANDFALL_POOL_*. */
	u32 flags;
};

/* A buffer that is lent. Give it back unchanged. */
struct landfall_pool_buffer {
	/* CPU physical address of the first byte; page aligned. */
	u64 phys;
	/* Bytes asked for. */
	u64 bytes;
	/* Bytes of the pages that hold them. */
	u64 allocated;
	/* Where the kernel sees it; cached memory, unless asked for uncached. */
	void *virt;
};

/*
 * Lends a buffer, of the highest zone that the address width allows. The bytes are what the pool's canary
 * (kmod/reserve/src/canary.rs) says, not zero.
 *
 * Does not sleep, from any context; with LANDFALL_POOL_UNCACHED it may, process context only.
 *
 * Returns 0, or -EINVAL for a request that makes no sense, -ENOMEM if no place fits, -ENOSPC if too many
 * buffers are lent, -EOPNOTSUPP for uncached memory that the kernel has no direct map of, or where it cannot change
 * that map (arm64).
 */
int landfall_pool_allocate(const struct landfall_pool_request *request,
			   struct landfall_pool_buffer *buffer);

/*
 * Takes a buffer back and fills it with the canary, as long as that takes: process context only, no spinlock
 * held. No card may write to it any more.
 *
 * Returns 0, or -EINVAL for a buffer that is not lent in this way; that is reported and changes nothing.
 */
int landfall_pool_free(const struct landfall_pool_buffer *buffer);

/*
 * Makes a dma-buf of a buffer that is lent, with those flags of a file (O_RDWR and the like). The dma-buf holds `owner`, and
 * has `release` called with `hold`, once, when nobody has it any more; until then the buffer must not be freed. May sleep.
 *
 * Returns an ERR_PTR: -EOPNOTSUPP for memory without page structures, such as a carve-out, -ENOMEM; `hold` is still the
 * caller's then.
 */
struct dma_buf *landfall_pool_export(const struct landfall_pool_buffer *buffer, int flags, struct module *owner,
				     void (*release)(void *hold), void *hold);

/*
 * Adds a region: NAME[:PAGES[:BITS]] as in the parameter source=. May sleep, and take long.
 *
 * Returns the region's number, 0 or more; or -EINVAL, -ENODEV, -ENOMEM, -ERANGE as at loading, -ENOSPC if
 * there are too many regions.
 */
int landfall_pool_grow(const char *source);

/*
 * Gives a region back to where it came from. May sleep.
 *
 * Returns 0, -EBUSY while a buffer of it is lent, or -ENOENT.
 */
int landfall_pool_shrink(unsigned int region);

/*
 * memreserve's two calls (2001). bmalloc lends `size` bytes anywhere, as landfall_pool_allocate does, and
 * returns where the kernel sees them, or NULL. The owner is the calling function.
 *
 * bfree takes the same address and size, and returns and does what landfall_pool_free does.
 */
void *bmalloc(unsigned long size);
int bfree(const void *address, unsigned long size);

/*
 * What is told of every buffer: that it is lent, before whoever asked has it, or that it is given back, before
 * anybody else can have it. From the caller's context; must not sleep.
 */
typedef void (*landfall_pool_watcher)(bool lends, u64 phys, u64 bytes);

/*
 * Has a watcher called, in place of the one before; NULL: none. What is lent already is not told. May sleep; when
 * it returns, the one before is not called any more.
 */
void landfall_pool_watch(landfall_pool_watcher watcher);

/* For bmalloc only. */
void *landfall_pool_bmalloc(unsigned long size, unsigned long caller);

#endif
