// SPDX-License-Identifier: MIT OR Apache-2.0
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
