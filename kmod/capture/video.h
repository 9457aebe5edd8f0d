/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Between video.c and queue.c. */
#ifndef LANDFALL_CAPTURE_VIDEO_H
#define LANDFALL_CAPTURE_VIDEO_H

#include <linux/mutex.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-dev.h>
#include <media/v4l2-device.h>
#include <media/videobuf2-v4l2.h>

#include "capture_shim.h"

/* A card's /dev/videoN; lives until the last file is closed. */
struct landfall_video {
	struct v4l2_device v4l2;
	struct video_device vdev;
	struct v4l2_ctrl_handler controls;
	/* Not to be changed during a stream. */
	struct v4l2_ctrl *pattern;
	struct vb2_queue queue;
	/* Of the device's calls and the queue's. */
	struct mutex lock;
	void *core;
};

int landfall_video_queue(struct landfall_video *video, struct device *dev, u32 slots);

#endif
