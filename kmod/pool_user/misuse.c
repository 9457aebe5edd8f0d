// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Gives buffers back wrongly. Every wrong free must be refused and change nothing; the right one must work. */
#include <linux/mm.h>

#include "landfall_pool.h"
#include "pool_user.h"

static int wrong(struct landfall_pool_buffer buffer, s64 phys, s64 bytes)
{
	buffer.phys += phys;
	buffer.bytes += bytes;
	return landfall_pool_free(&buffer);
}

static int misuse_pool(unsigned long pages)
{
	struct landfall_pool_buffer buffer;
	struct landfall_pool_request request = {
		.owner = POOL_USER_OWNER,
		.address_bits = 64,
	};
	int error;

	pool_user_result("allocate_nothing", landfall_pool_allocate(&request, &buffer));
	request.bytes = 1;
	request.alignment = 3;
	pool_user_result("allocate_misaligned", landfall_pool_allocate(&request, &buffer));

	error = pool_user_take(pages, &buffer);
	if (error)
		return error;
	pool_user_result("free_inside", wrong(buffer, PAGE_SIZE, 0));
	pool_user_result("free_before", wrong(buffer, -(s64)PAGE_SIZE, 0));
	pool_user_result("free_page_less", wrong(buffer, 0, -(s64)PAGE_SIZE));
	pool_user_result("free_page_more", wrong(buffer, 0, PAGE_SIZE));
	pool_user_result("free_nowhere", wrong(buffer, -(s64)buffer.phys, 0));
	pool_user_result("free_right", landfall_pool_free(&buffer));
	pool_user_result("free_twice", landfall_pool_free(&buffer));
	return 0;
}

static int misuse_bmalloc(unsigned long pages)
{
	unsigned long size = pages << PAGE_SHIFT;
	void *virt = bmalloc(size);

	if (!virt)
		return -ENOMEM;
	pool_user_result("bmalloc_nothing", bmalloc(0) ? 0 : -ENOMEM);
	pool_user_result("bfree_inside", bfree(virt + PAGE_SIZE, size));
	pool_user_result("bfree_page_less", bfree(virt, size - PAGE_SIZE));
	pool_user_result("bfree_page_more", bfree(virt, size + PAGE_SIZE));
	pool_user_result("bfree_null", bfree(NULL, size));
	pool_user_result("bfree_right", bfree(virt, size));
	pool_user_result("bfree_twice", bfree(virt, size));
	return 0;
}

int pool_user_misuse(unsigned long pages)
{
	return misuse_pool(pages) ?: misuse_bmalloc(pages);
}
