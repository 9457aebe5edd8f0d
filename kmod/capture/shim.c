// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What the Rust half of landfall_capture cannot say in Linux 7.3: inline functions of <linux/pci.h>. */
#include <linux/pci.h>

#include "capture_shim.h"

u32 landfall_capture_shim_domain(const struct pci_dev *pdev)
{
	return pci_domain_nr(pdev->bus);
}
