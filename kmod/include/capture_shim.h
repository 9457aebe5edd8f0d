/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Between capture/shim.c, capture/video.c and the Rust half, which repeats these prototypes: raw.rs those of the shim,
 * thunks.rs those of the core.
 *
 * The shim has the structures of V4L2 and videobuf2, and decides nothing: what it is asked it asks the core.
 */
#ifndef LANDFALL_CAPTURE_SHIM_H
#define LANDFALL_CAPTURE_SHIM_H

#include <linux/types.h>

struct dma_buf;
struct landfall_video;
struct pci_dev;
struct vb2_buffer;
struct vm_area_struct;

u32 landfall_capture_shim_domain(const struct pci_dev *pdev);

/* The least mmap offset, in bytes, of a clip mask; view.rs has it, too. */
#define LANDFALL_CLIPS (1ULL << 40)

/* A picture's format, as struct v4l2_pix_format has it. */
struct landfall_picture {
	u32 fourcc;
	u32 width;
	u32 height;
	/* Bytes from line to line. */
	u32 stride;
	/* Bytes of a buffer. */
	u32 size;
};

/* The sizes of one format, as struct v4l2_frmsize_stepwise has them. */
struct landfall_sizes {
	u32 min_width;
	u32 max_width;
	u32 step_width;
	u32 min_height;
	u32 max_height;
	u32 step_height;
};

/* landfall_capture_core_statistic: frames that arrived whole, frames that did not, interrupts, kind of the interrupt. */
enum landfall_statistic {
	LANDFALL_FRAMES,
	LANDFALL_FAILED_FRAMES,
	LANDFALL_INTERRUPTS,
	LANDFALL_INTERRUPT_KIND,
};

/* What becomes of a buffer that the core has. */
enum landfall_outcome {
	/* A frame is in it. */
	LANDFALL_DONE,
	/* None is. */
	LANDFALL_FAILED,
	/* It stays queued: the start failed. */
	LANDFALL_NOT_STARTED,
};

/*
 * Registers /dev/videoN of a card with so many slots; `core` goes to landfall_capture_core_release when the last file is
 * closed, or on error. Returns an ERR_PTR on error.
 */
struct landfall_video *landfall_capture_shim_register(struct pci_dev *pdev, void *core, u32 slots);
/* Ends the stream, and every sleep in it; buffers are given up. */
void landfall_capture_shim_unregister(struct landfall_video *video);
/* N of /dev/videoN. */
u32 landfall_capture_shim_number(const struct landfall_video *video);
/* Gives a buffer back that landfall_capture_core_queue got. */
void landfall_capture_shim_done(struct vb2_buffer *vb, enum landfall_outcome outcome, u32 bytes, u32 sequence,
				u64 monotonic_ns);
/* A frame has begun, in this buffer's stream. */
void landfall_capture_shim_begun(struct vb2_buffer *vb, u32 sequence);
/* The card does not answer any more: nobody waits for it. */
void landfall_capture_shim_fail(struct vb2_buffer *vb);

/* Formats by number; 0: no more. */
u32 landfall_capture_core_format(const void *core, u32 index);
/* False: no such format. */
bool landfall_capture_core_sizes(const void *core, u32 fourcc, struct landfall_sizes *sizes);
/* What is nearest to a picture that is wished. */
void landfall_capture_core_fit(const void *core, struct landfall_picture *picture);
void landfall_capture_core_set(const void *core, const struct landfall_picture *picture);
void landfall_capture_core_get(const void *core, struct landfall_picture *picture);
/* Microseconds from frame to frame: the shortest and the longest. */
void landfall_capture_core_intervals(u32 *shortest, u32 *longest);
u32 landfall_capture_core_interval(const void *core);
/* numerator / denominator seconds, or what is nearest. */
void landfall_capture_core_set_interval(const void *core, u32 numerator, u32 denominator);
void landfall_capture_core_set_pattern(const void *core, u8 pattern);
/* One more, or one less, wants to know when frames begin. */
void landfall_capture_core_watch(const void *core, bool more);
u64 landfall_capture_core_statistic(const void *core, enum landfall_statistic which);

/* A call of uapi.rs, with its argument as V4L2 copied it; `busy`: there are buffers. -ENOTTY if there is no such call. */
int landfall_capture_core_call(const void *core, unsigned int command, void *argument, bool busy);
/* Buffers are about to be asked for; on error there can be none. */
int landfall_capture_core_prepare(const void *core);
/* Memory for buffer `index`. On success *frame goes to landfall_capture_core_free. */
int landfall_capture_core_allocate(const void *core, u32 index, u64 bytes, void **frame);
void landfall_capture_core_free(const void *core, void *frame);
u64 landfall_capture_core_dma(const void *frame);
void *landfall_capture_core_virt(const void *frame);
void landfall_capture_core_sync(const void *frame, bool for_cpu);
/* Areas of processes, and dma-bufs, that show it. */
u32 landfall_capture_core_shown(const void *frame);
int landfall_capture_core_map(const void *core, const void *frame, struct vm_area_struct *area);
/* Maps the clip mask at the area's offset, which is LANDFALL_CLIPS or more. */
int landfall_capture_core_map_clip(const void *core, struct vm_area_struct *area);
struct dma_buf *landfall_capture_core_export(const void *frame, int flags);
/* Whether the card reaches somebody else's memory, in one piece. */
bool landfall_capture_core_accepts(const void *core, u64 dma, u64 bytes);

/* The card is ours until landfall_capture_core_let_go, or -EBUSY. */
int landfall_capture_core_claim(const void *core);
void landfall_capture_core_let_go(const void *core);
/* A buffer for the card; it comes back by landfall_capture_shim_done. */
void landfall_capture_core_queue(const void *core, struct vb2_buffer *vb, u32 index, u64 dma, u64 bytes);
int landfall_capture_core_start(const void *core);
void landfall_capture_core_stop(const void *core);
void landfall_capture_core_release(void *core);

#endif
