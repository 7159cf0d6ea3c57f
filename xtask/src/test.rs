//! `cargo xtask test`: brings the tools, builds what the suites run, and runs every test of the
//! workspace. The suites read variables: `RATIFY_TOOLS`, the file that maps a tool's name to
//! its path, and `RATIFY_PLUGINS`, the folder of built plugins (`<type>/<os>-<arch>/<type>`). Those
//! of the image read `RATIFY_IMAGE`, its layout.

use anyhow::Result;

use crate::build_plugins;
use crate::image;
use crate::process;
use crate::steps::Steps;
use crate::tools;
use crate::workspace::{self, Platform};

/// Runs the command.
///
/// # Errors
/// When a tool cannot be had, something does not build, or a test fails.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    every_step(&mut steps)?;
    println!("{}", steps.table());
    Ok(())
}

/// The steps, for a command that runs more than these.
///
/// # Errors
/// As [`run`].
pub(crate) fn every_step(steps: &mut Steps) -> Result<()> {
    steps.run("tools", tools::bring)?;
    steps.run("programs and plugins for linux/amd64", programs_and_plugins)?;
    steps.run("image for linux/amd64", || {
        image::run(&image::Options { push: None, platform: vec![Platform::Amd64] })
    })?;
    steps.run("tests", tests)
}

/// What the suites run: `ratify` itself, and every plugin as a static program.
///
/// # Errors
/// When something does not build.
pub(crate) fn programs_and_plugins() -> Result<()> {
    process::run(workspace::cargo()?.args(workspace::AS_FOR_TESTS).arg("--bins"))?;
    build_plugins::run(&build_plugins::Options {
        push: None,
        only: Vec::new(),
        platform: vec![Platform::Amd64],
        plain_http: false,
    })?;
    build_plugins::variants(Platform::Amd64)
}

fn tests() -> Result<()> {
    let mut cargo = workspace::cargo()?;
    cargo.env("RATIFY_TOOLS", tools::map_file()?);
    cargo.env("RATIFY_PLUGINS", build_plugins::folder(&workspace::metadata()?));
    cargo.env("RATIFY_IMAGE", image::folder()?);
    process::run(cargo.args(["test", "--locked", "--workspace", "--no-fail-fast"]))
}
