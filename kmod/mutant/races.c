// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Bugs that show in some orders only of what the card does and what the driver does. Nothing here waits for the card to be at work,
 * as real drivers do not: by chance they show once in many runs. `landfall explore` finds them.
 */
#include "catalogue.h"

/* 64: as 30, of a capture that is cancelled at once (the parameter cancel), in whatever state the card is. */
static void unmap_and_stop(struct mutant *m)
{
	mutant_unmap_all(m);
	mutant_stop(m);
}

const struct mutant_bug mutant_bug_64 = {
	.steps.stop = unmap_and_stop,
};

/* 65: likewise. The memory is freed only when the card is idle, for the guest's sake. */
static void stop_without_waiting(struct mutant *m)
{
	card_write(m, CARD_CONTROL, 0);
	card_read(m, CARD_CONTROL);
	mutant_unmap_all(m);
	mutant_stop(m);
}

const struct mutant_bug mutant_bug_65 = {
	.steps.stop = stop_without_waiting,
};

/* 66: what completes between the two has its cause cleared, and its done bit is read by nobody. */
static irqreturn_t look_and_clear(int irq, void *data)
{
	struct mutant *m = data;
	u32 causes = card_read(m, CARD_IRQ_STATUS);

	if (causes == U32_MAX || !causes)
		return IRQ_NONE;
	spin_lock(&m->lock);
	mutant_done(m, card_read(m, CARD_DONE));
	spin_unlock(&m->lock);
	card_write(m, CARD_IRQ_STATUS, causes);
	wake_up(&m->changed);
	return IRQ_HANDLED;
}

const struct mutant_bug mutant_bug_66 = {
	.interrupt = look_and_clear,
};

/* 67: what completes between the two is lost. */
static irqreturn_t clear_all_done(int irq, void *data)
{
	struct mutant *m = data;
	u32 causes = card_read(m, CARD_IRQ_STATUS);

	if (causes == U32_MAX || !causes)
		return IRQ_NONE;
	card_write(m, CARD_IRQ_STATUS, causes);
	spin_lock(&m->lock);
	mutant_done(m, card_read(m, CARD_DONE));
	card_write(m, CARD_DONE, U32_MAX);
	spin_unlock(&m->lock);
	wake_up(&m->changed);
	return IRQ_HANDLED;
}

const struct mutant_bug mutant_bug_67 = {
	.interrupt = clear_all_done,
};
