// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line.

mod again;
mod catalog;
#[cfg(test)]
mod ci_tests;
mod examples;
mod exec;
mod explore;
mod generate;
mod parts;
mod setup;
mod views;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use landfall::guest::qemu::command::Engine;
use landfall::guest::{Accelerator, Iommu, PoolSource};
use landfall_cards::capture::Fault;
use landfall_cards::capture::pattern::{Pattern, Pixel};
use landfall_device::contract::InterruptKind;
use landfall_reserve::allocator::Fit;
use landfall_suite::run::Place;
use landfall_suite::survey::Method;

pub(crate) use again::TryArguments;
pub(crate) use catalog::{CatalogArguments, CatalogCommand, Common, Kernels, LegsArguments};
pub(crate) use exec::{
    BuildModuleArguments, ExecArguments, InitArguments, MachineArguments, ShellArguments,
    SubjectArguments, TestArguments,
};
pub(crate) use explore::ExploreArguments;
pub(crate) use generate::{CompletionsArguments, ManArguments};
pub(crate) use parts::PartArguments;
pub(crate) use setup::{DoctorArguments, SetupArguments};
pub(crate) use views::ViewArguments;

use crate::exit_code;

/// Boots a real guest around an emulated card and proves where every byte landed.
///
/// Without a command, it does `run`: sets up what is missing, boots a stock kernel, captures frames by DMA into a reserved
/// pool, and compares what the driver lent, what the card did, and what lies in guest memory. Its options are taken without the
/// command, too: `landfall run --help`.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, args_conflicts_with_subcommands = true, after_help = exit_code::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

impl Cli {
    /// The command line as `--help` tells it: the options of the default command are told by `run --help` alone, and each
    /// command has examples.
    pub(crate) fn told() -> clap::Command {
        examples::given_to(Self::command().mut_args(|option| option.hide(true)))
    }

    /// Takes what this process was given.
    pub(crate) fn given() -> Result<Self, clap::Error> {
        let mut told = Self::told();
        let matches = told.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut told))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Captures frames and gives the verdict (the default).
    Run(Box<RunArguments>),
    /// Tries a driver of yours with a card: boots, watches, loads it, runs a program, and gives the verdict.
    Exec(Box<ExecArguments>),
    /// Tries a driver in all orders of the card's actions among its steps, and tells the shortest that fails.
    Explore(Box<ExploreArguments>),
    /// Does what landfall.toml says: each test to its verdict.
    Test(Box<TestArguments>),
    /// Writes a landfall.toml that works.
    Init(InitArguments),
    /// Builds a module of yours, in C or Rust, for the guest's kernel.
    BuildModule(BuildModuleArguments),
    /// Tells the story of a failed run from its bundle.
    Explain(ExplainArguments),
    /// Repeats the verdict of a failed run from its bundle, without a guest.
    Replay(ReplayArguments),
    /// Does a failed run again from its bundle with a changed driver: fixed, not fixed, or another violation.
    Try(Box<TryArguments>),
    /// Gives an interactive shell in the guest, with cards and drivers, and the verdict when it ends.
    Shell(Box<ShellArguments>),
    /// Measures every way to get contiguous memory in the kernel, with a card that writes there.
    Survey(SurveyArguments),
    /// Runs the catalogue of 63 classes of DMA bugs: each planted, with a clean twin.
    Catalog(CatalogArguments),
    /// Runs the same scenario on several platforms, and tells where they differ.
    Legs(LegsArguments),
    /// Gets everything that a guest needs into the cache, and tells how large it is.
    Setup(SetupArguments),
    /// Says what this machine has, lacks and would use.
    Doctor(DoctorArguments),
    /// Runs random scenarios of faults, and shrinks one whose verdict is not what it predicts.
    Fuzz(FuzzArguments),
    /// Exercises the pool's allocator at random, in user space, and compares it with a model at every step.
    PoolExercise(ExerciseArguments),
    /// Prints what a shell needs to complete this command line.
    Completions(CompletionsArguments),
    /// Writes the manual: a page for each command.
    Man(ManArguments),
}

/// The card that is captured from unless another is named.
pub(crate) const CAPTURE: &str = landfall_suite::capture::NAME;

/// What the guest is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Guest")]
pub(crate) struct GuestArguments {
    /// Guest memory, such as 256M or 6G; from 2816M on, a part of it lies above 4 GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Most of it that lies below 4 GiB, the rest above it [default: 2G, or all if it is less than 2816M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) low_memory: Option<u64>,
    /// Virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// What executes the guest: auto (KVM if a guest really boots under it), kvm or tcg
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = parse_accelerator)]
    pub(crate) accel: Accelerator,
    /// Boot the kernel, with the card in it from the start, instead of restoring a snapshot
    #[arg(long)]
    pub(crate) cold: bool,
    /// Boot as the distribution would, without Landfall's options that only save time; implies --cold
    #[arg(long)]
    pub(crate) stock_boot: bool,
    /// Most guests at once on this machine; further ones wait [default: number of CPUs]
    #[arg(long, value_name = "N", env = "LANDFALL_JOBS", hide_env_values = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// How the card interrupts: intx, msi or msix
    #[arg(long, value_name = "KIND", default_value = "msi", value_parser = named::<InterruptKind>)]
    pub(crate) interrupt: InterruptKind,
    /// Address bits that the card drives: 24, 32, 36, 40 or 64
    #[arg(long, value_name = "BITS", default_value_t = 64, value_parser = parse_bits)]
    pub(crate) address_bits: u8,
    /// Where the pool gets its memory. Kept at boot: reserve (reserve_mem=), carveout (mem=), cma (cma=). From the
    /// running kernel, in one piece: contig, cluster, bitmap, exact, buddy; in pieces: pages, order, slab, kmalloc,
    /// vmalloc [default: reserve, unless the card cannot reach it]
    #[arg(long, value_name = "SOURCE", value_parser = parse_source)]
    pub(crate) pool_source: Option<PoolSource>,
    /// Size of the pool [default: what the frames need]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) pool_size: Option<u64>,
    /// A hole in RAM as the pool, kept from the kernel by memmap=, such as 2M@14M; without this option the source
    /// carveout is the top of RAM, kept by mem=
    #[arg(long, value_name = "SIZE@ADDRESS", value_parser = parse_hole, conflicts_with = "pool_size")]
    pub(crate) carveout: Option<Hole>,
    /// Compare every byte of the pool with what lay there before the guest's first instruction; carve-outs always
    /// are. With the source reserve all of memory is prepared for it, and the guest boots cold
    #[arg(long)]
    pub(crate) watch_from_boot: bool,
    /// Leave the guest no free block of more than 2^ORDER pages, 0 to 9, before the pool is made
    #[arg(long, value_name = "ORDER", value_parser = clap::value_parser!(u32).range(0..=9))]
    pub(crate) fragment: Option<u32>,
    /// More parameters for the module landfall_pool; they win, such as source=contig,buddy to fall back, or
    /// source=carveout+contig:750 for two regions
    #[arg(long, value_name = "PARAMETERS", default_value = "")]
    pub(crate) pool_parameters: String,
    /// More parameters for the module landfall_capture
    #[arg(long, value_name = "PARAMETERS", default_value = "")]
    pub(crate) driver_parameters: String,
    /// Put an IOMMU in front of the card, used strictly, or lazily, which keeps what was unmapped within reach for a while
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "strict")]
    pub(crate) iommu: Option<Iommu>,
    /// Leave out the module that tells the card's journal what its driver lends
    #[arg(long)]
    pub(crate) no_witness: bool,
    /// Judge what the guest's CPUs do with memory that is the card's, too; needs TCG, and guests that are restored
    #[arg(long, conflicts_with_all = ["cold", "stock_boot", "no_witness", "watch_from_boot", "qemu_arguments"])]
    pub(crate) watch_cpu: bool,
    /// Append to the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub(crate) append: String,
    /// One more argument for QEMU (repeatable)
    #[arg(long = "qemu-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) qemu_arguments: Vec<OsString>,
    /// Make the card misbehave, such as overrun, short or lost-irq, at frame N (0 is the first); a name that does not
    /// exist lists all
    #[arg(long, value_name = "NAME[@N]")]
    pub(crate) fault: Option<FaultAt>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArguments {
    /// Stream from this video card with its usual driver. Of the options only --frames, --save-frames, --memory, --cpus,
    /// --iommu, --append, --qemu-arg, --accel, --jobs, --json, --bundle, --report, --perfetto and the parts of the guest are for others than capture
    #[arg(long, value_name = "NAME", default_value = CAPTURE, value_parser = landfall_cards::NAMES)]
    pub(crate) card: String,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
    #[command(flatten)]
    pub(crate) guest: GuestArguments,
    /// Make the card misbehave as a scenario says: which faults, when, how often, and the seed
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Guest",
        conflicts_with = "fault"
    )]
    pub(crate) scenario: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) capture: CaptureArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FuzzArguments {
    /// The same seed gives the same scenarios
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many scenarios; it ends with the first that fails
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) runs: u64,
    /// Number of the first scenario of the seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) first: u64,
    /// Run this scenario in place of random ones, in the same guest
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "runs", "first"])]
    pub(crate) play: Option<PathBuf>,
    /// Most runs to make a failing scenario smaller
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) shrink_runs: u32,
    /// Where the smallest scenario that fails goes
    #[arg(long, value_name = "FILE", default_value = "failing-scenario.toml")]
    pub(crate) save: PathBuf,
    /// Where the bundle of its run goes: a directory, or one file if the name ends in .tar.zst; a bundle that is there
    /// is replaced [default: a new directory where logs go]
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle: Option<PathBuf>,
    /// Write what was found as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// What executes the guests: auto (KVM if a guest really boots under it), kvm or tcg
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = parse_accelerator)]
    pub(crate) accel: Accelerator,
    /// Most guests at once on this machine; further ones wait [default: number of CPUs]
    #[arg(long, value_name = "N", env = "LANDFALL_JOBS", hide_env_values = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

/// What is captured. By default 8 frames of 1920x1080 and then one of 3840x2160.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Capture")]
pub(crate) struct CaptureArguments {
    /// Pixels of a line [default: 1920]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) width: Option<u32>,
    /// Lines [default: 1080]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) height: Option<u32>,
    /// Pixel format: yuyv, grey or rgb24
    #[arg(long, value_name = "NAME", default_value = "yuyv", value_parser = named::<Pixel>)]
    pub(crate) format: Pixel,
    /// Picture: test, bars, ramp or checker [default: test; bars with --save-frames]
    #[arg(long, value_name = "NAME", value_parser = named::<Pattern>)]
    pub(crate) pattern: Option<Pattern>,
    /// Frames of the first capture [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) frames: Option<u32>,
    /// Place the buffers: below-16m, below-4g, above-4g, last-page (the first buffer ends where RAM ends),
    /// beside-other (right before another card's buffer), across-64k or, with --iommu, across-4g (for the card); chooses
    /// memory, pool and picture
    #[arg(long, value_name = "WHERE", value_parser = clap::value_parser!(Place))]
    pub(crate) place: Option<Place>,
    /// Microseconds from one frame to the next; 0: as fast as the card can
    #[arg(long, value_name = "US", default_value_t = 0)]
    pub(crate) interval: u32,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Write the whole report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Save the captured frames as PNG
    #[arg(long, value_name = "DIR")]
    pub(crate) save_frames: Option<PathBuf>,
    /// Where the bundle of the run goes if it fails: a directory, or one file if the name ends in .tar.zst; a bundle
    /// that is there is replaced [default: a new directory beside the logs]
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle: Option<PathBuf>,
    /// Where logs and journals go if the run fails
    #[arg(long, value_name = "DIR")]
    pub(crate) evidence: Option<PathBuf>,
    /// Keep logs and journals also if it does not
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) views: ViewArguments,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The bundle: a directory or a .tar.zst
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    #[command(flatten)]
    pub(crate) views: ViewArguments,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArguments {
    /// The bundles: directories or .tar.zst
    #[arg(value_name = "BUNDLE", required = true)]
    pub(crate) bundles: Vec<PathBuf>,
    /// Do the whole run again, with a guest, and compare the classes of what goes wrong. Where the guest's parts come
    /// from is said here, never by the bundle
    #[arg(long)]
    pub(crate) live: bool,
    /// Put the bundle of that run in the place of the old one
    #[arg(long, requires = "live")]
    pub(crate) record: bool,
    #[command(flatten)]
    pub(crate) views: ViewArguments,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SurveyArguments {
    /// Memory of each guest
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub(crate) memory: u64,
    /// Also on guests whose memory is fragmented: no free block of more than 64 KiB
    #[arg(long)]
    pub(crate) fragmented: bool,
    /// One of the ways instead of all (repeatable): kmalloc, slab, pages, order, vmalloc, buddy, exact, contig,
    /// cluster, bitmap, hugetlb, cma, reserve, mem or memmap
    #[arg(long = "method", value_name = "NAME", value_parser = named::<Method>)]
    pub(crate) methods: Vec<Method>,
    /// Write all that was measured as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw it as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Draw it as PNG
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
    /// Write it as a page of Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// What executes the guests: auto (KVM if a guest really boots under it), kvm or tcg
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = parse_accelerator)]
    pub(crate) accel: Accelerator,
    /// Most guests at once on this machine; further ones wait [default: number of CPUs]
    #[arg(long, value_name = "N", env = "LANDFALL_JOBS", hide_env_values = true)]
    pub(crate) jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

/// A hole in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) size: u64,
    pub(crate) at: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExerciseArguments {
    /// The same seed gives the same steps
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Steps: requests, frees and wrong frees
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) steps: u64,
    /// Which gap a buffer goes into: first (lowest address) or best (shortest that fits)
    #[arg(long, value_name = "FIT", default_value = "first", value_parser = parse_fit)]
    pub(crate) fit: Fit,
    /// Print the list of buffers that are lent at the end
    #[arg(long)]
    pub(crate) show: bool,
    /// Write the whole report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Take a buffer back behind the model's back before step N (0 is the first), to see that it is found
    #[arg(long, value_name = "N")]
    pub(crate) fault_at: Option<u64>,
}

/// A fault, and the frame it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultAt {
    pub(crate) fault: Fault,
    pub(crate) frame: Option<u32>,
}

impl FromStr for FaultAt {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let (name, frame) = match given.split_once('@') {
            Some((name, frame)) => {
                let frame = frame
                    .parse()
                    .map_err(|_| format!("{frame:?} is no frame number"))?;
                (name, Some(frame))
            }
            None => (given, None),
        };
        Ok(Self {
            fault: named(name)?,
            frame,
        })
    }
}

/// Parses a name of the device crate; its error lists the choices.
fn named<T: FromStr<Err: std::fmt::Display>>(given: &str) -> Result<T, String> {
    given.parse().map_err(|error: T::Err| error.to_string())
}

/// Parses a size with a unit of 1024: `256M`, `6G`, `4096`.
fn parse_size(given: &str) -> Result<u64, String> {
    let digits = given.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = given
        .get(digits.len()..)
        .unwrap_or_default()
        .to_ascii_uppercase();
    let shift = match unit.trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        other => return Err(format!("{other:?} is no unit; there are: K, M, G, T")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{given:?} is no size, such as 256M or 6G"))?;
    let bytes = number.checked_mul(1 << shift).ok_or("too large")?;
    if bytes == 0 || bytes % 4096 != 0 {
        return Err("not one or more pages of 4096 bytes".to_owned());
    }
    Ok(bytes)
}

fn parse_accelerator(given: &str) -> Result<Accelerator, String> {
    match given {
        "auto" => Ok(Accelerator::Auto),
        "kvm" => Ok(Accelerator::Only(Engine::Kvm)),
        "tcg" => Ok(Accelerator::Only(Engine::Tcg)),
        other => Err(format!(
            "{other:?} is no accelerator; there are: auto, kvm, tcg"
        )),
    }
}

fn parse_source(given: &str) -> Result<PoolSource, String> {
    let choice = PoolSource::ALL
        .into_iter()
        .find(|source| source.name() == given);
    choice.ok_or_else(|| {
        let names = PoolSource::ALL.map(PoolSource::name).join(", ");
        format!("{given:?} is no source; there are: {names}")
    })
}

/// Parses a hole: `2M@14M`.
fn parse_hole(given: &str) -> Result<Hole, String> {
    let (size, at) = given
        .split_once('@')
        .ok_or_else(|| format!("{given:?} is no hole, such as 2M@14M"))?;
    Ok(Hole {
        size: parse_size(size)?,
        at: parse_size(at)?,
    })
}

fn parse_fit(given: &str) -> Result<Fit, String> {
    match given {
        "first" => Ok(Fit::First),
        "best" => Ok(Fit::Best),
        other => Err(format!("{other:?} is no fit; there are: first, best")),
    }
}

fn parse_bits(given: &str) -> Result<u8, String> {
    match given.parse() {
        Ok(bits @ (24 | 32 | 36 | 40 | 64)) => Ok(bits),
        _ => Err("a card drives 24, 32, 36, 40 or 64 bits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("6GiB"), Ok(6 << 30));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "M", "1", "0", "6X", "-1M", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hole_has_a_size_and_an_address() {
        let hole = |size, at| Hole { size, at };
        assert_eq!(parse_hole("2M@14M"), Ok(hole(2 << 20, 14 << 20)));
        assert_eq!(parse_hole("1G@5G"), Ok(hole(1 << 30, 5 << 30)));
        for wrong in ["2M", "@14M", "2M@", "2M@1", "2M$14M"] {
            assert!(parse_hole(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_may_name_its_frame() {
        let at = |given: &str| given.parse::<FaultAt>();
        assert_eq!(
            at("short"),
            Ok(FaultAt {
                fault: Fault::Short,
                frame: None
            })
        );
        assert_eq!(
            at("lost-irq@7"),
            Ok(FaultAt {
                fault: Fault::LostIrq,
                frame: Some(7)
            })
        );
        assert!(at("lost-irq@x").unwrap_err().contains("frame number"));
        assert!(at("explode").unwrap_err().contains("overrun, shift"));
    }
}
