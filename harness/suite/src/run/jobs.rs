// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the journal tells of frames.

use std::collections::HashMap;

use landfall_device::contract::{Declaration, Label};
use landfall_device::journal::{Direction, Entry, Kind, Outcome as Access};

use landfall::report::schema::Span;

/// What the journal tells of one job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) slot: u32,
    pub(super) base: u64,
    pub(super) began_ns: u64,
    pub(super) ended_ns: Option<u64>,
}

/// The jobs of a journal, by sequence number of their frames.
pub(super) fn jobs(entries: &[Entry]) -> HashMap<u32, Job> {
    let mut jobs = HashMap::new();
    let mut frames = HashMap::new();
    for entry in entries {
        match entry.kind.declaration() {
            Some((
                Declaration::Begun {
                    job,
                    label:
                        Label {
                            slot: Some(slot),
                            frame: Some(frame),
                        },
                    pieces,
                    ..
                },
                _,
            )) => {
                frames.insert(*job, *frame);
                jobs.insert(
                    *frame,
                    Job {
                        slot: *slot,
                        base: pieces.first().map_or(0, |piece| piece.address),
                        began_ns: entry.time_ns,
                        ended_ns: None,
                    },
                );
            }
            Some((Declaration::Done { job, .. }, _)) => {
                if let Some(job) = frames.get(job).and_then(|frame| jobs.get_mut(frame)) {
                    job.ended_ns = Some(entry.time_ns);
                }
            }
            _ => {}
        }
    }
    jobs
}

/// From a job's begin to its end.
pub(super) fn duration(job: &Job) -> Option<u64> {
    job.ended_ns.map(|ended| ended.saturating_sub(job.began_ns))
}

/// What the card wrote, accesses that touch joined.
pub(super) fn written<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    physical: impl Fn(u64) -> u64,
) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for entry in entries {
        let Kind::Access {
            direction: Direction::Write,
            address,
            length,
            outcome: Access::Ok,
            ..
        } = entry.kind
        else {
            continue;
        };
        let address = physical(address);
        match spans.last_mut() {
            Some(last) if last.address.checked_add(last.length) == Some(address) => {
                last.length += length
            }
            _ => spans.push(Span { address, length }),
        }
    }
    spans
}
