/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The witness BAR: how landfall_witness, in the guest, tells the card's model what the driver lent.
 *
 * A card's model that is watched has these registers (device-model/src/serve/witness.rs, which says what the
 * model makes of them). An event is some fields, in any order, and then LW_COMMIT, which takes them and forgets
 * them. Registers are little-endian, of 8 bytes, written whole or as two halves, LW_COMMIT's lower half first.
 * Only LW_MAGIC, LW_VERSION, LW_EVENTS, LW_REFUSED and LW_PLACE can be read; all else reads 0.
 *
 * There are two ways to them. One is BAR 5, of 4 KiB, if the card leaves it free; posted writes there are fast. The
 * other is always there, also while the card decodes nothing or is in D3hot: a mailbox in configuration space, a
 * vendor-specific capability. An event may be told again on the other way: one whose number was taken already is
 * passed over.
 */
#ifndef LANDFALL_WITNESS_H
#define LANDFALL_WITNESS_H

#define LW_BAR 5
#define LW_BAR_SIZE 0x1000

/* The mailbox, from its capability's first byte. */
#define LW_MAILBOX_FLAGS 0x03 /* 1 byte */
#define LW_MAILBOX_HAS_BAR 1 /* BAR 5 is the witness's */
#define LW_MAILBOX_MAGIC 0x04 /* 4 bytes, reads LW_MAGIC_VALUE */
#define LW_MAILBOX_SELECT 0x08 /* 4 bytes: offset of the register that LW_MAILBOX_DATA is */
#define LW_MAILBOX_DATA 0x0c /* 4 bytes; a write selects the next 4 bytes */
#define LW_MAILBOX_SIZE 0x10

#define LW_MAGIC 0x00 /* 4 bytes, reads LW_MAGIC_VALUE */
#define LW_VERSION 0x04 /* 4 bytes, reads LW_VERSION_VALUE */
#define LW_EVENTS 0x08 /* 4 bytes: events taken, modulo 2^32 */
#define LW_REFUSED 0x0c /* 4 bytes: events and writes that made no sense, modulo 2^32 */

#define LW_ADDRESS 0x10 /* bus address, or as LW_OP_* says */
#define LW_PHYS 0x18 /* physical address; not written: not told, or see LW_DIRECT */
#define LW_LENGTH 0x20 /* bytes */
#define LW_CALLER 0x28 /* where it was called; not written: not known */
#define LW_TIME 0x30 /* the guest's monotonic clock, nanoseconds */
#define LW_LIST 0x38 /* entries of the list (low half), which of its segments this is (high half) */
#define LW_TEXT 0x40 /* 8 bytes more of a name, each time; NULs at its end are not of it */
#define LW_SHORT 0x48 /* LW_LENGTH below 4 GiB (low half), lower half of a kernel address for LW_CALLER */
#define LW_GROUP 0x50 /* which list: number of the event that told its first segment; or as LW_OP_LINK says */
#define LW_COMMIT 0x58 /* what it is, and the end of the event */
#define LW_PLACE 0x60 /* 4 bytes: which of the machine's cards this is, as whoever serves them counts */

/* Fields of LW_COMMIT. */
#define LW_NUMBER_SHIFT 0 /* 32 bits: number of the event, from 0, without gaps, modulo 2^32 */
#define LW_OP_SHIFT 32 /* 8 bits: LW_OP_* */
#define LW_DIRECTION_SHIFT 40 /* 4 bits: LW_DIRECTION_*; for LW_OP_DRIVER LW_DRIVER_* */
#define LW_MEMORY_SHIFT 44 /* 4 bits: LW_MEMORY_* */
#define LW_BOUNCED_SHIFT 48 /* 1 bit: there is a bounce buffer; for LW_OP_ELSEWHERE: it came back */
#define LW_DIRECT_SHIFT 49 /* 1 bit: the physical address is the bus address */
#define LW_CPU_SHIFT 50 /* 12 bits: the CPU */
#define LW_SKIP_SYNC_SHIFT 62 /* 1 bit: the caller asked for no sync (DMA_ATTR_SKIP_CPU_SYNC) */
#define LW_BACKING_SHIFT 63 /* 1 bit: memory behind a dma_pool; what is lent of it are its blocks */

#define LW_OP_MAP 1
#define LW_OP_MAP_LIST 2
#define LW_OP_MAP_FAILED 3
#define LW_OP_UNMAP 4
#define LW_OP_UNMAP_LIST 5
#define LW_OP_ALLOC 6
#define LW_OP_FREE 7
#define LW_OP_SYNC_FOR_CPU 8
#define LW_OP_SYNC_FOR_DEVICE 9
#define LW_OP_QUEUE 10
#define LW_OP_DONE 11
#define LW_OP_POOL_LEND 12
#define LW_OP_POOL_RETURN 13
#define LW_OP_BLOCK_ALLOC 14
#define LW_OP_BLOCK_FREE 15
#define LW_OP_LINK 16 /* within a range of the driver's, which begins at LW_GROUP */
#define LW_OP_UNLINK 17 /* all that was linked there */
#define LW_OP_ATTACHED 32 /* LW_ADDRESS, LW_PHYS: first byte of the kernel's text, first after its read-only data */
#define LW_OP_SYMBOL 33 /* LW_ADDRESS is called LW_TEXT */
#define LW_OP_DRIVER 34 /* the driver LW_TEXT is now LW_DRIVER_* */
#define LW_OP_KERNEL_DOWN 35
#define LW_OP_UNHEARD 36 /* LW_TEXT is not heard, or was lost: what it lends is not known; LW_DIRECTION 1: to others */
/*
 * Another device was lent LW_ADDRESS, LW_LENGTH at LW_TIME, and gave it back at LW_PHYS (LW_BOUNCED). LW_TEXT is the
 * device's name, a line feed, and its driver's.
 */
#define LW_OP_ELSEWHERE 37

/* In the echo alone. */
#define LW_OP_DETACHED 38 /* the card is watched no more */
#define LW_OP_ECHO_ENDS 39 /* the page is somebody else's from now on */

/*
 * The echo: a page of memory with a place for each card, to which an event is written as well, LW_ECHO_COMMIT last. What a
 * field has no value for is all-ones; those of an event that is no call are as the last one left them.
 */
#define LW_ECHO_PLACE 64 /* bytes of a place */
#define LW_ECHO_ADDRESS 0x00
#define LW_ECHO_PHYS 0x08
#define LW_ECHO_LENGTH 0x10
#define LW_ECHO_CALLER 0x18
#define LW_ECHO_GROUP 0x20
#define LW_ECHO_CARD 0x28 /* LW_PLACE */
#define LW_ECHO_MODULE 0x30 /* of place 0: where code of a module with marks begins; of place 1: where it ends, 0: it goes */
#define LW_ECHO_COMMIT 0x38

/* As the kernel's enum dma_data_direction. */
#define LW_DIRECTION_BOTH 0
#define LW_DIRECTION_TO_DEVICE 1
#define LW_DIRECTION_FROM_DEVICE 2

#define LW_MEMORY_PLAIN 0
#define LW_MEMORY_TEXT 1
#define LW_MEMORY_STACK 2
#define LW_MEMORY_INVALID 3

#define LW_DRIVER_BINDING 0
#define LW_DRIVER_BOUND 1
#define LW_DRIVER_NOT_BOUND 2
#define LW_DRIVER_UNBINDING 3
#define LW_DRIVER_UNBOUND 4

#define LW_MAGIC_VALUE 0x5457464c /* "LFWT" */
#define LW_VERSION_VALUE 3
#define LW_MAX_TEXT 128 /* bytes of a name; more are dropped */

#endif
