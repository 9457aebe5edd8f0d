/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* For the files of the catalogue: every bug is defined where it is declared. */
#ifndef LANDFALL_MUTANT_CATALOGUE_H
#define LANDFALL_MUTANT_CATALOGUE_H

#include "bugs.h"
#include "mutant.h"

#define MUTANT_DECLARE(number, text) extern const struct mutant_bug mutant_bug_##number;
MUTANT_BUGS(MUTANT_DECLARE)

#endif
