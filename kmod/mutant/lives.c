// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Bugs of when the transfer lands: the life cycle. */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "catalogue.h"
#include "landfall_pool.h"

/* 22: left bus-mastering after teardown. enjoy-digital/litex_m2sdr #145. */
static void remove_and_stay_master(struct mutant *m)
{
	mutant_end(m);
	mutant_free_interrupt(m);
}

const struct mutant_bug mutant_bug_22 = {
	.steps.remove = remove_and_stay_master,
};

/* 24: DMA alive across kexec or kdump. NVIDIA/NV-Kernels #462. As if there were no shutdown callback. */
static void shutdown_nothing(struct mutant *m)
{
	/*
	 * What the card happens to do then; it goes on for as long as anybody queues its slots again. The kernel goes on
	 * with its end when there was some of it: on a busy host the card may be slower than that.
	 */
	if (!mutant_begin_lasting(m, 2 * USEC_PER_MSEC))
		wait_event_timeout(m->changed, READ_ONCE(m->done), msecs_to_jiffies(2000));
}

const struct mutant_bug mutant_bug_24 = {
	.steps.shutdown = shutdown_nothing,
};

/* 25: device disabled before its interrupt is freed. slaclab/aes-stream-drivers #157. */
static void remove_disabled_first(struct mutant *m)
{
	struct record record;
	bool captures = !mutant_begin_paced(m, 300 * USEC_PER_MSEC);

	if (captures)
		mutant_wait(m, 0, &record);
	mutant_disable(m);
	/* For the frame that is still queued. Its completion cannot be told any more. */
	if (captures)
		mutant_wait(m, 1, &record);
	mutant_end(m);
	mutant_free_interrupt(m);
}

const struct mutant_bug mutant_bug_25 = {
	.steps.remove = remove_disabled_first,
};

/* 26: surprise removal, a loop on 0xffffffff. rolotrealanis98/open-apollo #22; spdk #231. Ends for the guest's sake. */
static void stop_without_end(struct mutant *m)
{
	unsigned long end = jiffies + mutant_patience() * HZ;

	card_write(m, CARD_CONTROL, 0);
	while (card_read(m, CARD_STATUS) & CARD_STATUS_BUSY && time_before(jiffies, end))
		usleep_range(500, 1000);
	card_quiet(m);
}

const struct mutant_bug mutant_bug_26 = {
	.steps.stop = stop_without_end,
};

/*
 * 27: reset races hot-plug, stale pci_dev. tenstorrent/tt-kmd #188, #204. Registers stay mapped until the timer has
 * run, for the guest's sake.
 */
static void __iomem *late_bar;

static void reset_late(struct work_struct *work)
{
	writel(CARD_CONTROL_RESET, late_bar + CARD_CONTROL);
	iounmap(late_bar);
	late_bar = NULL;
}

static DECLARE_DELAYED_WORK(late, reset_late);

static void remove_with_timer(struct mutant *m)
{
	mutant_remove(m);
	flush_delayed_work(&late);
	late_bar = m->bar;
	m->bar = NULL;
	schedule_delayed_work(&late, HZ / 5);
}

void mutant_finish(void)
{
	flush_delayed_work(&late);
}

const struct mutant_bug mutant_bug_27 = {
	.steps.remove = remove_with_timer,
};

/*
 * 28: BAR gone before the driver's remove runs. microsoft/openvmm #3077. Who takes it away is the driver itself here,
 * and gives it back in the end, for the witness's sake.
 */
static void remove_without_decoding(struct mutant *m)
{
	unsigned long end = jiffies + mutant_patience() * HZ;
	u16 command;

	pci_read_config_word(m->pdev, PCI_COMMAND, &command);
	pci_write_config_word(m->pdev, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY);
	card_write(m, CARD_CONTROL, 0);
	while (!(card_read(m, CARD_IRQ_STATUS) & CARD_IRQ_STATUS_IDLE) && time_before(jiffies, end))
		usleep_range(500, 1000);
	pci_write_config_word(m->pdev, PCI_COMMAND, command);
	mutant_free_interrupt(m);
	mutant_disable(m);
}

const struct mutant_bug mutant_bug_28 = {
	.steps.remove = remove_without_decoding,
};

/* 29: no error handlers, a link error means a reboot. */
const struct mutant_bug mutant_bug_29 = {
	.no_recovery = true,
};

/*
 * 30: cancel in the middle of a transfer. jeremytrimble/ezdma #8; Prandr/dma_ip_drivers #3.
 * 31: module removed while DMA runs. slaclab ci-pipeline test 5; ikwzm/udmabuf #135.
 * 32: registers reprogrammed while streaming. tw686x-core.c, note 2.
 * A frame that was over before the bug struck was not hit by it: then there is another one. Memory is freed only when
 * the card is idle, for the guest's sake.
 */
#define TRIES 64

static void strike_in_work(struct mutant *m, void (*bug)(struct mutant *m))
{
	unsigned int tries;
	bool struck = false;

	for (tries = 0; tries < TRIES && !struck; tries++) {
		if (mutant_begin_stream(m))
			return;
		/* Only what is queued by now is in work, or comes to be: nothing begins long after. */
		mutant_stop_streaming(m);
		bug(m);
		struck = card_read(m, CARD_STATUS) & CARD_STATUS_BUSY;
		mutant_end(m);
	}
	dev_info(m->dev, "in work: %d, after %u tries\n", struck, tries);
}

static int run_and_unmap_first(struct mutant *m)
{
	int error = mutant_run(m);

	strike_in_work(m, mutant_unmap_all);
	return error;
}

const struct mutant_bug mutant_bug_30 = {
	.steps.run = run_and_unmap_first,
};

static void remove_unmap_first(struct mutant *m)
{
	strike_in_work(m, mutant_unmap_all);
	mutant_remove(m);
}

const struct mutant_bug mutant_bug_31 = {
	.steps.remove = remove_unmap_first,
};

static void program_half(struct mutant *m)
{
	card_write_shape(m, m->shape.height / 2);
}

static int run_and_program(struct mutant *m)
{
	int error = mutant_run(m);

	strike_in_work(m, program_half);
	return error;
}

const struct mutant_bug mutant_bug_32 = {
	.steps.run = run_and_program,
};

/* 33: freeing an interior pointer. Xilinx/dma_ip_drivers #398 C2, H1. Needs landfall_pool, which refuses and tells. */
static int free_interior(typeof(landfall_pool_allocate) *allocate, typeof(landfall_pool_free) *give_back)
{
	const struct landfall_pool_request request = {
		.owner = KBUILD_MODNAME,
		.bytes = 4 * PAGE_SIZE,
		.address_bits = 64,
	};
	struct landfall_pool_buffer buffer, inside;
	int error = allocate(&request, &buffer);

	if (error)
		return error;
	inside = buffer;
	inside.phys += PAGE_SIZE;
	inside.virt += PAGE_SIZE;
	give_back(&inside);
	return give_back(&buffer);
}

static int run_and_free_interior(struct mutant *m)
{
	typeof(landfall_pool_allocate) *allocate = symbol_get(landfall_pool_allocate);
	typeof(landfall_pool_free) *give_back = symbol_get(landfall_pool_free);
	int error = allocate && give_back ? free_interior(allocate, give_back) : -ENOENT;

	if (allocate)
		symbol_put(landfall_pool_allocate);
	if (give_back)
		symbol_put(landfall_pool_free);
	return error ?: mutant_run(m);
}

const struct mutant_bug mutant_bug_33 = {
	.steps.run = run_and_free_interior,
};
