// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * landfall_witness: tells the model of each watched card, over the card itself, what the driver lends it and takes
 * back. The driver is not changed and does not know.
 *
 *	channel.c	one event, as register writes (include/landfall_witness.h)
 *	echo.c		the same in memory
 *	marks.c		modules whose barriers can be told
 *	table.c		which cards are watched
 *	caller.c	who called
 *	memory.c	what kind of memory
 *	dma.c		the DMA API's calls
 *	blocks.c	blocks of a dma_pool
 *	config.c	writes to configuration space
 *	hooks.c		functions of the kernel's that no tracepoint is in
 *	others.c	what other devices are lent
 *	owner.c		who owns a byte of memory now
 *	names.c		what instructions are called
 *	vb2.c		videobuf2's buffers
 *	pool.c		landfall_pool's buffers
 *	life.c		drivers that are bound and unbound, the kernel's end
 *	order.c		test aids
 *
 * Load it before the drivers: it refuses while one is bound to a card that it would watch.
 */
#include <linux/debugfs.h>
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "witness.h"

module_param_named(drop, witness_drop, ullong, 0444);
MODULE_PARM_DESC(drop, "Test aid: the number of an event that is not sent (default none)");

module_param_named(posted, witness_posted, bool, 0444);
MODULE_PARM_DESC(posted, "Test aid: what lends is not read back");

module_param_named(skips, witness_skips, bool, 0444);
MODULE_PARM_DESC(skips, "Test aid: an unmap in an interrupt amid another one is missed");

static unsigned int pairs;
module_param(pairs, uint, 0444);
MODULE_PARM_DESC(pairs, "Test aid: pairs of an event and a register write that two CPUs make when it is loaded");

static unsigned int handoffs;
module_param(handoffs, uint, 0444);
MODULE_PARM_DESC(handoffs, "Test aid: events of one CPU that another answers by a register write");

static unsigned int maps;
module_param(maps, uint, 0444);
MODULE_PARM_DESC(maps, "Test aid: mappings that are timed, with and without telling");

static unsigned int polled;
module_param(polled, uint, 0444);
MODULE_PARM_DESC(polled, "Test aid: lends whose numbers two CPUs write to memory that the card, a poller, polls");

static unsigned int offset = 4;
module_param(offset, uint, 0444);
MODULE_PARM_DESC(offset, "Test aid: the register of BAR 0 that is written (default 4)");

static struct dentry *directory;

static void show_card(struct witness_card *card, void *file)
{
	/* The model counts what it took; what is under way at this moment it will have taken when the read is answered. */
	const u64 number = READ_ONCE(card->number);
	u32 taken, refused;

	witness_counts(card, &taken, &refused);
	seq_printf(file, "%s events=%llu taken=%u refused=%u\n", dev_name(card->dev), number, taken, refused);
}

static int status_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "missed=%u\n", witness_dma_missed());
	witness_each(show_card, file);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(status);

/* Where the echo is, by physical address, and which modules with marks there are. */
static int echo_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%llx\n", witness_echo_phys());
	witness_marks_show(file);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(echo);

static int results_show(struct seq_file *file, void *unused)
{
	return witness_order(file);
}
DEFINE_SHOW_ATTRIBUTE(results);

/* Asks: whatever is written, all cards are told. */
static ssize_t others_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	return witness_others_tell() ?: size;
}

static int others_show(struct seq_file *file, void *unused)
{
	witness_others_show(file);
	return 0;
}

static int others_open(struct inode *inode, struct file *file)
{
	return single_open(file, others_show, NULL);
}

static const struct file_operations others_fops = {
	.owner = THIS_MODULE,
	.open = others_open,
	.read = seq_read,
	.write = others_write,
	.llseek = seq_lseek,
	.release = single_release,
};

/* What was asked for last, and the answer. */
static char answer[128] = "none\n";
static DEFINE_MUTEX(answer_lock);

static ssize_t owner_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	u64 phys;
	int error = kstrtou64_from_user(from, size, 16, &phys);

	if (error)
		return -EINVAL;
	mutex_lock(&answer_lock);
	witness_owner(phys, answer, sizeof(answer));
	mutex_unlock(&answer_lock);
	return size;
}

static ssize_t owner_read(struct file *file, char __user *into, size_t size, loff_t *at)
{
	ssize_t got;

	mutex_lock(&answer_lock);
	got = simple_read_from_buffer(into, size, at, answer, strlen(answer));
	mutex_unlock(&answer_lock);
	return got;
}

static const struct file_operations owner_fops = {
	.owner = THIS_MODULE,
	.read = owner_read,
	.write = owner_write,
	.llseek = default_llseek,
};

/* The same for instructions: addresses, with a blank between, and a line for each that is known. */
static char *names;
static size_t names_length;
#define NAMES_SIZE SZ_32K
#define MOST_ASKED 4096

static ssize_t names_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	char *asked, *left, *word;

	if (size > MOST_ASKED)
		return -EINVAL;
	asked = memdup_user_nul(from, size);
	if (IS_ERR(asked))
		return PTR_ERR(asked);
	left = asked;
	mutex_lock(&answer_lock);
	names_length = 0;
	while ((word = strsep(&left, " \n"))) {
		unsigned long address;
		size_t length;

		/* Room for the address and the longest name. */
		if (kstrtoul(word, 16, &address) || NAMES_SIZE - names_length < KSYM_SYMBOL_LEN + 32)
			continue;
		length = scnprintf(names + names_length, 32, "%lx ", address);
		length += witness_names(address, names + names_length + length, KSYM_SYMBOL_LEN);
		names[names_length + length] = '\n';
		names_length += length + 1;
	}
	mutex_unlock(&answer_lock);
	kfree(asked);
	return size;
}

static ssize_t names_read(struct file *file, char __user *into, size_t size, loff_t *at)
{
	ssize_t got;

	mutex_lock(&answer_lock);
	got = simple_read_from_buffer(into, size, at, names, names_length);
	mutex_unlock(&answer_lock);
	return got;
}

static const struct file_operations names_fops = {
	.owner = THIS_MODULE,
	.read = names_read,
	.write = names_write,
	.llseek = default_llseek,
};

static int __init witness_init(void)
{
	int error;

	witness_find_text();
	error = witness_echo_start();
	if (error)
		return error;
	names = kmalloc(NAMES_SIZE, GFP_KERNEL);
	error = names ? witness_names_start() : -ENOMEM;
	if (error)
		goto echo;
	error = witness_marks_start();
	if (error)
		goto names;
	error = witness_caller_start();
	if (error)
		goto marks;
	error = witness_others_start();
	if (error)
		goto caller;
	error = witness_dma_start();
	if (error)
		goto others;
	error = witness_vb2_start();
	if (error)
		goto dma;
	error = witness_pool_start();
	if (error)
		goto vb2;
	error = witness_life_start();
	if (error)
		goto pool;
	error = witness_order_run(pairs, handoffs, maps, polled, offset);
	if (error)
		goto life;
	directory = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("status", 0400, directory, NULL, &status_fops);
	debugfs_create_file("results", 0400, directory, NULL, &results_fops);
	debugfs_create_file("names", 0600, directory, NULL, &names_fops);
	debugfs_create_file("echo", 0400, directory, NULL, &echo_fops);
	debugfs_create_file("others", 0600, directory, NULL, &others_fops);
	debugfs_create_file("owner", 0600, directory, NULL, &owner_fops);
	return 0;
life:
	witness_life_stop();
pool:
	witness_pool_stop();
vb2:
	witness_vb2_stop();
dma:
	witness_dma_stop();
others:
	witness_others_stop();
caller:
	witness_caller_stop();
	witness_detach_all();
marks:
	witness_marks_stop();
names:
	witness_names_stop();
echo:
	kfree(names);
	witness_echo_stop();
	return error;
}

static void __exit witness_exit(void)
{
	debugfs_remove(directory);
	witness_life_stop();
	witness_pool_stop();
	witness_vb2_stop();
	witness_dma_stop();
	witness_others_stop();
	witness_caller_stop();
	witness_detach_all();
	witness_marks_stop();
	witness_names_stop();
	kfree(names);
	witness_echo_stop();
}

module_init(witness_init);
module_exit(witness_exit);

MODULE_AUTHOR("The Landfall contributors");
MODULE_DESCRIPTION("Tells what a driver lends its card");
MODULE_LICENSE("Dual MIT/GPL");
