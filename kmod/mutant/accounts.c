// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Bugs of accounting: what is mapped, unmapped and freed, and what if it fails. */
#include <linux/log2.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "catalogue.h"

/* 47: unmap size differs. openbmc/linux #201. */
static void unmap_half(struct mutant *m, struct loan *loan)
{
	dma_unmap_page(m->dev, loan->dma, loan->bytes / 2, loan->direction);
	loan->lent = false;
}

const struct mutant_bug mutant_bug_47 = {
	.steps.unmap = unmap_half,
};

/* 48: unmapped twice. boundarydevices/linux #3; openwrt/openwrt #24268. */
static void unmap_twice(struct mutant *m, struct loan *loan)
{
	mutant_unmap(m, loan);
	if (loan->slot == 0)
		mutant_unmap(m, loan);
}

const struct mutant_bug mutant_bug_48 = {
	.steps.unmap = unmap_twice,
};

/* 49: mapping error unchecked. larrystevenwise/krping #12. The first buffer is larger than a bounce buffer can be. */
static int map_unchecked(struct mutant *m, struct loan *loan)
{
	loan->dma = dma_map_page(m->dev, virt_to_page(loan->virt), offset_in_page(loan->virt),
				 loan->bytes, loan->direction);
	loan->lent = true;
	return 0;
}

static int accept_unchecked(struct mutant *m, struct loan *loan)
{
	return 0;
}

/* Not the bug: nobody would sync what the card never wrote. */
static void sync_if_mapped(struct mutant *m, struct loan *loan)
{
	if (loan->dma != DMA_MAPPING_ERROR)
		mutant_to_cpu(m, loan);
}

static void recycle_unchecked(struct mutant *m, unsigned int slot)
{
	struct loan *frame = &m->frames[slot];

	if (frame->dma != DMA_MAPPING_ERROR)
		mutant_to_card(m, frame);
	mutant_queue(m, slot);
}

const struct mutant_bug mutant_bug_49 = {
	.steps.map = map_unchecked,
	.steps.accept = accept_unchecked,
	.steps.to_cpu = sync_if_mapped,
	.steps.recycle = recycle_unchecked,
	.large = 1,
};

/* 50: wrong free function. dma-debug: check_unmap. The memory itself is lost. */
static int allocate_coherent_mask(struct mutant *m, struct loan *loan)
{
	if (loan->slot < 0)
		loan->how = COHERENT;
	return mutant_allocate(m, loan);
}

static void release_by_unmap(struct mutant *m, struct loan *loan)
{
	if (loan->how != COHERENT) {
		mutant_release(m, loan);
		return;
	}
	dma_unmap_single(m->dev, loan->dma, loan->bytes, DMA_BIDIRECTIONAL);
	loan->lent = false;
	loan->virt = NULL;
}

const struct mutant_bug mutant_bug_50 = {
	.steps.allocate = allocate_coherent_mask,
	.steps.release = release_by_unmap,
};

/* 51: nents instead of orig_nents. Eideticom/eid-hermes #27. Differs where segments are merged: behind an IOMMU. */
static void unmap_segments(struct mutant *m, struct loan *loan)
{
	if (loan->how != LIST) {
		mutant_unmap(m, loan);
		return;
	}
	dma_unmap_sg(m->dev, loan->list.sgl, loan->segments, loan->direction);
	loan->lent = false;
}

const struct mutant_bug mutant_bug_51 = {
	.steps.unmap = unmap_segments,
	.memory = LIST,
};

/* 52: partial map failure not undone. nutanix/libvfio-user #558. The third buffer is larger than can be bounced. */
static void forget(struct mutant *m)
{
	struct loan *loan;

	for_each_loan(m, loan)
		loan->virt = NULL;
}

const struct mutant_bug mutant_bug_52 = {
	.steps.undo = forget,
	.large = 3,
};

/* 53: buffer leak. markondej/fm_transmitter #107. */
static void unmap_but_one(struct mutant *m, struct loan *loan)
{
	if (loan->slot != 1)
		mutant_unmap(m, loan);
}

static void release_but_one(struct mutant *m, struct loan *loan)
{
	if (loan->slot != 1)
		mutant_release(m, loan);
	else
		loan->virt = NULL;
}

const struct mutant_bug mutant_bug_53 = {
	.steps.unmap = unmap_but_one,
	.steps.release = release_but_one,
};

/* 54: large allocation fails, and the path is untested. slaclab #270; anholt/linux #76, #94; udmabuf #25. */
static int allocate_unchecked(struct mutant *m, struct loan *loan)
{
	if (loan->slot < 0)
		return mutant_allocate(m, loan);
	loan->virt = kzalloc(SZ_4M, GFP_KERNEL);
	return 0;
}

const struct mutant_bug mutant_bug_54 = {
	.steps.allocate = allocate_unchecked,
};
