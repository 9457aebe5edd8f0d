// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Bugs of trust. */
#include <linux/slab.h>

#include "catalogue.h"

/*
 * 55: device-written length trusted. SADA; openwrt/openwrt #24268. The copy ends a little behind the frame, for the
 * guest's sake.
 */
#define TOO_MANY 64

static void look_and_copy(struct mutant *m, unsigned int slot, const struct record *record)
{
	size_t most = m->shape.bytes + TOO_MANY;

	mutant_look(m, slot, record);
	if (!m->own)
		m->own = kmalloc(most, GFP_KERNEL);
	if (m->own)
		memcpy(m->own, m->frames[slot].virt, min_t(size_t, record->bytes, most));
}

const struct mutant_bug mutant_bug_55 = {
	.steps.look = look_and_copy,
};

/* 58: writes where it owns nothing. Xilinx/dma_ip_drivers #250. Between SEQUENCE and SELFTEST_LO. */
static void program_and_poke(struct mutant *m)
{
	mutant_program(m);
	card_write(m, 0x03c, 1);
}

const struct mutant_bug mutant_bug_58 = {
	.steps.program = program_and_poke,
};
