// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Bugs of interrupts. */
#include "catalogue.h"

/* 45: MSI-X taken for granted. Xilinx/dma_ip_drivers #45, #46, #69. */
static int vectors_of_msix(struct mutant *m)
{
	return pci_alloc_irq_vectors(m->pdev, 1, 1, PCI_IRQ_MSIX) < 1 ? -ENOSPC : 0;
}

const struct mutant_bug mutant_bug_45 = {
	.steps.vectors = vectors_of_msix,
};
