// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Bugs of where the transfer lands. */
#include <linux/ctype.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "catalogue.h"

#define FOUR_GIB (1ull << 32)
/* Memory is searched in blocks of this size, and this many are tried. */
#define BLOCK SZ_4M
#define MOST_TRIES 128

static bool is_high(phys_addr_t phys)
{
	return phys >= FOUR_GIB;
}

/* Above 4 GiB, and without RAM at the low half of its address: what goes astray hits nobody. */
static bool is_high_without_twin(phys_addr_t phys)
{
	return is_high(phys) && !page_is_ram(PHYS_PFN(lower_32_bits(phys)));
}

/* Gets a block for a frame from where the bug shows. */
static int allocate_where(struct mutant *m, struct loan *loan, bool (*fits)(phys_addr_t))
{
	gfp_t flags = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN | __GFP_NORETRY;
	unsigned long found = 0, refused = 0;
	unsigned int tries;

	if (loan->slot < 0)
		return mutant_allocate(m, loan);
	for (tries = 0; tries < MOST_TRIES && !found; tries++) {
		unsigned long virt = __get_free_pages(flags, get_order(BLOCK));

		if (!virt)
			break;
		if (fits(virt_to_phys((void *)virt))) {
			found = virt;
		} else {
			*(unsigned long *)virt = refused;
			refused = virt;
		}
	}
	while (refused) {
		unsigned long next = *(unsigned long *)refused;

		free_pages(refused, get_order(BLOCK));
		refused = next;
	}
	loan->how = PAGE;
	loan->room = BLOCK - loan->bytes;
	loan->virt = (void *)found;
	return found ? 0 : -ENOMEM;
}

static int accept_all(struct mutant *m, struct loan *loan)
{
	return 0;
}

/* 2: 64-bit address truncated to 32. google/gasket-driver #2; Uros #417. */
static int allocate_high_without_twin(struct mutant *m, struct loan *loan)
{
	return allocate_where(m, loan, is_high_without_twin);
}

static void program_low_half(struct mutant *m, unsigned int slot)
{
	u32 base = m->frames[slot].dma;

	card_write_slot(m, slot, base, m->shape.bytes);
}

const struct mutant_bug mutant_bug_2 = {
	.steps.allocate = allocate_high_without_twin,
	.steps.program_slot = program_low_half,
};

/* 4: DMA mask wrong. slaclab/aes-stream-drivers #43; Xilinx/dma_ip_drivers #129. */
static int set_64_bits(struct mutant *m)
{
	return dma_set_mask_and_coherent(m->dev, DMA_BIT_MASK(64));
}

static int allocate_high(struct mutant *m, struct loan *loan)
{
	return allocate_where(m, loan, is_high);
}

const struct mutant_bug mutant_bug_4 = {
	.steps.set_mask = set_64_bits,
	.steps.allocate = allocate_high,
	.steps.accept = accept_all,
};

/* 5: CPU physical address used as DMA address. Avnu/igb_avb #47; slaclab #296. */
static void program_phys(struct mutant *m, unsigned int slot)
{
	card_write_slot(m, slot, virt_to_phys(m->frames[slot].virt), m->shape.bytes);
}

const struct mutant_bug mutant_bug_5 = {
	.steps.program_slot = program_phys,
};

/* 7: stale address. Avnu/OpenAvnu #835 case 1. The memory is kept to the end, for the guest's sake. */
static void recycle_unmapped(struct mutant *m, unsigned int slot)
{
	struct loan *frame = &m->frames[slot];

	if (frame->lent)
		mutant_unmap(m, frame);
	mutant_queue(m, slot);
}

const struct mutant_bug mutant_bug_7 = {
	.steps.recycle = recycle_unmapped,
};

/* 9: descriptor fetch crosses a page. Xilinx/dma_ip_drivers #48, #49, #76. */
static int allocate_mask_across(struct mutant *m, struct loan *loan)
{
	if (loan->slot < 0) {
		loan->offset = PAGE_SIZE - loan->bytes / 2;
		loan->bytes += loan->offset;
	}
	return mutant_allocate(m, loan);
}

const struct mutant_bug mutant_bug_9 = {
	.steps.allocate = allocate_mask_across,
};

/* 10: segment crosses a boundary. dma-debug: "across boundary". */
static u64 boundary(const struct mutant *m)
{
	return min_t(u64, m->limits.boundary ?: SZ_64K, SZ_1M);
}

static int allocate_two_blocks(struct mutant *m, struct loan *loan)
{
	if (loan->slot >= 0)
		loan->bytes = 2 * boundary(m);
	return mutant_allocate(m, loan);
}

static int map_across(struct mutant *m, struct loan *loan)
{
	u64 half = m->shape.bytes / 2;
	int error = mutant_map(m, loan);

	if (!error && loan->slot >= 0)
		loan->offset = round_up(loan->dma + half, boundary(m)) - half - loan->dma;
	return error;
}

const struct mutant_bug mutant_bug_10 = {
	.steps.allocate = allocate_two_blocks,
	.steps.map = map_across,
	.steps.accept = accept_all,
};

/* 11: segment longer than the device allows. dma-debug: "longer than device claims". A line more than it takes. */
static void measure_regardless(struct mutant *m)
{
	struct shape *shape = &m->shape;

	shape->height = min(m->limits.max_frame / shape->stride + 1, 1024u);
}

const struct mutant_bug mutant_bug_11 = {
	.steps.measure = measure_regardless,
};

/* 12: misaligned address. raspberrypi/linux #6734. A header of the driver's own comes first. */
static int allocate_with_header(struct mutant *m, struct loan *loan)
{
	if (loan->slot >= 0) {
		loan->offset = 8;
		loan->bytes += loan->offset;
	}
	return mutant_allocate(m, loan);
}

const struct mutant_bug mutant_bug_12 = {
	.steps.allocate = allocate_with_header,
	.steps.accept = accept_all,
};

/*
 * 13: length hard-wired, request ignored. enjoy-digital/litepcie #102.
 * 14: size off by one. STMicroelectronics/STM32CubeH7 #198.
 * The memory behind a frame is there and is the driver's, for the guest's sake; it is not lent.
 */
static void program_more(struct mutant *m, u32 lines)
{
	mutant_program(m);
	card_write_shape(m, m->shape.height + lines);
}

static void program_slot_more(struct mutant *m, unsigned int slot, u32 lines)
{
	card_write_slot(m, slot, m->frames[slot].dma, m->shape.bytes + lines * m->shape.stride);
}

static void program_16_more(struct mutant *m)
{
	program_more(m, 16);
}

static void program_slot_16_more(struct mutant *m, unsigned int slot)
{
	program_slot_more(m, slot, 16);
}

const struct mutant_bug mutant_bug_13 = {
	.steps.program = program_16_more,
	.steps.program_slot = program_slot_16_more,
	.no_clip = true,
	.room = SZ_64K,
};

static void program_1_more(struct mutant *m)
{
	program_more(m, 1);
}

static void program_slot_1_more(struct mutant *m, unsigned int slot)
{
	program_slot_more(m, slot, 1);
}

const struct mutant_bug mutant_bug_14 = {
	.steps.program = program_1_more,
	.steps.program_slot = program_slot_1_more,
	.no_clip = true,
	.room = SZ_64K,
};

/* A clip mask that is not the driver's own memory. */
static void fill_frames_only(struct mutant *m, struct loan *loan, u8 byte)
{
	if (loan->slot >= 0)
		mutant_fill(m, loan, byte);
}

static void release_frames_only(struct mutant *m, struct loan *loan)
{
	if (loan->slot >= 0)
		mutant_release(m, loan);
	else
		loan->virt = NULL;
}

/* A clip mask by its page, which the DMA API does not look at. */
static int map_mask_by_page(struct mutant *m, struct loan *loan)
{
	bool pages = is_vmalloc_addr(loan->virt);
	struct page *page;

	if (loan->slot >= 0)
		return mutant_map(m, loan);
	page = pages ? vmalloc_to_page(loan->virt) : virt_to_page(loan->virt);
	loan->dma = dma_map_page(m->dev, page, offset_in_page(loan->virt), loan->bytes,
				 loan->direction);
	loan->lent = !dma_mapping_error(m->dev, loan->dma);
	return loan->lent ? 0 : -EIO;
}

/* 15: DMA into kernel text or rodata. dma-debug: check_for_illegal_area. The card may write it, and only reads it. */
static int allocate_rodata(struct mutant *m, struct loan *loan)
{
	if (loan->slot >= 0)
		return mutant_allocate(m, loan);
	loan->how = SINGLE;
	loan->direction = DMA_BIDIRECTIONAL;
	loan->virt = (void *)_ctype;
	return 0;
}

/* Where the kernel lies among the addresses of vmalloc (arm64), dma_map_single refuses it, and its page is taken. */
static int map_rodata(struct mutant *m, struct loan *loan)
{
	return is_vmalloc_addr(loan->virt) ? map_mask_by_page(m, loan) : mutant_map(m, loan);
}

const struct mutant_bug mutant_bug_15 = {
	.steps.allocate = allocate_rodata,
	.steps.map = map_rodata,
	.steps.fill = fill_frames_only,
	.steps.release = release_frames_only,
};

/* 16: DMA to the stack. dma-debug: check_for_stack. */
#define MASK_ON_STACK 256

static int run_with_mask_on_stack(struct mutant *m)
{
	u8 space[2 * MASK_ON_STACK];
	int error;

	/* Within one page: a stack of pages has no other addresses in a row. */
	m->own = PTR_ALIGN(&space[0], MASK_ON_STACK);
	error = mutant_run(m);
	m->own = NULL;
	return error;
}

static int allocate_on_stack(struct mutant *m, struct loan *loan)
{
	if (loan->slot >= 0)
		return mutant_allocate(m, loan);
	loan->virt = loan->bytes <= MASK_ON_STACK ? m->own : NULL;
	return loan->virt ? 0 : -EINVAL;
}

const struct mutant_bug mutant_bug_16 = {
	.steps.run = run_with_mask_on_stack,
	.steps.allocate = allocate_on_stack,
	.steps.map = map_mask_by_page,
	.steps.release = release_frames_only,
};

/*
 * 17: DMA to vmalloc or invalid memory. dma-debug: debug_dma_map_single. dma_map_single refuses vmalloc addresses;
 * who computes the physical address himself is not stopped, and computes nonsense.
 */
static int allocate_vmalloc(struct mutant *m, struct loan *loan)
{
	if (loan->slot < 0)
		return mutant_allocate(m, loan);
	loan->how = PAGE;
	loan->virt = vzalloc(loan->bytes);
	return loan->virt ? 0 : -ENOMEM;
}

static int map_vmalloc(struct mutant *m, struct loan *loan)
{
	phys_addr_t phys = (unsigned long)loan->virt - PAGE_OFFSET;

	if (loan->slot < 0)
		return mutant_map(m, loan);
#ifdef HAVE_DMA_MAP_PHYS
	loan->dma = dma_map_phys(m->dev, phys, loan->bytes, loan->direction, 0);
#else
	/* By its page, which is none: what it stands for is all that is looked at. */
	loan->dma = dma_map_page(m->dev, pfn_to_page(PHYS_PFN(phys)), offset_in_page(phys), loan->bytes, loan->direction);
#endif
	loan->lent = !dma_mapping_error(m->dev, loan->dma);
	return loan->lent ? 0 : -EIO;
}

static void release_vmalloc(struct mutant *m, struct loan *loan)
{
	if (loan->slot < 0) {
		mutant_release(m, loan);
		return;
	}
	vfree(loan->virt);
	loan->virt = NULL;
}

const struct mutant_bug mutant_bug_17 = {
	.steps.allocate = allocate_vmalloc,
	.steps.map = map_vmalloc,
	.steps.release = release_vmalloc,
};

/* 18: two mappings share a cache line. dma-debug: "cacheline tracking EEXIST". */
#define WORDS_BYTES 24

static int run_with_two_in_a_line(struct mutant *m)
{
	dma_addr_t one, other;
	int error;

	m->own = kzalloc(L1_CACHE_BYTES, GFP_KERNEL);
	if (!m->own)
		return -ENOMEM;
	one = dma_map_single(m->dev, m->own, WORDS_BYTES, DMA_FROM_DEVICE);
	other = dma_map_single(m->dev, m->own + WORDS_BYTES, WORDS_BYTES, DMA_FROM_DEVICE);
	error = mutant_run(m);
	if (!dma_mapping_error(m->dev, one))
		dma_unmap_single(m->dev, one, WORDS_BYTES, DMA_FROM_DEVICE);
	if (!dma_mapping_error(m->dev, other))
		dma_unmap_single(m->dev, other, WORDS_BYTES, DMA_FROM_DEVICE);
	return error;
}

const struct mutant_bug mutant_bug_18 = {
	.steps.run = run_with_two_in_a_line,
};

/* 60: mapped for another device: the port that the card sits in. The card is no part of any of these calls. */
static struct device *port_of(const struct mutant *m, const struct loan *loan)
{
	return loan->slot < 0 ? m->dev : &m->pdev->bus->self->dev;
}

static int map_for_port(struct mutant *m, struct loan *loan)
{
	loan->dma = dma_map_single(port_of(m, loan), loan->virt, loan->bytes, loan->direction);
	loan->lent = !dma_mapping_error(port_of(m, loan), loan->dma);
	return loan->lent ? 0 : -EIO;
}

static void port_to_cpu(struct mutant *m, struct loan *loan)
{
	if (loan->lent)
		dma_sync_single_for_cpu(port_of(m, loan), loan->dma, loan->bytes, loan->direction);
}

static void port_to_card(struct mutant *m, struct loan *loan)
{
	if (loan->lent)
		dma_sync_single_for_device(port_of(m, loan), loan->dma, loan->bytes, loan->direction);
}

static void unmap_of_port(struct mutant *m, struct loan *loan)
{
	dma_unmap_single(port_of(m, loan), loan->dma, loan->bytes, loan->direction);
	loan->lent = false;
}

const struct mutant_bug mutant_bug_60 = {
	.steps.map = map_for_port,
	.steps.to_cpu = port_to_cpu,
	.steps.to_card = port_to_card,
	.steps.unmap = unmap_of_port,
};
