// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every test boots a guest and reads top to bottom; `tidy` alone reads the repository instead.

mod ad1889;
mod bind;
mod boot;
mod bundle;
mod catalog;
mod cluster;
mod confined;
mod contract;
mod debug;
mod endpoint;
mod exec;
mod failures;
mod faults;
mod formats;
mod fragment;
mod gallery;
mod grabber;
mod headers;
mod interrupts;
mod ioatdma;
mod kernels;
mod killing;
mod limits;
mod lines;
mod mutant;
mod nvme;
mod own_driver;
mod placement;
mod pool;
mod pool_user;
mod reset;
mod scenario;
mod sources;
mod start;
mod supply;
mod survey;
mod tidy;
mod trial;
mod tw686x;
mod userspace;
mod vfio;
mod video;
mod witness;
mod witness_hears;
