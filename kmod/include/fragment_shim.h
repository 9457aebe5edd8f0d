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
void landfall_fragment_shim_flush(unsigned int zone);
u64 landfall_fragment_shim_left(unsigned int order);
u64 landfall_fragment_shim_ram_pages(void);
bool landfall_fragment_shim_pause(void);

#endif
