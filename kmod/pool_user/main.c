// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * landfall_pool_user: stands for other people's drivers. It takes memory from landfall_pool by the calls of
 * include/landfall_pool.h, rightly and wrongly, when it is loaded; its parameters say how. What came of it
 * is in debugfs, landfall_pool_user/results, a line `key=value` each; errnos are negative.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "landfall_pool.h"
#include "pool_user.h"

static unsigned int take;
module_param(take, uint, 0444);
MODULE_PARM_DESC(take, "Buffers to take with landfall_pool_allocate and to keep");

static unsigned int bmallocs;
module_param(bmallocs, uint, 0444);
MODULE_PARM_DESC(bmallocs, "Buffers to take with bmalloc and to keep");

static unsigned long pages = 750;
module_param(pages, ulong, 0444);
MODULE_PARM_DESC(pages, "Pages of each buffer (default 750)");

static bool misuse;
module_param(misuse, bool, 0444);
MODULE_PARM_DESC(misuse, "Give buffers back wrongly, in every way");

static unsigned int threads;
module_param(threads, uint, 0444);
MODULE_PARM_DESC(threads, "Threads that take, fill, check and free buffers at once");

static unsigned int rounds = 500;
module_param(rounds, uint, 0444);
MODULE_PARM_DESC(rounds, "Buffers that each thread takes; operations that bench times (default 500)");

static int import_fd = -1;
module_param(import_fd, int, 0444);
MODULE_PARM_DESC(import_fd, "A dma-buf of the loading process to import");

static unsigned int address_bits = 64;
module_param(address_bits, uint, 0444);
MODULE_PARM_DESC(address_bits, "Address bits of the device that imports it (default 64)");

static unsigned int bench;
module_param(bench, uint, 0444);
MODULE_PARM_DESC(bench, "Buffers that live while the pool is timed beside genalloc and alloc_contig_pages");

static bool leak;
module_param(leak, bool, 0444);
MODULE_PARM_DESC(leak, "Do not give back what was taken when unloaded");

#define MAX_RESULTS 128
#define MAX_KEPT 256

static struct {
	char key[48];
	s64 value;
} results[MAX_RESULTS];
static unsigned int result_count;

static struct landfall_pool_buffer taken[MAX_KEPT];
static unsigned int taken_count;
static void *bmalloced[MAX_KEPT];
static unsigned int bmalloced_count;

static struct dentry *directory;

void pool_user_result(const char *key, s64 value)
{
	if (WARN_ON_ONCE(result_count == MAX_RESULTS))
		return;
	strscpy(results[result_count].key, key);
	results[result_count++].value = value;
}

void pool_user_result_at(const char *key, unsigned int number, s64 value)
{
	char whole[48];

	scnprintf(whole, sizeof(whole), "%s_%u", key, number);
	pool_user_result(whole, value);
}

static int results_show(struct seq_file *file, void *unused)
{
	unsigned int i;

	for (i = 0; i < result_count; i++)
		seq_printf(file, "%s=%lld\n", results[i].key, results[i].value);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(results);

int pool_user_take(unsigned long count, struct landfall_pool_buffer *buffer)
{
	const struct landfall_pool_request request = {
		.owner = POOL_USER_OWNER,
		.bytes = (u64)count << PAGE_SHIFT,
		.address_bits = 64,
	};

	return landfall_pool_allocate(&request, buffer);
}

/* Fills a buffer with words that depend on their place, so that no two buffers look the same. */
static void fill(void *virt, unsigned long bytes)
{
	u64 *word = virt;

	for (; bytes >= sizeof(*word); bytes -= sizeof(*word), word++)
		*word = (unsigned long)word;
}

/* Takes what is to be kept. A buffer less than asked for is a result, not a failure. */
static void take_all(void)
{
	int error;

	while (taken_count < min(take, MAX_KEPT)) {
		error = pool_user_take(pages, &taken[taken_count]);
		if (error) {
			pool_user_result("take_error", error);
			break;
		}
		fill(taken[taken_count].virt, taken[taken_count].allocated);
		pool_user_result_at("taken_phys", taken_count, taken[taken_count].phys);
		taken_count++;
	}
	pool_user_result("taken", taken_count);

	while (bmalloced_count < min(bmallocs, MAX_KEPT)) {
		void *virt = bmalloc(pages << PAGE_SHIFT);

		if (!virt)
			break;
		fill(virt, pages << PAGE_SHIFT);
		pool_user_result_at("bmalloc_phys", bmalloced_count, virt_to_phys(virt));
		bmalloced[bmalloced_count++] = virt;
	}
	pool_user_result("bmalloced", bmalloced_count);
}

static void give_back_all(void)
{
	while (taken_count)
		WARN_ON(landfall_pool_free(&taken[--taken_count]));
	while (bmalloced_count)
		WARN_ON(bfree(bmalloced[--bmalloced_count], pages << PAGE_SHIFT));
}

static int __init pool_user_init(void)
{
	int error = 0;

	directory = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("results", 0400, directory, NULL, &results_fops);

	take_all();
	if (misuse)
		error = pool_user_misuse(pages);
	if (!error && threads)
		error = pool_user_threads(threads, rounds);
	if (!error && import_fd >= 0)
		error = pool_user_import(import_fd, address_bits);
	if (!error && bench)
		error = pool_user_bench(bench, rounds);
	if (error) {
		give_back_all();
		debugfs_remove(directory);
	}
	return error;
}

static void __exit pool_user_exit(void)
{
	debugfs_remove(directory);
	if (!leak)
		give_back_all();
}

module_init(pool_user_init);
module_exit(pool_user_exit);

MODULE_AUTHOR("The Landfall contributors");
MODULE_DESCRIPTION("Uses landfall_pool from C, rightly and wrongly");
MODULE_LICENSE("Dual MIT/GPL");
