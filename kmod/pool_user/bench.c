// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The pool's speed beside the kernel's own: genalloc (first fit) on a range of the same size, and
 * alloc_contig_pages.
 *
 * Each holds `live` buffers of one page with a page free between any two, and is then asked for two pages,
 * which fit only behind all of them, over and over: what first fit finds hardest. genalloc writes to no
 * memory; the pool fills what comes back with its canary, and that is part of its free.
 */
#include <linux/genalloc.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/numa.h>
#include <linux/sched.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "landfall_pool.h"
#include "pool_user.h"

/* Pages of the buffer that is timed. */
#define TIMED 2

/* One way to get memory. A buffer is whatever a way makes of `place`; 0: none. */
struct way {
	const char *name;
	int (*take)(struct landfall_pool_buffer *place, unsigned long pages);
	void (*give)(struct landfall_pool_buffer *place, unsigned long pages);
	/* Rounds are fewer by this: what takes milliseconds need not be done as often. */
	unsigned int divisor;
};

static struct gen_pool *genalloc;

static int take_pool(struct landfall_pool_buffer *place, unsigned long pages)
{
	return pool_user_take(pages, place);
}

static void give_pool(struct landfall_pool_buffer *place, unsigned long pages)
{
	WARN_ON_ONCE(landfall_pool_free(place));
}

static int take_genalloc(struct landfall_pool_buffer *place, unsigned long pages)
{
	place->phys = gen_pool_alloc(genalloc, pages << PAGE_SHIFT);
	return place->phys ? 0 : -ENOMEM;
}

static void give_genalloc(struct landfall_pool_buffer *place, unsigned long pages)
{
	gen_pool_free(genalloc, place->phys, pages << PAGE_SHIFT);
}

static int take_contig(struct landfall_pool_buffer *place, unsigned long pages)
{
	struct page *page = alloc_contig_pages(pages, GFP_KERNEL | __GFP_NOWARN, numa_node_id(), NULL);

	place->phys = page ? page_to_phys(page) : 0;
	return page ? 0 : -ENOMEM;
}

static void give_contig(struct landfall_pool_buffer *place, unsigned long pages)
{
	free_contig_range(PHYS_PFN(place->phys), pages);
}

static int later(const void *a, const void *b)
{
	u64 left = *(const u64 *)a, right = *(const u64 *)b;

	return left < right ? -1 : left > right;
}

static void tell(const char *way, const char *operation, u64 *times, unsigned int count)
{
	char key[48];

	sort(times, count, sizeof(*times), later, NULL);
	scnprintf(key, sizeof(key), "bench_%s_%s_median_ns", way, operation);
	pool_user_result(key, times[count / 2]);
	scnprintf(key, sizeof(key), "bench_%s_%s_p99_ns", way, operation);
	pool_user_result(key, times[count * 99 / 100]);
}

/* Times one way; what it holds is given back. `places` has room for 2 * live. */
static void time_way(const struct way *way, struct landfall_pool_buffer *places, unsigned int live,
		     u64 *times, unsigned int rounds)
{
	u64 *take = times, *give = times + rounds;
	unsigned int held, i, done = 0;
	char key[48];

	for (held = 0; held < 2 * live; held++)
		if (way->take(&places[held], 1))
			break;
	for (i = 1; i < held; i += 2)
		way->give(&places[i], 1);

	for (done = 0; done < max(rounds / way->divisor, 1); done++) {
		struct landfall_pool_buffer timed = {};
		u64 began = ktime_get_ns();
		int error = way->take(&timed, TIMED);

		take[done] = ktime_get_ns() - began;
		if (error)
			break;
		began = ktime_get_ns();
		way->give(&timed, TIMED);
		give[done] = ktime_get_ns() - began;
		cond_resched();
	}

	for (i = 0; i < held; i += 2)
		way->give(&places[i], 1);
	scnprintf(key, sizeof(key), "bench_%s_live", way->name);
	pool_user_result(key, DIV_ROUND_UP(held, 2));
	scnprintf(key, sizeof(key), "bench_%s_rounds", way->name);
	pool_user_result(key, done);
	if (done) {
		tell(way->name, "take", take, done);
		tell(way->name, "give", give, done);
	}
}

int pool_user_bench(unsigned int live, unsigned int rounds)
{
	static const struct way ways[] = {
		{ "pool", take_pool, give_pool, 1 },
		{ "genalloc", take_genalloc, give_genalloc, 1 },
		{ "contig", take_contig, give_contig, 20 },
	};
	struct landfall_pool_buffer *places;
	int error = -ENOMEM;
	unsigned int i;
	u64 *times;

	places = kvcalloc(2 * (size_t)live, sizeof(*places), GFP_KERNEL);
	times = kvcalloc(2 * (size_t)rounds, sizeof(*times), GFP_KERNEL);
	genalloc = gen_pool_create(PAGE_SHIFT, NUMA_NO_NODE);
	if (!places || !times || !genalloc || !rounds)
		goto free;
	/* Addresses only: it never looks at what lies there. */
	error = gen_pool_add(genalloc, SZ_1G, (2 * (size_t)live + TIMED) << PAGE_SHIFT, NUMA_NO_NODE);
	if (error)
		goto free;
	for (i = 0; i < ARRAY_SIZE(ways); i++)
		time_way(&ways[i], places, live, times, rounds);
free:
	if (genalloc)
		gen_pool_destroy(genalloc);
	kvfree(times);
	kvfree(places);
	return error;
}
