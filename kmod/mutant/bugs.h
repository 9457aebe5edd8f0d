/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The bugs that can be planted, by the numbers of the project's catalogue of DMA bug classes. */
#ifndef LANDFALL_MUTANT_BUGS_H
#define LANDFALL_MUTANT_BUGS_H

/* BUG(number, what the driver does wrong). */
#define MUTANT_BUGS(BUG) \
	/* lands.c: where the transfer lands. */ \
	BUG(2, "the upper half of a frame's bus address is lost on the way to the card") \
	BUG(4, "the DMA mask is of 64 bits, whatever the card drives") \
	BUG(5, "the card is given the CPU's physical address of a frame") \
	BUG(7, "a frame is queued again after it was unmapped") \
	BUG(9, "the clip mask lies across two pages") \
	BUG(10, "frames cross the boundary that the card states") \
	BUG(11, "frames are longer than the card takes") \
	BUG(12, "frames begin 8 bytes behind an aligned address") \
	BUG(13, "16 lines more than were lent are programmed, and stated as lent") \
	BUG(14, "one line more than was lent is programmed, and stated as lent") \
	BUG(15, "a read-only table of the kernel is mapped as clip mask, for the card to write, too") \
	BUG(16, "an array on the stack is mapped as clip mask") \
	BUG(17, "vmalloc memory is mapped as if it were in the kernel's direct map") \
	BUG(18, "two small buffers that the card may write share a cache line") \
	/* lives.c: when it lands. */ \
	BUG(22, "bus mastering stays on when the card is unbound") \
	BUG(24, "the card is not stopped when the kernel goes down") \
	BUG(25, "the device is disabled before its interrupt is") \
	BUG(26, "the wait for the card to become idle takes all-ones for busy") \
	BUG(27, "a timer outlives the binding and resets the card") \
	BUG(28, "the card is waited for after its memory decoding was switched off") \
	BUG(29, "nothing is done when the link to the card fails") \
	BUG(30, "a cancelled capture unmaps its frames before it stops the card") \
	BUG(31, "unbinding unmaps the frames before it stops the card") \
	BUG(32, "the frame's size is programmed anew while a frame is in work") \
	BUG(33, "a pointer into the middle of a pool buffer is freed") \
	/* orders.c: ordering and coherency. */ \
	BUG(34, "the clip mask is filled after the doorbell") \
	BUG(35, "a frame is read behind a read of DONE that keeps no order") \
	BUG(36, "the write that stops the card is not flushed before its frames are unmapped") \
	BUG(37, "frames are not synced for the CPU") \
	BUG(38, "what the CPU wrote is not synced for the card before it is queued again") \
	BUG(39, "frames are mapped for reading by the card") \
	BUG(40, "a range that was never mapped is synced for the CPU") \
	/* interrupts.c. */ \
	BUG(45, "a card without MSI-X is refused") \
	/* accounts.c: accounting of the DMA API. */ \
	BUG(47, "frames are unmapped with half their length") \
	BUG(48, "the first frame is unmapped twice") \
	BUG(49, "the result of a mapping is not checked") \
	BUG(50, "coherent memory is given back by unmapping it") \
	BUG(51, "a list is unmapped with the count of its segments, not of its entries") \
	BUG(52, "when the mapping of a buffer fails, those before it stay mapped") \
	BUG(53, "the second frame is never unmapped nor freed") \
	BUG(54, "the result of a large allocation is not checked") \
	/* trusts.c: trust in the card, and the card's in the driver. */ \
	BUG(55, "as many bytes are copied as the card says it wrote") \
	BUG(58, "an offset is written at which the card has no register") \
	/* lands.c, again: whose address it is. */ \
	BUG(60, "frames are mapped for the port that the card sits in") \
	/* orders.c, again: the CPU's side. */ \
	BUG(61, "a frame is looked into after it was mapped, before the doorbell") \
	BUG(62, "the clip mask is filled after it was mapped, and not synced") \
	/* races.c: wrong in some orders only. */ \
	BUG(64, "a capture unmaps its frames before it stops the card, whatever that does") \
	BUG(65, "the card is stopped, and not waited for, before its frames are unmapped") \
	BUG(66, "the interrupt reads the done bits before it clears its cause") \
	BUG(67, "the interrupt clears all done bits, and not those that it read")

#endif
