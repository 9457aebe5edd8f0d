/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* For dma.c, of kernels with tracepoints in the DMA API: probes of these; see untraced.h for the others. */
#include <linux/tracepoint.h>
#include <trace/events/dma.h>

/* No call is heard otherwise. */
#define UNTRACED

#define PROBES(X)                                          \
	MAPPED(X)                                          \
	X(dma_alloc, on_alloc)                             \
	X(dma_alloc_pages, on_alloc)                       \
	X(dma_alloc_sgt, on_alloc_sgt)                     \
	X(dma_alloc_sgt_err, on_alloc)                     \
	X(dma_free_pages, on_free)                         \
	X(dma_free_sgt, on_free_sgt)                       \
	X(dma_map_sg, on_map_sg)                           \
	X(dma_map_sg_err, on_map_sg_err)                   \
	X(dma_unmap_sg, on_unmap_sg)                       \
	X(dma_sync_single_for_cpu, on_sync_cpu)            \
	X(dma_sync_single_for_device, on_sync_device)      \
	X(dma_sync_sg_for_cpu, on_sync_sg_cpu)             \
	X(dma_sync_sg_for_device, on_sync_sg_device)

static struct probe {
	const char *name;
	void *function;
	struct tracepoint *point;
	bool attached;
} probes[] = {
#define X(name, function) { #name, function },
	PROBES(X)
#undef X
};

/* Does nothing; a probe of another prototype than its tracepoint's does not compile. */
static void check_prototypes(void)
{
#define X(name, function) check_trace_callback_type_##name(function);
	PROBES(X)
#undef X
}

static void find(struct tracepoint *point, void *data)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!strcmp(point->name, probes[i].name))
			probes[i].point = point;
	}
}

static void probes_stop(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (probes[i].attached)
			tracepoint_probe_unregister(probes[i].point, probes[i].function, NULL);
		probes[i].attached = false;
	}
	tracepoint_synchronize_unregister();
}

static int probes_start(void)
{
	unsigned int i;
	int error;

	check_prototypes();
	for_each_kernel_tracepoint(find, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		error = -ENOENT;
		if (probes[i].point)
			error = tracepoint_probe_register(probes[i].point, probes[i].function, NULL);
		if (error) {
			pr_err(KBUILD_MODNAME ": cannot attach to the tracepoint %s: %d\n", probes[i].name, error);
			return error;
		}
		probes[i].attached = true;
	}
	return 0;
}
