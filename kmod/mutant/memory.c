// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What is lent to the card: got, mapped, handed to and fro, unmapped, freed. */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "mutant.h"

/* Zones below 4 GiB are for cards that reach no more than the lowest; a bounce buffer serves those between. */
static gfp_t flags(const struct mutant *m)
{
	gfp_t zone = m->limits.address_bits < 32 ? GFP_DMA : 0;

	return GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN | zone;
}

static int make_list(struct loan *loan)
{
	struct page *page = virt_to_page(loan->virt);
	unsigned int pages = loan->bytes >> PAGE_SHIFT;
	struct scatterlist *sg;
	unsigned int i;

	if (sg_alloc_table(&loan->list, pages, GFP_KERNEL))
		return -ENOMEM;
	for_each_sg(loan->list.sgl, sg, pages, i)
		sg_set_page(sg, page + i, PAGE_SIZE, 0);
	return 0;
}

int mutant_allocate(struct mutant *m, struct loan *loan)
{
	size_t bytes = loan->bytes + loan->room;
	struct page *page;

	switch (loan->how) {
	case SINGLE:
		/* Powers of two lie on multiples of themselves, and so cross no boundary that they fit. */
		loan->virt = kmalloc(roundup_pow_of_two(bytes), flags(m));
		break;
	case LIST:
		/* Two entries at least, or there is nothing to merge. */
		loan->bytes = max_t(size_t, PAGE_ALIGN(loan->bytes), 2 * PAGE_SIZE);
		bytes = loan->bytes + loan->room;
		fallthrough;
	case PAGE:
		page = alloc_pages(flags(m), get_order(bytes));
		loan->virt = page ? page_address(page) : NULL;
		if (loan->virt && loan->how == LIST && make_list(loan)) {
			free_pages((unsigned long)loan->virt, get_order(bytes));
			loan->virt = NULL;
		}
		break;
	case COHERENT:
		loan->virt = dma_alloc_coherent(m->dev, bytes, &loan->dma, GFP_KERNEL);
		loan->lent = loan->virt;
		break;
	}
	return loan->virt ? 0 : -ENOMEM;
}

void mutant_fill(struct mutant *m, struct loan *loan, u8 byte)
{
	memset(loan->virt, byte, loan->bytes);
}

/* Whether the segments of a list lie one behind the other for the card, as far as the frame goes. */
static bool in_a_row(const struct loan *loan, size_t wanted)
{
	dma_addr_t next = sg_dma_address(loan->list.sgl);
	struct scatterlist *sg;
	size_t found = 0;
	int i;

	for_each_sg(loan->list.sgl, sg, loan->segments, i) {
		if (found >= wanted || sg_dma_address(sg) != next)
			break;
		found += sg_dma_len(sg);
		next += sg_dma_len(sg);
	}
	return found >= wanted;
}

int mutant_map(struct mutant *m, struct loan *loan)
{
	switch (loan->how) {
	case SINGLE:
		loan->dma = dma_map_single(m->dev, loan->virt, loan->bytes, loan->direction);
		break;
	case PAGE:
		loan->dma = dma_map_page(m->dev, virt_to_page(loan->virt),
					 offset_in_page(loan->virt), loan->bytes, loan->direction);
		break;
	case COHERENT:
		return 0;
	case LIST:
		loan->segments = dma_map_sg(m->dev, loan->list.sgl, loan->list.orig_nents,
					    loan->direction);
		if (!loan->segments)
			return -EIO;
		loan->lent = true;
		loan->dma = sg_dma_address(loan->list.sgl);
		if (in_a_row(loan, min_t(size_t, loan->bytes, m->shape.bytes)))
			return 0;
		STEP(m, unmap)(m, loan);
		return -EIO;
	}
	if (dma_mapping_error(m->dev, loan->dma))
		return -EIO;
	loan->lent = true;
	return 0;
}

int mutant_accept(struct mutant *m, struct loan *loan)
{
	dma_addr_t first = loan->dma + loan->offset;
	size_t bytes = loan->slot < 0 ? m->shape.clip_bytes : m->shape.bytes;
	dma_addr_t last = first + bytes - 1;

	if (last > DMA_BIT_MASK(m->limits.address_bits))
		return -ERANGE;
	if (loan->slot < 0)
		return 0;
	if (first & (m->limits.alignment - 1))
		return -ERANGE;
	if (m->limits.boundary && (first ^ last) & ~(m->limits.boundary - 1))
		return -ERANGE;
	return 0;
}

void mutant_to_cpu(struct mutant *m, struct loan *loan)
{
	if (!loan->lent || loan->how == COHERENT)
		return;
	if (loan->how == LIST)
		dma_sync_sg_for_cpu(m->dev, loan->list.sgl, loan->list.orig_nents, loan->direction);
	else
		dma_sync_single_for_cpu(m->dev, loan->dma, loan->bytes, loan->direction);
}

void mutant_to_card(struct mutant *m, struct loan *loan)
{
	if (!loan->lent || loan->how == COHERENT)
		return;
	if (loan->how == LIST)
		dma_sync_sg_for_device(m->dev, loan->list.sgl, loan->list.orig_nents,
				       loan->direction);
	else
		dma_sync_single_for_device(m->dev, loan->dma, loan->bytes, loan->direction);
}

void mutant_unmap(struct mutant *m, struct loan *loan)
{
	switch (loan->how) {
	case SINGLE:
		dma_unmap_single(m->dev, loan->dma, loan->bytes, loan->direction);
		break;
	case PAGE:
		dma_unmap_page(m->dev, loan->dma, loan->bytes, loan->direction);
		break;
	case COHERENT:
		/* Mapping and memory are one. */
		return;
	case LIST:
		dma_unmap_sg(m->dev, loan->list.sgl, loan->list.orig_nents, loan->direction);
		break;
	}
	loan->lent = false;
}

void mutant_release(struct mutant *m, struct loan *loan)
{
	size_t bytes = loan->bytes + loan->room;

	switch (loan->how) {
	case SINGLE:
		kfree(loan->virt);
		break;
	case LIST:
		sg_free_table(&loan->list);
		fallthrough;
	case PAGE:
		free_pages((unsigned long)loan->virt, get_order(bytes));
		break;
	case COHERENT:
		dma_free_coherent(m->dev, bytes, loan->virt, loan->dma);
		loan->lent = false;
		break;
	}
	loan->virt = NULL;
}
