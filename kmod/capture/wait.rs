// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Waiting for a frame.

use super::{
    card::Record,
    raw, regs,
    session::{Session, State},
    uapi,
};
use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, CondVarTimeoutResult},
    time::msecs_to_jiffies,
};

impl Session {
    /// Waits for the oldest completion.
    pub(crate) fn wait(&self, timeout_ms: u32) -> Result<uapi::Completion> {
        let mut left = msecs_to_jiffies(timeout_ms);
        loop {
            if let Some(completion) = self.collect()? {
                return Ok(completion);
            }
            let mut shared = self.line.shared.lock();
            if shared.gone {
                return Err(ENODEV);
            }
            if shared.ring.has_completed() {
                continue;
            }
            if left == 0 {
                drop(shared);
                return Err(self.why_nothing_came());
            }
            left = match self
                .line
                .changed
                .wait_interruptible_timeout(&mut shared, left)
            {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Timeout => 0,
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
            };
        }
    }

    fn collect(&self) -> Result<Option<uapi::Completion>> {
        let mut state = self.state.lock();
        state.bound()?;
        let Some((slot, record)) = self.next_completed(&state)? else {
            return Ok(None);
        };
        state.buffer(slot.into())?.frame.to_cpu();
        Ok(Some(uapi::Completion {
            timeout_ms: 0,
            index: slot.into(),
            result: record.result.into(),
            sequence: record.sequence,
            bytes: record.bytes.into(),
            card_time_ns: record.card_time_ns,
            guest_time_ns: raw::monotonic_ns(),
        }))
    }

    /// Takes the oldest completion from the card. With the state locked, so that no stop comes between.
    pub(crate) fn next_completed(&self, _: &State) -> Result<Option<(u8, Record)>> {
        // The slot stays in the ring until the card has let go of it.
        let Some(slot) = self.line.shared.lock().ring.first_completed() else {
            return Ok(None);
        };
        let record = self.line.registers.take_back(slot)?;
        self.line.shared.lock().ring.take();
        let count = match record.result {
            regs::RESULT_OK => &self.frames,
            _ => &self.failed_frames,
        };
        count.fetch_add(1, Relaxed);
        Ok(Some((slot, record)))
    }

    /// Nothing came in time: because the card is dead, or was reset, or is just slow?
    fn why_nothing_came(&self) -> Error {
        let mut state = self.state.lock();
        if !state.bound {
            return ENODEV;
        }
        if !state.running {
            return ETIMEDOUT;
        }
        match self.line.registers.is_armed() {
            Ok(true) => ETIMEDOUT,
            Ok(false) => {
                if !state.reset_reported {
                    dev_warn!(
                        self.pdev,
                        "the card was reset while it captured: stop it and start it again\n"
                    );
                    state.reset_reported = true;
                }
                ETIMEDOUT
            }
            Err(error) => error,
        }
    }
}
