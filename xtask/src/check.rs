//! `cargo xtask check`: what a machine can say about a change in a minute or two, and what to
//! run before asking for review.

use anyhow::Result;

use crate::crds;
use crate::process;
use crate::steps::Steps;
use crate::tidy;
use crate::workspace;

/// Runs the command.
///
/// # Errors
/// When a step fails; the ones after it are not run.
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
    lints(steps)?;
    steps.run("unit tests", || cargo(&["test", "--locked", "--workspace", "--lib", "--bins"]))
}

/// Everything but the tests.
///
/// # Errors
/// As [`run`].
pub(crate) fn lints(steps: &mut Steps) -> Result<()> {
    steps.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    steps.run("tidy", || tidy::run(&tidy::Options::default()))?;
    let deny = ["--", "--deny", "warnings"];
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets"];
    steps.run("clippy", || cargo(&[&clippy[..], &deny].concat()))?;
    steps.run("documentation", || {
        let doc = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
        // With an example features are those of clippy's run, and nothing is checked a second time.
        let what = ["--lib", "--bins", "--examples"];
        let mut cargo = workspace::cargo()?;
        process::run(cargo.env("RUSTDOCFLAGS", "--deny warnings").args(doc).args(what))
    })?;
    steps.run("definitions of the chart", crds::check)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    process::run(workspace::cargo()?.args(arguments))
}
