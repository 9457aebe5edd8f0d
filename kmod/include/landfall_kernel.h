/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What older kernels call otherwise or have not, in the words of newer ones. HAVE_… is defined by kmod/Kbuild, which asks
 * the headers of the kernel: stable kernels have parts of newer ones, and so a version says nothing.
 */
#ifndef LANDFALL_KERNEL_H
#define LANDFALL_KERNEL_H

#include <linux/bitfield.h>
#include <linux/dma-mapping.h>
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/pci.h>
#include <linux/workqueue.h>

#ifndef FIELD_PREP_CONST
#define FIELD_PREP_CONST(mask, value) (((value) << __builtin_ctz(mask)) & (mask))
#endif

#ifndef PCI_IRQ_INTX
#define PCI_IRQ_INTX PCI_IRQ_LEGACY
#endif

#ifndef HAVE_BH_WQ
#define system_bh_wq system_highpri_wq
#endif

#ifndef HAVE_DMA_DEV_NEED_SYNC
#define dma_dev_need_sync(dev) true
#endif

#ifndef HAVE_DMA_NEED_UNMAP
/* Whether the DMA API makes use of an unmap is decided when the kernel is built, and drivers take it that it does. */
#define dma_need_unmap(dev) true
#endif

#ifndef HAVE_US_TO_KTIME
static inline ktime_t us_to_ktime(u64 us)
{
	return ns_to_ktime(us * NSEC_PER_USEC);
}
#endif

#ifndef HAVE_HRTIMER_SETUP
static inline void hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *timer),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}

static inline void hrtimer_setup_on_stack(struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *timer),
					  clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init_on_stack(timer, clock, mode);
	timer->function = function;
}
#endif

#endif
