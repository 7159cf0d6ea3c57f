//! `cargo xtask bench`: the figures of the README and of docs/BENCHMARKS.md, measured side by side
//! with Ratify v1.4.0 in one run, with a target for each.
//!
//! What is measured: `exec_call.rs` (one call of a plugin), `load.rs` (forty images at the server's
//! door), `standing.rs` (start and idle memory), `sizes.rs`, `answers/` (cached ones, slow registries,
//! bursts), `signatures.rs` (notation and cosign), `registries/` (pulls and limits), `cluster/` (the controller), and for `cargo xtask soak`
//! `memory.rs`. What it is measured on: `build.rs`, `images.rs`, `registry.rs` and `distribution.rs`,
//! `certificates.rs`, `server.rs`. What becomes of it: `figures.rs` judges,
//! `report.rs` writes.

mod answers;
mod build;
mod certificates;
mod cluster;
mod distribution;
mod exec_call;
mod figures;
mod folder;
mod http;
mod images;
mod load;
mod machine;
pub(crate) mod memory;
mod proc;
mod registries;
mod registry;
mod report;
mod server;
mod signatures;
mod sizes;
mod standing;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::readme::{self, Part};
use crate::tools;
use crate::workspace;
use build::{Both, Programs};
use figures::{Figure, Target};
use folder::{Folder, Home};
use load::Load;
use machine::Machine;
use registry::Registry;
use server::Host;

/// What `cargo xtask bench` is told.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure each thing once or twice only, and write nothing into the tree
    #[arg(long)]
    quick: bool,
    /// Measure this part only, and write nothing into the tree
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<Only>,
    /// With `--only`: measure this `ratify`, and build none
    #[arg(long, value_name = "FILE", requires = "only")]
    ratify: Option<PathBuf>,
}

/// A part that can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Cached answers, slow registries, bursts
    Answers,
    /// The controller on an API server
    Cluster,
    /// Pulls, and what registries are asked
    Registries,
    /// Images that notation and cosign signed
    Signatures,
}

/// How often each thing is measured; ours and v1's take turns.
struct Rounds {
    exec_call: usize,
    /// The load with the small plugin: seconds, and the tightest target, so more of them.
    load: usize,
    /// The load with v1's Go plugin.
    load_in_go: usize,
    ready: usize,
    idle: usize,
    answers: answers::Rounds,
    signatures: usize,
    registries: registries::Rounds,
    cluster: cluster::Rounds,
}

impl Rounds {
    const FULL: Self = Self {
        exec_call: 7,
        load: 7,
        load_in_go: 3,
        ready: 15,
        idle: 3,
        answers: answers::Rounds { cached: 5, rare: 3, slow: 3 },
        signatures: 5,
        registries: registries::Rounds { pull: 9, memory: 3, throttled: 2, images: 500 },
        cluster: cluster::Rounds { active: 7, many: 3, end: 5 },
    };
    const QUICK: Self = Self {
        exec_call: 2,
        load: 1,
        load_in_go: 1,
        ready: 3,
        idle: 1,
        answers: answers::Rounds { cached: 1, rare: 1, slow: 1 },
        signatures: 1,
        registries: registries::Rounds { pull: 2, memory: 1, throttled: 1, images: 500 },
        cluster: cluster::Rounds { active: 2, many: 1, end: 1 },
    };
}

/// Runs the command.
///
/// # Errors
/// When something cannot be built or measured, or a target is missed.
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::bring()?;
    let rounds = if options.quick { Rounds::QUICK } else { Rounds::FULL };
    let (figures, machine) = match options.only {
        None => {
            let programs = build::all()?;
            observed(|| measure(&programs, &rounds))?
        }
        Some(part) => {
            let [ratify, sample] = build::for_one_part(options.ratify.as_deref())?;
            let tools = build::parts()?;
            let v1 = tools.get("ratify-v1").context("`cargo xtask tools` brings no ratify-v1")?;
            let programs = Both { ratify: &ratify, sample: &sample, v1, tools: &tools };
            let folder = Folder::new()?;
            observed(|| match part {
                Only::Answers => answers::measure(&programs, &folder, &rounds.answers),
                Only::Cluster => cluster::measure(&programs, &folder, &rounds.cluster),
                Only::Signatures => signatures::measure(&programs, &folder, rounds.signatures),
                Only::Registries => registries::measure(&programs, &folder, &rounds.registries),
            })?
        }
    };
    println!("\n{}\n{machine}", report::table(&figures));
    if !options.quick && options.only.is_none() {
        let root = workspace::root()?;
        readme::replace(&root, Part::Bench, &report::for_readme(&figures, &machine))?;
        report::write_document(&root, &figures, &machine)?;
    }
    let missed: Vec<&str> =
        figures.iter().filter(|figure| !figure.is_met()).map(|figure| figure.name).collect();
    if !missed.is_empty() {
        bail!("{} of the targets are missed: {}", missed.len(), missed.join("; "));
    }
    Ok(())
}

/// What was measured, and what the machine was like before and after.
fn observed(measure: impl FnOnce() -> Result<Vec<Figure>>) -> Result<(Vec<Figure>, Machine)> {
    let before = Machine::read()?;
    let figures = measure()?;
    Ok((figures, before.until_now()?))
}

fn measure(programs: &Programs, rounds: &Rounds) -> Result<Vec<Figure>> {
    let folder = Folder::new()?;
    let mut figures = exec_call::measure(programs, folder.path(), rounds.exec_call)?;
    let ours = Host { name: "ours", program: &programs.ratify };
    let theirs = Host { name: "v1.4.0", program: &programs.v1 };
    let registry = Registry::start(&programs.registry)?;
    let images = images::push(registry.address(), images::IMAGES, images::ARTIFACTS)?;
    let sample = load::Plugins { kind: "sample", ours: &programs.sample, v1: &programs.v1_sample };
    let sbom = load::Plugins { kind: "sbom", ours: &programs.v1_sbom, v1: &programs.v1_sbom };
    let hosts = [ours, theirs];
    let loads = [
        Load {
            plugins: &sample,
            home: Home::Disk,
            rounds: rounds.load,
            cpu: Target::OfV1(1.0 / 15.0),
            names: [
                "40 images × 5 artifacts, 4 at a time: CPU of server and plugins",
                "40 images × 5 artifacts: time",
                "40 images × 5 artifacts: wrong denials, worst run",
                "40 images × 5 artifacts: server's memory afterwards (RSS)",
            ],
        },
        Load {
            plugins: &sample,
            home: Home::Memory,
            rounds: rounds.load,
            cpu: Target::None,
            names: [
                "the same, homes in memory: CPU of server and plugins",
                "the same, homes in memory: time",
                "the same, homes in memory: wrong denials, worst run",
                "the same, homes in memory: server's memory afterwards (RSS)",
            ],
        },
        Load {
            plugins: &sbom,
            home: Home::Disk,
            rounds: rounds.load_in_go,
            cpu: Target::None,
            names: [
                "the same, both with v1's Go sbom plugin: CPU of server and plugins",
                "the same, both with v1's Go sbom plugin: time",
                "the same, both with v1's Go sbom plugin: wrong denials of 40, worst run",
                "the same, both with v1's Go sbom plugin: server's memory afterwards (RSS)",
            ],
        },
    ];
    for load in &loads {
        figures.extend(load::measure(hosts, load, &images, &folder)?);
    }
    figures.extend(standing::ready(hosts, &sample, &folder, rounds.ready)?);
    figures.extend(standing::idle(hosts, &sample, &folder, rounds.idle)?);
    let Programs { ratify, sample, v1, tools, .. } = programs;
    let both = Both { ratify, sample, v1, tools };
    figures.extend(answers::measure(&both, &folder, &rounds.answers)?);
    figures.extend(signatures::measure(&both, &folder, rounds.signatures)?);
    figures.extend(registries::measure(&both, &folder, &rounds.registries)?);
    figures.extend(cluster::measure(&both, &folder, &rounds.cluster)?);
    figures.extend(sizes::measure(programs)?);
    Ok(figures)
}

/// Says what is going on.
fn say(text: &str) {
    println!("==> {text}");
}
