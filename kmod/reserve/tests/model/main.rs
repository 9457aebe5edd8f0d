// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The core beside models that are too simple to be wrong: same answers, same reasons, same lists.

mod bitmap;
mod cluster;
mod region;
mod regions;
mod steps;
