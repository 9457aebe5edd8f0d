// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* As the kernel's build makes one where it makes a module. */
const char module_name[] = "small";
