/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Between fragment/shim.c and fragment/shim.rs, which repeats these prototypes. */
#ifndef LANDFALL_FRAGMENT_SHIM_H
#define LANDFALL_FRAGMENT_SHIM_H

#include <linux/types.h>

struct page;

struct page *landfall_fragment_shim_take(unsigned int zone, unsigned int order);
struct page *landfall_fragment_shim_page(struct page *first, unsigned int index);
struct page *landfall_fragment_shim_next(struct page *page);
void landfall_fragment_shim_link(struct page *page, struct page *next);
void landfall_fragment_shim_release(struct page *page);
u64 landfall_fragment_shim_block(struct page *page, unsigned int spacing);
u64 landfall_fragment_shim_blocks(unsigned int spacing);
struct page *landfall_fragment_shim_take_within(u64 block, unsigned int spacing);
void landfall_fragment_shim_flush(unsigned int zone);
u64 landfall_fragment_shim_left(unsigned int order);
u64 landfall_fragment_shim_ram_pages(void);
bool landfall_fragment_shim_pause(void);
int landfall_fragment_shim_heed(void);
void landfall_fragment_shim_unheed(void);

/* From fragment.rs: the kernel is about to kill for memory. Gives back some, and tells how many pages. May sleep. */
unsigned long landfall_fragment_relieve(void);

#endif
