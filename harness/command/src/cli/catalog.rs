// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arguments of `catalog` and `legs`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use landfall_guest::Architecture;
use landfall_suite::catalog::{Leg, On, Pattern};

use super::PartArguments;

/// Arguments of `catalog`.
#[derive(Args, Debug)]
pub(crate) struct CatalogArguments {
    #[command(subcommand)]
    pub(crate) command: CatalogCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CatalogCommand {
    /// List the 63 classes, what is planted for each, and where it must be named
    List {
        /// Write the list to FILE as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Run classes, all by default: each must be named, and its clean twin must be silent
    Run {
        /// Numbers of classes
        #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=63))]
        numbers: Vec<u8>,
        /// Leave stream and verdict of every trial in DIR, a file each, for tests that judge them again
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Measure who sees which class: ledger, IOMMU, dma-debug, KASAN, bounce buffers
    Matrix {
        /// How often Landfall must name each
        #[arg(long, value_name = "N", default_value_t = 3)]
        repeats: u32,
        /// Instead, which class is named on which kernel, once each: all, or names separated by commas, SERIES or
        /// ARCHITECTURE/SERIES, such as 6.12,arm64/7.3
        #[arg(
            long,
            value_name = "LIST",
            value_delimiter = ',',
            value_parser = kernel,
            conflicts_with_all = ["repeats", "no_debug_kernel", "arch", "kernel_series", "kernel"]
        )]
        kernels: Vec<Kernels>,
        /// Leave the debug kernel out, which takes a quarter of an hour to build the first time
        #[arg(long)]
        no_debug_kernel: bool,
        /// Write the table to FILE as Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
        /// Draw it to FILE as SVG
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Draw it to FILE as PNG
        #[arg(long, value_name = "FILE")]
        png: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Show the gallery of correct drivers, all patterns by default: nothing may be said of any
    Gallery {
        /// Names of patterns
        #[arg(value_name = "NAME", value_parser = pattern)]
        names: Vec<&'static Pattern>,
        /// Platforms, separated by commas
        #[arg(
            long,
            value_name = "LIST",
            value_delimiter = ',',
            default_value = "plain,iommu,iommu-lazy,swiotlb,high"
        )]
        legs: Vec<Leg>,
        /// How often
        #[arg(long, value_name = "N", default_value_t = 1)]
        runs: u32,
        /// Each of them also on a card that declares nothing of its own work
        #[arg(long)]
        mute: bool,
        /// List the patterns, and show none
        #[arg(long)]
        list: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Run clean captures, spread over platforms, drivers and sources: nothing may be said
    Clean {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 300)]
        runs: u32,
        /// With the debug kernel too
        #[arg(long)]
        debug_kernel: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// Arguments of `legs`.
#[derive(Args, Debug)]
pub(crate) struct LegsArguments {
    /// Mutant of the small driver, a class's number; 0: none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) bug: u32,
    /// What the card does, as a scenario file
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// Platforms, separated by commas: plain, iommu, iommu-lazy, swiotlb, high, fragmented, debug, cpu
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "plain,iommu,iommu-lazy,swiotlb,high,fragmented"
    )]
    pub(crate) legs: Vec<Leg>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Write what came of it to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where a run that fails leaves its bundle: beside PATH, with a word for the run at the end of the name; one file if
    /// that ends in .tar.zst; a bundle that is there is replaced [default: new directories where logs go]
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle: Option<PathBuf>,
    /// Most guests at once [default: one for each CPU]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Judge what the guest's CPUs do with memory that is the card's, too; needs TCG, and guests that are restored
    #[arg(long)]
    pub(crate) watch_cpu: bool,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

/// Kernels that a word names.
#[derive(Clone, Debug)]
pub(crate) enum Kernels {
    /// Of every architecture every series.
    All,
    /// One.
    One(On),
}

fn kernel(word: &str) -> Result<Kernels, String> {
    if word == "all" {
        return Ok(Kernels::All);
    }
    let usual = Architecture::names().into_iter().next().unwrap_or_default();
    let (architecture, series) = word.split_once('/').unwrap_or((usual, word));
    let of = Architecture::of(architecture).ok_or_else(|| {
        let there = Architecture::names().join(", ");
        format!("there are no guests of {architecture}; there are {there}")
    })?;
    let there = of.series();
    match there.contains(&series) {
        true => Ok(Kernels::One(On {
            architecture: architecture.to_owned(),
            series: series.to_owned(),
        })),
        false => Err(format!(
            "there is no series {series} for {architecture}; there are {}",
            there.join(", ")
        )),
    }
}

/// The pattern of that name.
fn pattern(name: &str) -> Result<&'static Pattern, String> {
    Pattern::of(name)
        .ok_or_else(|| "`landfall catalog gallery --list` lists the patterns".to_owned())
}
