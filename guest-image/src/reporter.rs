// SPDX-License-Identifier: MIT OR Apache-2.0

//! Events of a set-up whose steps run in several threads.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::{Event, Step};

/// Sends events and keeps the steps' times. Clones share both.
#[derive(Clone)]
pub(crate) struct Reporter {
    events: Sender<Event>,
    steps: Arc<Mutex<Steps>>,
}

struct Steps {
    started: usize,
    of: usize,
    timings: Vec<(Step, Duration)>,
}

impl Reporter {
    /// `of` is how many steps there will be.
    pub(crate) fn new(events: Sender<Event>, of: usize) -> Self {
        let steps = Steps {
            started: 0,
            of,
            timings: Vec::new(),
        };
        Self {
            events,
            steps: Arc::new(Mutex::new(steps)),
        }
    }

    /// Does a step: says when it starts and, if it went well, when it is done.
    pub(crate) fn step<T, E>(
        &self,
        step: Step,
        detail: impl Into<String>,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let (index, of) = {
            let mut steps = self.lock();
            steps.started += 1;
            (steps.started, steps.of)
        };
        let detail = detail.into();
        self.send(Event::StepStarted {
            step,
            detail,
            index,
            of,
        });
        let began = Instant::now();
        let value = body()?;
        let elapsed = began.elapsed();
        self.lock().timings.push((step, elapsed));
        self.send(Event::StepDone { step, elapsed });
        Ok(value)
    }

    /// Says how far a step is.
    pub(crate) fn bytes(&self, step: Step, done: u64, total: u64) {
        self.send(Event::Bytes { step, done, total });
    }

    /// Passes on a line of a step's program.
    pub(crate) fn line(&self, step: Step, text: &str) {
        let text = text.trim().to_owned();
        self.send(Event::Line { step, text });
    }

    /// Sends any event; nobody listening is no error.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// How long each step took, in the order of ending.
    pub(crate) fn timings(&self) -> Vec<(Step, Duration)> {
        self.lock().timings.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
