/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The ring card's registers, BAR 0, for drivers in C: what device-model/src/devices/ring/regs.rs says, which has the
 * words too. tests/gallery.rs holds the two against each other. Registers are 32 bits wide; a register that is one
 * field from end to end has no mask.
 */
#ifndef LANDFALL_RING_H
#define LANDFALL_RING_H

#include <linux/bits.h>

/* Identity, sizes and numbers. */
#define RING_BAR0_SIZE                  0x1000
#define RING_VENDOR                     0x1b36
#define RING_DEVICE                     0x4c52
#define RING_MAGIC                      0x4c52
#define RING_LAYOUT                     1
#define RING_QUEUES                     4
#define RING_DESCRIPTOR                 32
#define RING_ENTRY                      16
#define RING_MOST_ENTRIES               64
#define RING_MOST_LINKS                 16
#define RING_LONGEST                    65536
#define RING_MODE_OWN                   0
#define RING_MODE_PHASE                 1
#define RING_MODE_TAIL                  2
#define RING_OP_RECEIVE                 0
#define RING_OP_TRANSMIT                1
#define RING_OP_COPY                    2
#define RING_CAUSES                     0x7000f

/* Offsets, each followed by its fields. */
#define RING_ID                         0x000
#define RING_ID_MAGIC                   GENMASK(31, 16)
#define RING_ID_LAYOUT                  GENMASK(7, 0)
#define RING_LIMITS                     0x004
#define RING_LIMITS_ADDRESS_BITS        GENMASK(23, 16)
#define RING_LIMITS_VECTORS             GENMASK(15, 8)
#define RING_LIMITS_QUEUES              GENMASK(7, 0)
#define RING_CONTROL                    0x008
#define RING_CONTROL_RESET              BIT(8)
#define RING_CONTROL_EDGE               BIT(0)
#define RING_CAUSE                      0x00c
#define RING_CAUSE_ERROR                BIT(18)
#define RING_CAUSE_TIMER                BIT(17)
#define RING_CAUSE_LINK                 BIT(16)
#define RING_CAUSE_QUEUES               GENMASK(3, 0)
#define RING_MASK                       0x010
#define RING_OTHER                      0x014
#define RING_OTHER_VECTOR               GENMASK(4, 0)
#define RING_TIMER                      0x018
#define RING_HAPPEN                     0x01c
#define RING_HAPPEN_ERROR               BIT(18)
#define RING_HAPPEN_LINK                BIT(16)
#define RING_RING_LO(queue)             (0x100 + 0x40 * (queue))
#define RING_RING_HI(queue)             (0x104 + 0x40 * (queue))
#define RING_SHAPE(queue)               (0x108 + 0x40 * (queue))
#define RING_SHAPE_MODE                 GENMASK(25, 24)
#define RING_SHAPE_COUNT                GENMASK(15, 0)
#define RING_RUN(queue)                 (0x10c + 0x40 * (queue))
#define RING_RUN_POLL                   BIT(1)
#define RING_RUN_RUN                    BIT(0)
#define RING_STATE(queue)               (0x110 + 0x40 * (queue))
#define RING_STATE_HEAD                 GENMASK(31, 16)
#define RING_STATE_BUSY                 BIT(0)
#define RING_DOORBELL(queue)            (0x114 + 0x40 * (queue))
#define RING_DOORBELL_TAIL              GENMASK(15, 0)
#define RING_TAKEN(queue)               (0x118 + 0x40 * (queue))
#define RING_TAKEN_INDEX                GENMASK(15, 0)
#define RING_BLOCK_LO(queue)            (0x11c + 0x40 * (queue))
#define RING_BLOCK_HI(queue)            (0x120 + 0x40 * (queue))
#define RING_COALESCE(queue)            (0x124 + 0x40 * (queue))
#define RING_COALESCE_MICROSECONDS      GENMASK(31, 8)
#define RING_COALESCE_COUNT             GENMASK(7, 0)
#define RING_VECTOR(queue)              (0x128 + 0x40 * (queue))
#define RING_VECTOR_VECTOR              GENMASK(4, 0)
#define RING_PACE(queue)                (0x12c + 0x40 * (queue))

#endif
