// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The order of accesses: who finds out that a job is over, and what keeps the payload's reads behind that; what keeps a descriptor's
 * stores before the doorbell (memory-barriers.txt, "DMA barriers", "KERNEL I/O BARRIER EFFECTS"). What is wrong shows on no processor that keeps loads in order by itself.
 */
#include <linux/completion.h>
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/sched.h>

#include "gallery.h"

#define BYTES 512
#define WORDS (BYTES / sizeof(u64))
#define JOBS 12
/* The card takes its time, so that it is waited for, on a busy host, too. */
#define PACE_US 3000

/* What comes between finding out and reading. */
enum way {
	DEVICE_BARRIER,
	LOAD_ACQUIRES,
	REGISTER,
	RELAXED_AND_BARRIER,
	ANOTHER_CPU,
	NOTHING,
	CPUS_BARRIER,
	ONE_WORD_EARLY,
	RELAXED,
};

struct job {
	struct queue *q;
	const struct descriptor *d;
	const u64 *words;
	enum way way;
	struct over over;
	int error;
	struct completion done;
};

static bool is_told(const struct job *job)
{
	const struct gallery *g = job->q->g;
	const u32 cause = BIT(job->q->index);

	switch (job->way) {
	case REGISTER:
		return readl(g->bar + RING_CAUSE) & cause;
	case RELAXED_AND_BARRIER:
	case RELAXED:
		return readl_relaxed(g->bar + RING_CAUSE) & cause;
	case LOAD_ACQUIRES:
		return le32_to_cpu(smp_load_acquire(&job->d->control)) & DONE;
	default:
		return le32_to_cpu(READ_ONCE(job->d->control)) & DONE;
	}
}

/* Backwards: whoever reads in order is right by luck. */
static noinline int read_payload(struct job *job)
{
	u64 sum = 0;
	int n;

	for (n = WORDS - 1; n >= 0; n--)
		sum ^= READ_ONCE(job->words[n]);
	job->over.number = le32_to_cpu(READ_ONCE(job->d->number));
	job->over.moved = le32_to_cpu(READ_ONCE(job->d->length));
	WRITE_ONCE(job->q->g->sum, sum);
	return received(job->q, &job->over, job->words, 0, BYTES);
}

static int read_elsewhere(void *data)
{
	struct job *job = data;

	job->error = read_payload(job);
	complete(&job->done);
	return 0;
}

static int on_another_cpu(struct job *job)
{
	struct task_struct *task = kthread_create(read_elsewhere, job, "gallery_reads");

	if (IS_ERR(task))
		return PTR_ERR(task);
	init_completion(&job->done);
	kthread_bind(task, next_cpu(raw_smp_processor_id()));
	wake_up_process(task);
	wait_for_completion(&job->done);
	return job->error;
}

/* As under a lock: an interrupt puts in order what the card wrote before it, and so hides what is wrong. */
static int one(struct job *job)
{
	const ktime_t deadline = ktime_add_ms(ktime_get(), jiffies_to_msecs(DEADLINE));
	unsigned long flags;
	int error;

	local_irq_save(flags);
	while (!is_told(job)) {
		if (ktime_after(ktime_get(), deadline)) {
			local_irq_restore(flags);
			return -ETIMEDOUT;
		}
		cpu_relax();
	}
	if (job->way == ONE_WORD_EARLY)
		WRITE_ONCE(job->q->g->sum, READ_ONCE(job->words[3]));
	switch (job->way) {
	case DEVICE_BARRIER:
	case RELAXED_AND_BARRIER:
	case ANOTHER_CPU:
	case ONE_WORD_EARLY:
		dma_rmb();
		break;
	case CPUS_BARRIER:
		smp_rmb();
		break;
	default:
		break;
	}
	if (job->way == ANOTHER_CPU) {
		local_irq_restore(flags);
		return on_another_cpu(job);
	}
	error = read_payload(job);
	local_irq_restore(flags);
	return error;
}

/* A few jobs, whose memory is coherent, without an interrupt: it would put everything in order. */
static int several(struct gallery *g, enum way way)
{
	struct queue *q = &g->queues[0];
	dma_addr_t dma;
	u64 *words = dma_alloc_coherent(g->dev, BYTES, &dma, GFP_KERNEL);
	unsigned int n;
	int error;

	if (!words)
		return -ENOMEM;
	card_write(g, RING_MASK, U32_MAX);
	error = queue_open(g, 0, &(struct wish){ .quiet = true, .pace_us = PACE_US });
	for (n = 0; n < JOBS && !error; n++) {
		struct job job = {
			.q = q,
			.d = &q->ring[q->seen % q->wish.count],
			.words = words,
			.way = way,
		};

		card_write(g, RING_CAUSE, RING_CAUSES);
		arm(q, RECEIVE, dma, BYTES, 0);
		error = one(&job);
		q->seen++;
		tell_taken(q);
	}
	close_all(g);
	dma_free_coherent(g->dev, BYTES, words, dma);
	return error;
}

/* The card is told by a write of a register that keeps no order with memory; `ordered`: what it is told of is stored before that. */
static int rings_relaxed(struct gallery *g, bool ordered)
{
	struct queue *q = &g->queues[0];
	struct buffer b;
	struct over over;
	unsigned int n;
	int error = queue_open(g, 0, &(struct wish){ .mode = RING_MODE_TAIL });

	for (n = 0; n < JOBS && !error; n++) {
		error = buffer_get(g, &b, BYTES, DMA_FROM_DEVICE);
		if (error)
			break;
		put(q, RECEIVE, b.dma, BYTES, 0);
		if (ordered)
			dma_wmb();
		writel_relaxed(q->armed % q->wish.count, g->bar + RING_DOORBELL(q->index));
		error = reap(q, &over);
		if (error)
			queue_stop(q);
		buffer_unmap(g, &b);
		error = error ?: received(q, &over, b.virt, 0, BYTES);
		buffer_put(g, &b);
	}
	return error;
}

static int relaxed_doorbell(struct gallery *g)
{
	return rings_relaxed(g, false);
}

static int barrier_and_doorbell(struct gallery *g)
{
	return rings_relaxed(g, true);
}

#define WAY(name, way) \
	static int name(struct gallery *g) \
	{ \
		return several(g, way); \
	}
WAY(read_barrier, DEVICE_BARRIER)
WAY(acquires, LOAD_ACQUIRES)
WAY(by_register, REGISTER)
WAY(relaxed_and_barrier, RELAXED_AND_BARRIER)
WAY(read_elsewhere_behind, ANOTHER_CPU)
WAY(no_read_barrier, NOTHING)
WAY(barrier_for_cpus, CPUS_BARRIER)
WAY(one_word_early, ONE_WORD_EARLY)
WAY(relaxed, RELAXED)

const struct pattern order_patterns[] = {
	{ .name = "read-barrier", .run = read_barrier },
	{ .name = "load-acquires", .run = acquires },
	{ .name = "by-register", .run = by_register },
	{ .name = "relaxed-and-barrier", .run = relaxed_and_barrier },
	{ .name = "read-by-another", .run = read_elsewhere_behind },
	{ .name = "barrier-and-doorbell", .run = barrier_and_doorbell },
	{}
};

const struct pattern order_bugs[] = {
	{ .name = "no-read-barrier", .run = no_read_barrier },
	{ .name = "barrier-for-cpus", .run = barrier_for_cpus },
	{ .name = "one-word-early", .run = one_word_early },
	{ .name = "relaxed-register", .run = relaxed },
	{ .name = "relaxed-doorbell", .run = relaxed_doorbell },
	{}
};
