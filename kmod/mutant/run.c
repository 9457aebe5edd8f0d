// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* One capture: its buffers, its frames, its end. */
#include <linux/bitops.h>

#include "mutant.h"
#include "parameters.h"

/* How long a frame may take. */
#define FRAME_DEADLINE msecs_to_jiffies(2000)
/*
 * How often its slots are queued again in all: a card that is never idle interrupts a slow guest faster than that can
 * answer.
 */
#define STREAM_AGAIN 128
/* How often a stream is begun of which a frame is to be in work. */
#define STREAM_TRIES 64

unsigned int mutant_completed;
unsigned int mutant_right;

/* Sets what is captured: YUYV, lines without gaps, no longer than the card takes. */
void mutant_measure(struct mutant *m)
{
	struct shape *shape = &m->shape;
	u32 longest = m->limits.max_frame / shape->stride;

	shape->height = min(shape->height, longest);
}

static void measure(struct mutant *m, u32 width, u32 height, u8 clip)
{
	m->shape = (struct shape){
		.width = width,
		.height = height,
		.stride = 2 * width,
		.interval_us = m->bug->interval_us ?: mutant_parameters.interval,
		.clip = clip,
	};
	STEP(m, measure)(m);
	m->shape.bytes = m->shape.stride * m->shape.height;
	m->shape.clip_bytes = DIV_ROUND_UP(width, 8) * m->shape.height;
}

struct loan *mutant_next_loan(struct mutant *m, struct loan *loan)
{
	unsigned int next = !loan ? 0 : loan == &m->clip ? m->buffers + 1 : loan->slot + 1;

	for (; next < m->buffers; next++)
		if (m->frames[next].virt)
			return &m->frames[next];
	return next == m->buffers && m->clip.virt ? &m->clip : NULL;
}

void mutant_unmap_all(struct mutant *m)
{
	struct loan *loan;

	for_each_loan(m, loan)
		if (loan->lent)
			STEP(m, unmap)(m, loan);
}

void mutant_release_all(struct mutant *m)
{
	struct loan *loan;

	for_each_loan(m, loan)
		STEP(m, release)(m, loan);
}

void mutant_undo(struct mutant *m)
{
	mutant_unmap_all(m);
	mutant_release_all(m);
}

/* Gets memory for a loan, with `fill` in every byte, and maps it. */
static int lend(struct mutant *m, struct loan *loan, u8 fill)
{
	int error = STEP(m, allocate)(m, loan);

	if (error)
		return error;
	STEP(m, fill)(m, loan, fill);
	error = STEP(m, map)(m, loan);
	return error ?: STEP(m, accept)(m, loan);
}

int mutant_take(struct mutant *m)
{
	const struct mutant_bug *bug = m->bug;
	unsigned int large = bug->large ?: mutant_parameters.large;
	unsigned int slot;
	int error = 0;

	m->clip = (struct loan){
		.how = PAGE,
		.direction = DMA_TO_DEVICE,
		.slot = -1,
		.bytes = m->shape.clip_bytes,
	};
	for (slot = 0; slot < m->buffers; slot++)
		m->frames[slot] = (struct loan){
			.how = bug->memory ?: mutant_parameters.memory,
			.direction = DMA_FROM_DEVICE,
			.slot = slot,
			.bytes = slot + 1 == large ? SZ_512K : m->shape.bytes,
			.room = bug->room ?: mutant_parameters.room,
		};
	for (slot = 0; slot < m->buffers && !error; slot++)
		error = lend(m, &m->frames[slot], 0);
	if (!error && m->shape.clip)
		error = lend(m, &m->clip, m->shape.clip);
	if (error)
		STEP(m, undo)(m);
	return error;
}

/* Writes all that a capture depends on. The card is idle. */
void mutant_program(struct mutant *m)
{
	card_write(m, CARD_IRQ_STATUS, U32_MAX);
	card_write(m, CARD_DONE, U32_MAX);
	card_write_shape(m, m->shape.height);
	card_write(m, CARD_IRQ_ENABLE, CARD_IRQ_ENABLE_DONE);
}

void mutant_program_slot(struct mutant *m, unsigned int slot)
{
	const struct loan *frame = &m->frames[slot % m->buffers];

	card_write_slot(m, slot, frame->dma + frame->offset, m->shape.bytes);
}

void mutant_done(struct mutant *m, u32 slots)
{
	unsigned long rest = slots;
	unsigned int slot;

	m->done |= slots;
	for_each_set_bit(slot, &rest, CARD_SLOTS) {
		struct loan *frame = &m->frames[slot % m->buffers];

		if (!m->streaming || !m->again)
			return;
		m->again--;
		card_write(m, CARD_DONE, BIT(slot));
		STEP(m, to_cpu)(m, frame);
		STEP(m, to_card)(m, frame);
		STEP(m, queue)(m, slot);
	}
}

void mutant_queue(struct mutant *m, unsigned int slot)
{
	card_write(m, CARD_QUEUE, slot);
}

/* Hands a slot that was looked at to the card again. */
void mutant_recycle(struct mutant *m, unsigned int slot)
{
	/* No other frame needs the mask while the CPU has it. */
	if (mutant_parameters.remask && m->buffers == 1 && m->clip.virt) {
		STEP(m, to_cpu)(m, &m->clip);
		STEP(m, fill)(m, &m->clip, m->shape.clip);
		STEP(m, to_card)(m, &m->clip);
	}
	STEP(m, to_card)(m, &m->frames[slot]);
	STEP(m, queue)(m, slot);
}

int mutant_begin(struct mutant *m)
{
	unsigned int slot;
	int error = STEP(m, take)(m);

	if (error)
		return error;
	m->done = 0;
	STEP(m, program)(m);
	for (slot = 0; slot < m->first; slot++) {
		STEP(m, program_slot)(m, slot);
		STEP(m, queue)(m, slot);
	}
	card_write(m, CARD_CONTROL, CARD_CONTROL_RUN);
	return 0;
}

int mutant_begin_stream(struct mutant *m)
{
	size_t most = min_t(size_t, dma_max_mapping_size(m->dev), SZ_4M);
	unsigned int tries;

	/* Every slot has the same large buffer. */
	measure(m, 2048, most / (2 * 2048), 0);
	m->shape.interval_us = 0;
	m->buffers = 1;
	m->first = m->limits.slots;
	for (tries = 0; tries < STREAM_TRIES; tries++) {
		int error;

		m->again = STREAM_AGAIN;
		m->streaming = true;
		error = mutant_begin(m);
		if (error) {
			m->streaming = false;
			return error;
		}
		if (card_in_work(m, m->first - 1))
			return 0;
		/* It was over before we looked: this guest was not let run. */
		mutant_end(m);
	}
	return -EAGAIN;
}

int mutant_begin_paced(struct mutant *m, u32 interval_us)
{
	measure(m, mutant_parameters.width, mutant_parameters.height, 0);
	m->shape.interval_us = interval_us;
	m->buffers = min(2, m->limits.slots);
	m->first = m->buffers;
	return mutant_begin(m);
}

int mutant_begin_lasting(struct mutant *m, u32 interval_us)
{
	int error;

	m->again = UINT_MAX;
	m->streaming = true;
	error = mutant_begin_paced(m, interval_us);
	if (error)
		m->streaming = false;
	return error;
}

int mutant_wait(struct mutant *m, unsigned int slot, struct record *record)
{
	unsigned long flags;

	if (!wait_event_timeout(m->changed, READ_ONCE(m->done) & BIT(slot), FRAME_DEADLINE))
		return -ETIMEDOUT;
	record->result = card_read(m, CARD_SLOT_STATUS(slot));
	record->sequence = card_read(m, CARD_SLOT_SEQUENCE(slot));
	record->bytes = card_read(m, CARD_SLOT_BYTES(slot));
	spin_lock_irqsave(&m->lock, flags);
	card_write(m, CARD_DONE, BIT(slot));
	m->done &= ~BIT(slot);
	spin_unlock_irqrestore(&m->lock, flags);
	return record->result == U32_MAX ? -EIO : 0;
}

/* Whether a frame's bytes are those of the card's test pattern; see the device model's pattern.rs. */
static bool is_right(const struct mutant *m, unsigned int slot, u32 sequence)
{
	const struct loan *frame = &m->frames[slot];
	const __le64 *word = frame->virt + frame->offset;
	u64 seed = (u64)(0xa0 | slot) << 56 | (u64)(sequence & 0xffffff) << 32;
	u32 i;

	for (i = 0; i < m->shape.bytes / sizeof(*word); i++)
		if (le64_to_cpu(word[i]) != (seed | i))
			return false;
	return true;
}

void mutant_look(struct mutant *m, unsigned int slot, const struct record *record)
{
	mutant_completed += record->result == CARD_RESULT_OK;
	mutant_right += record->result == CARD_RESULT_OK && is_right(m, slot, record->sequence);
}

/* Captures to the last frame; the card goes on running, with nothing queued. */
static int capture(struct mutant *m)
{
	unsigned int frames = mutant_parameters.frames;
	unsigned int n;

	for (n = 0; n < frames; n++) {
		unsigned int slot = n % m->buffers;
		struct record record;
		int error = STEP(m, wait)(m, slot, &record);

		if (error)
			return error;
		if (record.result != CARD_RESULT_OK)
			dev_warn(m->dev, "frame %u: result %u\n", n, record.result);
		STEP(m, to_cpu)(m, &m->frames[slot]);
		STEP(m, look)(m, slot, &record);
		if (n + m->buffers < frames)
			STEP(m, recycle)(m, slot);
	}
	return 0;
}

void mutant_stop(struct mutant *m)
{
	int error = card_stop(m);

	if (!error)
		return;
	/* It does not answer, or it does not become idle: this keeps it off the memory. */
	dev_err(m->dev, "the card does not stop: %d\n", error);
	pci_clear_master(m->pdev);
}

void mutant_stop_streaming(struct mutant *m)
{
	spin_lock_irq(&m->lock);
	m->streaming = false;
	spin_unlock_irq(&m->lock);
}

void mutant_end(struct mutant *m)
{
	mutant_stop_streaming(m);
	STEP(m, stop)(m);
	/* One that is running may have looked before the stop, and would queue what it saw when another stream begins. */
	synchronize_irq(m->irq);
	mutant_unmap_all(m);
	mutant_release_all(m);
}

int mutant_run(struct mutant *m)
{
	int error;

	measure(m, mutant_parameters.width, mutant_parameters.height,
		mutant_parameters.clip && !m->bug->no_clip ? 0xff : 0);
	m->buffers = clamp(mutant_parameters.buffers, 1, m->limits.slots);
	m->first = min(m->buffers, mutant_parameters.frames);
	error = mutant_begin(m);
	if (error)
		return error;
	if (!mutant_parameters.cancel)
		error = capture(m);
	mutant_end(m);
	mutant_make_busy(m);
	mutant_end(m);
	return error;
}
