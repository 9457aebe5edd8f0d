// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cards of Landfall. Each is written as anybody writes his own: all it knows of Landfall is public.

#![forbid(unsafe_code)]

pub mod ad1889;
pub mod capture;
pub mod dt3155;
pub mod endpoint;
mod fault;
pub mod ioatdma;
mod late;
pub mod nvme;
pub mod poller;
pub mod ring;
pub mod template;
pub mod tw686x;
pub mod xtrx;
pub mod zoran;

use landfall_device::contract::Function;

/// Makes a card, as after power-on.
pub type Make = fn() -> Box<dyn Function>;

/// Every card in its default make, by name.
pub const SET: [(&str, Make); 12] = [
    ("capture", || Box::<capture::CaptureCard>::default()),
    ("dt3155", || Box::<dt3155::Dt3155>::default()),
    ("endpoint", || Box::<endpoint::Endpoint>::default()),
    ("ioatdma", || Box::<ioatdma::Ioat>::default()),
    ("nvme", || Box::<nvme::Nvme>::default()),
    ("poller", || Box::<poller::Poller>::default()),
    ("ring", || Box::<ring::Ring>::default()),
    ("template", || Box::<template::Scratch>::default()),
    ("tw686x", || Box::<tw686x::Tw686x>::default()),
    ("xtrx", || Box::<xtrx::Xtrx>::default()),
    ("ad1889", || Box::<ad1889::Ad1889>::default()),
    ("zoran", || Box::<zoran::Zoran>::default()),
];

/// What a card is usually tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// Its driver, and what that needs before, as `landfall exec --driver` takes them.
    pub drivers: &'static [&'static str],
    /// Debian packages with programs that use it.
    pub packages: &'static [&'static str],
    /// Selftests of the kernel's, as `landfall exec --selftest` takes them.
    pub selftests: &'static [&'static str],
}

/// What the card of that name is usually tried with, if anything is.
pub fn usual(name: &str) -> Option<Usual> {
    let (drivers, packages, selftests): (&[_], &[_], &[_]) = match name {
        "ad1889" => (&["stock:snd_ad1889"], &["alsa-utils"], &[]),
        "capture" => (&["image:landfall_capture"], &["v4l-utils"], &[]),
        "dt3155" => (&["stock:dt3155"], &["v4l-utils"], &[]),
        "endpoint" => (
            &["kernel:drivers/misc/pci_endpoint_test.c"],
            &[],
            &["pci_endpoint"],
        ),
        "ioatdma" => (&["stock:ioatdma"], &[], &[]),
        "nvme" => (&["stock:nvme"], &[], &[]),
        "tw686x" => (&["stock:tw686x"], &["v4l-utils"], &[]),
        "zoran" => (
            &[
                "stock:saa7110",
                "stock:adv7175",
                // With it, its probe dereferences a null pointer.
                "kernel:drivers/media/pci/zoran CONFIG_DYNAMIC_DEBUG=n",
            ],
            &["v4l-utils"],
            &[],
        ),
        _ => return None,
    };
    Some(Usual {
        drivers,
        packages,
        selftests,
    })
}

/// What a camera sends: which picture these bytes claim to be, of lines of so many bytes and so many lines, and that picture
/// whole as its card sent it. `None` if it has none like this.
pub type Camera = fn(bytes: &[u8], line: u32, lines: u32) -> Option<(u32, Vec<u8>)>;

/// What the card of that name sees, as its usual driver shows it by V4L2; `None` if it is no video card, or none whose pictures
/// say which they are.
pub fn camera(name: &str) -> Option<Camera> {
    match name {
        "dt3155" => Some(dt3155::picture::sent),
        "tw686x" => Some(tw686x::picture::sent),
        "zoran" => Some(zoran::picture::sent),
        _ => None,
    }
}

/// Their names.
pub const NAMES: [&str; SET.len()] = {
    let mut names = [""; SET.len()];
    let mut next = 0;
    while next < SET.len() {
        names[next] = SET[next].0;
        next += 1;
    }
    names
};

/// Who makes the card of that name, if there is one.
pub fn by_name(name: &str) -> Option<Make> {
    let found = SET.iter().find(|(known, _)| *known == name);
    found.map(|(_, make)| *make)
}
