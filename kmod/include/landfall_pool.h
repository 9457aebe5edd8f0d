/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What landfall_pool offers to other modules, C drivers included.
 *
 * Both calls may sleep: process context only, no spinlock held. Both are safe against simultaneous
 * callers. A module that calls them cannot be outlived by the pool: the symbols hold it.
 */
#ifndef LANDFALL_POOL_H
#define LANDFALL_POOL_H

#include <linux/types.h>

/* What a buffer must be like. */
struct landfall_pool_request {
	/* Who asks, for the used list: printable, no blanks; cut at 31 characters. */
	const char *owner;
	/* Bytes, at least 1; whole pages are lent. */
	u64 bytes;
	/* Base is a multiple of this: a power of two, bytes. Less than a page means a page. */
	u64 alignment;
	/* Bytes must not cross a multiple of this: a power of two; 0: no such limit. */
	u64 boundary;
	/* Every byte lies below 2^address_bits; 1 to 64. */
	u32 address_bits;
	/* Must be 0. */
	u32 reserved;
};

/* A buffer that is lent. Give it back unchanged. */
struct landfall_pool_buffer {
	/* CPU physical address of the first byte; page aligned. */
	u64 phys;
	/* Bytes asked for. */
	u64 bytes;
	/* Bytes of the pages that hold them. */
	u64 allocated;
	/* Where the kernel sees it; cached memory. */
	void *virt;
};

/*
 * Lends the lowest place that fits. The bytes are what the pool's canary (kmod/reserve/src/canary.rs)
 * says, not zero.
 *
 * Returns 0, or -EINVAL for a request that makes no sense, -ENOMEM if no place fits, -ENOSPC if too many
 * buffers are lent.
 */
int landfall_pool_allocate(const struct landfall_pool_request *request,
			   struct landfall_pool_buffer *buffer);

/*
 * Takes a buffer back and fills it with the canary. No card may write to it any more.
 *
 * Returns 0, or -EINVAL for a buffer that is not lent in this way; that is reported and changes nothing.
 */
int landfall_pool_free(const struct landfall_pool_buffer *buffer);

#endif
