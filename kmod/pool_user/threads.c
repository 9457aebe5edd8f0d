// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Several threads take, fill, check and free buffers at once. Each writes words that only it would write: if
 * two were lent the same page, one of them sees the other's.
 */
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "landfall_pool.h"
#include "pool_user.h"

/* Most pages of a buffer, and buffers that a thread has at a time. */
#define MOST_PAGES 16
#define AT_ONCE 4

struct worker {
	struct task_struct *task;
	u64 number;
	u64 random;
	unsigned int rounds;
	u64 taken;
	u64 refused;
	u64 wrong_words;
	int error;
};

/* Knuth's MMIX generator: the same numbers in every run. */
static u64 next(struct worker *worker)
{
	worker->random = worker->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return worker->random >> 33;
}

static u64 word(const struct worker *worker, const void *at)
{
	return (unsigned long)at ^ (worker->number + 1) << 40;
}

static void fill(const struct worker *worker, const struct landfall_pool_buffer *buffer)
{
	u64 *at;

	for (at = buffer->virt; (void *)at < buffer->virt + buffer->allocated; at++)
		WRITE_ONCE(*at, word(worker, at));
}

static u64 count_wrong(const struct worker *worker, const struct landfall_pool_buffer *buffer)
{
	u64 wrong = 0;
	u64 *at;

	for (at = buffer->virt; (void *)at < buffer->virt + buffer->allocated; at++)
		wrong += READ_ONCE(*at) != word(worker, at);
	return wrong;
}

static void give_back(struct worker *worker, struct landfall_pool_buffer *buffer)
{
	int error;

	if (!buffer->virt)
		return;
	worker->wrong_words += count_wrong(worker, buffer);
	error = landfall_pool_free(buffer);
	if (error)
		worker->error = error;
	buffer->virt = NULL;
}

static int work(void *data)
{
	struct landfall_pool_buffer buffers[AT_ONCE] = {};
	struct worker *worker = data;
	unsigned int i, round;
	int error;

	for (round = 0; round < worker->rounds; round++) {
		struct landfall_pool_buffer *buffer = &buffers[round % AT_ONCE];

		give_back(worker, buffer);
		error = pool_user_take(1 + next(worker) % MOST_PAGES, buffer);
		if (error == -ENOMEM) {
			buffer->virt = NULL;
			worker->refused++;
		} else if (error) {
			buffer->virt = NULL;
			worker->error = error;
		} else {
			worker->taken++;
			fill(worker, buffer);
		}
		cond_resched();
	}
	for (i = 0; i < AT_ONCE; i++)
		give_back(worker, &buffers[i]);

	/* kthread_stop() wants the thread to be there still. */
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

int pool_user_threads(unsigned int threads, unsigned int rounds)
{
	struct worker *workers;
	unsigned int i;

	workers = kcalloc(threads, sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	for (i = 0; i < threads; i++) {
		workers[i].number = i;
		workers[i].random = i;
		workers[i].rounds = rounds;
		workers[i].task = kthread_run(work, &workers[i], "pool_user/%u", i);
	}
	for (i = 0; i < threads; i++) {
		if (IS_ERR(workers[i].task))
			workers[i].error = PTR_ERR(workers[i].task);
		else
			kthread_stop(workers[i].task); /* returns when its rounds are done */
		pool_user_result_at("thread_taken", i, workers[i].taken);
		pool_user_result_at("thread_refused", i, workers[i].refused);
		pool_user_result_at("thread_wrong_words", i, workers[i].wrong_words);
		pool_user_result_at("thread_error", i, workers[i].error);
	}
	kfree(workers);
	return 0;
}
