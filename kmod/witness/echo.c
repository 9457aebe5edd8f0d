// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The echo: what each card is told is written to a page of memory, too. Nobody in the guest reads it. Who follows the CPUs' stores
 * from outside, as an emulator can, knows so at which instruction memory changed hands.
 */
#include <linux/compiler.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>

#include "witness.h"

static u64 *page;

static u64 *at(unsigned int slot, unsigned int word)
{
	return page + (slot * LW_ECHO_PLACE + word) / sizeof(*page);
}

static void put(unsigned int slot, unsigned int word, u64 value)
{
	WRITE_ONCE(*at(slot, word), value);
}

void witness_echo(const struct witness_card *card, const struct witness_event *event)
{
	put(card->slot, LW_ECHO_ADDRESS, event->address);
	put(card->slot, LW_ECHO_PHYS, event->phys);
	put(card->slot, LW_ECHO_LENGTH, event->length);
	put(card->slot, LW_ECHO_CALLER, event->caller);
	/* Of the first of a list this is it. */
	put(card->slot, LW_ECHO_GROUP,
	    event->listed && event->group == WITNESS_NOT_TOLD ? card->number :
	    event->listed					    ? event->group :
								      WITNESS_NOT_TOLD);
}

void witness_echo_commit(const struct witness_card *card, u64 word)
{
	put(card->slot, LW_ECHO_CARD, card->place);
	put(card->slot, LW_ECHO_COMMIT, word);
}

void witness_echo_detached(const struct witness_card *card)
{
	witness_echo_commit(card, (u64)LW_OP_DETACHED << LW_OP_SHIFT);
}

void witness_echo_module(unsigned long first, unsigned long end)
{
	put(0, LW_ECHO_MODULE, first);
	put(1, LW_ECHO_MODULE, end);
}

u64 witness_echo_phys(void)
{
	return virt_to_phys(page);
}

int witness_echo_start(void)
{
	BUILD_BUG_ON(WITNESS_MAX_CARDS * LW_ECHO_PLACE > PAGE_SIZE);
	page = (void *)get_zeroed_page(GFP_KERNEL);
	return page ? 0 : -ENOMEM;
}

void witness_echo_stop(void)
{
	put(0, LW_ECHO_COMMIT, (u64)LW_OP_ECHO_ENDS << LW_OP_SHIFT);
	free_page((unsigned long)page);
}
