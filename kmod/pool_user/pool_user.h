/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Between the files of landfall_pool_user. */
#ifndef LANDFALL_POOL_USER_H
#define LANDFALL_POOL_USER_H

#include <linux/types.h>

/* What the used list names as owner of what this module takes. */
#define POOL_USER_OWNER "pool_user"

/* Adds a line `key=value` to the results in debugfs. */
void pool_user_result(const char *key, s64 value);
/* Likewise, with `number` at the end of the key. */
void pool_user_result_at(const char *key, unsigned int number, s64 value);

/* Takes a buffer wherever it lies; as landfall_pool_allocate. */
struct landfall_pool_buffer;
int pool_user_take(unsigned long pages, struct landfall_pool_buffer *buffer);

/*
 * What the module can be asked to do. Each returns 0 or an errno that fails the load, because then nothing
 * that was asked for can be told; what the pool refuses on the way is a result.
 */
int pool_user_misuse(unsigned long pages);
int pool_user_threads(unsigned int threads, unsigned int rounds);
int pool_user_import(int fd, unsigned int address_bits);
int pool_user_bench(unsigned int live, unsigned int rounds);

#endif
