// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is judged from the stream of entries alone, a function for each rule.
//!
//! | class | name | what gives it away | in |
//! |---|---|---|---|
//! | 1 | overrun | past the end of what the card was programmed to, or of a lend | access |
//! | 2, 3 | truncated to 32 bits, truncated address | at a lend's address without its upper bits; 3 also: beyond the card's width | access |
//! | 4 | wrong mask | a lend that ends beyond the card's width | accounting |
//! | 5 | physical address | at a lend's memory, where its bus address is another | access |
//! | 7 | stale address | in what was taken back: slot, vb2 buffer or mapping | access |
//! | 9 | fetch crosses a boundary | a read across a multiple of `Platform::fetch_boundary` | access |
//! | 10, 11, 12 | job crosses a boundary, job too long, job misaligned | against `Platform` | engine |
//! | 13, 14 | job longer than its lend, one line too long | against the lend that it begins in; 14: by a `STRIDE` | engine |
//! | 15, 16, 17 | kernel text, stack or invalid memory lent | the witness says what memory it is | accounting |
//! | 18 | shared cache line | streaming lends, not both to the device | accounting |
//! | 19 | routing bits | at a lend's address with other upper bits | access |
//! | 20 | access after stop | the card said idle, or all vb2 buffers are back | access |
//! | 22 | bus mastering off, bus mastering left on | refused for it; or on at the end of remove, by this driver | access, life |
//! | 23 | before any lend | this driver lent nothing yet | access |
//! | 24 | access after the kernel went down | | access |
//! | 25 | interrupt after disable | bus mastering off in remove, interrupt still enabled | engine |
//! | 27 | register written after remove | | engine |
//! | 28 | BAR gone | memory decoding goes off while remove runs | engine |
//! | 29 | not recovered | the machine reset the card of a bound driver with lends, and it never decodes again | life |
//! | 30, 31 | taken back during a job | bus mastering on, no other lend there; 31 in remove | life |
//! | 32, 34 | reprogrammed, changed after the doorbell | the card says so | engine |
//! | 36 | unflushed write | taken back, or written to, while a register write is on its way | life, access |
//! | 37, 38 | missing sync | bounced, and queued again or given to the user | coherency |
//! | 39 | wrong direction | access, unmap | access, accounting |
//! | 40 | sync of what is not mapped | | accounting |
//! | 41 | done too early | for a job that was reported as complete | access |
//! | 42, 44, 46 | interrupt before data, before it was enabled, without cause | | engine |
//! | 43, 56 | lost interrupt, short transfer | against the completion | ledger |
//! | 47, 48, 50, 51 | unmap of another length, of nothing, by another call, of other entries | | accounting |
//! | 49 | mapping error used | all-ones after a mapping failed | accounting, engine, access |
//! | 52, 53 | leak | alive when remove is over; 52: after a mapping failed | life |
//! | 55 | length of the device | it reports more than was lent | engine |
//! | 57 | sub-page exposure | a read beside a lend, in its page | access |
//! | 34, 37, 61, 62, 63 | the CPU got at what was the card's | where its accesses are told | cpu |
//! | 35 | missing read barrier | what a CPU read too early, where that is told | order |
//! | 58 | no such register | a write where the BAR has none | engine |
//!
//! Where a rule would not know enough it is silent: after a gap in the witness's events, every one that concludes from
//! what is *not* lent. Rules on interrupts, and those on what a driver does, need the witness too: without it nobody
//! says when the driver began.

mod access;
mod accounting;
mod coherency;
mod cpu;
pub(super) mod interrupts;
mod life;
mod order;
mod programmed;
mod verdict;
pub(super) mod words;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod accounting_tests;
#[cfg(test)]
mod cards_tests;
#[cfg(test)]
mod found_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod programmed_tests;
#[cfg(test)]
pub(super) mod stream;
