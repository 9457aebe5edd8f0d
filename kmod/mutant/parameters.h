/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What landfall_mutant is told when it is loaded; main.c has the words. */
#ifndef LANDFALL_MUTANT_PARAMETERS_H
#define LANDFALL_MUTANT_PARAMETERS_H

#include <linux/types.h>

struct mutant_parameters {
	unsigned int bug;
	unsigned int frames;
	unsigned int buffers;
	unsigned int width;
	unsigned int height;
	unsigned int interval;
	unsigned int interrupt;
	unsigned int memory;
	unsigned int room;
	unsigned int large;
	unsigned int patience;
	bool clip;
	bool remask;
	bool busy;
	bool cancel;
	bool lasting;
};

extern struct mutant_parameters mutant_parameters;

/* What came of it: frames that the card called complete, and those of them with the right bytes. */
extern unsigned int mutant_completed;
extern unsigned int mutant_right;

#endif
