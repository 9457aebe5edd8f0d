// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `landfall_capture`: driver of Landfall's capture card (PCI 1b36:4c46).
//!
//! A card wants one physically contiguous range for each frame. The driver takes such ranges from
//! `landfall_pool`, maps them through the DMA API, hands them to the card slot by slot, and shows them to
//! user space as `/dev/videoN` (V4L2). What V4L2 has no word for are calls of the same file, in `uapi.rs`. What the card
//! understands is in the device model's `regs.rs`, which is compiled here unchanged.
//!
//! | file | subject |
//! |---|---|
//! | `probe.rs` | binding and unbinding, in which order |
//! | `card.rs` | the registers: program, start, stop, self-test |
//! | `ring.rs` | which slot the card has (pure; tested on the host) |
//! | `irq.rs` | the interrupt |
//! | `geometry.rs` | what makes a frame, and the card's limits (pure) |
//! | `memory.rs` | buffers of the pool that this card can reach |
//! | `session.rs` | what is mapped for the card, start, stop, what is completed |
//! | `format.rs` | pictures as V4L2 knows them (pure) |
//! | `stream.rs` | the card as `/dev/videoN` |
//! | `thunks.rs`, `video.c`, `queue.c` | the structures of V4L2 and videobuf2, and what they ask `stream.rs`; nothing is decided |
//! | `call.rs`, `view.rs` | the calls of `uapi.rs`, and what user space is told by them |
//! | `map.rs` | mmap |

mod call;
mod card;
mod format;
mod geometry;
mod irq;
#[path = "../include/landfall_pool.rs"]
mod landfall_pool;
mod map;
mod memory;
mod probe;
mod raw;
#[expect(dead_code, reason = "the table is the card's too, which uses the rest")]
#[path = "../../device-model/cards/src/capture/regs.rs"]
mod regs;
mod ring;
mod session;
mod stream;
mod thunks;
mod uapi;
mod view;

use kernel::io::register;

kernel::module_pci_driver! {
    type: probe::CaptureDriver,
    name: "landfall_capture",
    authors: ["The Landfall contributors"],
    description: "Driver of Landfall's capture card: one physically contiguous range for each frame",
    license: "Dual MIT/GPL",
    params: {
        interrupt: u32 {
            default: 3,
            description: "0: INTx, 1: MSI, 2: MSI-X, each of them or none; 3 (default): MSI, else MSI-X, else INTx",
        },
        mutant: u32 {
            default: 0,
            description: "For tests: the bug to plant, 6: mmap shows another buffer, 21: mmap does not hold the buffer; 0 (default): none",
        },
    },
}
