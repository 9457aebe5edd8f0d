// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A second function of a name that is there already. */
extern int lend(void *memory);

static __attribute__((noipa)) int twice(void *memory)
{
	lend(memory);
	return lend(memory) + 3;
}

int other(void *memory)
{
	return twice(memory) + 1;
}
