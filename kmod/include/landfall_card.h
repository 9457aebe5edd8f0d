/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The capture card's registers, BAR 0, for drivers in C: what device-model/src/devices/capture/regs.rs says, which
 * has the words too. tests/mutant.rs holds the two against each other. Registers are 32 bits wide; a register that
 * is one field from end to end has no mask.
 */
#ifndef LANDFALL_CARD_H
#define LANDFALL_CARD_H

#include <linux/bits.h>

/* Identity and sizes. */
#define CARD_BAR0_SIZE                  0x1000
#define CARD_VENDOR                     0x1b36
#define CARD_DEVICE                     0x4c46
#define CARD_MAGIC                      0x4c46
#define CARD_LAYOUT                     1
#define CARD_SLOTS                      32
#define CARD_MAX_CLIP                   (128 * 1024)

/* SLOT_STATUS.result */
#define CARD_RESULT_OK                  0
#define CARD_RESULT_TOO_SMALL           1
#define CARD_RESULT_ADDRESS             2
#define CARD_RESULT_ALIGNMENT           3
#define CARD_RESULT_BOUNDARY            4
#define CARD_RESULT_TOO_LARGE           5
#define CARD_RESULT_GEOMETRY            6
#define CARD_RESULT_BUS                 7
#define CARD_RESULT_NO_MASTER           8
#define CARD_RESULT_ABORTED             9

/* Offsets, each followed by its fields. */
#define CARD_ID                         0x000
#define CARD_ID_MAGIC                   GENMASK(31, 16)
#define CARD_ID_LAYOUT                  GENMASK(7, 0)
#define CARD_LIMITS                     0x004
#define CARD_LIMITS_BOUNDARY_SHIFT      GENMASK(31, 24)
#define CARD_LIMITS_ALIGN_SHIFT         GENMASK(23, 16)
#define CARD_LIMITS_ADDRESS_BITS        GENMASK(15, 8)
#define CARD_LIMITS_SLOTS               GENMASK(7, 0)
#define CARD_MAX_FRAME                  0x008
#define CARD_FEATURES                   0x00c
#define CARD_FEATURES_CLIP              BIT(16)
#define CARD_FEATURES_FORMATS           GENMASK(15, 0)
#define CARD_CONTROL                    0x010
#define CARD_CONTROL_RESET              BIT(8)
#define CARD_CONTROL_RUN                BIT(0)
#define CARD_STATUS                     0x014
#define CARD_STATUS_QUEUED              GENMASK(15, 8)
#define CARD_STATUS_BUSY                BIT(0)
#define CARD_IRQ_STATUS                 0x018
#define CARD_IRQ_STATUS_BEGUN           BIT(2)
#define CARD_IRQ_STATUS_IDLE            BIT(1)
#define CARD_IRQ_STATUS_DONE            BIT(0)
#define CARD_IRQ_ENABLE                 0x01c
#define CARD_IRQ_ENABLE_BEGUN           BIT(2)
#define CARD_IRQ_ENABLE_IDLE            BIT(1)
#define CARD_IRQ_ENABLE_DONE            BIT(0)
#define CARD_FORMAT                     0x020
#define CARD_FORMAT_PATTERN             GENMASK(15, 8)
#define CARD_FORMAT_PIXEL               GENMASK(7, 0)
#define CARD_GEOMETRY                   0x024
#define CARD_GEOMETRY_HEIGHT            GENMASK(31, 16)
#define CARD_GEOMETRY_WIDTH             GENMASK(15, 0)
#define CARD_STRIDE                     0x028
#define CARD_INTERVAL                   0x02c
#define CARD_QUEUE                      0x030
#define CARD_QUEUE_SLOT                 GENMASK(7, 0)
#define CARD_DONE                       0x034
#define CARD_SEQUENCE                   0x038
#define CARD_SELFTEST_LO                0x040
#define CARD_SELFTEST_HI                0x044
#define CARD_SELFTEST                   0x048
#define CARD_SELFTEST_RESULT            GENMASK(15, 8)
#define CARD_SELFTEST_BUSY              BIT(0)
#define CARD_SLOT_BASE_LO(slot)         (0x400 + 0x40 * (slot))
#define CARD_SLOT_BASE_HI(slot)         (0x404 + 0x40 * (slot))
#define CARD_SLOT_SIZE(slot)            (0x408 + 0x40 * (slot))
#define CARD_SLOT_CLIP_LO(slot)         (0x40c + 0x40 * (slot))
#define CARD_SLOT_CLIP_HI(slot)         (0x410 + 0x40 * (slot))
#define CARD_SLOT_CLIP_SIZE(slot)       (0x414 + 0x40 * (slot))
#define CARD_SLOT_STATUS(slot)          (0x418 + 0x40 * (slot))
#define CARD_SLOT_STATUS_RESULT         GENMASK(7, 0)
#define CARD_SLOT_SEQUENCE(slot)        (0x41c + 0x40 * (slot))
#define CARD_SLOT_BYTES(slot)           (0x420 + 0x40 * (slot))
#define CARD_SLOT_TIME_LO(slot)         (0x424 + 0x40 * (slot))
#define CARD_SLOT_TIME_HI(slot)         (0x428 + 0x40 * (slot))

#endif
