// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the driver does when the link to the card fails. The kernel asks, resets the card, and tells that it is back;
 * a driver that does not answer keeps a card that was reset under it.
 */
#include "mutant.h"
#include "parameters.h"

/* The card gives everything back, as long as it still can. */
static pci_ers_result_t error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	mutant_end(pci_get_drvdata(pdev));
	return state == pci_channel_io_perm_failure ? PCI_ERS_RESULT_DISCONNECT :
						      PCI_ERS_RESULT_NEED_RESET;
}

/* It is as after power-on, and its configuration space with it. */
static pci_ers_result_t slot_reset(struct pci_dev *pdev)
{
	struct mutant *m = pci_get_drvdata(pdev);

	pci_restore_state(pdev);
	/* For the next time. */
	pci_save_state(pdev);
	return card_examine(m) || card_stop(m) ? PCI_ERS_RESULT_DISCONNECT :
						 PCI_ERS_RESULT_RECOVERED;
}

static void resume(struct pci_dev *pdev)
{
	struct mutant *m = pci_get_drvdata(pdev);
	int error = mutant_run(m);

	dev_info(m->dev, "after the reset: capture %d, %u frames complete, %u right\n", error,
		 mutant_completed, mutant_right);
}

const struct pci_error_handlers mutant_recovery = {
	.error_detected = error_detected,
	.slot_reset = slot_reset,
	.resume = resume,
};
