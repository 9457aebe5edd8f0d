// SPDX-License-Identifier: MIT OR Apache-2.0
/* A module as small as can be, of which the tests of `src/debug_info` know every call: see `build`. */
#include <small.h>

extern void give_back(void *memory);

static inline __attribute__((always_inline)) int helper(void *memory)
{
	int lent = header_lend(memory); /* inlined helper */

	return lent ? lent : 1;
}

__attribute__((noinline)) int plain(void *memory)
{
	int lent = lend(memory); /* plain */

	give_back(memory);
	return lent;
}

int outer(void *memory)
{
	int lent = 0;

	lent += helper(memory); /* outer */
	give_back(memory);
	return lent;
}

static __attribute__((noipa)) int twice(void *memory)
{
	return lend(memory) + 2;
}

__attribute__((section(".init.text"))) int init_module(void)
{
	return plain(0) + lend((void *)1) + twice(0); /* init */
}
