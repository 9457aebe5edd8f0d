// SPDX-License-Identifier: MIT OR Apache-2.0
/* As the kernel's build makes one where it makes a module. */
const char module_name[] = "small";
