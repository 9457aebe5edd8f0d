// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * /dev/videoN: the structures of V4L2 and of videobuf2's queue. What is in them comes from the core.
 */
#include <linux/pci.h>
#include <linux/slab.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-device.h>
#include <media/v4l2-event.h>
#include <media/v4l2-fh.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

#include "video.h"

/* Controls of our own, beside V4L2_CID_TEST_PATTERN. */
#define CID_BASE (V4L2_CID_USER_BASE | 0xf000)
#define CID_OF(statistic) (CID_BASE + (statistic))

static struct landfall_video *video_of(struct file *file)
{
	return video_drvdata(file);
}

static int querycap(struct file *file, void *priv, struct v4l2_capability *cap)
{
	/* The module's own name is longer than there is room for. */
	strscpy(cap->driver, "landfall", sizeof(cap->driver));
	strscpy(cap->card, "Landfall capture card", sizeof(cap->card));
	return 0;
}

static int enum_format(struct file *file, void *priv, struct v4l2_fmtdesc *desc)
{
	desc->pixelformat = landfall_capture_core_format(video_of(file)->core, desc->index);
	return desc->pixelformat ? 0 : -EINVAL;
}

static struct landfall_picture picture_of(const struct v4l2_pix_format *pix)
{
	return (struct landfall_picture){
		.fourcc = pix->pixelformat,
		.width = pix->width,
		.height = pix->height,
		.stride = pix->bytesperline,
		.size = pix->sizeimage,
	};
}

static void tell(const struct landfall_picture *picture, struct v4l2_pix_format *pix)
{
	*pix = (struct v4l2_pix_format){
		.pixelformat = picture->fourcc,
		.width = picture->width,
		.height = picture->height,
		.bytesperline = picture->stride,
		.sizeimage = picture->size,
		.field = V4L2_FIELD_NONE,
		.colorspace = V4L2_COLORSPACE_SRGB,
	};
}

static int get_format(struct file *file, void *priv, struct v4l2_format *format)
{
	struct landfall_picture picture;

	landfall_capture_core_get(video_of(file)->core, &picture);
	tell(&picture, &format->fmt.pix);
	return 0;
}

static int try_format(struct file *file, void *priv, struct v4l2_format *format)
{
	struct landfall_picture picture = picture_of(&format->fmt.pix);

	landfall_capture_core_fit(video_of(file)->core, &picture);
	tell(&picture, &format->fmt.pix);
	return 0;
}

static int set_format(struct file *file, void *priv, struct v4l2_format *format)
{
	struct landfall_video *video = video_of(file);
	struct landfall_picture picture;

	if (vb2_is_busy(&video->queue))
		return -EBUSY;
	try_format(file, priv, format);
	picture = picture_of(&format->fmt.pix);
	landfall_capture_core_set(video->core, &picture);
	return 0;
}

static int enum_sizes(struct file *file, void *priv, struct v4l2_frmsizeenum *size)
{
	struct landfall_sizes sizes;

	if (size->index || !landfall_capture_core_sizes(video_of(file)->core, size->pixel_format, &sizes))
		return -EINVAL;
	size->type = V4L2_FRMSIZE_TYPE_STEPWISE;
	size->stepwise = (struct v4l2_frmsize_stepwise){
		.min_width = sizes.min_width,
		.max_width = sizes.max_width,
		.step_width = sizes.step_width,
		.min_height = sizes.min_height,
		.max_height = sizes.max_height,
		.step_height = sizes.step_height,
	};
	return 0;
}

static bool is_step(u32 value, u32 min, u32 max, u32 step)
{
	return value >= min && value <= max && (value - min) % step == 0;
}

static int enum_intervals(struct file *file, void *priv, struct v4l2_frmivalenum *interval)
{
	struct landfall_sizes sizes;
	u32 shortest, longest;

	if (interval->index || !landfall_capture_core_sizes(video_of(file)->core, interval->pixel_format, &sizes) ||
	    !is_step(interval->width, sizes.min_width, sizes.max_width, sizes.step_width) ||
	    !is_step(interval->height, sizes.min_height, sizes.max_height, sizes.step_height))
		return -EINVAL;
	landfall_capture_core_intervals(&shortest, &longest);
	interval->type = V4L2_FRMIVAL_TYPE_CONTINUOUS;
	interval->stepwise.min = (struct v4l2_fract){ shortest, USEC_PER_SEC };
	interval->stepwise.max = (struct v4l2_fract){ longest, USEC_PER_SEC };
	interval->stepwise.step = (struct v4l2_fract){ 1, 1 };
	return 0;
}

static int get_parameters(struct file *file, void *priv, struct v4l2_streamparm *parameters)
{
	struct v4l2_captureparm *capture = &parameters->parm.capture;

	if (parameters->type != V4L2_BUF_TYPE_VIDEO_CAPTURE)
		return -EINVAL;
	*capture = (struct v4l2_captureparm){
		.capability = V4L2_CAP_TIMEPERFRAME,
		.timeperframe = { landfall_capture_core_interval(video_of(file)->core), USEC_PER_SEC },
		.readbuffers = 2,
	};
	return 0;
}

static int set_parameters(struct file *file, void *priv, struct v4l2_streamparm *parameters)
{
	const struct v4l2_fract wish = parameters->parm.capture.timeperframe;
	struct landfall_video *video = video_of(file);

	if (parameters->type != V4L2_BUF_TYPE_VIDEO_CAPTURE)
		return -EINVAL;
	if (vb2_is_streaming(&video->queue))
		return -EBUSY;
	landfall_capture_core_set_interval(video->core, wish.numerator, wish.denominator);
	return get_parameters(file, priv, parameters);
}

static int enum_input(struct file *file, void *priv, struct v4l2_input *input)
{
	if (input->index)
		return -EINVAL;
	strscpy(input->name, "Card", sizeof(input->name));
	input->type = V4L2_INPUT_TYPE_CAMERA;
	return 0;
}

static int get_input(struct file *file, void *priv, unsigned int *input)
{
	*input = 0;
	return 0;
}

static int set_input(struct file *file, void *priv, unsigned int input)
{
	return input ? -EINVAL : 0;
}

static int watch_frames(struct v4l2_subscribed_event *event, unsigned int room)
{
	struct landfall_video *video = video_get_drvdata(event->fh->vdev);

	landfall_capture_core_watch(video->core, true);
	return 0;
}

static void leave_frames(struct v4l2_subscribed_event *event)
{
	struct landfall_video *video = video_get_drvdata(event->fh->vdev);

	landfall_capture_core_watch(video->core, false);
}

static const struct v4l2_subscribed_event_ops frame_events = {
	.add = watch_frames,
	.del = leave_frames,
};

static int subscribe(struct v4l2_fh *fh, const struct v4l2_event_subscription *subscription)
{
	switch (subscription->type) {
	case V4L2_EVENT_CTRL:
		return v4l2_ctrl_subscribe_event(fh, subscription);
	case V4L2_EVENT_SOURCE_CHANGE:
		return v4l2_src_change_event_subscribe(fh, subscription);
	case V4L2_EVENT_FRAME_SYNC:
		return v4l2_event_subscribe(fh, subscription, 8, &frame_events);
	case V4L2_EVENT_EOS:
		return v4l2_event_subscribe(fh, subscription, 1, NULL);
	default:
		return -EINVAL;
	}
}

/* What V4L2 has no word for. */
static long call(struct file *file, void *priv, bool valid_priority, unsigned int command, void *argument)
{
	struct landfall_video *video = video_of(file);

	return landfall_capture_core_call(video->core, command, argument, vb2_is_busy(&video->queue));
}

static const struct v4l2_ioctl_ops ioctls = {
	.vidioc_querycap = querycap,
	.vidioc_enum_fmt_vid_cap = enum_format,
	.vidioc_g_fmt_vid_cap = get_format,
	.vidioc_s_fmt_vid_cap = set_format,
	.vidioc_try_fmt_vid_cap = try_format,
	.vidioc_enum_framesizes = enum_sizes,
	.vidioc_enum_frameintervals = enum_intervals,
	.vidioc_g_parm = get_parameters,
	.vidioc_s_parm = set_parameters,
	.vidioc_enum_input = enum_input,
	.vidioc_g_input = get_input,
	.vidioc_s_input = set_input,
	.vidioc_reqbufs = vb2_ioctl_reqbufs,
	.vidioc_create_bufs = vb2_ioctl_create_bufs,
	.vidioc_prepare_buf = vb2_ioctl_prepare_buf,
	.vidioc_remove_bufs = vb2_ioctl_remove_bufs,
	.vidioc_querybuf = vb2_ioctl_querybuf,
	.vidioc_qbuf = vb2_ioctl_qbuf,
	.vidioc_dqbuf = vb2_ioctl_dqbuf,
	.vidioc_expbuf = vb2_ioctl_expbuf,
	.vidioc_streamon = vb2_ioctl_streamon,
	.vidioc_streamoff = vb2_ioctl_streamoff,
	.vidioc_log_status = v4l2_ctrl_log_status,
	.vidioc_subscribe_event = subscribe,
	.vidioc_unsubscribe_event = v4l2_event_unsubscribe,
	.vidioc_default = call,
};

static int map(struct file *file, struct vm_area_struct *area)
{
	if (area->vm_pgoff >= LANDFALL_CLIPS >> PAGE_SHIFT)
		return landfall_capture_core_map_clip(video_of(file)->core, area);
	return vb2_fop_mmap(file, area);
}

static const struct v4l2_file_operations files = {
	.owner = THIS_MODULE,
	.open = v4l2_fh_open,
	.release = vb2_fop_release,
	.read = vb2_fop_read,
	.poll = vb2_fop_poll,
	.mmap = map,
	.unlocked_ioctl = video_ioctl2,
};

static int set_control(struct v4l2_ctrl *control)
{
	struct landfall_video *video = container_of(control->handler, struct landfall_video, controls);

	if (control->id != V4L2_CID_TEST_PATTERN)
		return -EINVAL;
	landfall_capture_core_set_pattern(video->core, control->val);
	return 0;
}

static int get_statistic(struct v4l2_ctrl *control)
{
	struct landfall_video *video = container_of(control->handler, struct landfall_video, controls);

	*control->p_new.p_s64 = landfall_capture_core_statistic(video->core, control->id - CID_BASE);
	return 0;
}

static const struct v4l2_ctrl_ops control_ops = {
	.s_ctrl = set_control,
	.g_volatile_ctrl = get_statistic,
};

/* By number in FORMAT.pattern. */
static const char *const patterns[] = { "Test pattern", "SMPTE bars", "Ramp", "Checkerboard" };
static const char *const interrupts[] = { "INTx", "MSI", "MSI-X", NULL };

static void add_statistic(struct landfall_video *video, enum landfall_statistic which, const char *name)
{
	const struct v4l2_ctrl_config config = {
		.ops = &control_ops,
		.id = CID_OF(which),
		.name = name,
		.type = V4L2_CTRL_TYPE_INTEGER64,
		.flags = V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_VOLATILE,
		.max = S64_MAX,
		.step = 1,
	};

	v4l2_ctrl_new_custom(&video->controls, &config, NULL);
}

static int add_controls(struct landfall_video *video)
{
	const struct v4l2_ctrl_config kind = {
		.id = CID_OF(LANDFALL_INTERRUPT_KIND),
		.name = "Interrupt",
		.type = V4L2_CTRL_TYPE_MENU,
		.flags = V4L2_CTRL_FLAG_READ_ONLY,
		.max = 2,
		.def = landfall_capture_core_statistic(video->core, LANDFALL_INTERRUPT_KIND),
		.qmenu = interrupts,
	};

	v4l2_ctrl_handler_init(&video->controls, 5);
	video->pattern = v4l2_ctrl_new_std_menu_items(&video->controls, &control_ops, V4L2_CID_TEST_PATTERN,
						      ARRAY_SIZE(patterns) - 1, 0, 0, patterns);
	add_statistic(video, LANDFALL_FRAMES, "Frames");
	add_statistic(video, LANDFALL_FAILED_FRAMES, "Failed Frames");
	add_statistic(video, LANDFALL_INTERRUPTS, "Interrupts");
	v4l2_ctrl_new_custom(&video->controls, &kind, NULL);
	return video->controls.error;
}

/* The last file is closed. */
static void release(struct v4l2_device *v4l2)
{
	struct landfall_video *video = container_of(v4l2, struct landfall_video, v4l2);

	v4l2_ctrl_handler_free(&video->controls);
	landfall_capture_core_release(video->core);
	mutex_destroy(&video->lock);
	kfree(video);
}

static int prepare(struct landfall_video *video, struct pci_dev *pdev, u32 slots)
{
	struct video_device *vdev = &video->vdev;
	int error = add_controls(video) ?: landfall_video_queue(video, &pdev->dev, slots);

	if (error)
		return error;
	strscpy(vdev->name, KBUILD_MODNAME, sizeof(vdev->name));
	vdev->fops = &files;
	vdev->ioctl_ops = &ioctls;
	vdev->release = video_device_release_empty;
	vdev->v4l2_dev = &video->v4l2;
	vdev->ctrl_handler = &video->controls;
	vdev->queue = &video->queue;
	vdev->lock = &video->lock;
	vdev->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_READWRITE;
	video_set_drvdata(vdev, video);
	return video_register_device(vdev, VFL_TYPE_VIDEO, -1);
}

struct landfall_video *landfall_capture_shim_register(struct pci_dev *pdev, void *core, u32 slots)
{
	struct landfall_video *video = kzalloc(sizeof(*video), GFP_KERNEL);
	void *data = dev_get_drvdata(&pdev->dev);
	int error;

	if (!video) {
		landfall_capture_core_release(core);
		return ERR_PTR(-ENOMEM);
	}
	video->core = core;
	mutex_init(&video->lock);
	error = v4l2_device_register(&pdev->dev, &video->v4l2);
	/* The device's data are the binding's, which V4L2 would take if there are none yet. */
	dev_set_drvdata(&pdev->dev, data);
	if (error) {
		landfall_capture_core_release(core);
		kfree(video);
		return ERR_PTR(error);
	}
	video->v4l2.release = release;
	error = prepare(video, pdev, slots);
	if (error) {
		v4l2_device_unregister(&video->v4l2);
		v4l2_device_put(&video->v4l2);
		return ERR_PTR(error);
	}
	return video;
}

void landfall_capture_shim_unregister(struct landfall_video *video)
{
	const struct v4l2_event end = { .type = V4L2_EVENT_EOS };

	v4l2_event_queue(&video->vdev, &end);
	vb2_video_unregister_device(&video->vdev);
	v4l2_device_unregister(&video->v4l2);
	v4l2_device_put(&video->v4l2);
}

u32 landfall_capture_shim_number(const struct landfall_video *video)
{
	return video->vdev.num;
}
