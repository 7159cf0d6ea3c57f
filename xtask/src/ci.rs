//! `cargo xtask ci`: everything that must hold before a change lands, each step once, and the
//! time of each at the end.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::build_plugins::{self, elf};
use crate::check;
use crate::demo;
use crate::process;
use crate::steps::Steps;
use crate::test;
use crate::workspace::{self, Platform};

/// The most bytes that a program of the controller may have, static and stripped.
const RATIFY_BUDGET: usize = 16_000_000;

/// Runs the command. Unit tests run once, with the suites.
///
/// # Errors
/// When a step fails; the ones after it are not run.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    check::lints(&mut steps)?;
    test::every_step(&mut steps)?;
    steps.run("plugins for linux/arm64", || {
        build_plugins::run(&build_plugins::Options {
            push: None,
            only: Vec::new(),
            platform: vec![Platform::Arm64],
            plain_http: false,
        })
    })?;
    steps.run("controller for linux/arm64", || {
        let target = Platform::Arm64.rust_target();
        let check = ["check", "--locked", "--package", "ratify-controller", "--target", target];
        process::run(workspace::cargo()?.args(check))
    })?;
    steps.run("static ratify", static_ratify)?;
    steps.run("demo", || demo::run(&demo::Options::default()))?;
    let without_plugin = demo::Options { without_plugin: true };
    steps.run("demo without its plugin fails", || demo::run(&without_plugin))?;
    println!("{}", steps.table());
    Ok(())
}

/// Builds `ratify` as it ships, and holds it to its size.
fn static_ratify() -> Result<()> {
    for program in workspace::build_static_ratify(Platform::Amd64)? {
        let bytes =
            fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
        elf::check_static(&bytes, Platform::Amd64)
            .with_context(|| format!("{} cannot run everywhere", program.display()))?;
        println!("{}: {} bytes, at most {RATIFY_BUDGET}", program.display(), bytes.len());
        if bytes.len() > RATIFY_BUDGET {
            bail!("{} is over its budget; see what the last change brought in", program.display());
        }
    }
    Ok(())
}
