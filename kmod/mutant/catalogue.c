// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Finds a bug by its number. */
#include "catalogue.h"

static const struct mutant_bug none;

static const struct {
	unsigned int number;
	const struct mutant_bug *bug;
} all[] = {
	{ 0, &none },
#define ENTRY(number, text) { number, &mutant_bug_##number },
	MUTANT_BUGS(ENTRY)
};

const struct mutant_bug *mutant_find(unsigned int number)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].number == number)
			return all[i].bug;
	return NULL;
}
