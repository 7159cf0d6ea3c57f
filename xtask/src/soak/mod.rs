//! `cargo xtask soak`: what CI is too short for. The suite of the plugin host with its long counts; plugins
//! that are exchanged for minutes while they are asked; the memory of a server that is asked about thousands
//! of images; and [`fuzz`], which looks for inputs that nobody thought of.

mod fuzz;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::bench;
use crate::build_plugins;
use crate::process;
use crate::test;
use crate::tools;
use crate::workspace;

/// What `cargo xtask soak` is told.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
    /// About how many images a server is asked
    #[arg(long, default_value_t = 10_000)]
    images: usize,
    /// Ask this `ratify` about them, and build none
    #[arg(long, value_name = "FILE")]
    ratify: Option<PathBuf>,
    /// How long each fuzz target runs
    #[arg(long, default_value_t = 60)]
    fuzz_seconds: u64,
    /// Only these fuzz targets; may be given several times
    #[arg(long)]
    target: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Tens of thousands of plugin calls
    Host,
    /// Plugins that are exchanged under load, for five minutes each, beside Ratify v1 too
    Faults,
    /// A server that is asked about thousands of images
    Memory,
    /// The fuzz targets of ratify-controller/fuzz
    Fuzz,
}

/// Runs the command.
///
/// # Errors
/// When something does not build, a test fails, or a fuzz target finds something.
pub(crate) fn run(options: &Options) -> Result<()> {
    let is_meant = |part| options.only.is_none_or(|only| only == part);
    if is_meant(Part::Host) {
        suite(Profile::Release, "host::")?;
    }
    if is_meant(Part::Faults) {
        tools::bring()?;
        suite(Profile::Dev, "cli::faults::")?;
    }
    if is_meant(Part::Memory) {
        tools::bring()?;
        bench::memory::run(options.ratify.clone(), options.images)?;
    }
    if is_meant(Part::Fuzz) {
        fuzz::run(&options.target, options.fuzz_seconds)?;
    }
    Ok(())
}

/// How tests are built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Dev,
    Release,
}

/// A part of the controller's suite, with its long counts and times.
fn suite(profile: Profile, part: &str) -> Result<()> {
    test::programs_and_plugins()?;
    let mut cargo = workspace::cargo()?;
    cargo.env("RATIFY_SOAK", "1");
    cargo.env("RATIFY_PLUGINS", build_plugins::folder(&workspace::metadata()?));
    if profile == Profile::Dev {
        cargo.env("RATIFY_TOOLS", tools::map_file()?);
    }
    cargo.args(["test", "--locked", "--package", "ratify-controller", "--test", "suite"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    process::run(cargo.args(["--", "--nocapture", part]))
}
