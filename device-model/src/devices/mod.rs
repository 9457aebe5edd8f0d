// SPDX-License-Identifier: MIT OR Apache-2.0

//! The devices, and what they share.

pub mod capture;
pub mod dt3155;
pub mod poller;
pub mod ring;
pub mod template;
pub mod tw686x;

use crate::contract::Function;

/// Every device in its default make, by name: what the conformance tests run over.
pub fn all() -> Vec<(&'static str, Box<dyn Function>)> {
    vec![
        (
            "capture",
            Box::new(capture::CaptureCard::new(capture::CaptureOptions::default())),
        ),
        (
            "dt3155",
            Box::new(dt3155::Dt3155::new(dt3155::Dt3155Options::default())),
        ),
        ("poller", Box::<poller::Poller>::default()),
        (
            "ring",
            Box::new(ring::Ring::new(ring::RingOptions::default())),
        ),
        ("template", Box::<template::Scratch>::default()),
        (
            "tw686x",
            Box::new(tw686x::Tw686x::new(tw686x::Tw686xOptions::default())),
        ),
    ]
}
