// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * videobuf2's queue over buffers of the pool: buffer n goes to slot n of the card. Memory comes from the core, or is somebody
 * else's by a dma-buf.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <media/v4l2-event.h>

#include "video.h"

MODULE_IMPORT_NS("DMA_BUF");

/* A buffer's memory. */
struct plane {
	struct landfall_video *video;
	/* The core's; NULL: it is somebody else's. */
	void *frame;
	struct dma_buf_attachment *attachment;
	struct sg_table *table;
	struct iosys_map map;
	/* Of what is mapped for the card. */
	u64 dma;
	unsigned long bytes;
};

/* videobuf2 asks for whole pages; what the card gets is the frame and no more. */
static void *plane_allocate(struct vb2_buffer *vb, struct device *dev, unsigned long pages)
{
	struct plane *plane = kzalloc(sizeof(*plane), GFP_KERNEL);
	int error;

	if (!plane)
		return ERR_PTR(-ENOMEM);
	plane->video = vb2_get_drv_priv(vb->vb2_queue);
	plane->bytes = vb2_plane_size(vb, 0);
	error = landfall_capture_core_allocate(plane->video->core, vb->index, plane->bytes, &plane->frame);
	if (error) {
		kfree(plane);
		return ERR_PTR(error);
	}
	plane->dma = landfall_capture_core_dma(plane->frame);
	return plane;
}

static void plane_put(void *priv)
{
	struct plane *plane = priv;

	landfall_capture_core_free(plane->video->core, plane->frame);
	kfree(plane);
}

static struct dma_buf *plane_export(struct vb2_buffer *vb, void *priv, unsigned long flags)
{
	const struct plane *plane = priv;

	return landfall_capture_core_export(plane->frame, flags & O_ACCMODE);
}

/* Somebody else's memory stays mapped from frame to frame: whose it is syncs it, as for any CPU's access. */
static void plane_prepare(void *priv)
{
	const struct plane *plane = priv;

	if (plane->frame)
		landfall_capture_core_sync(plane->frame, false);
	else
		dma_buf_end_cpu_access(plane->attachment->dmabuf, DMA_FROM_DEVICE);
}

static void plane_finish(void *priv)
{
	const struct plane *plane = priv;

	if (plane->frame)
		landfall_capture_core_sync(plane->frame, true);
	else
		dma_buf_begin_cpu_access(plane->attachment->dmabuf, DMA_FROM_DEVICE);
}

static void *plane_attach(struct vb2_buffer *vb, struct device *dev, struct dma_buf *dmabuf, unsigned long bytes)
{
	struct plane *plane;

	if (dmabuf->size < bytes)
		return ERR_PTR(-EFAULT);
	plane = kzalloc(sizeof(*plane), GFP_KERNEL);
	if (!plane)
		return ERR_PTR(-ENOMEM);
	plane->video = vb2_get_drv_priv(vb->vb2_queue);
	plane->bytes = bytes;
	plane->attachment = dma_buf_attach(dmabuf, dev);
	if (IS_ERR(plane->attachment)) {
		void *error = ERR_CAST(plane->attachment);

		kfree(plane);
		return error;
	}
	return plane;
}

static void plane_detach(void *priv)
{
	struct plane *plane = priv;

	dma_buf_detach(plane->attachment->dmabuf, plane->attachment);
	kfree(plane);
}

/* Bytes from the first one on without a gap, as the card sees them. */
static u64 contiguous(struct sg_table *table)
{
	dma_addr_t next = sg_dma_address(table->sgl);
	struct scatterlist *entry;
	u64 bytes = 0;
	int i;

	for_each_sgtable_dma_sg(table, entry, i) {
		if (sg_dma_address(entry) != next)
			break;
		next += sg_dma_len(entry);
		bytes += sg_dma_len(entry);
	}
	return bytes;
}

static int plane_map(void *priv)
{
	struct plane *plane = priv;
	struct sg_table *table = dma_buf_map_attachment_unlocked(plane->attachment, DMA_FROM_DEVICE);

	if (IS_ERR(table))
		return PTR_ERR(table);
	plane->dma = sg_dma_address(table->sgl);
	if (contiguous(table) < plane->bytes ||
	    !landfall_capture_core_accepts(plane->video->core, plane->dma, plane->bytes)) {
		dma_buf_unmap_attachment_unlocked(plane->attachment, table, DMA_FROM_DEVICE);
		return -EFAULT;
	}
	plane->table = table;
	return 0;
}

static void plane_unmap(void *priv)
{
	struct plane *plane = priv;

	if (!iosys_map_is_null(&plane->map)) {
		dma_buf_vunmap_unlocked(plane->attachment->dmabuf, &plane->map);
		iosys_map_clear(&plane->map);
	}
	dma_buf_unmap_attachment_unlocked(plane->attachment, plane->table, DMA_FROM_DEVICE);
	plane->table = NULL;
}

static void *plane_virt(struct vb2_buffer *vb, void *priv)
{
	struct plane *plane = priv;

	if (plane->frame)
		return landfall_capture_core_virt(plane->frame);
	if (iosys_map_is_null(&plane->map) && dma_buf_vmap_unlocked(plane->attachment->dmabuf, &plane->map))
		return NULL;
	return plane->map.vaddr;
}

static unsigned int plane_users(void *priv)
{
	const struct plane *plane = priv;

	return plane->frame ? 1 + landfall_capture_core_shown(plane->frame) : 1;
}

static int plane_mmap(void *priv, struct vm_area_struct *area)
{
	const struct plane *plane = priv;

	return landfall_capture_core_map(plane->video->core, plane->frame, area);
}

static const struct vb2_mem_ops memory = {
	.alloc = plane_allocate,
	.put = plane_put,
	.get_dmabuf = plane_export,
	.prepare = plane_prepare,
	.finish = plane_finish,
	.attach_dmabuf = plane_attach,
	.detach_dmabuf = plane_detach,
	.map_dmabuf = plane_map,
	.unmap_dmabuf = plane_unmap,
	.vaddr = plane_virt,
	.num_users = plane_users,
	.mmap = plane_mmap,
};

static u32 size_of_frame(struct landfall_video *video)
{
	struct landfall_picture picture;

	landfall_capture_core_get(video->core, &picture);
	return picture.size;
}

static int queue_setup(struct vb2_queue *queue, unsigned int *buffers, unsigned int *planes, unsigned int sizes[],
		       struct device *devices[])
{
	struct landfall_video *video = vb2_get_drv_priv(queue);
	const u32 bytes = size_of_frame(video);

	if (*planes)
		return *planes != 1 || sizes[0] < bytes ? -EINVAL : 0;
	*planes = 1;
	sizes[0] = bytes;
	return queue->memory == VB2_MEMORY_MMAP ? landfall_capture_core_prepare(video->core) : 0;
}

static int buffer_prepare(struct vb2_buffer *vb)
{
	const u32 bytes = size_of_frame(vb2_get_drv_priv(vb->vb2_queue));

	if (vb2_plane_size(vb, 0) < bytes)
		return -EINVAL;
	vb2_set_plane_payload(vb, 0, bytes);
	return 0;
}

static void buffer_queue(struct vb2_buffer *vb)
{
	struct landfall_video *video = vb2_get_drv_priv(vb->vb2_queue);
	const struct plane *plane = vb->planes[0].mem_priv;

	landfall_capture_core_queue(video->core, vb, vb->index, plane->dma, plane->bytes);
}

static int prepare_streaming(struct vb2_queue *queue)
{
	struct landfall_video *video = vb2_get_drv_priv(queue);

	return landfall_capture_core_claim(video->core);
}

static void unprepare_streaming(struct vb2_queue *queue)
{
	struct landfall_video *video = vb2_get_drv_priv(queue);

	landfall_capture_core_let_go(video->core);
}

static int start_streaming(struct vb2_queue *queue, unsigned int count)
{
	struct landfall_video *video = vb2_get_drv_priv(queue);
	int error = landfall_capture_core_start(video->core);

	if (!error)
		v4l2_ctrl_grab(video->pattern, true);
	return error;
}

static void stop_streaming(struct vb2_queue *queue)
{
	struct landfall_video *video = vb2_get_drv_priv(queue);

	landfall_capture_core_stop(video->core);
	v4l2_ctrl_grab(video->pattern, false);
}

static const struct vb2_ops operations = {
	.queue_setup = queue_setup,
	.buf_prepare = buffer_prepare,
	.buf_queue = buffer_queue,
	.prepare_streaming = prepare_streaming,
	.unprepare_streaming = unprepare_streaming,
	.start_streaming = start_streaming,
	.stop_streaming = stop_streaming,
};

int landfall_video_queue(struct landfall_video *video, struct device *dev, u32 slots)
{
	struct vb2_queue *queue = &video->queue;

	queue->type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	queue->io_modes = VB2_MMAP | VB2_DMABUF | VB2_READ;
	queue->dev = dev;
	queue->lock = &video->lock;
	queue->ops = &operations;
	queue->mem_ops = &memory;
	queue->drv_priv = video;
	queue->buf_struct_size = sizeof(struct vb2_v4l2_buffer);
	queue->timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
	queue->max_num_buffers = slots;
	return vb2_queue_init(queue);
}

void landfall_capture_shim_done(struct vb2_buffer *vb, enum landfall_outcome outcome, u32 bytes, u32 sequence,
				u64 monotonic_ns)
{
	static const enum vb2_buffer_state states[] = {
		[LANDFALL_DONE] = VB2_BUF_STATE_DONE,
		[LANDFALL_FAILED] = VB2_BUF_STATE_ERROR,
		[LANDFALL_NOT_STARTED] = VB2_BUF_STATE_QUEUED,
	};
	struct vb2_v4l2_buffer *buffer = to_vb2_v4l2_buffer(vb);

	if (outcome != LANDFALL_NOT_STARTED) {
		vb->timestamp = monotonic_ns;
		buffer->sequence = sequence;
		buffer->field = V4L2_FIELD_NONE;
		vb2_set_plane_payload(vb, 0, bytes);
	}
	vb2_buffer_done(vb, states[outcome]);
}

void landfall_capture_shim_begun(struct vb2_buffer *vb, u32 sequence)
{
	struct landfall_video *video = vb2_get_drv_priv(vb->vb2_queue);
	const struct v4l2_event event = {
		.type = V4L2_EVENT_FRAME_SYNC,
		.u.frame_sync.frame_sequence = sequence,
	};

	v4l2_event_queue(&video->vdev, &event);
}

void landfall_capture_shim_fail(struct vb2_buffer *vb)
{
	vb2_queue_error(vb->vb2_queue);
}
