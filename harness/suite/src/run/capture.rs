// SPDX-License-Identifier: MIT OR Apache-2.0

//! One capture: configure, queue, start, wait, stop. Every byte is looked at before a buffer is given back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use landfall_agent::protocol::Direction;
use landfall_agent::protocol::capture::{
    BufferInfo, Completion, Configure, Configured, Lend, LendKind,
};
use landfall_cards::capture::pattern::{FrameSpec, Pattern, Pixel};
use landfall_device::ledger;

use super::look::Look;
use super::{Clock, RunFailed, Session};
use crate::capture::Device;
use crate::verify::{Differences, FrameCheck};
use landfall::guest::memory::GuestMemory;
use landfall::guest::{Guest, Loaded, Used};

/// How long the driver waits for a frame, besides the interval. The card needs a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// `RESULT_OK`.
pub(super) const OK: u32 = 0;

/// What is to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturePlan {
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Pixel format.
    pub pixel: Pixel,
    /// Picture.
    pub pattern: Pattern,
    /// Microseconds from frame to frame.
    pub interval_us: u32,
    /// Frames.
    pub frames: u32,
    /// Buffers; with fewer than frames they go round.
    pub buffers: u32,
    /// Bytes from line to line; 0: as tight as the format allows.
    pub stride: u32,
    /// Clip mask for every buffer, one bit a pixel as the card's data sheet says; `None`: every pixel is
    /// written.
    pub clip: Option<Vec<u8>>,
    /// Physical address for the first buffer, page aligned; 0: anywhere in the pool.
    pub at: u64,
    /// Bus address for the first buffer, page aligned; 0: what the DMA API gives. Needs the guest to have an IOMMU.
    pub iova: u64,
}

impl Default for CapturePlan {
    /// Four frames of 320x240 in the test pattern, each into its own buffer.
    fn default() -> Self {
        Self {
            width: 320,
            height: 240,
            pixel: Pixel::Yuyv,
            pattern: Pattern::Test,
            interval_us: 0,
            frames: 4,
            buffers: 4,
            stride: 0,
            clip: None,
            at: 0,
            iova: 0,
        }
    }
}

impl CapturePlan {
    /// A clip mask: all but the first pixel of every line.
    pub(super) fn mask(&self) -> Vec<u8> {
        let line = self.width.div_ceil(8) as usize;
        let mut mask = vec![0xff; line * self.height as usize];
        for first in mask.iter_mut().step_by(line.max(1)) {
            *first = 0xfe;
        }
        mask
    }
}

/// What came of it.
pub struct Captured {
    pub(super) plan: CapturePlan,
    pub(super) format: Configured,
    pub(super) buffers: Vec<BufferInfo>,
    pub(super) lends: Vec<Lend>,
    pub(super) used: Vec<Used>,
    /// Journal entries that were made meanwhile.
    pub(super) entries: Range<u64>,
    pub(super) frames: Vec<Frame>,
    /// How long the driver waited for a frame that did not come.
    pub(super) stalled: Option<Duration>,
    /// What is wrong in the pool outside the lends.
    pub(super) strays: Vec<Differences>,
    pub(super) canary_bytes: u64,
    /// What was looked at when the card had been stopped.
    pub(super) last_look: Option<Look>,
}

/// A frame that the driver got.
pub(super) struct Frame {
    pub(super) completion: Completion,
    /// What the host found in memory; `None` if the card reported no frame, or the guest died before.
    pub(super) check: Option<FrameCheck>,
    /// What the guest's user space found.
    pub(super) guest_hash: Option<u64>,
}

impl Captured {
    /// What a frame must look like.
    pub(super) fn spec(&self, completion: &Completion) -> FrameSpec {
        FrameSpec {
            pattern: self.plan.pattern,
            pixel: self.plan.pixel,
            width: self.plan.width,
            height: self.plan.height,
            stride: self.format.stride,
            sequence: completion.sequence,
            slot: u8::try_from(completion.index).unwrap_or(u8::MAX),
        }
    }

    /// The buffer of a slot.
    pub(super) fn buffer(&self, index: u32) -> Option<&BufferInfo> {
        self.buffers.iter().find(|buffer| buffer.index == index)
    }
}

impl Session {
    /// Does one capture and looks at it. What is known is kept also if the guest fails on the way.
    pub(super) fn timed_capture(
        &mut self,
        wanted: &CapturePlan,
        guest: &Guest<Loaded>,
        card: &Device<'_>,
        clock: &mut Clock<'_>,
    ) -> Result<(), RunFailed> {
        let number = self.captured.len() + 1;
        self.look_again(guest, card)?;
        let mut captured = self.set_up(wanted, card)?;
        captured.used = guest.used()?;
        let memory = guest.memory();
        let title = |what| format!("{what} {number} ({}x{})", wanted.width, wanted.height);
        let mut result = clock.time_telling(&title("capture"), |on_event| {
            captured.take_frames(&memory, card, &mut || self.tell(on_event))
        });
        if result.is_ok() {
            result = clock.time(&title("verify"), || {
                captured.verify(&memory, card, (&self.regions, &self.holes), &self.journal)
            });
        }
        captured.entries.end = self.journal.len();
        self.captured.push(captured);
        result
    }

    /// Configures, and enters what the driver lends.
    fn set_up(&mut self, wanted: &CapturePlan, card: &Device<'_>) -> Result<Captured, RunFailed> {
        let first = self.captured.is_empty();
        if !first {
            self.feed();
            self.recorder.reclaim();
        }
        let from = self.journal.len();
        let format = card.configure(&Configure {
            width: wanted.width,
            height: wanted.height,
            stride: wanted.stride,
            format: wanted.pixel.fourcc(),
            pattern: u32::from(wanted.pattern.number()),
            interval_us: wanted.interval_us,
            buffers: wanted.buffers,
            clip: wanted.clip.is_some(),
            at: wanted.at,
            iova: wanted.iova,
        })?;
        if let Some(mask) = &wanted.clip {
            for index in 0..wanted.buffers {
                card.write_clip(index, 0, mask)?;
            }
        }
        let buffers = (0..wanted.buffers)
            .map(|index| card.buffer(index))
            .collect::<Result<_, _>>()?;
        let lends = card.lends()?;
        for lend in lends
            .iter()
            .filter(|lend| first || lend.kind != LendKind::SelfTest)
        {
            self.recorder.lend(of_ledger(lend));
        }
        Ok(Captured {
            plan: wanted.clone(),
            format,
            buffers,
            lends,
            used: Vec::new(),
            entries: from..from,
            frames: Vec::new(),
            stalled: None,
            strays: Vec::new(),
            canary_bytes: 0,
            last_look: None,
        })
    }
}

impl Captured {
    /// What the driver got, in order.
    pub fn completions(&self) -> impl Iterator<Item = &Completion> {
        self.frames.iter().map(|frame| &frame.completion)
    }

    /// Where its buffers lie.
    pub fn buffers(&self) -> &[BufferInfo] {
        &self.buffers
    }

    /// What the driver made of the plan.
    pub fn format(&self) -> &Configured {
        &self.format
    }

    /// Bytes that the card writes for one frame: without the gaps between lines and without clipped pixels.
    pub(super) fn written(&self) -> u64 {
        let plan = &self.plan;
        let (width, height) = (u64::from(plan.width), u64::from(plan.height));
        let pixels = match &plan.clip {
            None => width * height,
            Some(mask) => (0..height)
                .flat_map(|line| {
                    (0..width).map(move |pixel| (line * width.div_ceil(8) + pixel / 8, pixel % 8))
                })
                .filter(|(byte, bit)| {
                    let byte = usize::try_from(*byte).ok().and_then(|byte| mask.get(byte));
                    byte.is_none_or(|byte| byte >> bit & 1 != 0)
                })
                .count() as u64,
        };
        pixels * u64::from(plan.pixel.bytes())
    }

    /// Captures the frames, and calls `each` after each. If there are more than buffers, each is looked at before it is
    /// queued again.
    fn take_frames(
        &mut self,
        memory: &GuestMemory,
        card: &Device<'_>,
        each: &mut dyn FnMut(),
    ) -> Result<(), RunFailed> {
        for index in 0..self.plan.buffers {
            card.queue(index)?;
        }
        card.start()?;
        let interval = Duration::from_micros(u64::from(self.plan.interval_us));
        let patience = PATIENCE + 2 * interval;
        let mut to_queue = self.plan.frames.saturating_sub(self.plan.buffers);
        for _ in 0..self.plan.frames {
            let Some(completion) = card.wait(patience)? else {
                self.stalled = Some(patience);
                break;
            };
            let index = completion.index;
            self.frames.push(Frame {
                completion,
                check: None,
                guest_hash: None,
            });
            each();
            if to_queue > 0 {
                to_queue -= 1;
                let look = Look::at_frame(self.frames.len() - 1);
                self.look(&look, memory, card)?;
                card.queue(index)?;
            }
        }
        card.stop()?;
        Ok(())
    }

    /// What the pool gave to others, such as another card: whole pages of it are theirs.
    pub(super) fn of_others(&self) -> Vec<Range<u64>> {
        let others = self.used.iter().filter(|used| self.is_others(used));
        others.map(Used::range).collect()
    }

    /// Whether the pool gave a buffer to somebody else.
    pub(super) fn is_others(&self, used: &Used) -> bool {
        let given = used.range();
        !self.lends.iter().any(|lend| given.contains(&lend.phys))
    }

    /// The buffer that a frame lies in, by its slot.
    pub(super) fn spans(&self) -> BTreeMap<u32, Range<u64>> {
        self.buffers
            .iter()
            .map(|buffer| {
                (
                    buffer.index,
                    buffer.phys..buffer.phys.saturating_add(buffer.length),
                )
            })
            .collect()
    }
}

/// A lend in the ledger's terms.
fn of_ledger(lend: &Lend) -> ledger::Lend {
    ledger::Lend {
        address: lend.dma,
        length: lend.length,
        direction: match lend.direction {
            Direction::FromDevice => landfall_device::journal::LendDirection::FromDevice,
            Direction::ToDevice => landfall_device::journal::LendDirection::ToDevice,
            Direction::Both => landfall_device::journal::LendDirection::Both,
        },
        kind: match lend.kind {
            LendKind::Frame => ledger::LendKind::Frame,
            LendKind::Clip => ledger::LendKind::Clip,
            LendKind::SelfTest => ledger::LendKind::SelfTest,
        },
        slot: match lend.kind {
            LendKind::SelfTest => None,
            LendKind::Frame | LendKind::Clip => Some(lend.index),
        },
        label: match lend.kind {
            LendKind::Frame => format!("frame buffer {}", lend.index),
            LendKind::Clip => format!("clip mask {}", lend.index),
            LendKind::SelfTest => "self-test area".to_owned(),
        },
    }
}
