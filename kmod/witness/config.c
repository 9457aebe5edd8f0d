// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Writes to configuration space, by the kernel and by user space: after one a card's BAR may not be where it was. */
#include <linux/pci.h>

#include "witness.h"

#define INSTEAD_OF_CONFIG_WRITE(size, type)									\
	int witness_instead_of_bus_write_##size(struct pci_bus *bus, unsigned int devfn, int where, type value)	\
	{													\
		int error;											\
														\
		witness_instead_begin();									\
		witness_config_begin();										\
		error = pci_bus_write_config_##size(bus, devfn, where, value);					\
		witness_config_end();										\
		witness_instead_end();										\
		return error;											\
	}													\
	int witness_instead_of_user_write_##size(struct pci_dev *pdev, int where, type value)			\
	{													\
		int error;											\
														\
		witness_instead_begin();									\
		witness_config_begin();										\
		error = pci_user_write_config_##size(pdev, where, value);					\
		witness_config_end();										\
		witness_instead_end();										\
		return error;											\
	}

INSTEAD_OF_CONFIG_WRITE(byte, u8)
INSTEAD_OF_CONFIG_WRITE(word, u16)
INSTEAD_OF_CONFIG_WRITE(dword, u32)
