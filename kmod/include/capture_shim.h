/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Between capture/shim.c and capture/raw.rs, which repeats these prototypes. */
#ifndef LANDFALL_CAPTURE_SHIM_H
#define LANDFALL_CAPTURE_SHIM_H

#include <linux/types.h>

struct pci_dev;

u32 landfall_capture_shim_domain(const struct pci_dev *pdev);

#endif
